"""The experts of every mixture that transformers has: read, written, and what the weights say."""

from functools import cache

import pytest

from tests.architectures.expert_checks import IMPLEMENTATIONS
from tests.architectures.models_page import experts_section
from tests.architectures.sweep import PAGE, Row, sweep

READ, BIT_EQUAL, TOLERANCE = 67, 66, 1e-5
# Their experts are no module behind the experts interface of transformers.
OUTSIDE = {
    "DbrxForCausalLM",
    "JetMoeForCausalLM",
    "Llama4ForCausalLM",
    "LongcatFlashForCausalLM",
    "NllbMoeForConditionalGeneration",
    "Step3p7ForConditionalGeneration",
    "SwitchTransformersForConditionalGeneration",
}
NUMBERS = ("expert_gate", "expert_inner", "router", "output", "write")
FACTS = ("restored", "after", "after_exception", "experts", "changed")


@cache
def rows():
    return sweep(experts=True)


def read():
    return [row for row in rows() if not row.failed and row.experts == ""]


@pytest.mark.slow
def test_experts_are_read_and_written_in_enough_classes():
    assert len(read()) >= READ
    equal = [row for row in read() if all(one.get("all_equal") for one in row.checks.values())]
    assert len(equal) >= BIT_EQUAL, [row.class_name for row in read() if row not in equal]


@pytest.mark.slow
def test_experts_are_what_the_weights_say_in_every_implementation():
    for row in read():
        assert row.checks.keys() == set(IMPLEMENTATIONS)
        for name, found in row.checks.items():
            assert "error" not in found, (row.class_name, name, found)
            assert max(found.get(one, 0.0) for one in NUMBERS) < TOLERANCE, (row.class_name, name, found)
            assert all(found[one] for one in FACTS), (row.class_name, name, found)


@pytest.mark.slow
def test_families_outside_the_interface_are_refused_by_name():
    refused = {row.class_name: row.experts for row in rows() if row.experts}
    assert refused.keys() >= OUTSIDE
    for name in OUTSIDE:
        assert "experts interface of transformers" in refused[name], name


@pytest.mark.slow
def test_the_page_shows_the_mixtures():
    shown = PAGE.read_text(encoding="utf-8")
    for line in experts_section(rows()).splitlines():
        assert line in shown.splitlines(), "run python -m tests.architectures.sweep --write"


def test_the_section_shows_a_class_once():
    found = experts_section(
        [
            Row("a", "A", "mixture of experts", experts=""),
            Row("a2", "A", "mixture of experts", experts=""),
            Row("b", "B", "mixture of experts", experts="B | is not behind it"),
            Row("c", "C", "dense decoder"),
        ]
    )
    assert (
        "1 of 2 classes" in found
        and "| A | ✓ |  |" in found
        and "| B | – | B \\| is not behind it |" in found
    )
