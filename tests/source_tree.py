"""The source files of the package, and what they import from one another."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.tiny import ROOT

PACKAGE = ROOT / "xalign"
FILES = sorted(PACKAGE.rglob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Import:
    """One import of the package in one of its files.

    `target` is the module imported, such as `xalign.metrics.margin`. `at_top` says whether the import runs
    when the file is imported: it is not inside a function, and not for type checkers only.
    """

    target: str
    line: int
    at_top: bool


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    """The place of a file in the package, such as `metrics/margin.py`."""
    return path.relative_to(PACKAGE).as_posix()


def room_of(path: Path) -> str:
    """The room of a file: a folder or a file right below `xalign/`."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports_of(path: Path) -> Iterator[Import]:
    """All imports of the package in a file, wherever they stand in it."""
    tree = tree_of(path)
    later = {id(inner) for node in ast.walk(tree) if _runs_later(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name_of(path)}:{node.lineno} imports relatively"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "xalign":
                target = name if name in MODULES else name.rpartition(".")[0]
                assert target in MODULES, f"{name_of(path)}:{node.lineno} imports {name}, which is nowhere"
                yield Import(target, node.lineno, at_top=id(node) not in later)


def _runs_later(node: ast.AST) -> bool:
    is_for_types = isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    return is_for_types or isinstance(node, FUNCTIONS)
