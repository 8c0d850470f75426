"""The shape of the code: small functions and modules, no import circles, no test for a strategy's name."""

import ast
import importlib
from collections.abc import Callable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

from tests.source_tree import (
    FILES,
    FUNCTIONS,
    MODULES,
    PACKAGE,
    imports_of,
    module_of,
    name_of,
    room_of,
    tree_of,
)
from tests.test_imports import LAZY

LONGEST_FUNCTION, DEEPEST_BLOCK = 60, 4
LONGEST_MODULE, MEDIAN_MODULE = 350, 110
# Names that do not say what is in a file.
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc"}

BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)


# Size.


def deepest(function: ast.AST) -> int:
    """How deep blocks are nested in a function; a statement directly in its body has depth 0.

    A function inside it is a block too. `elif` is as deep as its `if`, and `except` as its `try`.
    """

    def depth_of(node: ast.AST, depth: int) -> int:
        found = depth
        for child in ast.iter_child_nodes(node):
            is_elif = (
                isinstance(node, ast.If)
                and isinstance(child, ast.If)
                and child in node.orelse
                and child.col_offset == node.col_offset
            )
            opens = isinstance(child, BLOCKS + FUNCTIONS) and not is_elif
            found = max(found, depth_of(child, depth + opens))
        return found

    return depth_of(function, 0)


def functions_of(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, FUNCTIONS))


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the last one, with the docstring, without decorators."""
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def measured_over(measure: Callable[[ast.AST], int], most: int) -> dict[str, int]:
    """Return the functions of all files of which `measure` gives more than `most`, with what it gives."""
    found = {
        f"{name_of(path)}: {function.name}": measure(function)
        for path in FILES
        for function in functions_of(tree_of(path))
    }
    assert len(found) > len(FILES)
    return {name: value for name, value in found.items() if value > most}


def test_functions_are_short():
    assert measured_over(length, LONGEST_FUNCTION) == {}


def test_functions_are_flat():
    assert measured_over(deepest, DEEPEST_BLOCK) == {}


@pytest.mark.parametrize(
    ("body", "depth"),
    [
        ("return 1", 0),
        ("if a:\n        return 1\n    elif b:\n        return 2\n    else:\n        return 3", 1),
        ("if a:\n        return 1\n    else:\n        if b:\n            return 2", 2),
        ("for a in b:\n        with c:\n            while d:\n                e()", 3),
        ("try:\n        a()\n    except E:\n        b()\n    finally:\n        c()", 1),
        ("try:\n        a()\n    except E:\n        if b:\n            c()", 2),
        ("match a:\n        case 1:\n            if b:\n                c()", 2),
        ("def inner():\n        if a:\n            b()", 2),
        ("return [a for a in b if c(lambda: d if e else f)]", 0),
    ],
)
def test_what_counts_as_a_level(body, depth):
    (function,) = (f for f in functions_of(ast.parse(f"def f():\n    {body}")) if f.name == "f")
    assert deepest(function) == depth


def lines_in(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_modules_are_small():
    assert {name_of(path): lines_in(path) for path in FILES if lines_in(path) > LONGEST_MODULE} == {}


def test_modules_are_named_after_their_idea():
    parts_of = {path: path.relative_to(PACKAGE).with_suffix("").parts for path in FILES}
    assert [name_of(path) for path, parts in parts_of.items() if NAMELESS & set(parts)] == []


def test_half_of_the_modules_are_very_small():
    assert median(map(lines_in, FILES)) < MEDIAN_MODULE


# Imports.


def circle(graph: dict[str, set[str]]) -> list[str] | None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])[::-1]  # each imports the next
    return None


def test_no_circle_among_rooms_but_two_lazy_edges():
    """A report draws itself, and units export themselves: `results` imports `views`, and `units` `exports`,
    inside methods only."""
    edges: dict[tuple[str, str], set[bool]] = {}
    for path in FILES:
        for one in imports_of(path):
            edges.setdefault((room_of(path), room_of(MODULES[one.target])), set()).add(one.at_top)
    for lazy in LAZY:
        assert edges.pop(lazy) == {False}
    graph: dict[str, set[str]] = {}
    for importer, imported in edges:
        if importer not in (imported, "__init__"):  # the package's own names are lazy
            graph.setdefault(importer, set()).add(imported)
    assert circle(graph) is None


def test_no_circle_among_modules():
    graph = {
        module_of(path): {one.target for one in imports_of(path) if one.at_top} - {module_of(path)}
        for path in FILES
    }
    assert sum(map(len, graph.values())) > len(graph)
    assert circle(graph) is None


def test_what_a_circle_is():
    assert circle({"a": {"b"}, "b": {"c"}}) is None
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}


# Warnings.


def warnings_in(tree: ast.AST) -> list[int]:
    """The lines of a module that warn with the functions of Python."""
    names = {"warn", "warn_explicit"}
    return [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in names and ast.unparse(node.value) == "warnings")
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "warnings"
            and names & {alias.name for alias in node.names}
        )
    ]


def test_only_warn_warns():
    """`xalign.warn.warn` finds the user's line; a `stacklevel` guesses it."""
    assert [name_of(path) for path in FILES if warnings_in(tree_of(path))] == ["warn.py"]


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("import warnings\nwarnings.warn('x')", [2]),
        ("from warnings import warn", [1]),
        ("from warnings import warn_explicit as tell", [1]),
        ("import warnings\nwarnings.catch_warnings()", []),
        ("from xalign.warn import warn\nwarn('x')", []),
    ],
)
def test_what_warns(code, lines):
    assert warnings_in(ast.parse(code)) == lines


# Strategies: a name is looked up in one dict. What other code must know of a strategy, it asks the object.

DICTS = {
    "METRICS": "xalign.metrics",
    "LOSSES": "xalign.losses",
    "TRANSFORMS": "xalign.losses",
    "METHODS": "xalign.finding",
    "OPERATORS": "xalign.model.operators",
    "TRACKERS": "xalign.trackers",
    "ALIGNERS": "xalign.links",
}
# Words that a room uses as a key in another meaning. Comparing with them is not allowed there either.
OTHER_MEANINGS = {
    ("results", "scale"): "the field of a saved metric that holds its `Scale`",
    ("babel", "nasca"): "a figure of `examine`",
    ("demo", "nasca"): "a figure of `examine`",
    ("cli", "wandb"): "an extra of the package",
    ("cli", "trackio"): "an extra of the package",
    ("cli", "scale"): "an extra of the package",
}
LOOKUPS = {"get", "pop", "setdefault", "startswith", "endswith", "removeprefix", "removesuffix"}


@cache
def strategies() -> dict[str, dict[str, object]]:
    """The dicts that exist: name of the dict -> name of a strategy -> the strategy."""
    found = {}
    for name, module in DICTS.items():
        if module in MODULES and hasattr(importlib.import_module(module), name):
            found[name] = dict(getattr(importlib.import_module(module), name))
    return found


@pytest.mark.parametrize("name", DICTS)
def test_strategies_are_gathered_in_one_dict(name):
    assert strategies()[name]
    for key, strategy in strategies()[name].items():
        assert strategy.name == key
        assert home_of(strategy, DICTS[name])


def assigned(tree: ast.Module) -> dict[str, ast.expr]:
    """The variables of a module that are assigned at its top, with what they are assigned."""
    found = {}
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name) and getattr(node, "value", None) is not None:
                found[target.id] = node.value
    return found


def home_of(strategy: object, room: str) -> set[Path]:
    """The files of a room in which a variable is assigned the strategy."""
    return {
        path
        for module, path in MODULES.items()
        if f"{module}.".startswith(f"{room}.")
        and any(
            getattr(importlib.import_module(module), variable, None) is strategy
            for variable in assigned(tree_of(path))
        )
    }


@cache
def places_of_names() -> dict[str, frozenset[Path]]:
    """Name of a strategy -> the files that may test for it: its own, and the dict's."""
    places: dict[str, set[Path]] = {}
    for name, known in strategies().items():
        for key, strategy in known.items():
            places.setdefault(key, {MODULES[DICTS[name]]}).update(home_of(strategy, DICTS[name]))
    return {name: frozenset(paths) for name, paths in places.items()}


def imported_strategies(tree: ast.Module) -> dict[str, str]:
    """The variables of a module that are strategies imported from elsewhere, with the strategies' names."""
    known = {id(one): name for dict_ in strategies().values() for name, one in dict_.items()}
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in (alias for alias in node.names if alias.name.isupper()):
                value = getattr(importlib.import_module(node.module), alias.name, None)
                if id(value) in known:
                    found[alias.asname or alias.name] = known[id(value)]
    return found


def _is_in(operator: ast.cmpop) -> bool:
    return isinstance(operator, ast.In | ast.NotIn)


def names_tested(tree: ast.Module) -> Iterator[tuple[int, str, bool]]:
    """(line, name, whether it is a key) for every string that a module compares with or looks up.

    A strategy that is imported counts as its name, and a constant of the module as what it was assigned.
    """
    constants, imported = assigned(tree), imported_strategies(tree)

    def words(node: ast.AST | None) -> Iterator[str]:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            for element in node.elts:
                yield from words(element)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("set", "frozenset", "tuple", "list"):
                for argument in node.args:
                    yield from words(argument)
        elif isinstance(node, ast.Attribute) and node.attr == "name":
            yield from words(node.value)
        elif isinstance(node, ast.Name) and node.id in imported:
            yield imported[node.id]
        elif isinstance(node, ast.Name) and node.id in constants:
            yield from words(constants[node.id])

    for node in ast.walk(tree):
        compared: list[ast.AST | None] = []
        keys: list[ast.AST | None] = []
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Constant) and _is_in(node.ops[0]):
            keys, compared = [node.left], [*node.comparators]
        elif isinstance(node, ast.Compare):
            compared = [node.left, *node.comparators]
        elif isinstance(node, ast.match_case):
            compared = [inner.value for inner in ast.walk(node.pattern) if isinstance(inner, ast.MatchValue)]
        elif isinstance(node, ast.Dict):
            keys = [*node.keys]
        elif isinstance(node, ast.Subscript):
            keys = [] if ast.unparse(node.value).endswith("Literal") else [node.slice]
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOOKUPS
        ):
            keys = node.args[:1]
        for nodes, is_key in ((compared, False), (keys, True)):
            for inner in nodes:
                for word in words(inner):
                    yield getattr(inner, "lineno", 0), word, is_key


def test_no_strategy_is_known_by_its_name_elsewhere():
    places = places_of_names()
    found = [
        f"{name_of(path)}, line {line}: {word!r}"
        for path in FILES
        for line, word, is_key in names_tested(tree_of(path))
        if path not in places.get(word, {path}) and not (is_key and (room_of(path), word) in OTHER_MEANINGS)
    ]
    assert found == [], "ask the object, not its name"


def test_other_meanings_are_met():
    met = {
        (room_of(path), word) for path in FILES for _, word, is_key in names_tested(tree_of(path)) if is_key
    }
    assert set(OTHER_MEANINGS) <= met


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("if metric == 'nasca': pass", ["nasca"]),
        ("x = 'nasca' if metric != 'nasca' else 1", ["nasca"]),
        ("if 'nasca' in metrics: pass", ["nasca"]),
        ("if metric not in ('nasca', 'mexa'): pass", ["nasca", "mexa"]),
        ("if metric in frozenset({'nasca'}): pass", ["nasca"]),
        ("BITS = ['nasca']\nif metric in BITS: pass", ["nasca"]),
        ("match metric:\n    case 'nasca' | 'mexa': pass", ["nasca", "mexa"]),
        ("match m:\n    case {'metric': 'nasca'}: pass", ["nasca"]),
        ("title = {'nasca': 'NASCA'}[metric]", ["nasca"]),
        ("value = values['nasca']", ["nasca"]),
        ("value = values.get('nasca')", ["nasca"]),
        ("from xalign.metrics.weak_alignment import NASCA\nif metric is NASCA: pass", ["nasca"]),
        ("from xalign.metrics.weak_alignment import NASCA as N\nif name == N.name: pass", ["nasca"]),
        # Choosing a strategy is no test for its name.
        ("def f(metric: str = 'nasca', *, operator='set'): pass", []),
        ("report.score('nasca')", []),
        ("Edit('set', 1.0)", []),
        ("DEFAULT = ('nasca', 'mexa')", []),
        ("operator: Literal['set'] = 'set'", []),
        ("rows = set().add(1)", []),
        ("from xalign.metrics import METRICS\nif metric in METRICS: METRICS[metric]", []),
    ],
)
def test_what_tests_for_a_name(code, names):
    assert [word for _, word, _ in names_tested(ast.parse(code)) if word != "metric"] == names
