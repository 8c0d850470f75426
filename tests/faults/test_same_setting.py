"""Two measurements are of the same setting only where every function and vector is known to be the same."""

import builtins
import copy
import enum
import functools
import importlib
import inspect
import json
import string
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentReport, LanguageVector, Site, UnitSet, load_pairs, measure, steer
from xalign.errors import ArgumentError, ArgumentTypeError, ReportError
from xalign.identity import Named, agree, record_of
from xalign.measurement.options import ReadOptions
from xalign.measurement.run import Measurement
from xalign.metrics import METRICS
from xalign.metrics.metric import Metric
from xalign.model.inputs import TextOptions
from xalign.results.history import History

PAIRS = load_pairs("bundled", languages=["deu_Latn"], n=6)
MODEL = make_model("llama")
MANY = pytest.mark.parametrize("examples", [60, pytest.param(1000, marks=pytest.mark.slow)])


def identity(function):
    """The record of a function that has to be identified."""
    record = record_of(function)
    assert record.startswith("sha256:"), record
    return record


# Values that functions are bound to, and the ways to bind one.

plain = st.one_of(
    *(st.none(), st.booleans(), st.integers(-2, 2), st.floats(width=32), st.text("ab", max_size=2)),
    *(
        st.binary(max_size=2),
        st.complex_numbers(max_magnitude=2),
        st.sampled_from([..., range(3), range(1, 3)]),
    ),
)
hashable = st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.text("ab", max_size=2))
dtypes = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool])
tensors = st.builds(
    lambda shape, dtype, seed: torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).to(
        dtype
    ),
    *(st.sampled_from([(), (0,), (1,), (2,), (1, 2), (2, 1)]), dtypes, st.integers(0, 3)),
)
arrays = tensors.filter(lambda one: one.dtype != torch.bfloat16).map(lambda one: one.numpy().copy())
values = st.recursive(
    st.one_of(plain, tensors, arrays, st.frozensets(hashable, max_size=3), st.sets(hashable, max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(hashable, inner, max_size=2),
    ),
    max_leaves=5,
)


def spelled(value):
    """A value as text that differs wherever a function could compute something else with it."""
    kind = type(value).__name__
    if isinstance(value, torch.Tensor):
        return f"{kind} {value.dtype} {tuple(value.shape)} {value.tolist()}"
    if isinstance(value, np.ndarray):
        return f"{kind} {value.dtype} {value.shape} {value.tolist()}"
    if isinstance(value, dict):
        return f"{kind}({[(spelled(key), spelled(one)) for key, one in value.items()]})"
    if isinstance(value, list | tuple):
        return f"{kind}({[spelled(one) for one in value]})"
    if isinstance(value, set | frozenset):
        return f"{kind}({sorted(map(spelled, value))})"
    return f"{kind} {value!r}"


@dataclass
class Holder:
    value: object

    def call(self, text):
        return text, self.value


class Plain:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value

    def __call__(self, text):
        return text, self.value


def three(text, language, extra):
    return f"{language}: {text} {extra}"


def two(text, value):
    return text, value


def in_closure(value):
    return lambda text: (text, value)


def in_default(value):
    return lambda text, value=value: (text, value)


def in_keyword_default(value):
    return lambda text, *, value=value: (text, value)


def as_global(value):
    names = {"VALUE": value, "__name__": "own"}
    exec("def inner(text):\n    return text, VALUE\n\ndef function(text):\n    return inner(text)", names)
    return names["function"]


def as_attribute(value):
    def function(text):
        return text, function.value

    function.value = value
    return function


def in_class(value):
    class Own:
        held = value

        def __call__(self, text):
            return text, self.held

    return Own()


WAYS = [
    *(in_closure, in_default, in_keyword_default, as_global, as_attribute, in_class),
    *(Plain, lambda value: Holder(value).call),
    *(lambda value: functools.partial(two, value=value), lambda value: functools.partial(two, value)),
]


@MANY
def test_bound_values_are_told_apart(examples):
    """A lambda, a partial or a method was told by its name, whatever it was bound to."""

    @settings(max_examples=examples)
    @given(values, values, st.sampled_from(WAYS))
    def check(one, other, bind):
        assert identity(bind(one)) == identity(bind(copy.deepcopy(one)))
        if spelled(one) != spelled(other):
            assert identity(bind(one)) != identity(bind(other))

    check()


expressions = st.recursive(
    st.sampled_from(["x", "y", "0", "1", "-1", "2.0", "True", "'a'", "abs", "len", "max"]),
    lambda inner: st.one_of(
        st.builds(
            "({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "<", "==", "and", "or", "in"]), inner
        ),
        st.builds("({} if {} else {})".format, inner, inner, inner),
        st.builds("[{} for y in ({}, 1)]".format, inner, inner),
        st.builds("(lambda y: {})({})".format, inner, inner),
        st.builds("{}({})".format, inner, inner),
    ),
    max_leaves=6,
)


def outcomes(function):
    found = []
    for x in (0, 1, -2, 0.5, "a", [1, "a"]):
        try:
            found.append(repr(function(x)))
        except Exception as error:
            found.append(f"{type(error).__name__} {error}")
    return [one for one in found if " at 0x" not in one]


@MANY
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_code_that_computes_something_else_is_told_apart(examples):
    """Two lambdas of one place had one name."""
    told = [0]

    @settings(max_examples=examples)
    @given(expressions, expressions, st.sampled_from(["lambda x, y=1: {}", "lambda x, *, y=1: {}"]))
    def check(one, other, form):
        first, second = (eval(form.format(text), {"__name__": "own"}) for text in (one, other))
        assert identity(first) == identity(eval(form.format(one), {"__name__": "own"}))
        assume(outcomes(first) != outcomes(second))
        assert identity(first) != identity(second)
        told[0] += 1

    check()
    assert told[0] > examples // 4


def exec_function(body, **names):
    names = {"__name__": "own", **names}
    exec(f"def f(x):\n{body}", names)
    return names["f"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("    return 1", "    return True"),
        ("    return 0.0", "    return -0.0"),
        ("    return (1, 2)", "    return (1, 2.0)"),
        ("    return x in {1, 2}", "    return x in {1, 3}"),
        ("    return x.upper()", "    return x.lower()"),
        ("    return len(x)", "    return max(x)"),
        ("    def g():\n        return 1\n    return g()", "    def g():\n        return 2\n    return g()"),
        (
            "    try:\n        a = x / 0\n    except ZeroDivisionError:\n        a = 2\n    return a",
            "    try:\n        a = x / 0\n    except ValueError:\n        a = 2\n    return a",
        ),
        ("    import math\n    return math.sin(x)", "    import math\n    return math.cos(x)"),
    ],
)
def test_small_differences_of_code(one, other):
    """None of these differences was seen."""
    assert identity(exec_function(one)) == identity(exec_function(one))
    assert identity(exec_function(one)) != identity(exec_function(other))


def test_what_a_function_calls_counts():
    """A function that calls another of the user's own kept its name when the other changed."""
    one, other = exec_function("    return x + 1"), exec_function("    return x + 2")
    outer = [exec_function("    return g(x)", g=inner) for inner in (one, other, one)]
    assert identity(outer[0]) == identity(outer[2]) != identity(outer[1])
    own = type(sys)("own_module")
    through = exec_function("    return own.g(x)", own=own)
    own.g = one
    before = identity(through)
    own.g = other
    assert identity(through) != before
    recursive = exec_function("    return f(x - 1) if x else 0")
    assert identity(recursive) == identity(exec_function("    return f(x - 1) if x else 0"))


CODE = """
import enum, functools, json, math, torch
from dataclasses import dataclass, field
from xalign import UnitSet, steer
from xalign.identity import record_of

class Side(enum.Enum):
    LEFT = 1
@dataclass
class Own:
    words: set = field(default_factory=lambda: {"a", "b", "c"})
    def __call__(self, text): return text in self.words or text in {"x", "y", "z"} or math.sin(len(text))
units = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.9, 2.5)])
WORDS = {"alpha", "beta", "gamma"}
def scored(similarity): return torch.sigmoid(similarity.diagonal()) * FACTOR
FACTOR = 2
found = [
    Own(), Own().__call__, functools.partial(scored, 3), scored, Side.LEFT.__str__,
    lambda code: steer(torch.nn.Identity, units[code], strength=FACTOR),
    lambda text: text in WORDS, functools.lru_cache(scored), str.upper, "abc".startswith, torch.diagonal, len,
]
print(json.dumps([record_of(one) for one in found]))
"""


@pytest.mark.thorough
def test_the_same_definition_in_fresh_processes():
    """A digest that depends on addresses or on the order of a set would refuse every resumed run."""
    runs = [
        subprocess.run(
            [sys.executable, "-c", CODE],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path), "PATH": ""},
        ).stdout
        for seed in ("1", "2")
    ]
    first, second = (json.loads(one) for one in runs)
    assert first == second
    assert all(one.startswith("sha256:") for one in first), first
    assert len(set(first)) == len(first)


HELD = {
    "a file": lambda: open(__file__, "rb"),  # noqa: SIM115
    "another model": lambda: torch.nn.Linear(2, 2),
    "a lock": threading.Lock,
    "a generator": lambda: (one for one in "ab"),
    "a random number generator": lambda: torch.Generator(),
    "weights without values": lambda: torch.empty(2, device="meta"),
    "a module of one's own": lambda: type(sys)("own_module"),
    "an object that refuses": lambda: Refusing(),
}


class Refusing:
    __slots__ = ("a",)

    def __getattribute__(self, name):
        if name == "a":
            raise RuntimeError("not now")
        return object.__getattribute__(self, name)


@pytest.mark.parametrize("what", HELD)
@pytest.mark.parametrize("bind", [in_closure, as_global, lambda value: functools.partial(two, value)])
def test_what_cannot_be_identified_equals_nothing(what, bind):
    """A function with an open file had the name of every other one of its place."""
    held = HELD[what]()
    function = bind(held)
    records = [record_of(function) for _ in range(2)]
    assert all(one.startswith("unidentified:") for one in records)
    assert not agree(*records)
    assert record_of(Named(function, name="it")) == record_of(Named(function, name="it")) == "name:it"
    if hasattr(held, "close"):
        held.close()


@pytest.mark.parametrize("body", ["eval('x')", "open(x).read()", "globals()[x]", "__import__(x)"])
def test_what_is_decided_elsewhere_is_not_identified(body):
    """What such a call gives is not in the function."""
    assert record_of(exec_function(f"    return {body}")).startswith("unidentified:")


@pytest.mark.parametrize("name", ["", "  ", "a {text}", 3, None])
def test_a_name_is_text_without_braces(name):
    """A name with braces could be taken for a template."""
    with pytest.raises((ArgumentError, ArgumentTypeError), match="name="):
        Named(len, name=name)


# In reports and histories.


def measured(step=None, model=MODEL, metrics=("nasca",), **options):
    return measure(model, make_tokenizer(), PAIRS, metrics, step=step, **options)


def templates(prefix):
    return lambda text, language: prefix + text


def steered_by(units, strength, model=MODEL):
    return lambda code: steer(model, units, strength=strength)


def units(index=7):
    return UnitSet.from_rows([("deu_Latn", "1.inner", index, 0.9, 2.5)])


def vectors(value, layer=1):
    return {"deu_Latn": LanguageVector("deu_Latn", {Site("hidden", layer): torch.full((32,), value)})}


def powers(exponent):
    def own(similarity):
        return similarity.diagonal() ** exponent

    return own


def test_templates_are_told_apart():
    """Two lambdas as templates were the same setting."""
    same = measured(template=templates("query: ")), measured(template=templates("query: "))
    assert same[0].compare(same[1])
    with pytest.raises(ReportError, match=r"template was 'sha256:.*give it a name, Named"):
        measured(template=templates("passage: ")).compare(same[0])
    file = open(__file__)  # noqa: SIM115
    unknown = Measurement(MODEL, make_tokenizer(), PAIRS, ["nasca"], template=lambda text, code: text or file)
    again = measured(template=lambda text, code: text or file)
    file.close()
    assert unknown.run().compare(unknown.run()), "one measurement is itself"
    with pytest.raises(ReportError, match=r"its variable file is a TextIOWrapper.*Named\(function, name"):
        again.compare(unknown.run())
    named = [measured(template=Named(templates(prefix), name="mine")) for prefix in ("a ", "b ")]
    assert named[0].compare(named[1])


@pytest.mark.filterwarnings("ignore:subtract has no vector")
@pytest.mark.parametrize(
    ("was", "same", "other"),
    [
        *(
            ({"steered": steered_by(units(), 2)}, {"steered": steered_by(units(), 2)}, {"steered": one})
            for one in (steered_by(units(), 3), steered_by(units(8), 2), lambda code: steer(MODEL, units()))
        ),
        *(
            ({"subtract": vectors(1.0)}, {"subtract": vectors(1.0)}, {"subtract": one})
            for one in (vectors(2.0), vectors(1.0, layer=0), {"eng_Latn": vectors(1.0)["deu_Latn"]}, None)
        ),
        ({"subtract": {}}, {"subtract": None}, {"subtract": vectors(1.0)}),
    ],
)
def test_a_history_holds_one_setting(tmp_path, was, same, other):
    """Functions that steer were told by their name, and vectors to subtract by theirs or not at all."""
    metrics = ["mexa"]
    History(tmp_path / "history.jsonl").append(measured(0, metrics=metrics, **was))
    history = History(tmp_path / "history.jsonl")
    history.append(measured(1, metrics=metrics, **same))
    with pytest.raises(ReportError, match=f"{next(iter(was))} was .* such scores make no curve"):
        history.append(measured(2, metrics=metrics, **other))


def test_own_metrics_of_one_name_are_told_apart():
    """Two functions of one name and one scale were one metric."""
    before = measured(0, metrics=[powers(1)])
    assert before.compare(measured(metrics=[powers(1)]))
    with pytest.raises(ReportError, match="own was computed by sha256:.* two metrics of one name"):
        measured(metrics=[powers(2)]).compare(before)
    history = History()
    history.append(before)
    with pytest.raises(ReportError, match="own_functions was"):
        history.append(measured(1, metrics=[powers(2)]))
    own = replace(METRICS["nasca"], compute=lambda similarity: similarity.diagonal() > 0)
    with pytest.raises(ReportError, match="nasca was computed by"):
        measured(metrics=[own]).compare(measured())


def test_the_model_itself_may_be_held():
    """What steers holds the model; that is the one that is measured, whatever its weights are."""
    found = [
        measured(model=model, steered=steered_by(units(), 2, model)).provenance["steered"]
        for model in (make_model("llama", seed=1), make_model("llama", seed=2))
    ]
    assert found[0] == found[1]
    assert found[0].startswith("sha256:")
    other = measured(model=make_model("llama"), steered=steered_by(units(), 2)).provenance["steered"]
    assert "its variable model is a LlamaForCausalLM" in other


def test_functions_told_by_name_only(tmp_path):
    """0.1.0 wrote names; a name that many functions have says nothing."""
    for name, answer in (("own.<lambda>", "refused"), ("own.query", "warned"), ("query: {text}", "taken")):
        for number in range(2):
            report = measured()
            report.provenance.update(template=name)
            del report.provenance["must_agree"]
            report.save(tmp_path / f"{answer}{number}")
        one, other = (AlignmentReport.load(tmp_path / f"{answer}{number}") for number in range(2))
        if answer == "refused":
            with pytest.raises(ReportError, match="which does not tell it from others; measure again"):
                one.compare(other)
        elif answer == "warned":
            with pytest.warns(UserWarning, match="own.query is told by its name only"):
                assert one.compare(other)
        else:
            assert one.compare(other)


def test_options_have_a_hash():
    """`hash(ReadOptions(subtract={}))` failed, since a dict has none."""
    assert hash(ReadOptions(subtract={})) == hash(ReadOptions())
    assert hash(TextOptions(template=functools.partial(three, extra={}))) == hash(TextOptions())


def executed(source, name="made", **names):
    names = {"__name__": "own", **names}
    exec(source, names)
    return names[name]


OWN_INIT = """
class Own:
    def __init__(self): self.__class__.calls = {0}
    def __call__(self, text): return text
made = Own.__call__.__get__(object.__new__(Own))
"""


@pytest.mark.parametrize(
    "source",
    [
        OWN_INIT,
        "from dataclasses import dataclass\n@dataclass" + OWN_INIT,
        "from dataclasses import dataclass\n@dataclass\nclass Base:\n    x: int = 1\n"
        + OWN_INIT.replace("Own:", "Own(Base):"),
    ],
)
def test_an_init_of_executed_code_counts(source):
    """An `__init__` that came from exec or `python -c` was taken for one that dataclass had written."""
    one, same, other = (executed(source.format(value)) for value in (1, 1, 2))
    assert identity(one) == identity(same) != identity(other)


class Private:
    __slots__ = ("__p", "shadowed")

    def __init__(self, value):
        self.__p = value

    def __call__(self, text):
        return text, self.__p


class Heir(Private):
    __slots__ = ("__p", "shadowed")

    def __init__(self, value):
        Private.__init__(self, value)
        self.__p = 0


class Shadowing(Private):
    __slots__ = ("shadowed",)

    def __init__(self, value):
        Private.shadowed.__set__(self, value)


@dataclass
class WithSlot(Private):
    field: int = 0

    def __init__(self, value):
        Private.__init__(self, value)


@pytest.mark.parametrize("kind", [Private, Heir, Shadowing, WithSlot])
def test_private_slots_count(kind):
    """The value of a slot like `__p` was left out, since Python gives it another name."""
    assert identity(kind(1)) == identity(kind(1)) != identity(kind(2))


def test_functions_of_arrays_that_numpy_did_not_make():
    """What `np.frompyfunc` gives was told by the name of the function, `<lambda>` for all of them."""
    made = [np.frompyfunc(lambda x, add=add: x + add, 1, 1) for add in (1, 2)]
    assert all(record_of(in_closure(one)).startswith("unidentified:") for one in made)
    assert identity(in_closure(np.sin)) == identity(in_closure(np.sin)) != identity(in_closure(np.cos))
    assert identity(in_closure(np.abs)) == identity(in_closure(np.absolute))


@pytest.mark.parametrize("kind", [torch.ones, lambda n: torch.nn.Parameter(torch.ones(n))])
def test_attributes_of_tensors_count(kind):
    """A function could read `t.scale`, and only the values of `t` were digested."""

    def scaled(scale):
        tensor = kind(2)
        tensor.scale = scale
        return lambda text: text * tensor.scale

    assert identity(scaled(1)) == identity(scaled(1)) != identity(scaled(2))


@pytest.mark.parametrize(
    "body",
    [
        *("    return sys.modules['__main__'].X", "    import sys\n    return sys.modules['own'].X"),
        *("    return s.modules['own'].X", "    return importlib.import_module('own').X"),
        *(
            "    from importlib import import_module as get\n    return get('own').X",
            "    return get('own').X",
        ),
        *("    return g.__globals__['X']", "    return getattr(g, '__globals__')['X']"),
        *("    return sys._getframe(1).f_globals['X']", "    return inspect.currentframe().f_back"),
        *("    return inspect.stack()[1]", "    return builtins.eval('X')", "    return b.eval('X')"),
        *("    import builtins\n    return builtins.eval('X')", "    return __builtins__['eval']('X')"),
        *("    return evaluate('X')", "    return C.__doc__", "    return read(x)"),
        "    return [sys.modules['own'].X for _ in x]",
    ],
)
def test_ways_around_the_globals_are_not_identified(body):
    """Code that reached a variable of one's own in a roundabout way was identified without it."""
    names = {"sys": sys, "s": sys, "importlib": importlib, "get": importlib.import_module, "g": two}
    names |= {"inspect": inspect, "builtins": builtins, "b": builtins, "evaluate": eval, "C": Plain}
    assert record_of(exec_function(body, read=open, **names)).startswith("unidentified:")
    assert record_of(functools.partial(eval, "X")).startswith("unidentified:")


LOCAL_CLASS = """
    class Local:
        'A class.'
        field: int = 1
    return Local()"""


def test_what_common_words_mean_is_still_identified():
    """`eval`, `modules` and `stack` are methods of models and functions of torch too."""
    model = torch.nn.Linear(1, 1)
    for body in (
        "    return model.eval()",
        "    return [*model.modules()]",
        "    return torch.stack(x)",
        LOCAL_CLASS,
    ):
        function = exec_function(body, model=model, torch=torch)
        assert record_of(function, {id(model): "the model"}).startswith("sha256:")


def test_what_is_patched_onto_a_library_counts(monkeypatch):
    """`torch.own` was told by the name of torch, whatever had been set there."""
    for body, values in (
        ("    return torch.own * x", (1, 2)),
        ("    return torch.own(x)", (lambda x: x, lambda x: -x)),
        ("    return torch.nn.functional.own * x", (1.0, 2.0)),
    ):
        home = torch.nn.functional if "functional" in body else torch
        found = []
        for value in (values[0], values[0], values[1]):
            monkeypatch.setattr(home, "own", value, raising=False)
            found.append(identity(exec_function(body, torch=torch)))
        assert found[0] == found[1] != found[2]


# What changes during a run.


class Strength:
    def __init__(self, value):
        self.value = value

    def __call__(self, code):
        return steer(MODEL, units(), strength=self.value)


def test_a_function_that_changes_during_a_run(tmp_path):
    """The monitor digested once, so later reports claimed the strength that was there at first."""
    strength = Strength(2)
    measurement = Measurement(MODEL, make_tokenizer(), PAIRS, ["mexa"], steered=strength)
    history = History(tmp_path / "history.jsonl")
    history.append(measurement.run(0))
    history.append(measurement.run(1))
    strength.value = 3
    changed = measurement.run(2)
    assert changed.provenance["steered"] == record_of(Strength(3), {id(MODEL): "the model"})
    with pytest.raises(ReportError, match="steered was 'sha256:.* such scores make no curve"):
        history.append(changed)
    strength.value = 2
    history.append(measurement.run(3))


def test_a_metric_that_changes_during_a_run():
    """Reports of one metric whose exponent had changed were compared."""
    exponent = [1]

    def own(similarity):
        return similarity.diagonal() ** exponent[0]

    metric = Metric("own", "Own", "neuron_states", own, bounds=None)
    measurement = Measurement(MODEL, make_tokenizer(), PAIRS, [metric])
    before = measurement.run()
    assert measurement.run().compare(before)
    exponent[0] = 2
    changed = measurement.run()
    with pytest.raises(ReportError, match="own was computed by"):
        changed.compare(before)
    fresh = measured(metrics=[metric])
    assert changed.compare(fresh)
    floors = [report.metrics["own"].floors["deu_Latn"] for report in (before, changed, fresh)]
    assert torch.equal(floors[1], floors[2])
    assert not torch.equal(floors[0], floors[1])


@pytest.mark.filterwarnings("ignore:subtract has no vector")
def test_a_vector_that_changes_during_a_run():
    """A vector that was changed in place was subtracted under the digest of its old values."""
    held = vectors(1.0)
    metric = Metric("cosine", "Cosine", "hidden", torch.diagonal, bounds=None)
    measurement = Measurement(MODEL, make_tokenizer(), PAIRS, [metric], subtract=held)
    before = measurement.run(0)
    next(iter(held["deu_Latn"].vectors.values())).fill_(2.0)
    after = measurement.run(1)
    assert before.provenance["subtract"] == after.provenance["subtract"]
    old, new = (report.metrics["cosine"].values["deu_Latn"] for report in (before, after))
    assert torch.equal(old, new)


def test_what_was_used_at_the_start_or_is_unknown_keeps_its_record():
    """Templates are applied once, and what cannot be identified must still agree with itself."""
    prefix = ["query: "]
    with open(__file__) as file:
        measurement = Measurement(
            *(MODEL, make_tokenizer(), PAIRS, ["nasca"]),
            template=lambda text, code: prefix[0] + text,
            steered=lambda code: steer(MODEL, units()) if file else None,
        )
        before = measurement.run(0)
        prefix[0] = "passage: "
        after = measurement.run(1)
    assert before.provenance == after.provenance
    assert after.compare(before)
    history = History()
    history.append(before)
    history.append(after)


# What changes what a function computes, and was not in its digest: pairs of (one, same, other).


def with_member(source):
    """Two bodies of a class of members, and what a function gets: a member, not the class."""

    def made(value):
        names = {"__name__": "own", "enum": enum, "Mix": {"x": MixOne, "y": MixTwo}[value]}
        base = "Mix, enum.Enum" if "mix" in source else "enum.Enum"
        exec(f"class Own({base}):\n    A = 'a'\n    {source.format(value)}", names)
        member = names["Own"].A
        return lambda text, language: member

    return made


class MixOne:
    def up(self):
        return 1


class MixTwo:
    def up(self):
        return 2


def held_in(kind, value):
    held = kind()
    held.append(value) if isinstance(held, list) else held.update(a=value)
    return lambda text: held


@dataclass
class OwnDict(dict):
    x: int = 0


@dataclass
class OwnList(list):
    x: int = 0


class OwnPartial(functools.partial):
    def __call__(self, *given):
        return 3


class OwnProperty(property):
    pass


MEMBERS = {
    "a property": "up = property(lambda self: {0!r})",
    "a class method": "up = classmethod(lambda cls: {0!r})",
    "a static method": "up = staticmethod(lambda: {0!r})",
    "another member": "B = {0!r}",
    "a base of its own": "mix = 1",
    "an attribute": "__init__ = lambda self, value: setattr(self, 'more', {0!r})",
}


@pytest.mark.parametrize("what", MEMBERS)
def test_all_of_an_enum_counts(what):
    """Of a member only name, value and plain methods were digested."""
    made = with_member(MEMBERS[what])
    assert identity(made("x")) == identity(made("x")) != identity(made("y"))


def test_the_length_of_a_deque_counts():
    """A deque that keeps one text and one that keeps three were the same."""
    one, same, other = (in_closure(deque(maxlen=length)) for length in (1, 1, 3))
    assert identity(one) == identity(same) != identity(other)


@pytest.mark.parametrize(
    "value",
    [OwnDict(), OwnList(), OwnPartial(two), OwnProperty(len), type("OwnModule", (type(sys),), {})("own")],
    ids=lambda value: type(value).__name__,
)
def test_subclasses_with_hidden_content_are_not_identified(value):
    """What such an object holds, or does when it is called, was left out."""
    assert record_of(in_closure(value)).startswith("unidentified:")


def reach(how):
    """A function that calls `string.capwords` without a global that says so."""
    body = {
        "local import": "    import string\n    return string.capwords(x)",
        "from-import": "    from string import capwords\n    return capwords(x)",
        "nested": "    def g():\n        import string\n        return string.capwords(x)\n    return g()",
        "alias": "    m = string\n    return m.capwords(x)",
        "ternary": "    return (string if x else string).capwords(x)",
        "default": None,
        "closure": None,
        "builtin": "    return sorted(x)",
        "added builtin": "    return _(x)",
        "class": "    return string.Formatter().vformat(x, (), {})",
    }[how]
    if how == "default":
        return lambda x, m=string: m.capwords(x)
    if how == "closure":
        module = string
        return lambda x: module.capwords(x)
    return exec_function(body, string=string)


PLACES = {
    "builtin": (builtins, "sorted"),
    "added builtin": (builtins, "_"),
    "class": (string.Formatter, "vformat"),
}


@pytest.mark.parametrize("patch", ["a function", "one that wraps", "its code"])
@pytest.mark.parametrize(
    "how", ["local import", "from-import", "nested", "alias", "ternary", "default", "closure", *PLACES]
)
def test_what_is_patched_counts_however_it_is_reached(how, patch, monkeypatch):
    """Only patches of a module that is a global, and that is used by its name, were seen."""
    home, name = PLACES.get(how, (string, "capwords"))
    before = identity(reach(how))
    assert identity(reach(how)) == before
    found = getattr(home, name, None)
    if patch == "its code":
        if not inspect.isfunction(found):
            return
        monkeypatch.setattr(found, "__code__", (lambda *given, **named: given).__code__)
    else:
        wrap = functools.wraps(found) if patch == "one that wraps" and found else lambda own: own
        own = wrap(lambda *given, **named: found(*given, **named))
        monkeypatch.setattr(home, name, own, raising=False)
    assert identity(reach(how)) != before


def test_what_a_decorator_says_it_wraps_counts():
    """`f.__wrapped__` of a global function could be anything."""

    def made(value):
        def inner(text):
            return text

        inner.__wrapped__ = lambda text: value
        return exec_function("    return inspect.unwrap(g)(x)", inspect=inspect, g=inner)

    assert identity(made(1)) == identity(made(1)) != identity(made(2))


@pytest.mark.thorough
def test_a_module_with_the_name_of_a_standard_one(tmp_path):
    """A user's `profile.py` beside the script was taken for Python's own, whatever was in it."""
    program = """
import profile
from xalign.identity import record_of
def local(x):
    import profile
    return profile.X
print(record_of(profile.template), record_of(local), sep="\\n")
"""
    found = []
    for value in (1, 2):
        (tmp_path / "profile.py").write_text(f"def template(text, language):\n    return {value}\n")
        environment = {"PYTHONPATH": ":".join([str(tmp_path), *sys.path]), "PATH": ""}
        command = [sys.executable, "-B", "-c", program]
        given = {"capture_output": True, "text": True, "check": True, "env": environment}
        found.append(subprocess.run(command, **given).stdout.splitlines())
    assert found[0][0] != found[1][0] and found[0][0].startswith("sha256:")
    assert all("it imports profile, a module of your own" in one for _, one in found)
