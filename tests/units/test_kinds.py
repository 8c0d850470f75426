"""Kinds of units and the labels that share them: given, told from a set, selected, and kept on disk."""

import json

import numpy as np
import pytest
import torch

from tests.tiny import ROOT, make_model, make_tokenizer
from xalign import UnitSet, find_units, load_pairs
from xalign.errors import UnitsError, XAlignError
from xalign.units.unit import Unit

ROWS = [
    ("deu_Latn", "1.inner", 7, 0.9, 2.5, "related"),
    ("spa_Latn", "1.inner", 7, 0.8, -1.0, "related"),
    ("deu_Latn", "1.inner", 3, 0.7, 1.0, "specific"),
    ("deu_Latn", "2.inner", 3, 0.6, 1.0, "general"),
    ("spa_Latn", "2.inner", 3, 0.5, 1.0, "general"),
    ("rus_Cyrl", "2.inner", 3, 0.4, 1.0, "general"),
]
UNITS = UnitSet.from_rows(ROWS)


def keys(units):
    return [(row.label, str(row.site), row.index) for row in units]


def test_units_have_kinds():
    assert [row.kind for row in UNITS] == [row[5] for row in ROWS]
    assert UNITS.rows[2] == Unit("deu_Latn", UNITS.rows[2].site, 3, 0.7, 1.0, "specific")
    assert UnitSet.from_rows([row[:5] for row in ROWS]).rows[0].kind == ""
    assert UnitSet(UNITS.rows[:2]) == UnitSet.from_rows(ROWS[:2])
    assert UnitSet.from_rows([row[:5] for row in ROWS]) != UNITS
    assert hash(UNITS) != hash(UnitSet.from_rows([row[:5] for row in ROWS]))


def test_units_of_a_kind():
    assert keys(UNITS.of_kind("specific")) == [("deu_Latn", "1.inner", 3)]
    assert keys(UNITS.of_kind("related", "specific")) == keys(UNITS)[:3]
    assert keys(UNITS["spa_Latn"].of_kind("general")) == [("spa_Latn", "2.inner", 3)]
    assert len(UnitSet.from_rows([]).of_kind("general")) == 0


def test_selections_and_unions_keep_kinds():
    for units in (UNITS.top(10), UNITS["deu_Latn"] | UNITS, UNITS & UNITS, UNITS - UNITS["rus_Cyrl"]):
        expected = {row[:3]: row[5] for row in ROWS}
        assert all(row.kind == expected[row.label, str(row.site), row.index] for row in units) and len(units)


def test_kinds_follow_from_the_labels_that_share_a_unit():
    told = UnitSet.from_rows([row[:5] for row in ROWS]).with_kinds()
    assert told == UNITS
    assert {row.kind for row in UNITS.with_kinds(4)} == {"specific", "related"}
    alone = UNITS["deu_Latn"].with_kinds(3)
    assert {row.kind for row in alone} == {"specific"}


def test_groups_of_labels():
    groups = UNITS.groups()
    assert set(groups) == {("deu_Latn", "spa_Latn"), ("deu_Latn",), ("deu_Latn", "spa_Latn", "rus_Cyrl")}
    assert keys(groups["deu_Latn", "spa_Latn"]) == keys(UNITS)[:2]
    assert sum(map(len, groups.values())) == len(UNITS)
    more = UnitSet.from_rows([*ROWS, ("rus_Cyrl", "0.inner", 1, 1, 1), ("rus_Cyrl", "0.inner", 2, 1, 1)])
    assert next(iter(more.groups())) == ("rus_Cyrl",)  # the largest first
    assert UnitSet.from_rows([]).groups() == {}


def test_units_shared_by_labels():
    assert keys(UNITS.shared_by("deu", "spa")) == keys(UNITS)[:2]
    assert keys(UNITS.shared_by("deu_Latn")) == [("deu_Latn", "1.inner", 3)]
    both = UNITS.shared_by("spa_Latn", "deu_Latn", exactly=False)
    assert keys(both) == [*keys(UNITS)[:2], *keys(UNITS)[3:5]]
    assert len(UNITS.shared_by("rus_Cyrl")) == 0


def test_groups_by_brute_force_of_many_labels():
    random = np.random.RandomState(0)
    labels = [f"label {number}" for number in range(70)]
    rows = [
        (label, f"{layer}.inner", unit, 1.0, 1.0)
        for unit in range(5)
        for layer in range(2)
        for label in labels
        if random.rand() < 0.5
    ]
    expected = {}
    for label, site, unit, *_ in rows:
        expected.setdefault((site, unit), set()).add(label)
    groups = UnitSet.from_rows(rows).groups()
    found = {(str(row.site), row.index): set(group) for group, units in groups.items() for row in units}
    assert found == expected


def test_on_disk(tmp_path):
    UNITS.save_pretrained(tmp_path / "new")
    assert UnitSet.from_pretrained(tmp_path / "new") == UNITS
    plain = UnitSet.from_rows([row[:5] for row in ROWS])
    plain.save_pretrained(tmp_path / "plain")  # as before: readers of 0.1.0 know five columns
    from safetensors.torch import load_file

    (tensors,) = (tmp_path / "plain").glob("*.safetensors")
    assert sorted(load_file(tensors)) == ["index", "label", "score", "site", "value"]
    assert UnitSet.from_pretrained(tmp_path / "plain") == plain


def test_a_set_of_0_1_0_still_loads():
    units = UnitSet.from_pretrained(ROOT / "tests" / "written_by_0_1_0" / "units")
    assert len(units) and {row.kind for row in units} == {""}


def test_a_damaged_column_is_refused(tmp_path):
    from xalign.units.saved_units import content_of, tensors_of

    content, tensors = content_of(UNITS.columns, {}), tensors_of(UNITS.columns)
    tensors["kind"] = torch.full_like(tensors["kind"], 4)
    with pytest.raises(XAlignError, match="the column 'kind' points outside the 4 kinds"):
        UnitSet._parse(json.loads(json.dumps(content)), tensors)
    tensors["kind"] = tensors["kind"].float()
    with pytest.raises(XAlignError, match="the column 'kind' is torch.float32"):
        UnitSet._parse(content, tensors)
    assert issubclass(UnitsError, XAlignError)


def test_lape_tells_the_kinds():
    pairs = load_pairs("bundled", n=10)
    texts = {code: list(pairs[code].sentences) for code in ("deu_Latn", "spa_Latn", "zho_Hans")}
    units = find_units(make_model("llama"), make_tokenizer(), texts, method="lape", share=0.3, bar=0.6)
    known = {row.place: 0 for row in units}
    for row in units:
        known[row.place] += 1
    names = {1: "specific", 2: "related", 3: "general"}
    assert set(known.values()) == {1, 2, 3}
    assert all(row.kind == names[known[row.place]] for row in units)
    assert units.of_kind("general")["deu_Latn"].places == units.of_kind("general")["zho_Hans"].places


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: UNITS.of_kind("shared"), r"kinds=\('shared',\) must be some of specific, related, general"),
        (lambda: UNITS.of_kind(), r"kinds=\(\) must be some of"),
        (
            lambda: UnitSet.from_rows([row[:5] for row in ROWS]).of_kind("specific"),
            r"the kinds of these units are not known.*with_kinds\(\)",
        ),
        (
            lambda: UNITS["deu_Latn"].with_kinds(),
            r"has 1 label\(s\), so that nothing is known of others; give labels=",
        ),
        (lambda: UNITS.with_kinds(2), "labels=2 must be at least 3"),
        (lambda: UNITS.shared_by(), "labels is empty; name some of deu_Latn"),
        (lambda: UNITS.shared_by("fra_Latn"), "label='fra_Latn' is not among"),
        (
            lambda: UnitSet.from_rows([(*ROWS[0][:5], "shared")]),
            "kind='shared' must be specific, related, general",
        ),
        (lambda: UnitSet.from_rows([(*ROWS[0], 1)]), "a row must be"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(XAlignError, match=message):
        call()
