"""A hint to install something installs this project, not the other one that has its name on the index."""

import re
import shlex
from pathlib import Path

import pytest

import xalign.extras as extras
from tests.tiny import ROOT

HINT = re.compile(r"pip install [^\n]*xalign")


@pytest.mark.parametrize(
    "where", [("xalign/**/*.py", "recipes/*.py"), ("README.md", "docs/*.md")], ids=["code", "pages"]
)
def test_no_hint_names_the_index(where):
    """All hints said `pip install 'xalign[…]'`, which is another project on the public index."""
    read = {path: path.read_text(encoding="utf-8") for pattern in where for path in ROOT.glob(pattern)}
    assert len(read) > 20
    assert [path.name for path, text in read.items() if HINT.search(text)] == []


def test_in_a_checkout():
    """Also where its folder has a blank in its name."""
    assert extras.install_command("train", "plot") == f"pip install -e {shlex.quote(f'{ROOT}[train,plot]')}"


def test_of_a_checkout_with_a_blank_in_its_name(tmp_path, monkeypatch):
    checkout = tmp_path / "my checkout"
    (checkout / "xalign").mkdir(parents=True)
    (checkout / "pyproject.toml").write_text("[project.scripts]\nxalign = 'xalign.cli:main'\n")
    monkeypatch.setattr(extras, "_PACKAGE", checkout / "xalign")
    command = shlex.split(extras.install_command("wandb"))
    assert command == ["pip", "install", "-e", f"{checkout}[wandb]"]


@pytest.mark.parametrize("name", ["xalign", "xalign-toolkit"])
def test_where_it_is_installed(tmp_path, monkeypatch, name):
    """The name is that of the distribution whose files these are, whatever it is called."""
    package = tmp_path / "site-packages" / "xalign"
    package.mkdir(parents=True)
    (package.parent / "pyproject.toml").write_text("[project]\nname = 'left by another package'\n")

    class Distribution:
        def __init__(self, name):
            self.root = package.parent if name in ("xalign-toolkit", "xalign") else Path("/elsewhere")

        def locate_file(self, path):
            return self.root / path

    monkeypatch.setattr(extras, "_PACKAGE", package)
    monkeypatch.setattr(extras, "packages_distributions", lambda: {"xalign": ["other", name]})
    monkeypatch.setattr(extras, "distribution", Distribution)
    assert extras.install_command("plot") == f"pip install '{name}[plot]'"
