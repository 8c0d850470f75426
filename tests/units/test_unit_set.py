"""Unit sets: rows by hand, selections, set algebra."""

import numpy as np
import pytest

from xalign import Site
from xalign.errors import XAlignError
from xalign.units.unit_set import Unit, UnitSet

ROWS = [
    ("deu_Latn", "1.inner", 7, 0.9, 2.5),
    ("deu_Latn", "1.inner", 3, 0.7, -1.0),
    ("deu_Latn", Site("inner", 2), 7, 0.8, 0.5),
    ("spa_Latn", "1.inner", 7, 0.6, 4.0),
    ("spa_Latn", "linear:lm_head", 0, 0.95, 1.0),
]
UNITS = UnitSet.from_rows(ROWS)
GERMAN, SPANISH = UNITS["deu_Latn"], UNITS["spa_Latn"]


def indices(units):
    return [(row.label, str(row.site), row.index) for row in units]


def test_rows_and_labels():
    assert UNITS.labels == ["deu_Latn", "spa_Latn"]
    assert len(UNITS) == 5
    assert next(iter(UNITS)) == Unit("deu_Latn", Site("inner", 1), 7, 0.9, 2.5)
    assert repr(UNITS) == "UnitSet(deu_Latn 3, spa_Latn 2)"
    assert repr(UnitSet.from_rows([])) == "UnitSet(empty)"
    assert UnitSet.from_rows([("x", "0.gate", np.int64(3), np.float32(1), 2)]).rows[0].index == 3
    assert [len(rows) for rows in UNITS.by_site().values()] == [3, 1, 1]


def test_set_algebra_goes_by_place():
    assert indices(GERMAN - SPANISH) == [("deu_Latn", "1.inner", 3), ("deu_Latn", "2.inner", 7)]
    assert indices(GERMAN & SPANISH) == [("deu_Latn", "1.inner", 7)]
    assert indices(SPANISH & GERMAN) == [("spa_Latn", "1.inner", 7)]
    assert GERMAN | SPANISH == UNITS
    assert (UNITS | UNITS) == UNITS
    assert len(UNITS - UNITS) == 0
    other = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.1, 9.0)])
    assert (GERMAN | other).rows[0].value == 2.5
    assert (other | GERMAN).rows[0].value == 9.0


def test_the_best():
    assert indices(UNITS.top(1)) == [("deu_Latn", "1.inner", 7), ("spa_Latn", "linear:lm_head", 0)]
    assert indices(GERMAN.top(1, per_layer=True)) == [("deu_Latn", "1.inner", 7), ("deu_Latn", "2.inner", 7)]
    assert UNITS.top(50) == UNITS


def test_where_they_come_from():
    one = UnitSet.from_rows(ROWS[:2], {"model": "a", "shape": {"width": 8}, "method": "lape"})
    other = UnitSet.from_rows(ROWS[3:], {"model": "a", "shape": {"width": 8}, "method": "expert_ap"})
    assert one.top(1).provenance == one.provenance
    assert (one | other).provenance == {"model": "a", "shape": {"width": 8}}
    assert (one | UnitSet.from_rows(ROWS[3:])).provenance == one.provenance
    with pytest.raises(XAlignError, match="the sets are of different models"):
        one | UnitSet.from_rows(ROWS[3:], {"shape": {"width": 16}})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: UnitSet.from_rows([ROWS[0], ROWS[0]]), "unit 7 of site 1.inner twice for 'deu_Latn'"),
        (lambda: UnitSet.from_rows([("x", "1.inner", -1, 1, 1)]), "index=-1 must be at least 0"),
        (lambda: UnitSet.from_rows([("x", "1.inner", 1.5, 1, 1)]), "index=1.5 must be a whole number"),
        (lambda: UnitSet.from_rows([("x", "1.inner", 1, float("nan"), 1)]), "score=nan of unit 1"),
        (lambda: UnitSet.from_rows([("x", "1.inner", 1, 1, float("inf"))]), "value=inf of unit 1"),
        (lambda: UnitSet.from_rows([("x", "1.inner", 1, "high", 1)]), "score='high' must be a number"),
        (lambda: UnitSet.from_rows([("x", "somewhere", 1, 1, 1)]), "site 'somewhere' must look like"),
        (lambda: UnitSet.from_rows([("", "1.inner", 1, 1, 1)]), "label='' must be text"),
        (lambda: UnitSet.from_rows([("x", "1.inner", 1)]), "a row must be"),
        (lambda: UNITS["fra_Latn"], "label='fra_Latn' is not among deu_Latn, spa_Latn"),
        (lambda: UNITS.top(0), "k=0 must be at least 1"),
        (lambda: UNITS | [1], "combines with a UnitSet, not with list"),
        (lambda: UNITS - None, "not with NoneType"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(XAlignError, match=message):
        call()
