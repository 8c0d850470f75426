"""Add one page per notebook to the site: with what it gives where XALIGN_RUN_NOTEBOOKS is 1, else without."""

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import ExecutePreprocessor
from nbformat import NotebookNode

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


def executed(book: NotebookNode) -> NotebookNode:
    """Run a notebook from top to bottom in an empty folder, and keep all outputs but those to stderr."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # small models are slower on several threads
    with tempfile.TemporaryDirectory() as folder:
        ExecutePreprocessor(timeout=900).preprocess(book, {"metadata": {"path": folder}})
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    return book


def page_of(notebook: Path, run: bool) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and the pictures that it shows by their path from the page."""
    book = nbformat.read(notebook, as_version=4)
    folder = f"{notebook.stem}_pictures"
    text, resources = MarkdownExporter().from_notebook_node(
        executed(book) if run else book, {"output_files_dir": folder, "unique_key": "output"}
    )
    title, rest = text.split("\n", 1)
    source = f'<a href="../{notebook.name}">This page is a notebook</a> that you can run.'
    return f"{title}\n\n{source}\n{rest}", resources["outputs"]


@event_priority(100)  # before llms.txt looks which pages there are
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and their pictures to the site's files."""
    for notebook in sorted(NOTEBOOKS.glob("*.ipynb")):
        text, pictures = page_of(notebook, run=os.environ.get("XALIGN_RUN_NOTEBOOKS") == "1")
        files.append(File.generated(config, f"notebooks/{notebook.stem}.md", content=text))
        for path, picture in pictures.items():
            files.append(File.generated(config, f"notebooks/{path}", content=picture))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead to the page of a notebook, where a page names the notebook."""
    return re.sub(r"\]\(((?:notebooks/)?\w+)\.ipynb\)", r"](\1.md)", markdown)
