"""The history file: appended whole, resumed without a row twice, never half-written."""

import errno
import json

import pytest

from tests.tiny import make_model, make_tokenizer
from tests.torn import Torn
from xalign import load_pairs, measure
from xalign.errors import ArgumentError, ReportError
from xalign.results import history_file
from xalign.results.history import History


@pytest.fixture(scope="module")
def reports():
    pairs = load_pairs("bundled", ["deu_Latn", "rus_Cyrl"], n=8)
    return [
        measure(
            make_model("llama", seed=step),
            make_tokenizer(),
            pairs,
            ["nasca", "margin", "retrieval"],
            step=step,
        )
        for step in (0, 10, 20)
    ]


@pytest.fixture
def path(reports, tmp_path):
    history = History(tmp_path / "history.jsonl")
    for report in reports:
        history.append(report)
    return history.path


def test_its_rows_are_those_of_the_reports(reports, path):
    expected = [row for report in reports for row in report.to_rows()]
    assert History.load(path).to_rows() == expected
    assert History.load(path.parent).steps == [0, 10, 20]  # the folder will do
    assert len(path.read_text().splitlines()) == 3
    in_memory = History()
    for report in reports:
        in_memory.append(report)
    assert in_memory.to_rows() == expected
    assert in_memory.languages == ["deu_Latn", "rus_Cyrl"]


def test_each_step_once_and_in_order(reports, path):
    history = History(path)
    with pytest.raises(ArgumentError, match="step=20 is not after the last step measured, 20"):
        history.append(reports[-1])
    history.keep_until(10)
    assert History(path).steps == [0, 10]
    history.append(reports[-1])
    assert History(path).to_rows() == [row for report in reports for row in report.to_rows()]


@pytest.mark.parametrize("cut", [2, 3, 300, 1200])
def test_a_truncated_last_line_is_dropped_and_said(reports, path, cut):
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.warns(UserWarning, match="its last line is broken"):
        history = History(path)
    assert history.steps == [0, 10]
    history.append(reports[-1])
    assert History(path).to_rows() == [row for report in reports for row in report.to_rows()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda entry: entry | {"schema_version": 9},
            "line 2: xalign.History of schema 9; this xalign reads",
        ),
        (lambda entry: entry | {"kind": "other"}, "line 2: other of schema 1"),
        (lambda entry: {"step": 3}, "line 2 is no entry of a history"),
        (lambda entry: entry | {"step": "ten"}, "line 2 is no entry of a history"),
        (lambda entry: [entry], "line 2 is no entry of a history"),
    ],
)
def test_what_is_no_history_is_refused(path, change, message):
    lines = path.read_text().splitlines()
    lines[1] = json.dumps(change(json.loads(lines[1])))
    path.write_text("\n".join(lines) + "\n")
    before = path.read_bytes()
    with pytest.raises(ReportError, match=message):
        History(path)
    assert path.read_bytes() == before


def test_other_pairs_settings_and_places_make_no_curve(reports, path):
    history = History(path)
    model, tokenizer, pairs = make_model("llama"), make_tokenizer(), reports[0].pairs
    metrics = ["nasca", "margin", "retrieval"]
    others = [
        (
            {"pairs": load_pairs("bundled", ["deu_Latn", "rus_Cyrl"], n=9)},
            "was measured on other sentences than these, on 8 pairs each of deu_Latn, rus",
        ),
        ({"pool_special_tokens": False}, "pool_special_tokens was True at step 20 and is False"),
        ({"state_site": "inner"}, "the metrics or their places are not those of step 20"),
        ({"metrics": ["nasca"]}, "nasca, margin, retrieval_.* there, nasca now"),
    ]
    for options, message in others:
        report = measure(model, tokenizer, **({"pairs": pairs, "metrics": metrics} | options), step=30)
        with pytest.raises(ReportError, match=message):
            history.append(report)
    with pytest.raises(ArgumentError, match="has no step"):
        history.append(measure(model, tokenizer, pairs, metrics))
    assert History(path).steps == history.steps == [0, 10, 20]


def test_a_full_disk_loses_nothing(reports, path, monkeypatch):
    """What could not be written is written with the next, and what was half-written is taken back."""
    path.unlink()
    history = History(path)
    history.append(reports[0])
    opened = open

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(history_file, "open", lambda *a, **k: Torn(opened(*a, **k), full), raising=False)
    with pytest.raises(OSError, match="No space left"):
        history.append(reports[1])
    monkeypatch.undo()
    assert history.unwritten == [10]
    assert History(path).steps == [0]
    history.append(reports[2])
    assert History(path).to_rows() == [row for report in reports for row in report.to_rows()]


def test_nothing_there(tmp_path):
    with pytest.raises(ReportError, match=r"holds no history.jsonl; give the file, or the folder of a run"):
        History.load(tmp_path)


def test_two_processes_write_one_file(reports, path):
    """What another has added since is taken up, in the order of steps; a file that was removed comes back."""
    path.unlink()
    ours, theirs = History(path), History(path)
    ours.append(reports[0])
    theirs.append(reports[1])
    ours.append(reports[2])
    expected = [row for report in reports for row in report.to_rows()]
    assert History(path).to_rows() == ours.to_rows() == expected
    path.unlink()
    ours.keep_until(20)
    assert History(path).to_rows() == expected
