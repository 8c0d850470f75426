"""docs/models.md, made from the rows of the sweep."""

from collections.abc import Sequence

import transformers

from tests.architectures.sweep import KINDS, Row
from tests.architectures.zoo_configs import NOT_BUILT
from tests.architectures.zoo_families import FAMILIES

HEAD = """# Models

What `map_model` finds in the classes of transformers {version} that read text or speech. Each class was built
tiny, with random weights, and mapped. It was given text alone: sounds only where it reads sounds, and an
image only where it does not run without one. A tick means that the kind has sites.

This page is made by `python -m tests.architectures.sweep --write`; a test compares the two.

| family | classes | all five kinds | neurons (`gate`, `inner`) | hidden states |
|---|---:|---:|---:|---:|
{sums}
"""
COLUMNS = f"| model type | class | {' | '.join(f'`{kind}`' for kind in KINDS)} | what is refused, and why |\n"


def page(rows: Sequence[Row]) -> str:
    """The whole page."""
    ran = [row for row in rows if not row.failed]
    sums = [_sum(family, [row for row in ran if row.family == family]) for family in FAMILIES]
    version = transformers.__version__.rsplit(".", 1)[0]
    parts = [HEAD.format(version=version, sums="\n".join([*sums, _sum("**all**", ran)]))]
    parts += [_section(family, [row for row in ran if row.family == family]) for family in FAMILIES]
    parts.append(experts_section(rows))
    parts.append(_not_run([row for row in rows if row.failed]))
    return "\n".join(parts)


def line(row: Row) -> str:
    """The line of one class."""
    ticks = " | ".join("✓" if kind in row.proved else "–" for kind in KINDS)
    return f"| {row.model_type} | {row.class_name} | {ticks} | {_cell(row.reason)} |"


def _sum(family: str, rows: Sequence[Row]) -> str:
    counts = [sum(set(kinds) <= set(row.proved) for row in rows) for kinds in (KINDS, KINDS[1:3], KINDS[:1])]
    return f"| {family} | {len(rows)} | {' | '.join(map(str, counts))} |"


def _section(family: str, rows: Sequence[Row]) -> str:
    full = sum(set(KINDS) <= set(row.proved) for row in rows)
    lines = "\n".join(line(row) for row in sorted(rows, key=lambda row: (row.model_type, row.class_name)))
    return (
        f"<details>\n<summary>{family[0].upper()}{family[1:]}: {full} of {len(rows)} in all five kinds"
        f"</summary>\n\n{COLUMNS}|---|---|{':-:|' * len(KINDS)}---|\n{lines}\n\n</details>\n"
    )


def experts_section(rows: Sequence[Row]) -> str:
    """Which mixtures of experts have sites of experts, each class once."""
    found = {row.class_name: row for row in reversed(rows) if not row.failed and row.experts is not None}
    lines = [
        f"| {name} | {'–' if row.experts else '✓'} | {_cell(row.experts or '')} |"
        for name, row in sorted(found.items())
    ]
    read = sum(row.experts == "" for row in found.values())
    return (
        "## Mixtures of experts\n\nThe sites `expert_gate`, `expert_inner` and `router`: "
        f"{read} of {len(found)} classes have them.\n\n"
        "<details>\n<summary>Class by class</summary>\n\n| class | experts | what is refused, and why |\n"
        "|---|:-:|---|\n" + "\n".join(lines) + "\n\n</details>\n"
    )


def _not_run(rows: Sequence[Row]) -> str:
    why = {(row.model_type, row.class_name): NOT_BUILT.get(row.model_type, row.failed) for row in rows}
    lines = [f"| {model_type} | {name} | {_cell(text)} |" for (model_type, name), text in why.items()]
    return "## Not tried\n\n| model type | class | why |\n|---|---|---|\n" + "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text for a cell of a table, on one line and not too long."""
    short = " ".join(text.split()).replace("|", "\\|")
    return short if len(short) <= 160 else short[:157].rstrip() + "…"
