"""A file that was damaged or edited gives an XAlignError or the same object, and never other numbers.

The checksums tell of damage. They are no signature: a stranger can write the checksum that belongs to an
edit. So each file is changed in both ways. With the old checksum the object is equal or refused. With a new
one it is refused, or every field is of the type and in the range that the rest of the package relies on.
"""

import hashlib
import io
import json
import random
import re
import warnings
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from rich.console import Console

import xalign.storage as storage
from tests.faults.mutations import bytes_changed, fields_changed, tensors_changed, text_of
from tests.reports import own_metrics, two_stacks
from xalign import AlignmentReport, LanguageVector, ParallelPairs, Site, UnitSet
from xalign.errors import ArgumentError, ReportError, UnitsError, XAlignError
from xalign.metrics import METRICS
from xalign.metrics.metric import Metric, resolve_metrics
from xalign.results.history import History
from xalign.results.history_file import line_of

counts = pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.slow)])

UNITS = UnitSet.from_rows(
    [
        (f"{language}_Latn", f"{layer}.inner", index, 1 / (index + 1), index - 3.5)
        for language in ("deu", "spa")
        for layer in range(3)
        for index in range(0, 40, 7)
    ],
    {"model": "babel/aligned", "shape": {"model_type": "llama", "n_layers": 6}, "share": 0.02},
)
VECTOR = LanguageVector(
    "deu_Latn",
    {Site("hidden", layer): torch.arange(8.0) / (layer + 3) for layer in range(2)},
    {"model": None, "settings": {"from_others": True}},
)


def full_report():
    """Metrics of a user's own, and those of a model with two stacks."""
    report, other = own_metrics(step=3), two_stacks()
    provenance = report.provenance | {
        "must_agree": {"compared": ["template"], "continued": ["template", "truncate"]},
        "versions": {"xalign": "0.1.1", "torch": "2"},
        "template": None,
        "truncate": False,
    }
    return replace(report, metrics=report.metrics | other.metrics, provenance=provenance)


REPORT = full_report()


def same_report(one, other):
    assert one.pairs.to_dict() == other.pairs.to_dict()
    assert (one.stats, one.cost, one.step, one.seed) == (other.stats, other.cost, other.step, other.seed)
    assert one.provenance == other.provenance
    assert one.metrics.keys() == other.metrics.keys()
    for row, result in one.metrics.items():
        twin = other.metrics[row]
        plain = ("metric", "scale", "sites", "readings", "chance")
        assert [getattr(result, name) for name in plain] == [getattr(twin, name) for name in plain]
        for mine, theirs in ((result.values, twin.values), (result.floors, twin.floors)):
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(mine[code], theirs[code]) for code in mine)


def same_units(one, other):
    assert (one.rows, one.provenance) == (other.rows, other.provenance)


def same_vector(one, other):
    assert (one.label, one.state, one.pool) == (other.label, other.state, other.pool)
    assert one.provenance == other.provenance
    assert list(one.vectors) == list(other.vectors)
    assert all(torch.equal(one.vectors[site], other.vectors[site]) for site in one.vectors)


def use_report(report, folder, number):
    """What is done with a report that was loaded; no field of it may break this."""
    report.summary()
    repr(report)
    same_report(AlignmentReport.load(report.save(folder / "again", overwrite=True)), report)
    if number % 5 == 0:  # these take long
        report.to_rows(over=("mean", "max"))
        report.compare(report)
        Console(file=io.StringIO(), width=200).print(report.table())
        report.to_html(folder / "report.html")


def use_units(units, folder, _):
    for label in units.labels:
        units[label].top(3).by_site()
    repr(units)
    units.save_pretrained(folder / "again")
    same_units(UnitSet.from_pretrained(folder / "again"), units)


def use_vector(vector, folder, _):
    assert vector.readings or vector.state == "act"
    with suppress(XAlignError):  # the norm of a vector of 1e38 is no float32
        repr(vector.random())
    vector.save_pretrained(folder / "again")
    same_vector(LanguageVector.from_pretrained(folder / "again"), vector)


FORMATS = {
    "report": (REPORT, REPORT.save, AlignmentReport.load, "report.json", same_report, use_report),
    "units": (UNITS, UNITS.save_pretrained, UnitSet.from_pretrained, "xalign.json", same_units, use_units),
    "vector": (
        *(VECTOR, VECTOR.save_pretrained, LanguageVector.from_pretrained),
        *("xalign.json", same_vector, use_vector),
    ),
}


@pytest.fixture(params=FORMATS)
def saved(request, tmp_path):
    original, save, *rest = FORMATS[request.param]
    save(tmp_path / "saved")
    return (tmp_path, original, *rest)


def resigned(body):
    """The body with the checksum that belongs to it, as a stranger would write it."""
    if isinstance(body, dict):
        try:
            body = {key: one for key, one in body.items() if key != "sha256"}
            body["sha256"] = storage._digest(body)
        except (TypeError, ValueError, RecursionError):
            pass
    return body


@counts
def test_damage_gives_an_error_or_the_same_object(saved, count):
    """0.1.0 took a changed digit in a report as it stood, and its tables broke with a KeyError."""
    tmp_path, original, load, name, same, _ = saved
    folder = tmp_path / "saved"
    files = [folder / name, next(folder.glob("values-*"))]
    whole = {path: path.read_bytes() for path in files}
    body, refused = json.loads(whole[files[0]]), 0
    for number in range(count):
        order = random.Random(number)
        path = files[number % 2]
        if path == files[0] and number % 4 == 0:
            changed = text_of(*fields_changed(body, order))
        else:
            changed = bytes_changed(whole[path], order)
        path.write_bytes(changed)
        try:
            same(load(folder), original)
        except XAlignError:
            refused += 1
        path.write_bytes(whole[path])
    assert refused > 0.7 * count
    same(load(folder), original)


def is_refused(load, folder, use, tmp_path, number):
    """Load what was edited, and use it where that is not refused."""
    try:
        found = load(folder)
    except XAlignError:
        return True
    use(found, tmp_path, number)
    return False


@pytest.mark.thorough
@counts
def test_an_edit_with_a_new_checksum_gives_an_error_or_a_sound_object(saved, count):
    """0.1.0 loaded fields of any type; later uses raised TypeError or KeyError."""
    tmp_path, _, load, name, _, use = saved
    folder = tmp_path / "saved"
    whole, refused = (folder / name).read_bytes(), 0
    body = json.loads(whole)
    for number in range(count):
        changed, raw = fields_changed(body, random.Random(number))
        (folder / name).write_bytes(text_of(resigned(changed) if number % 8 else changed, raw))
        refused += is_refused(load, folder, use, tmp_path, number)
    assert 0.5 * count < refused < count


@counts
def test_edited_tensors_with_a_new_checksum_give_an_error_or_a_sound_object(saved, count):
    """0.1.0 took float8, NaN and columns of any length; a label of -1 became the last label."""
    tmp_path, _, load, name, _, use = saved
    folder = tmp_path / "saved"
    body = json.loads((folder / name).read_bytes())
    whole, refused = next(folder.glob("values-*")).read_bytes(), 0
    for number in range(count):
        data = tensors_changed(whole, random.Random(number))
        digest = hashlib.sha256(data).hexdigest()
        values = {"file": f"values-{digest[:12]}.safetensors", "sha256": digest, "bytes": len(data)}
        (folder / values["file"]).write_bytes(data)
        (folder / name).write_bytes(text_of(resigned(body | {"values": values})))
        refused += is_refused(load, folder, use, tmp_path, number)
        (folder / values["file"]).unlink()
    assert 0.5 * count < refused < count


@counts
def test_damaged_histories(tmp_path, count):
    """0.1.0 took a changed digit as a measurement, and NaN, and steps in any order."""
    path = tmp_path / "history.jsonl"
    history = History(path)
    for step in (0, 10, 20):
        history.append(replace(REPORT, step=step))
    whole, rows = path.read_bytes(), history.to_rows()
    has_checksum = b'"crc' in whole.splitlines()[-1]
    lines = [json.loads(line) for line in whole.splitlines()]
    refused = 0
    for number in range(count):
        order = random.Random(number)
        if number % 4 == 0:
            which = order.randrange(3)
            line = text_of(*fields_changed(lines[which], order))
            changed = (
                b"\n".join([*whole.splitlines()[:which], line, *whole.splitlines()[which + 1 :]]) + b"\n"
            )
        else:
            changed = bytes_changed(whole, order)
        path.write_bytes(changed)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                found = History(path)
            except XAlignError:
                refused += 1
                continue
        found_rows = found.to_rows()
        if said:  # the last line was torn, and this is said
            assert all("its last line is broken" in str(one.message) for one in said)
            assert len(found) < 3
        elif has_checksum:
            # What was cut off behind a line leaves whole entries, as an earlier state of the file.
            cut = whole.startswith(changed) and changed.endswith(b"\n")
            assert len(found) in (3, *([changed.count(b"\n")] if cut else []), *([0] * (not changed.strip())))
        if has_checksum:
            assert found_rows == rows[: len(found_rows)]
    assert refused > 0.5 * count


@counts
@pytest.mark.usefixtures("as_for_users")  # JSON may hold 1 for 1.0, which only tests refuse later
def test_edited_histories_draw_or_are_refused(tmp_path, count):
    """0.1.0 loaded rows of other languages, and bounds that are text, and its page raised KeyError."""
    path = tmp_path / "history.jsonl"
    history = History(path)
    for step in (0, 10):
        history.append(replace(REPORT, step=step))
    lines = [re.sub(rb', "crc\w*": "?\w+"?\}$', b"}", line) for line in path.read_bytes().splitlines()]
    entries, refused = list(map(json.loads, lines)), 0
    for number in range(count):
        order = random.Random(number)
        which = order.randrange(2)
        changed = [text_of(entry) for entry in entries]
        changed[which] = text_of(*fields_changed(entries[which], order))
        path.write_bytes(b"\n".join([*changed, b""]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = History(path)
            except XAlignError:
                refused += 1
                continue
        if found.entries:
            found.to_rows()
            if number % 2:
                found.to_html(tmp_path / "page.html")
    assert 0.3 * count < refused < count


NUMBERS = ["metrics", "misses", "languages", "deu_Latn"]
CURVES = [
    ([*NUMBERS, "low"], [-1e308, 0.0, 0.0, 0.0], "low has the value -1e"),
    ([*NUMBERS, "high"], [1e308] * 4, "high has the value 1e"),
    ([*NUMBERS, "chance"], -5.0, "chance has the value -5"),
    ([*NUMBERS, "floor"], 1e308, "floor has the value 1e"),
    ([*NUMBERS, "n"], 10**9, "not of the same number of pairs of deu_Latn"),
    (["metrics", "distance", "languages", "deu_Latn", "value"], [1e308] * 4, "value has the value 1e"),
    (["settings", "fingerprint"], "0" * 64, "the sentences of step 20 are not those of step 10"),
    (["pivot"], "fra_Latn", "the pivot of step 20"),
    (["metrics", "misses", "scale", "higher_is_better"], True, "the meanings of step 20"),
    (["metrics", "misses", "scale", "bounds"], [-1.0, 5.0], "the meanings of step 20"),
    (["metrics", "nasca", "scale", "higher_is_better"], False, "and nasca means Scale"),
    (["metrics", "nasca", "scale", "bounds"], None, "and nasca means Scale"),
]


@pytest.mark.parametrize(("way", "value", "message"), CURVES)
def test_what_is_out_of_range_or_no_point_of_the_curve_is_refused(tmp_path, way, value, message):
    """It loaded as one curve, and the page or `emergence` broke, or showed it."""
    path = tmp_path / "history.jsonl"
    history = History(path)
    for step in (0, 10, 20):
        history.append(replace(REPORT, step=step))
    entries = [json.loads(line) for line in path.read_bytes().splitlines()]
    inside = entries[-1]
    for key in way[:-1]:
        inside = inside[key]
    inside[way[-1]] = value
    for entry in entries:
        del entry["crc32"]
    path.write_bytes(b"".join(map(line_of, entries)))
    with pytest.raises(ReportError, match=rf"line 3\b.*{message}"):
        History(path)


def test_every_line_says_the_same_number_of_pairs(tmp_path):
    """A line of a billion pairs loaded after lines of twelve."""
    path = tmp_path / "history.jsonl"
    history = History(path)
    for step in (0, 10):
        history.append(replace(REPORT, step=step))
    first, last = path.read_bytes().splitlines()
    changed = json.loads(last.replace(b'"n": 12', b'"n": 1000000000'))
    del changed["crc32"]
    path.write_bytes(first + b"\n" + line_of(changed))
    with pytest.raises(ReportError, match="the numbers of pairs of step 10"):
        History(path)


def test_a_metric_of_ones_own_has_no_name_of_another_meaning():
    """Its report would be read as one of the metric that has the name."""
    own = Metric("nasca", "Mine", "hidden", torch.diagonal, has_floor=False, higher_is_better=False)
    with pytest.raises(ArgumentError, match="'nasca' is the name of another metric"):
        resolve_metrics([own], METRICS)
    assert resolve_metrics([replace(METRICS["nasca"], title="Mine")], METRICS)
    own = Metric("own", "Mine", "hidden", torch.diagonal, chance=lambda n: 5.0)
    with pytest.raises(ArgumentError, match=r"chance of metric 'own' gives 5\.0 for 3 pairs"):
        own.chance_of(3)
    with pytest.raises(ArgumentError, match="bounds="):
        Metric("own", "Mine", "hidden", torch.diagonal, bounds=(0.0, 1e308))


@counts
def test_edited_pairs(count):
    """0.1.0 made pairs without a language, with a pivot among the languages, or of a text's letters."""
    body = REPORT.pairs.to_dict()
    refused = 0
    for number in range(count):
        changed, raw = fields_changed(body, random.Random(number))
        if raw is not None:
            continue
        try:
            found = ParallelPairs.from_dict(changed)
        except XAlignError:
            refused += 1
        else:
            assert found.languages and found.pivot not in found.languages
            assert ParallelPairs.from_dict(found.to_dict()).fingerprint == found.fingerprint
            repr((found, found.counts, found.duplicates, found.texts))
    assert refused > 0.4 * count


EDITS = [
    ("report.json", ["seed"], -1, "seed=-1 is not allowed: Expected `int` >= 0"),
    ("report.json", ["step"], "ten", "step='ten' is not allowed"),
    ("report.json", ["stats", "deu_Latn", "unknown_share"], 1.5, "stats.deu_Latn.unknown_share=1.5"),
    ("report.json", ["stats"], {}, "stats are of none, not of deu_Latn, rus_Cyrl"),
    ("report.json", ["metrics", "nasca", "chance"], {"deu_Latn": "x"}, "chance.deu_Latn='x' is not allowed"),
    ("report.json", ["metrics", "nasca", "scale", "bounds"], ["a", 1], "bounds.0='a' is not allowed"),
    ("report.json", ["metrics", "nasca", "scale", "bounds"], [1, 0], "a smaller and a larger bound"),
    ("report.json", ["metrics", "misses", "layers"], [5, 6, 7], "are not those of its readings"),
    ("report.json", ["metrics", "nasca", "chance", "deu_Latn"], -5.0, "nasca.chance has the value -5.0"),
    ("report.json", ["metrics", "distance", "chance", "deu_Latn"], 1e308, "distance.chance has the value"),
    ("report.json", ["metrics", "nasca", "scale", "bounds"], None, "and nasca means Scale"),
    ("report.json", ["metrics", "nasca", "scale", "higher_is_better"], False, "and nasca means Scale"),
    (
        "report.json",
        ["metrics", "misses", "scale", "bounds"],
        [0.0, 1e-300],
        "misses.* has the value",
    ),
    ("report.json", ["metrics", "misses", "scale", "bounds"], [0.0, 1e308], "a larger bound from -1e"),
    ("report.json", ["provenance", "must_agree"], ["x"], "provenance.must_agree=.'x'. is not allowed"),
    ("report.json", ["cost", "tokens"], -5, "cost.tokens=-5 is not allowed"),
    ("report.json", ["scores", "nasca"], 0.99, "scores.nasca=0.99 is not"),
    ("report.json", ["more"], 1, "unknown field `more`"),
    ("report.json", ["schema_version"], 7, "of schema 7; this xalign reads"),
    ("report.json", ["pairs", "bitexts"], [], "pairs.bitexts"),
    ("report.json", ["values", "file"], "../../etc/passwd", "values.file='../../etc/passwd'"),
]


@pytest.mark.parametrize(("name", "way", "value", "message"), EDITS)
def test_an_error_names_the_field_its_value_and_what_is_allowed(tmp_path, name, way, value, message):
    """0.1.0 said `KeyError: 'stats'` or nothing at all, and broke in the first table."""
    REPORT.save(tmp_path / "saved")
    body = json.loads((tmp_path / "saved" / name).read_bytes())
    inside = body
    for key in way[:-1]:
        inside = inside[key]
    inside[way[-1]] = value
    (tmp_path / "saved" / name).write_bytes(text_of(resigned(body)))
    with pytest.raises(ReportError, match=message) as error:
        AlignmentReport.load(tmp_path / "saved")
    assert name in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "has 'a' twice"),
        ('{"a": NaN}', "holds NaN"),
        ('{"a": -Infinity}', "holds -Infinity"),
        ('{"a": 1e999}', "holds the number 1e999"),
        ('{"a": %s}' % ("9" * 6000), "is no JSON"),
        ('{"a": "\\ud800"}', "no UTF-8"),
        ("[" * 100_000, "nested more than 64 deep"),
        ("[" * 70 + "]" * 70, "nested more than 64 deep"),
        ("[]", "Expected `object`"),
        ("", "is no JSON"),
        ("\ufeff{}", "is no JSON"),
    ],
)
def test_json_that_is_ambiguous_or_endless(tmp_path, text, message):
    """0.1.0 took the last of two equal keys, NaN, and infinite numbers."""
    UNITS.save_pretrained(tmp_path)
    (tmp_path / "xalign.json").write_text(text, encoding="utf-8")
    with pytest.raises(UnitsError, match=message):
        UnitSet.from_pretrained(tmp_path)


def test_a_report_that_would_not_load_is_not_saved(tmp_path):
    """0.1.0's `save` wrote what `load` refused: a provenance without a fingerprint, or a missing language."""
    for provenance in ({}, {"fingerprint": None}):
        report = replace(REPORT, provenance=provenance)
        folder = report.save(tmp_path / "good", overwrite=True)
        same_report(AlignmentReport.load(folder), report)
    for number, change in enumerate(
        (
            {"stats": {}},
            {"step": -1},
            {"seed": 0.5},
            {"provenance": {"fingerprint": "0" * 64}},
            {"provenance": {"versions": ["1"]}},
            {"metrics": {"no name": REPORT.metrics["nasca"]}},
            {"metrics": {}},
        )
    ):
        folder = tmp_path / f"bad-{number}"
        with pytest.raises(ReportError, match="cannot be saved, it would not load again"):
            replace(REPORT, **change).save(folder)
        assert not list(folder.iterdir())
    too_large = LanguageVector("deu_Latn", {Site("hidden", 1): torch.tensor([1e300], dtype=torch.float64)})
    with pytest.raises(UnitsError, match="would not load again"):
        too_large.save_pretrained(tmp_path / "vector")
