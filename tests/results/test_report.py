"""The report: numbers, rows, differences, and what is on disk."""

import json
import os
import stat
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentReport, ParallelPairs, Site, load_pairs, measure
from xalign.errors import ArgumentError, ArgumentTypeError, ReportError
from xalign.metrics import METRICS
from xalign.results.history import History
from xalign.results.values import Cost, LanguageStats, MetricResult
from xalign.statistics.intervals import share_interval, wilson_interval

ALL = ("nasca", "navca", "mexa", "retrieval", "margin")


@pytest.fixture(scope="module")
def pairs():
    return load_pairs("bundled", ["deu_Latn", "rus_Cyrl"], n=30)


@pytest.fixture(scope="module")
def report(pairs):
    return measure(make_model("llama"), make_tokenizer(), pairs, ALL, step=7)


@pytest.fixture(scope="module")
def later(pairs):
    return measure(make_model("llama", seed=1), make_tokenizer(), pairs, ALL, step=8)


def by_hand():
    """Two languages, two layers, four pairs, written down."""
    pairs = ParallelPairs({"en": list("abcd"), "de": list("efgh"), "ru": list("ijkl")})
    bits = {
        "deu_Latn": torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]], dtype=torch.bool),
        "rus_Cyrl": torch.tensor([[0, 0, 0, 0], [1, 0, 0, 0]], dtype=torch.bool),
    }
    floors = {
        "deu_Latn": torch.tensor([True, False, False, False]),
        "rus_Cyrl": torch.zeros(4, dtype=torch.bool),
    }
    stats = dict.fromkeys(["eng_Latn", "deu_Latn", "rus_Cyrl"], LanguageStats(1.0, 0.0))
    metrics = {
        "nasca": MetricResult(
            metric="nasca",
            scale=METRICS["nasca"].scale,
            sites=(Site("gate", 0), Site("gate", 1)),
            readings=("0.gate:active:weighted", "1.gate:active:weighted"),
            values=bits,
            floors=floors,
            chance={"deu_Latn": 1 / 7, "rus_Cyrl": 1 / 7},
        )
    }
    return AlignmentReport(pairs, metrics, stats, Cost(1, 1, 1, 1, 1), {})


def test_numbers_by_hand():
    report = by_hand()
    assert report.score("nasca", "deu_Latn") == pytest.approx(5 / 8)
    assert report.score("nasca", "deu_Latn", over="max") == pytest.approx(3 / 4)
    assert report.score("nasca") == pytest.approx((5 / 8 + 1 / 8) / 2)
    assert report.worst("nasca") == ("rus_Cyrl", pytest.approx(1 / 8))
    assert report.floor("nasca", "deu_Latn") == 0.25
    assert report.chance("nasca", "deu_Latn") == pytest.approx(1 / 7)
    assert report.best_layer("nasca", "deu_Latn") == 1
    assert report.per_sentence("nasca", "deu_Latn", 0).tolist() == [True, True, False, False]
    assert report.summary() == {
        "nasca": pytest.approx(3 / 8),
        "nasca_deu_Latn": pytest.approx(5 / 8),
        "nasca_rus_Cyrl": pytest.approx(1 / 8),
        "nasca_worst": pytest.approx(1 / 8),
    }
    assert all(type(value) is float for value in report.summary().values())
    rows = report.to_rows()
    assert [(row["language"], row["layer"], row["value"]) for row in rows] == [
        ("deu_Latn", 0, 0.5),
        ("deu_Latn", 1, 0.75),
        ("deu_Latn", "mean", 0.625),
        ("rus_Cyrl", 0, 0.0),
        ("rus_Cyrl", 1, 0.25),
        ("rus_Cyrl", "mean", 0.125),
    ]
    assert (rows[0]["low"], rows[0]["high"]) == wilson_interval(2, 4)
    assert (rows[2]["low"], rows[2]["high"]) == share_interval(np.array([1, 1, 0.5, 0]))
    assert report.interval("nasca") == share_interval(np.array([0.75, 0.5, 0.25, 0]))
    assert set(rows[0]) == {
        *("step", "metric", "language", "stack", "layer", "value", "low", "high"),
        *("n", "documents", "chance", "floor"),
    }
    assert [row["layer"] for row in report.to_rows(over=("mean", "max"))].count("max") == 2


def test_retrieval_is_the_mean_of_its_directions(report):
    assert "retrieval" in report.measured
    assert "retrieval" not in report.metrics
    there, back = (report.score(f"retrieval_{way}_pivot", "deu_Latn") for way in ("from", "to"))
    assert there != back
    assert report.score("retrieval", "deu_Latn") == pytest.approx((there + back) / 2)
    assert report.chance("retrieval", "deu_Latn") == pytest.approx(1 / 30)
    assert {"retrieval", "retrieval_deu_Latn", "retrieval_worst"} <= set(report.summary())


def test_margin_has_no_chance_and_signs_of_bits(report):
    assert report.chance("margin", "deu_Latn") is None
    for layer in report.metrics["mexa"].layers:
        margins = report.per_sentence("margin", "rus_Cyrl", layer)
        assert torch.equal(margins > 0, report.per_sentence("mexa", "rus_Cyrl", layer))
    json.dumps(report.to_rows(), allow_nan=False)


def test_what_is_not_in_a_report(report):
    for ask, message in (
        (lambda: report.score("navca2"), "metric='navca2' is not in this report; it has nasca, navca, mexa"),
        (lambda: report.score("nasca", "fra_Latn"), "language='fra_Latn' is not in this report"),
        (
            lambda: report.per_sentence("nasca", "deu_Latn", "embed"),
            "layer='embed' was not measured by nasca",
        ),
    ):
        with pytest.raises(ArgumentError, match=message):
            ask()


def test_mean_over_languages_without_common_sentences():
    pairs = ParallelPairs.from_bitexts({"de": (list("abcd"), list("efgh")), "ru": (list("xyz"), list("uvw"))})
    report = measure(make_model("llama"), make_tokenizer(), pairs, ["nasca"])
    assert report.interval("nasca", "deu_Latn")
    assert 0 <= report.score("nasca") <= 1
    assert {row["n"] for row in report.to_rows()} == {3, 4}
    with pytest.raises(ArgumentError, match="different pivot sentences"):
        report.interval("nasca")


def test_saved_and_loaded(report, tmp_path):
    folder = report.save(tmp_path / "new" / "report")
    again = AlignmentReport.load(folder)
    assert again.to_rows(over=("mean", "max")) == report.to_rows(over=("mean", "max"))
    assert again.pairs.fingerprint == report.pairs.fingerprint
    assert (again.step, again.cost, again.stats, again.provenance) == (
        7,
        report.cost,
        report.stats,
        report.provenance,
    )
    content = json.loads((folder / "report.json").read_text())
    assert content["schema_version"] == 1
    assert content["scores"]["nasca"] == report.score("nasca")
    assert len(os.listdir(folder)) == 2


def test_nothing_is_overwritten_unless_asked(report, later, tmp_path):
    folder = report.save(tmp_path / "report")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ReportError, match="already holds a report"):
        later.save(folder)
    assert AlignmentReport.load(folder).step == 7
    later.save(folder, overwrite=True)
    assert AlignmentReport.load(folder).step == 8
    assert (folder / "notes.txt").read_text() == "mine"
    assert len(list(folder.glob("values-*"))) == 1


@pytest.mark.parametrize("moment", ["values", "json"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interruption_leaves_no_half_report(report, later, tmp_path, monkeypatch, moment, error):
    old = report.save(tmp_path / "old")
    real = os.replace

    def interrupted(source, target):
        if str(target).endswith({"values": ".safetensors", "json": ".json"}[moment]):
            raise error("on purpose")
        real(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    raised = ReportError if error is OSError else error
    with pytest.raises(raised, match="on purpose"):
        later.save(tmp_path / "fresh")
    with pytest.raises(raised, match="on purpose"):
        later.save(old, overwrite=True)
    assert not [path for path in tmp_path.rglob(".*")]
    with pytest.raises(ReportError, match="holds no report"):
        AlignmentReport.load(tmp_path / "fresh")
    assert AlignmentReport.load(old).step == 7


def test_a_folder_that_cannot_be_written(report, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ReportError, match="cannot be written: "):
        report.save(tmp_path / "file")
    with pytest.raises(ReportError, match="cannot be written: "):
        report.save(tmp_path / "file" / "below")
    if os.geteuid() != 0:  # nothing is read-only for root
        (tmp_path / "locked").mkdir()
        os.chmod(tmp_path / "locked", stat.S_IRUSR | stat.S_IXUSR)
        with pytest.raises(ReportError, match="cannot be written: Permission denied"):
            report.save(tmp_path / "locked")


def edited(folder, key, value):
    edited_in(folder, [key], value)


def edited_in(folder, path, value):
    content = json.loads((folder / "report.json").read_text())
    inside = content
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    (folder / "report.json").write_text(json.dumps(content))


def test_a_save_removes_only_what_it_replaces(report, later, tmp_path):
    """Two processes that save into one folder: whoever is last wins, and what it names is there."""
    folder = report.save(tmp_path / "report")
    of_another = folder / "values-0123456789ab.safetensors"
    of_another.write_bytes(b"just written by another process")
    later.save(folder, overwrite=True)
    assert of_another.exists()
    assert len(list(folder.glob("values-*"))) == 2
    assert AlignmentReport.load(folder).step == 8


def test_what_json_cannot_hold_leaves_nothing(report, tmp_path):
    with pytest.raises(ReportError, match="what JSON cannot"):
        replace(report, provenance=report.provenance | {"x": object()}).save(tmp_path / "report")
    with pytest.raises(ReportError, match="what JSON cannot"):
        replace(report, provenance=report.provenance | {"x": "caf\udce9"}).save(tmp_path / "report")
    assert not list((tmp_path / "report").iterdir())


def test_files_obey_the_umask(report, tmp_path):
    before = os.umask(0o077)
    try:
        folder = report.save(tmp_path / "report")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_what_is_asked_wrongly(report, tmp_path):
    with pytest.raises(ArgumentError, match="over='bogus' must be 'mean' or 'max'"):
        report.score("nasca", "deu_Latn", over="bogus")
    with pytest.raises(ArgumentError, match="over='bogus'"):
        report.interval("nasca", "deu_Latn", over="bogus")
    with pytest.raises(ArgumentTypeError, match="over must be a list"):
        report.to_rows(over="mean")
    with pytest.raises(ArgumentError, match="metric='bogus' is not in this report"):
        report.chance("bogus", "deu_Latn")
    with pytest.raises(ArgumentTypeError, match="must be the name of one metric"):
        report.score(["nasca"])
    assert report != replace(report)
    with pytest.raises(ArgumentError, match="values per row; ask for retrieval_from_pivot or"):
        report.per_sentence("retrieval", "deu_Latn", 0)
    for wrong in (None, 5):
        with pytest.raises(ArgumentTypeError, match="folder must be a path"):
            AlignmentReport.load(wrong)
        with pytest.raises(ArgumentTypeError, match="folder must be a path"):
            report.save(wrong)
    with pytest.raises(ReportError, match="holds no report"):
        AlignmentReport.load("x" * 5000)
    with pytest.raises(ReportError, match="cannot be written: .*embedded null"):
        report.save("a\0b")
    (tmp_path / "odd" / "report.json").mkdir(parents=True)
    with pytest.raises(ReportError, match="is a folder, where a report's file belongs"):
        report.save(tmp_path / "odd", overwrite=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "report.json").write_text("{"), "is broken"),
        (lambda d: (d / "report.json").write_text("[]"), "is broken"),
        (
            lambda d: (d / "report.json").write_text('{"kind": "other", "schema_version": 1}'),
            "is other of schema 1",
        ),
        (lambda d: next(d.glob("values-*")).unlink(), "is broken"),
        (lambda d: next(d.glob("values-*")).write_bytes(b"x" * 100), "sha256 differs"),
        (lambda d: edited(d, "metrics", []), "is broken"),
        (lambda d: edited(d, "seed", -1), "is broken"),
        (lambda d: edited(d, "provenance", None), "is broken"),
        (lambda d: edited_in(d, ["metrics", "nasca", "layers"], [0]), r"values/nasca/deu_Latn has shape"),
        (lambda d: edited_in(d, ["pairs", "bitexts", 0, "sentences", 0], "Ganz anders."), "was edited"),
        (lambda d: (d / "report.json").write_text("[" * 100_000), "is broken"),
    ],
)
def test_broken_reports(report, tmp_path, damage, message):
    folder = report.save(tmp_path / "report")
    damage(folder)
    with pytest.raises(ReportError, match=message):
        AlignmentReport.load(folder)


def test_a_report_of_a_later_schema(report, tmp_path):
    folder = report.save(tmp_path / "report")
    content = json.loads((folder / "report.json").read_text()) | {"schema_version": 2}
    (folder / "report.json").write_text(json.dumps(content))
    with pytest.raises(ReportError, match="schema 2; this xalign reads .* schema 1"):
        AlignmentReport.load(folder)


def test_values_are_plain_safetensors(report, tmp_path):
    folder = report.save(tmp_path / "report")
    tensors = safetensors.torch.load_file(next(folder.glob("values-*")))
    assert torch.equal(tensors["values/nasca/deu_Latn"], report.metrics["nasca"].values["deu_Latn"])


def test_compare(report, later):
    rows = later.compare(report)
    assert {row["metric"] for row in rows} == set(report.metrics)
    for row in rows:
        if row["layer"] == "mean":
            before = report.score(row["metric"], row["language"])
            after = later.score(row["metric"], row["language"])
            assert row["before"] == pytest.approx(before)
            assert row["difference"] == pytest.approx(after - before)
        if row["low"] is not None:  # None where all differences are equal
            assert row["low"] - 1e-12 <= row["difference"] <= row["high"] + 1e-12
        assert 0 < row["p"] <= 1
        assert row["n"] == 30
    same = report.compare(report)
    assert all(row["difference"] == 0 and row["low"] is row["high"] is None and row["p"] == 1 for row in same)
    json.dumps(rows, allow_nan=False)


def test_compare_pairs_over_sentences():
    """The same two scores differ clearly where sentences keep their bits, and do not where they swap them."""
    report = by_hand()
    pairs = ParallelPairs({"en": [f"e{i}" for i in range(100)], "de": [f"d{i}" for i in range(100)]})

    def with_bits(bits):
        values = {"deu_Latn": torch.tensor([bits], dtype=torch.bool)}
        result = replace(
            report.metrics["nasca"],
            sites=(Site("gate", 0),),
            readings=("0.gate:active:weighted",),
            values=values,
            floors={"deu_Latn": torch.zeros(100, dtype=torch.bool)},
        )
        return replace(report, pairs=pairs, metrics={"nasca": result})

    before = with_bits([1] * 40 + [0] * 60)
    kept = with_bits([1] * 50 + [0] * 50).compare(before)[-1]
    swapped = with_bits([0] * 40 + [1] * 50 + [0] * 10).compare(before)[-1]
    assert kept["difference"] == swapped["difference"] == pytest.approx(0.1)
    assert kept["low"] > 0.03
    assert kept["p"] < 0.01
    assert swapped["low"] < 0
    assert swapped["p"] > 0.2


def test_what_cannot_be_compared(report, pairs):
    model, tokenizer = make_model("llama"), make_tokenizer()
    with pytest.raises(ReportError, match="measured different sentences"):
        measure(model, tokenizer, pairs.first(29), ["nasca"]).compare(report)
    with pytest.raises(ReportError, match=r"nasca read 0\.gate:active.* before, and 0\.inner:active"):
        measure(model, tokenizer, pairs, ["nasca"], state_site="inner").compare(report)
    with pytest.raises(ReportError, match=r"mexa read .* \(4 places\) before, and .* \(3\) after"):
        measure(model, tokenizer, pairs, ["mexa"], include_embedding=False).compare(
            measure(model, tokenizer, pairs, ["mexa"])
        )
    with pytest.raises(ReportError, match=r"template was None before and 'query: \{text\}' after"):
        measure(model, tokenizer, pairs, ["nasca"], template="query: {text}").compare(report)
    with pytest.raises(ReportError, match="no common metric: nasca before, navca after"):
        measure(model, tokenizer, pairs, ["navca"]).compare(measure(model, tokenizer, pairs, ["nasca"]))
    with pytest.raises(ArgumentTypeError, match="before must be an AlignmentReport, not dict"):
        report.compare({})
    with pytest.warns(UserWarning, match="only one report has margin, mexa"):
        rows = measure(model, tokenizer, pairs, ["nasca"]).compare(report)
    assert {row["metric"] for row in rows} == {"nasca"}


def test_a_language_in_any_spelling(report):
    for code in ("deu", "de", "de-DE", "DEU_latn", "deu_Latn"):
        assert report.score("nasca", code) == report.score("nasca", "deu_Latn")
        assert report.floor("nasca", code) == report.floor("nasca", "deu_Latn")
        assert report.best_layer("nasca", code) == report.best_layer("nasca", "deu_Latn")
    for wrong in ("fra", "zh", "nothing at all", 5, None):
        with pytest.raises(
            ArgumentError, match=r"language=.* is not in this report; it has deu_Latn, rus_Cyrl"
        ):
            report.chance("nasca", wrong)


def test_a_report_without_a_fingerprint_can_be_loaded_again(tmp_path):
    report = by_hand()
    assert "fingerprint" not in report.provenance
    assert AlignmentReport.load(report.save(tmp_path / "report")).to_rows() == report.to_rows()


# Over documents.


def in_documents(names):
    """Twelve pairs of a measurement written down, the first half of which are aligned."""
    pairs = ParallelPairs(
        {code: [f"{code} {row}" for row in range(12)] for code in ("en", "de")}, documents=names
    )
    bits = torch.tensor([[True] * 6 + [False] * 6] * 2)
    result = MetricResult(
        metric="nasca",
        scale=METRICS["nasca"].scale,
        sites=(Site("gate", 0), Site("gate", 1)),
        readings=("0.gate:active:weighted", "1.gate:active:weighted"),
        values={"deu_Latn": bits},
        floors={},
        chance={"deu_Latn": 1 / 23},
    )
    stats = dict.fromkeys(["eng_Latn", "deu_Latn"], LanguageStats(1.0, 0.0))
    provenance = {"fingerprint": pairs.fingerprint}
    return AlignmentReport(pairs, {"nasca": result}, stats, Cost(1, 1, 1, 1, 1), provenance, step=0)


def test_intervals_resample_documents_and_say_so(tmp_path):
    """Two sentences of each of six articles are alike: that is six draws, and not twelve."""
    halves, plain = in_documents([str(row // 2) for row in range(12)]), in_documents(None)
    assert (halves.documents("de"), halves.documents()) == (6, 6)
    assert (plain.documents("de"), plain.documents()) == (None, None)
    assert {row["documents"] for row in halves.to_rows(over=("mean", "max"))} == {6}
    assert {row["documents"] for row in plain.to_rows()} == {None}
    for over in ("mean", "max"):
        low, high = halves.interval("nasca", "de", over)
        assert high - low > 1.3 * np.ptp(plain.interval("nasca", "de", over))
    for wide, narrow in zip(halves.to_rows(), plain.to_rows(), strict=True):
        assert wide["high"] - wide["low"] > 1.3 * (narrow["high"] - narrow["low"])
    again = AlignmentReport.load(halves.save(tmp_path))
    assert again.to_rows() == halves.to_rows()
    history = History()
    history.append(halves)
    assert history.to_rows() == halves.to_rows()
    for report, said in ((halves, "over 6 documents"), (plain, "over 12 sentences")):
        assert f"95 %: {said}." in str(report.table().caption)
        page = report.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
        assert f'"over":"{said}"' in page


def test_differences_resample_documents_too():
    names = [str(row // 2) for row in range(12)]
    found = [
        now.compare(replace(now, metrics={"nasca": replace(now.metrics["nasca"], values=before)}))[-1]
        for now in (in_documents(names), in_documents(None))
        for before in [{"deu_Latn": torch.zeros(2, 12, dtype=torch.bool)}]
    ]
    assert [row["documents"] for row in found] == [6, None]
    (wide, narrow) = (row["high"] - row["low"] for row in found)
    assert wide > 1.3 * narrow
    assert found[0]["p"] > 0.2 > 0.05 > found[1]["p"]  # three of six documents rose; six of twelve sentences


@pytest.mark.parametrize("names", [["a"] * 12, list("aabbccddeeee"), list("abcdefghijkl")])
def test_few_documents_and_documents_of_a_sentence_are_not_resampled(names):
    report = in_documents(names)
    assert report.documents("deu_Latn") is None
    assert report.to_rows() == in_documents(None).to_rows()
