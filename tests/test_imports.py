"""The house: imports point one way, one file registers hooks, the public API is what is listed."""

import ast
import subprocess
import sys

import pytest

import xalign
from tests.tiny import ROOT

# Each room may import what stands in an earlier row, and itself.
LEVELS = [
    ["errors", "renamed"],
    ["checks", "options", "storage"],
    ["pairs", "model", "metrics", "losses"],
    ["statistics", "units"],
    ["results"],
    ["measurement", "views", "trackers"],
    ["finding", "steering", "monitor"],
    ["judging", "training", "babel"],
    ["demo"],
    ["cli", "recipes"],
]
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
ALLOWED_WITHIN_A_LEVEL: set[tuple[str, str]] = set()
# A report draws itself: the one call upward, inside its methods.
ALLOWED_UPWARD = {("results", "views")}
FILES = sorted((ROOT / "xalign").rglob("*.py"))


def room_of(path):
    parts = path.relative_to(ROOT / "xalign").with_suffix("").parts
    return parts[0]


def imports_of(path):
    """(room imported, whether at the top of the file) for every import of xalign in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside_functions = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "xalign":
            parts = node.module.split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name.split(".")[1] for a in node.names if a.name.startswith("xalign.")]
        for name in names:
            yield name, id(node) not in inside_functions


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    room = room_of(path)
    if room == "__init__":
        return
    for imported, at_top in imports_of(path):
        assert imported in LEVEL, f"{imported} stands in no level"
        if imported == room or (room, imported) in ALLOWED_WITHIN_A_LEVEL:
            continue
        if (room, imported) in ALLOWED_UPWARD:
            assert not at_top
            continue
        assert LEVEL[imported] < LEVEL[room], f"{room} may not import {imported}"
        if room in ("metrics", "losses"):
            assert imported in ("errors", "checks")
        if imported == "babel":
            assert room in ("demo", "cli", "recipes")


def test_every_room_stands_in_a_level():
    assert {room_of(path) for path in FILES} - {"__init__"} <= set(LEVEL)


def test_only_visit_registers_hooks():
    for path in FILES:
        hooks = [
            node.attr
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute)
            and node.attr.startswith("register_")
            and node.attr.endswith("hook")
        ]
        assert not hooks or path.name == "visit.py", path


def test_files_are_small_and_named_after_their_idea():
    for path in FILES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 500, path
        assert path.stem not in ("utils", "helpers", "common", "misc"), path


def test_no_assert_for_users():
    for path in FILES:
        assert not any(
            isinstance(node, ast.Assert) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        ), path


def test_the_public_api():
    assert xalign.__all__ == [
        "AlignmentArguments",
        "AlignmentCallback",
        "AlignmentConfig",
        "AlignmentMonitor",
        "AlignmentObjective",
        "AlignmentReport",
        "LanguageVector",
        "Layout",
        "ModelMap",
        "ParallelPairs",
        "Reading",
        "Site",
        "UnitSet",
        "XAlignError",
        "find_units",
        "load_pairs",
        "map_model",
        "measure",
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
        "if name not in ('AlignmentCallback', 'with_alignment')]; "
        f"print([m for m in {extras} if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert found == "[]", found
    # The function is not hidden by a module of its name, whatever was imported first.
    code = "import xalign.measurement, xalign; assert callable(xalign.measure); assert callable(xalign.visit)"
    subprocess.run([sys.executable, "-c", code], check=True)
