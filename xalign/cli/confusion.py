"""`xalign confusion MODEL --prompts FILE`, or `xalign confusion --completions FILE`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xalign.cli.options import Device, Dtype, DtypeName, Json, Revision, TrustRemoteCode, listed, path
from xalign.cli.output import Output

if TYPE_CHECKING:
    from xalign.confusion import Confusion, Prompt, Trial
    from xalign.judging.langid import ManyLanguages

_AMONG_HELP = "Languages to choose from, like de,en,fr; fewer are told apart better. All by default."
_EDIT_HELP = "Folder or Hub id of units, or of a vector per language (repeat it): answer with these too."
_POSITIONS_HELP = "Which tokens are changed: answer, prompt, all, generated or last_prompt; all by default."
_OPERATOR_HELP = "{operators}; by default zero for units, and add for a vector."
_REFERENCE_HELP = (
    "A model of the same shape, such as the one before a LoRA: its neurons replace those of --edit."
)


def confusion(
    model: Annotated[
        str | None, typer.Argument(help="Hub id or folder of a causal language model.", show_default=False)
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(parser=path, help="JSONL with prompt, language and perhaps source.")
    ] = None,
    completions: Annotated[
        Path | None, typer.Option(parser=path, help="JSONL of answers there are: answer, language, source.")
    ] = None,
    edit: Annotated[list[str] | None, typer.Option(help=_EDIT_HELP)] = None,
    operator: Annotated[str | None, typer.Option(help=_OPERATOR_HELP)] = None,
    strength: Annotated[float | None, typer.Option(help="The strength of the edit.")] = None,
    positions: Annotated[str | None, typer.Option(help=_POSITIONS_HELP)] = None,
    reference: Annotated[str | None, typer.Option(help=_REFERENCE_HELP)] = None,
    among: Annotated[str | None, typer.Option(help=_AMONG_HELP)] = None,
    words: Annotated[
        Path | None, typer.Option(parser=path, help="English words, one a line, for the word pass rate.")
    ] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Put prompts into the chat template.")] = False,
    max_new_tokens: Annotated[int, typer.Option(help="The longest answer.")] = 100,
    least: Annotated[int, typer.Option(help="The fewest tokens of a line that is judged.")] = 5,
    batch_size: Annotated[int, typer.Option(help="The most prompts answered at once.")] = 32,
    page: Annotated[
        Path | None, typer.Option(parser=path, help="Write a page with every answer, as .html.")
    ] = None,
    revision: Revision = None,
    dtype: Dtype = DtypeName.auto,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    json: Json = False,
) -> None:
    """Count the answers that are in the wrong language, and show where they slip and what an edit changes.

    Answers are greedy. Rates are those of the Language Confusion Benchmark. With --json, prints the rates as
    a list of objects; with an edit, its changes.

    Example: `xalign confusion my-lora --prompts prompts.jsonl --edit neurons --page confusion.html`
    """
    of_edit = {"operator": operator, "strength": strength, "positions": positions, "reference": reference}
    _check(model, prompts, completions, edit, page, of_edit)
    options: dict[str, Any] = {"words": _words(words), "least": least}
    if prompts is None or model is None:
        _judge_file(Output(json), completions or Path(), among, options, page)
        return
    options |= {"chat": chat, "max_new_tokens": max_new_tokens, "batch_size": batch_size}
    loading: dict[str, Any] = {"dtype": dtype.value, "device": device}
    loading |= {"trust_remote_code": trust_remote_code, "progress": sys.stderr.isatty()}
    own = loading | {"revision": revision}
    _ask(Output(json), model, prompts, among, options, page, (own, loading), (edit or [], of_edit))


def _judge_file(
    output: Output, completions: Path, among: str | None, options: dict[str, Any], page: Path | None
) -> None:
    """Judge the answers of a file."""
    from xalign.confusion import language_confusion, read_answers
    from xalign.judging.langid import ManyLanguages

    answers = read_answers(completions)
    identify = ManyLanguages(None if among is None else listed(among))
    _show(output, language_confusion(answers, identify, **options), page, completions.name)


def _ask(
    output: Output,
    model: str,
    prompts: Path,
    among: str | None,
    options: dict[str, Any],
    page: Path | None,
    loading: tuple[dict[str, Any], dict[str, Any]],
    edit: tuple[list[str], dict[str, Any]],
) -> None:
    """Let a model answer the prompts of a file, with an edit and without."""
    from xalign.cli.confusion_edit import loaded_edit
    from xalign.cli.loading import load_model
    from xalign.confusion import TrialOptions, read_prompts, try_answers
    from xalign.judging.langid import ManyLanguages

    asked = read_prompts(prompts)
    identify = ManyLanguages(None if among is None else listed(among))
    how = TrialOptions(identify, _of_tokens(asked, identify), **options)
    how.check(asked)
    loaded, tokenizer = load_model(model, **loading[0])
    sources, of_edit = edit
    if of_edit["reference"] is not None:
        of_edit = of_edit | {"reference": load_model(of_edit["reference"], **loading[1])[0]}
    change = loaded_edit(sources, loaded, **of_edit) if sources else None
    trial = try_answers(loaded, tokenizer, asked, how, change)
    _show(output, trial.before, page, Path(model).name if Path(model).is_dir() else model, trial)


def _check(
    model: str | None,
    prompts: Path | None,
    completions: Path | None,
    edit: list[str] | None,
    page: Path | None,
    of_edit: dict[str, Any],
) -> None:
    """Refuse options that do not go together, before anything is loaded."""
    from xalign.errors import ArgumentError
    from xalign.files import html_file

    if (prompts is None) == (completions is None):
        raise ArgumentError("give either prompts=, which a model answers, or completions=, which there are")
    if completions is not None and (model is not None or edit):
        raise ArgumentError("completions= are judged as they are: leave the model and edit= out")
    if prompts is not None and model is None:
        raise ArgumentError("prompts= need a model that answers them: name one")
    for name, value in of_edit.items():
        if value is not None and not edit:
            raise ArgumentError(f"{name}={value!r:.60} is for edit=; give one, or leave it out")
    if page is not None:
        html_file("page", page)


def _words(file: Path | None) -> frozenset[str] | None:
    """Return the English words of a file."""
    from xalign.confusion import english_words
    from xalign.errors import ArgumentError
    from xalign.files import read_regular

    if file is None:
        return None
    try:
        found = english_words(read_regular(file).decode("utf-8").splitlines())
    except (OSError, UnicodeError) as error:
        raise ArgumentError(f"words={str(file)!r} cannot be read: {error}") from None
    if not found:
        raise ArgumentError(f"words={str(file)!r} has no word in lower case of more than 3 characters")
    return found


def _of_tokens(prompts: "list[Prompt]", identify: "ManyLanguages") -> "ManyLanguages":
    """Return an identifier for single tokens: among the languages that are wanted, and English."""
    from xalign.judging.langid import ManyLanguages

    wanted = {one.language for one in prompts} & set(identify.labels)
    return ManyLanguages(sorted(wanted | {"eng_Latn"}), confidence=0)


def _show(
    output: Output, judged: "Confusion", page: Path | None, name: str, trial: "Trial | None" = None
) -> None:
    """Show the rates and what an edit changed, and write the page."""
    from xalign.confusion.shown import shown_answers, shown_rates
    from xalign.views.confusion_page import write_confusion_page

    comparison = None if trial is None else trial.comparison
    if trial is None or comparison is None:
        output.show(judged.table(), judged.to_rows())
    else:
        output.console.print(judged.table())
        output.show(trial.table(), comparison.to_rows())
    for note in judged.notes:
        output.say(note)
    if page is not None:
        rates, answers = shown_rates(judged, comparison), shown_answers(judged, trial)
        about = {"model" if trial else "answers": name} | ({} if trial is None else trial.about)
        title = f"Language confusion: {name}"
        output.say(f"wrote {write_confusion_page(page, title, rates, answers, about, judged.notes)}")
