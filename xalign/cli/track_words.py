"""`xalign track RUN --words FOLDER`: overlap of the units that carry an attribute of words."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from xalign.cli.options import listed, path
from xalign.cli.output import Output

SelectorName = StrEnum("SelectorName", ["gaussian", "greedy_probe"])
Words = Annotated[
    Path | None, typer.Option(parser=path, help="Folder of CoNLL-U files named after languages.")
]
Attribute = Annotated[
    str, typer.Option(help="With --words: upos, relation, or a feature of words, like Number.")
]
WordSite = Annotated[
    str | None, typer.Option(help="With --words: where states are read, like 3.hidden; the middle block.")
]
WordUnits = Annotated[int, typer.Option(help="With --words: how many units of each language.")]
SelectorOfUnits = Annotated[
    SelectorName,
    typer.Option(
        metavar="<str>", help="With --words: gaussian, fast, or greedy_probe, the paper's and slow."
    ),
]
_TAKEN = ("token_budget", "truncate")


def refuse_with_words(given: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse options that say nothing where words are probed.

    Raises:
        ArgumentError: Such an option was typed.
    """
    from xalign.errors import ArgumentError
    from xalign.measurement.options import ReadOptions
    from xalign.model.inputs import TextOptions

    default = {one.name: one.default for options in (TextOptions, ReadOptions) for one in fields(options)}
    typed = [name for name, value in given.items() if value is not None]
    typed += [name for name, value in asked.items() if name not in _TAKEN and value != default[name]]
    if typed:
        raise ArgumentError(
            f"{typed[0]} is not for words, whose states are read one by one: leave it out, or leave words out"
        )


def track_words(
    output: Output,
    find: Callable[[], Mapping[int, Any]],
    load: Callable[[Any], Any],
    folder: Path,
    words: Path,
    languages: str | None,
    attribute: str,
    site: str | None,
    units: int,
    selector: SelectorName,
) -> None:
    """Measure the overlap at every checkpoint that was not measured yet, and print a line for each."""
    from xalign.errors import ArgumentError
    from xalign.pairs.conllu import load_annotated
    from xalign.probing.labelled import labelled_texts
    from xalign.probing.track_overlaps import NAME, track_overlaps

    sentences = load_annotated(words, None if languages is None else listed(languages))
    texts = labelled_texts(sentences, attribute)
    found = find()
    where = site or _middle(load(found[min(found)])[0])
    options: dict[str, Any] = {"sites": where, "k": units, "selector": selector.value}
    history = track_overlaps(
        *(lambda: found, load, folder, texts),
        on_step=lambda step, times: output.say(f"step {step}: {times:.2f} times chance at {where}"),
        **options,
    )
    if not history.rows:
        raise ArgumentError("none of the checkpoints could be measured")
    output.show(history.table(), history.to_rows())
    output.say(f"{len(history.steps)} steps in {folder / NAME}")


def _middle(model: Any) -> str:
    """Return the site of the hidden state in the middle of a model."""
    from xalign.model.architectures.map import map_model

    return f"{(map_model(model).n_layers - 1) // 2}.hidden"
