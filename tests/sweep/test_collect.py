"""`xalign collect`: one table and histories of all reports, whoever else collects, and whatever is broken."""

import csv
import os
import subprocess
import sys
import threading

import pyarrow.parquet
import pytest

from tests.cli.typed import xalign
from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentReport, load_pairs, measure
from xalign.errors import ReportError
from xalign.results.history import History
from xalign.results.locks import acquire, lock_of
from xalign.sweep.collect import collect
from xalign.sweep.table import COLUMNS

STEPS = (1, 3, 20)


@pytest.fixture(scope="module")
def reports():
    pairs = load_pairs("bundled", ["deu_Latn", "rus_Cyrl"], n=8)
    model, tokenizer = make_model("llama"), make_tokenizer()
    found = [measure(model, tokenizer, pairs, ["nasca", "margin"], step=step) for step in (*STEPS, None)]
    return dict(zip((*STEPS, None), found, strict=True))


@pytest.fixture
def folder(reports, tmp_path):
    for step, report in reports.items():
        report.save(tmp_path / "m" / "few" / ("main" if step is None else f"step-{step:08d}"))
    return tmp_path


def by_hand(reports, folder):
    rows = []
    for name in ("main", *(f"step-{step:08d}" for step in STEPS)):
        for row in AlignmentReport.load(folder / "m" / "few" / name).to_rows():
            rows.append((f"m/few/{name}", row["metric"], row["language"], str(row["layer"]), row["value"]))
    return rows


def short(rows):
    return [tuple(row[key] for key in ("folder", "metric", "language", "layer", "value")) for row in rows]


def test_the_table_and_the_history_are_those_of_the_reports(reports, folder):
    done = collect(folder)
    assert (done.reports, done.broken) == (4, {})
    found = pyarrow.parquet.read_table(done.table)
    assert found.column_names == list(COLUMNS)
    assert short(found.to_pylist()) == by_hand(reports, folder)
    assert done.histories == [folder / "m" / "few" / "history.jsonl"]
    assert History.load(folder / "m" / "few").to_rows() == [
        row for step in STEPS for row in reports[step].to_rows()
    ]
    before = done.table.read_bytes(), done.histories[0].read_bytes()
    assert collect(folder) == done
    assert (done.table.read_bytes(), done.histories[0].read_bytes()) == before


def test_without_pyarrow_the_table_is_csv(reports, folder, monkeypatch):
    monkeypatch.setattr("xalign.sweep.table.find_spec", lambda name: None)
    with open(collect(folder).table, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(*row[:-1], float(row[-1])) for row in short(rows)] == by_hand(reports, folder)


def test_a_report_that_is_torn_is_left_out_and_said(reports, folder):
    torn = folder / "m" / "few" / "step-00000003" / "report.json"
    whole = torn.read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match="the report in m/few/step-00000003 is left out"):
        done = collect(folder)
    assert done.reports == 3 and list(done.broken) == ["m/few/step-00000003"]
    assert History.load(folder / "m" / "few").steps == [1, 20]
    torn.write_bytes(whole)
    assert collect(folder).reports == 4
    assert History.load(folder / "m" / "few").steps == list(STEPS)  # in the middle


def test_a_history_that_is_torn_is_completed(reports, folder):
    history = collect(folder).histories[0]
    whole = history.read_bytes()
    history.write_bytes(whole[:-40])
    with pytest.warns(UserWarning, match="its last line is broken"):
        collect(folder)
    assert history.read_bytes() == whole


def test_a_report_of_other_sentences_stays_out_of_the_history(reports, folder):
    pairs = load_pairs("bundled", ["deu_Latn", "rus_Cyrl"], n=7)
    other = measure(make_model("llama"), make_tokenizer(), pairs, ["nasca", "margin"], step=2)
    other.save(folder / "m" / "few" / "zz")
    with pytest.warns(UserWarning, match="m/few/zz is in the table, and not in the history beside it"):
        assert collect(folder).reports == 5
    assert History.load(folder / "m" / "few").steps == list(STEPS)


@pytest.mark.parametrize(
    ("late", "call", "history_stays"),
    [
        (20, "xalign.results.history_file.os.fsync", True),  # a line is appended to the history
        (3, "xalign.storage._write", True),  # the history is written anew
        (20, "xalign.storage._write", False),  # only the table is
    ],
)
def test_a_full_disk_leaves_what_was_there(reports, folder, monkeypatch, late, call, history_stays):
    place = folder / "m" / "few" / f"step-{late:08d}"
    place.rename(folder / ".late")
    done = collect(folder)
    table, history = done.table.read_bytes(), done.histories[0].read_bytes()
    (folder / ".late").rename(place)

    def full(path, data=b"", is_forced=True):
        if data:
            path.write_bytes(data[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(call, full)
        answer = xalign("collect", folder)
    assert answer.exit_code == 2 and "No space left on device" in answer.stderr
    assert not list(folder.rglob(".writing-*"))
    assert done.table.read_bytes() == table
    assert (done.histories[0].read_bytes() == history) == history_stays
    assert collect(folder).reports == 4
    assert History.load(folder / "m" / "few").steps == list(STEPS)


def test_a_second_collector_waits_for_the_first(reports, folder, monkeypatch):
    lock = acquire(lock_of(folder / "table.parquet"), 1.0)
    other = threading.Thread(target=collect, args=(folder,))
    other.start()
    other.join(0.3)
    assert other.is_alive() and not (folder / "table.parquet").exists()
    lock.release()
    other.join(20)
    assert (folder / "table.parquet").exists()
    monkeypatch.setattr("xalign.sweep.collect.PATIENCE", 0.1)
    lock = acquire(lock_of(folder / "table.parquet"), 1.0)
    with pytest.raises(ReportError, match="another process has collected"):
        collect(folder)
    lock.release()


def test_where_nothing_is(tmp_path):
    for name, message in ((tmp_path / "none", "is no folder"), (tmp_path, "holds no report that is whole")):
        done = xalign("collect", name)
        assert done.exit_code == 2 and message in done.stderr
    assert os.listdir(tmp_path) in ([], [".table.parquet.lock"])


@pytest.mark.slow
def test_collectors_at_once_while_reports_arrive_lose_nothing(reports, tmp_path):
    command = [sys.executable, "-c", "from xalign.sweep.collect import collect; collect('.')"]
    reports[1].save(tmp_path / "m" / "few" / "step-00000001")
    running = [subprocess.Popen(command, cwd=tmp_path) for _ in range(4)]
    for step in (3, 20):
        reports[step].save(tmp_path / "m" / "few" / f"step-{step:08d}")
    assert [one.wait(200) for one in running] == [0] * 4
    running = [subprocess.Popen(command, cwd=tmp_path) for _ in range(2)]
    assert [one.wait(200) for one in running] == [0] * 2
    assert History.load(tmp_path / "m" / "few").steps == list(STEPS)
    found = pyarrow.parquet.read_table(tmp_path / "table.parquet").to_pylist()
    assert sorted({row["step"] for row in found}) == list(STEPS)
