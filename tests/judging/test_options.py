"""Options of judging: each written once, and every keyword argument known to editors."""

from dataclasses import fields

import pytest

from tests.tiny import make_model, make_tokenizer
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.judging.calibrate import calibrate
from xalign.judging.evaluate import evaluate
from xalign.judging.options import EvaluateArguments, EvaluateOptions, OutputArguments, OutputOptions
from xalign.units.unit_set import UnitSet

UNITS = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.9, 2.5)])
TEXTS = {"deu_Latn": ["Es regnet.", "Gute Nacht."]}


@pytest.mark.parametrize(
    ("options", "arguments"), [(OutputOptions, OutputArguments), (EvaluateOptions, EvaluateArguments)]
)
def test_editors_know_every_option(options, arguments):
    assert {field.name for field in fields(options)} == arguments.__annotations__.keys() | {"samples"}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"seeds": 0}, ArgumentError, "seeds=0 must be at least 1"),
        ({"samples": -1}, ArgumentError, "samples=-1 must be at least 0"),
        ({"random_sets": -1}, ArgumentError, "random_sets=-1 must be at least 0"),
        ({"shuffles": 1.5}, ArgumentTypeError, "shuffles=1.5 must be a whole number"),
        ({"sample": 3}, ArgumentTypeError, "evaluate has no option 'sample', did you mean samples"),
    ],
)
def test_bad_input(options, error, message):
    with pytest.raises(error, match=message):
        evaluate(make_model("llama"), make_tokenizer(), UNITS, TEXTS, **options)
    if error is TypeError:
        with pytest.raises(error, match=message):
            calibrate(make_model("llama"), make_tokenizer(), UNITS, TEXTS, **options)
