"""The notebooks of the docs: without output, with imports that exist, and, slowly, run from top to bottom."""

import ast
import importlib
import json
import re

import pytest

from docs.site.notebook_pages import page_of
from tests.tiny import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
CELLS = {"markdown": {"cell_type", "id", "metadata", "source"}}
CELLS["code"] = CELLS["markdown"] | {"execution_count", "outputs"}

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path, kind):
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == kind]


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 4


@every_notebook
def test_it_is_a_notebook_without_output(path):
    """The format of nbformat 4.5, as far as cells of these two kinds go."""
    book = json.loads(path.read_text(encoding="utf-8"))
    assert set(book) == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert book["metadata"]["kernelspec"]["name"] == "python3"
    for cell in book["cells"]:
        assert set(cell) == CELLS[cell["cell_type"]]
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", cell["id"])
        assert all(isinstance(line, str) for line in cell["source"])
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    assert book["cells"][0]["cell_type"] == "markdown"
    assert "".join(book["cells"][0]["source"]).startswith("# ")


@every_notebook
def test_its_code_parses_and_its_imports_exist(path):
    imported = 0
    for node in ast.walk(ast.parse("\n".join(cells(path, "code")))):
        if isinstance(node, ast.Import):
            for name in node.names:
                importlib.import_module(name.name)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, name.name) for name in node.names), ast.unparse(node)
        imported += isinstance(node, ast.Import | ast.ImportFrom)
    assert imported


@every_notebook
def test_its_links_lead_somewhere(path):
    text = "\n".join(cells(path, "markdown"))
    for target in re.findall(r"\]\(([^)]+)\)", text):
        name, _, heading = target.partition("#")
        page = path.parent / name
        assert page.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
    assert not re.search(r"/(home|root|work|Users)/", text)
    assert f"(docs/notebooks/{path.name})" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@every_notebook
def test_it_runs_from_top_to_bottom(path, monkeypatch):
    """In an empty folder, all cells in one namespace. A warning is an error, as in all tests."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    namespace = {"__name__": "notebook"}
    for number, code in enumerate(cells(path, "code")):
        exec(compile(code, f"{path.stem}, code cell {number}", "exec"), namespace)


@pytest.mark.slow
def test_its_page_shows_what_it_gives():
    path = ROOT / "docs" / "notebooks" / "attach_and_watch.ipynb"
    text, pictures = page_of(path, run=True)
    assert text.startswith("# Attach and watch\n")
    assert len(pictures) == 2 and all(f"]({name})" in text for name in pictures)
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())
    assert "mean 0." in text and "(lift_a_weak_language.ipynb)" in text
    assert "it/s" not in text  # no progress bar
