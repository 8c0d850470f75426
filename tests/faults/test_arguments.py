"""A wrong value of any argument of a public function is refused by an error that names the argument."""

import math

import pytest

from tests.faults.public import CALLS, OTHERS, PAIRS, TEXTS, of_model
from xalign import AlignmentCallback, AlignmentMonitor, AlignmentObjective, find_units, measure
from xalign.errors import ArgumentTypeError, XAlignError

WRONG = {
    **{"None": None, "True": True, "text": "nonsense", "empty text": "", "bytes": b"x", "complex": 1j},
    **{"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "-1": -1, "0": 0, "1.5": 1.5, "huge": 10**30},
    **{"[]": [], "{}": {}, "set": {"deu_Latn"}, "[None]": [None], "{None}": {"a": None}},
    **{"object": object(), "class": int, "no argument": lambda: None, "generator": (one for one in "ab")},
}
# Argument -> what it takes, in some functions; everything else of WRONG is wrong in all of them.
TAKEN = {
    **dict.fromkeys(("template", "steered", "finding", "pairs", "share", "threshold", "operator"), {"None"}),
    **dict.fromkeys(("max_length", "k", "token_budget"), {"None", "huge"}),
    **dict.fromkeys(("step", "seed", "first_seed"), {"None", "0", "huge"}),
    **dict.fromkeys(("distributed", "template_pooled", "pool_special_tokens", "truncate"), {"True"}),
    **dict.fromkeys(("include_embedding", "progress", "from_others", "save_reports"), {"True"}),
    **dict.fromkeys(("subtract", "source_codes", "how"), {"None", "{}"}),
    "generation": {"None", "{}", "{None}"},
    **dict.fromkeys(("site_bytes", "block_bytes"), {"huge"}),
    "revision": {"None", "text", "empty text"},
    "stack": {"empty text"},
    "penalty": {"None", "0", "1.5", "huge"},
    "labels": {"None"},
    "samples": {"0"},
    "random_sets": {"0"},
    "shuffles": {"0"},
    "prompt": {"text", "empty text"},
    "max_rise": {"-1", "0", "1.5", "huge"},
    "text": {"text", "empty text"},
    "label": {"text"},
}
# Numbers of repeats: whatever is asked for is done.
REPEATS = {"seeds", "samples", "random_sets", "shuffles", "n"}
# What the error calls the argument, where that is not its name: a part of it.
ALSO = {
    **{"pairs": ("source=", "parallel text"), "what": ("units",), "sites": ("site ",)},
    **{"first_seed": ("seed=",)},
}
# A function given as one of these is the user's own, and its error is the user's.
OWN = ("operator", "positions")
# None says that what is steered with names its own.
BY_DEFAULT = {("calibrate", "positions")}


def arguments_of(calls):
    return [(name, argument) for name, (_, arguments) in calls.items() for argument in arguments()]


@pytest.mark.parametrize(("name", "argument"), arguments_of(CALLS))
@pytest.mark.filterwarnings("ignore")
def test_wrong_values_are_refused_by_name(name, argument, as_for_users):
    """Wrong values met foreign errors deep inside, or were taken for something else."""
    call, arguments = CALLS[name]
    found = []
    for kind, wrong in WRONG.items():
        if (kind == "huge" and argument in REPEATS) or (callable(wrong) and argument in OWN):
            continue
        if kind == "None" and (name, argument) in BY_DEFAULT:
            continue
        try:
            call(**(arguments() | {argument: wrong}))
        except XAlignError as error:
            if not any(one in str(error) for one in (argument, *ALSO.get(argument, ()))):
                found.append(f"{kind}: not named in {error}")
        except Exception as error:
            found.append(f"{kind}: {type(error).__name__} {error}")
        else:
            found += [] if kind in TAKEN.get(argument, ()) else [f"{kind}: taken"]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("name", "argument"), arguments_of(OTHERS))
@pytest.mark.filterwarnings("ignore")
def test_no_foreign_error_comes_out(name, argument, as_for_users):
    """These are refused by errors of xalign's too, or taken."""
    call, arguments = OTHERS[name]
    for kind, wrong in WRONG.items():
        if callable(wrong) and argument in OWN:
            continue
        try:
            call(**(arguments() | {argument: wrong}))
        except XAlignError:
            pass
        except Exception as error:
            raise AssertionError(f"{name}({argument}={kind}): {type(error).__name__} {error}") from error


@pytest.mark.parametrize("name", [*CALLS, *OTHERS])
@pytest.mark.filterwarnings("ignore")
def test_the_call_that_is_varied_is_right(name):
    """Otherwise the errors above would be those of something else."""
    call, arguments = (CALLS | OTHERS)[name]
    call(**arguments())


@pytest.mark.parametrize(
    ("name", "given", "near"),
    [
        ("measure", "pol", "pool"),
        ("evaluate", "sample", "samples"),
        ("calibrate", "promt", "prompt"),
        ("expert_ap", "poool", "pool"),
        ("language_neurons", "truncat", "truncate"),
        ("language_means", "site_byte", "site_bytes"),
        ("mean_difference", "stat", "state"),
    ],
)
def test_an_unknown_option_names_function_and_the_nearest(name, given, near):
    """`evaluate(sample=3)` raised Python's TypeError about `__init__`, and finders that of `activations`."""
    call, arguments = CALLS[name]
    with pytest.raises(XAlignError, match=f"{name} has no option '{given}', did you mean {near}?"):
        call(**arguments(), **{given: 3})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: measure(metric=["nasca"], **of_model(pairs=PAIRS)),
            "measure has no option 'metric'.* metrics",
        ),
        (lambda: find_units(shares=0.1, **of_model(texts=TEXTS)), "find_units.*'shares', did you mean share"),
        (
            lambda: AlignmentMonitor(evry=3, **of_model(pairs=PAIRS)),
            "AlignmentMonitor has no option 'evry', did you mean every",
        ),
        (
            lambda: AlignmentCallback(None, PAIRS, evry=3),
            "AlignmentCallback has no option 'evry', did you mean every",
        ),
        (
            lambda: AlignmentObjective(layers="all", **of_model(pairs=PAIRS)),
            "AlignmentObjective has no option 'layers', did you mean layer",
        ),
    ],
)
def test_an_unknown_option_names_what_was_called(call, message):
    """All of them said `measure`, or Python's `__init__`, and knew only some of the options."""
    with pytest.raises(ArgumentTypeError, match=message):
        call()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"steered": lambda code: 3}, r"steered\('eng_Latn'\) gave 3, and must give a context"),
        ({"steered": lambda: None}, "steered=.* too many positional arguments"),
        ({"template": lambda text: text}, "template=.* too many positional arguments"),
        ({"template": str}, "template"),
        ({"metrics": [dict]}, "metrics="),
        ({"metrics": [lambda: 0]}, "has no name to be reported under"),
        ({"steered": dict}, "steered"),
    ],
)
def test_functions_that_cannot_be_called_are_refused(options, text):
    """A class, or a function of other arguments, ended in a TypeError in the middle of a measurement."""
    call, arguments = CALLS["measure"]
    with pytest.raises(XAlignError, match=text):
        call(**(arguments() | options))
