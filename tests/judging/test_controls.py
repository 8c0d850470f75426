"""Controls: as many other units at the same sites, sentences under random labels."""

from collections import Counter

import pytest

from tests.tiny import FFN, make_model
from xalign.errors import ArgumentError
from xalign.judging.controls import random_units, shuffled_texts
from xalign.units.unit_set import UnitSet

ROWS = [
    *(("deu_Latn", "1.inner", index, 0.9, 2.0 + index) for index in range(7)),
    *(("deu_Latn", "2.inner", index, 0.8, -1.0) for index in range(3)),
    *(("spa_Latn", "1.inner", index, 0.7, 0.5) for index in range(5, 9)),
]
UNITS = UnitSet.from_rows(ROWS, {"model": "m", "method": "by hand"})


@pytest.mark.parametrize("seed", range(5))
def test_random_units(seed):
    drawn = random_units(make_model("llama"), UNITS, seed=seed)
    for label in UNITS.labels:
        own, others = UNITS[label], drawn[label]
        assert not own.places & others.places
        assert len(others.places) == len(others) == len(own)
        assert Counter(row.site for row in own) == Counter(row.site for row in others)
        assert sorted(row.value for row in own) == sorted(row.value for row in others)
        assert all(0 <= row.index < FFN for row in others)
    assert drawn.rows == random_units(make_model("llama"), UNITS, seed=seed).rows
    assert drawn.rows != random_units(make_model("llama"), UNITS, seed=seed + 1).rows
    assert drawn.provenance["method"] == "random"
    assert drawn.provenance["model"] == "m"


def test_too_few_others():
    units = UnitSet.from_rows([("deu_Latn", "1.inner", index, 1, 1) for index in range(50)])
    with pytest.raises(ArgumentError, match="units has 50 of the 80 units of site 1.inner for deu_Latn"):
        random_units(make_model("llama"), units)


def test_shuffled_texts():
    texts = {"a": [f"a{n}" for n in range(40)], "b": [f"b{n}" for n in range(20)]}
    shuffled = shuffled_texts(texts, seed=1)
    assert {label: len(lines) for label, lines in shuffled.items()} == {"a": 40, "b": 20}
    assert sorted(shuffled["a"] + shuffled["b"]) == sorted(texts["a"] + texts["b"])
    assert 5 < sum(line.startswith("b") for line in shuffled["a"]) < 20
    assert shuffled == shuffled_texts(texts, seed=1) != shuffled_texts(texts, seed=2)
