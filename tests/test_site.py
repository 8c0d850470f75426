"""The documentation site: it builds without a warning, its links hold, and every public name has an entry."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from docs.site.api_pages import rooms
from tests.tiny import ROOT


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given.get("id"), given.get("name")} - {None}
        self.links += [given[key] for key in ("href", "src") if given.get(key)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr, built.stderr
    return folder


@pytest.mark.thorough
def test_every_public_name_has_an_entry(site):
    for package, names in rooms().items():
        page = Page(site / "api" / package / "index.html")
        missing = [name for name in names if not any(f"{package}.{name}" in one for one in page.anchors)]
        assert not missing, (package, missing)


def test_links_hold(site):
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > 50
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link.startswith("/"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            anchored = parts.fragment and target in pages
            if not target.exists() or (anchored and unquote(parts.fragment) not in pages[target].anchors):
                broken.append((str(path.relative_to(site)), link))
    assert not broken


def test_every_notebook_is_a_page(site):
    for notebook in (ROOT / "docs" / "notebooks").glob("*.ipynb"):
        page = (site / "notebooks" / notebook.stem / "index.html").read_text(encoding="utf-8")
        title = json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"][0].strip("# \n")
        assert f"<title>{title} - xalign</title>" in page
        assert f'href="../{notebook.name}"' in page and (site / "notebooks" / notebook.name).exists()
        assert "load_babel" in page
        first = (site / "index.html").read_text(encoding="utf-8")
        assert f'href="notebooks/{notebook.stem}/"' in first


def test_it_has_a_text_for_language_models(site):
    listed = (site / "llms.txt").read_text(encoding="utf-8")
    assert len(re.findall(r"^- \[", listed, re.MULTILINE)) > 20
    assert "measure(" in (site / "llms-full.txt").read_text(encoding="utf-8")
