"""Imports point one way, one file registers hooks, and the public API is what is listed."""

import ast
import subprocess
import sys

import pytest

import xalign
from tests.source_tree import FILES, MODULES, imports_of, name_of, room_of, tree_of

# A room may import itself and the rooms that stand earlier in this list; rooms of one level do not import one
# another.
LEVELS = [
    ["errors", "options", "warn"],  # import nothing of the package
    [
        *("autocast", "checks", "schema", "escape", "extras", "files", "identity", "languages"),
        *("plain_config", "renamed", "result_table"),
    ],
    ["storage", "pairs", "model", "metrics", "losses"],  # files, text, models, and mathematics on tensors
    ["statistics", "units", "links"],
    ["results", "control"],
    ["measurement", "views", "trackers", "hub"],  # results are made, shown, and sent away
    ["finding", "monitor", "babel", "robustness", "correlation", "speech"],
    ["steering", "sweep"],
    ["judging", "training", "exports"],
    ["improving", "bias", "confusion", "probing", "integrations"],
    ["demo"],
    ["cli"],
]
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
# A report draws itself, and units and vectors export themselves: their methods import when they are called.
LAZY = {("results", "views"), ("results", "hub"), ("units", "exports")}
# Mathematics on tensors knows nothing of models, text or files.
PURE, ALLOWED_IN_PURE = {"metrics", "losses"}, {"errors", "checks", "autocast"}
# The small world serves demos, tests and benchmarks; nothing that users need depends on it.
USERS_OF_BABEL = {"demo", "cli"}


def rooms_imported(path):
    """(room, whether its import runs when the file is imported) for each import of another room in a file."""
    for found in imports_of(path):
        room = room_of(MODULES[found.target])
        if room != room_of(path):
            yield room, found.at_top


def wrong_import(importer, imported, at_top):
    """Say what is wrong with an import of one room by another, or return None."""
    if imported == "__init__":
        return "import from the module that has it, not from xalign"
    if (importer, imported) in LAZY:
        return "import it inside the method" if at_top else None
    if LEVEL[imported] >= LEVEL[importer]:
        return "its level is not below"
    if importer in PURE and imported not in ALLOWED_IN_PURE:
        return "mathematics on tensors knows nothing of it"
    if imported == "babel" and importer not in USERS_OF_BABEL:
        return "nothing that users need depends on it"
    return None


def test_imports_point_one_way():
    faults = [
        f"{name_of(path)} imports {imported}: {fault}"
        for path in FILES
        if room_of(path) != "__init__"  # the public names, which are lazy
        for imported, at_top in rooms_imported(path)
        if (fault := wrong_import(room_of(path), imported, at_top))
    ]
    assert faults == []


@pytest.mark.parametrize(
    ("importer", "imported", "at_top", "right"),
    [
        ("measurement", "metrics", True, True),
        ("metrics", "measurement", True, False),
        ("metrics", "losses", True, False),
        ("metrics", "options", True, False),
        ("results", "views", False, True),
        ("results", "views", True, False),
        ("demo", "babel", True, True),
        ("training", "babel", True, False),
        ("cli", "__init__", True, False),
    ],
)
def test_what_a_wrong_import_is(importer, imported, at_top, right):
    assert (wrong_import(importer, imported, at_top) is None) == right


def test_every_room_stands_in_one_level():
    assert len(LEVEL) == sum(map(len, LEVELS))
    assert {room_of(path) for path in FILES} - {"__init__"} == set(LEVEL)


def test_every_level_needs_the_one_before():
    """No two levels could be one: some room of each imports a room of the level right before it."""
    edges = {(room_of(path), imported) for path in FILES for imported, _ in rooms_imported(path)}
    for lower, higher in zip(LEVELS, LEVELS[1:], strict=False):
        assert any((room, imported) in edges for room in higher for imported in lower), (lower, higher)


def test_one_file_registers_hooks():
    for path in FILES:
        hooks = [
            node.attr
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.Attribute)
            and node.attr.startswith("register_")
            and node.attr.endswith("hook")
        ]
        assert not hooks or path.name == "hooks.py", path


def test_no_assert_for_users():
    for path in FILES:
        assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree_of(path))), path


def test_the_public_api():
    assert xalign.__all__ == [
        "AlignmentArguments",
        "AlignmentCallback",
        "AlignmentConfig",
        "AlignmentMonitor",
        "AlignmentObjective",
        "AlignmentReport",
        "Audio",
        "ClosedLoop",
        "Decision",
        "LanguageVector",
        "Layout",
        "ModelMap",
        "ParallelItems",
        "ParallelPairs",
        "Reading",
        "Site",
        "UnitSet",
        "XAlignError",
        "correlate",
        "diagnose",
        "find_units",
        "improve",
        "load_items",
        "load_pairs",
        "map_model",
        "measure",
        "measure_items",
        "measure_robustness",
        "measure_stability",
        "pairs_from_dataset",
        "register_layout",
        "steer",
        "visit",
        "with_alignment",
    ]
    assert set(xalign.__all__) == set(xalign._HOME)
    for name in xalign.__all__:
        assert getattr(xalign, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'mesure'"):
        _ = xalign.mesure


@pytest.mark.thorough
def test_importing_xalign_stays_light():
    heavy = [
        "torch",
        "transformers",
        "wandb",
        "trackio",
        "trl",
        "peft",
        "datasets",
        "matplotlib",
        "accelerate",
    ]
    code = f"import xalign, sys; print([m for m in {heavy} if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
    extras = heavy[2:]  # transformers itself loads some of them with its callbacks, where they are installed
    code = (
        "import xalign, sys; "
        "[getattr(xalign, name) for name in xalign.__all__ "
        "if name not in ('AlignmentCallback', 'improve', 'with_alignment')]; "
        f"print([m for m in {extras} if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert found == "[]", found
    # The function is not hidden by a module of its name, whatever was imported first.
    code = "import xalign.measurement, xalign; assert callable(xalign.measure); assert callable(xalign.visit)"
    subprocess.run([sys.executable, "-c", code], check=True)
