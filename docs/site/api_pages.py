"""Add one page of API reference per room to the site, with an entry for each name in its `__all__`."""

import ast
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "xalign"


def public_names(package: Path) -> list[str]:
    """Return the `__all__` of a package, without importing it."""
    for statement in ast.parse((package / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            names: list[str] = ast.literal_eval(statement.value)
            return names
    return []


def rooms() -> dict[str, list[str]]:
    """Return dotted package -> public names, the top first."""
    packages = [PACKAGE, *sorted(file.parent for file in PACKAGE.glob("*/__init__.py"))]
    found = {".".join(one.relative_to(ROOT).parts): public_names(one) for one in packages}
    return {package: names for package, names in found.items() if names}


def page_of(package: str, names: list[str]) -> str:
    """Return the page of a room as Markdown."""
    return "\n\n".join([f"# {package}", *(f"::: {package}.{name}" for name in names)]) + "\n"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages last in the navigation."""
    entries: list[Any] = [{package: f"api/{package}.md"} for package in rooms()]
    assert config.nav is not None
    config.nav.append({"API": entries})
    return config


@event_priority(100)  # before llms.txt looks which pages there are
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to the site's files."""
    for package, names in rooms().items():
        files.append(File.generated(config, f"api/{package}.md", content=page_of(package, names)))
    return files
