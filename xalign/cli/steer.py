"""`xalign steer MODEL`."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from xalign.cli.options import (
    Device,
    Dtype,
    DtypeName,
    Json,
    Pairs,
    Revision,
    TrustRemoteCode,
    seed_up_to,
)
from xalign.cli.output import Output

if TYPE_CHECKING:
    from xalign.judging.calibration import Calibration
    from xalign.judging.sample import Sampled
    from xalign.units.unit_set import UnitSet

_STRENGTH, _SAMPLES = 4.0, 30
_STRENGTH_HELP = f"Times the units' values, {_STRENGTH:g} by default; of dampen 1, at most 1."
_POSITIONS_HELP = "prompt, all, generated, last_prompt, or numbers of the prompt's tokens like 0,-1."
_COLDEST = 1e-6  # logits divided by less are no longer finite


def steer(
    model: Annotated[str, typer.Argument(help="Hub id or folder of a causal language model.")],
    units: Annotated[str, typer.Option(help="Folder or Hub id of units, as `xalign experts` saves them.")],
    language: Annotated[str, typer.Option(help="The language whose units are changed, like deu_Latn.")],
    prompt: Annotated[str, typer.Option(help="The text to continue; nothing where empty.")] = "",
    operator: Annotated[str, typer.Option(help="{operators}.")] = "set",
    strength: Annotated[float | None, typer.Option(help=_STRENGTH_HELP)] = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Try strengths, and take the one with most output in the language."),
    ] = False,
    pairs: Pairs = "bundled",
    positions: Annotated[str, typer.Option(help=_POSITIONS_HELP)] = "prompt",
    n: Annotated[int, typer.Option(help="Number of continuations.")] = 3,
    max_new_tokens: Annotated[int, typer.Option(help="The longest continuation.")] = 32,
    temperature: Annotated[
        float, typer.Option(help="Temperature of sampling; 0 takes the likeliest token.")
    ] = 1.0,
    seed: Annotated[
        int, typer.Option(callback=seed_up_to(2**63 - 1), help="The same seed gives the same continuations.")
    ] = 0,
    revision: Revision = None,
    dtype: Dtype = DtypeName.auto,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
    json: Json = False,
) -> None:
    """Let a model continue a prompt with a language's units changed and without, side by side.

    With --calibrate it first samples at several strengths, and takes the one at which the most text is in the
    language while the text stays sound; --pairs is natural text to compare with. With --json, prints both
    lists of texts and what was changed.

    Example: `xalign steer Qwen/Qwen3-0.6B --units units --language deu --prompt "The weather" --calibrate`
    """
    from xalign.cli.loading import check_text, load_model

    check_text("prompt", prompt)
    where = _positions(positions)
    _check(operator, strength, where, calibrate=calibrate)
    own, generation = _units_of(units, language), _generation(temperature, max_new_tokens, n)
    loaded = load_model(
        model,
        revision=revision,
        dtype=dtype.value,  # type: ignore[arg-type]
        device=device,
        trust_remote_code=trust_remote_code,
        progress=sys.stderr.isatty(),
    )
    output = Output(json)
    how: dict[str, Any] = {"operator": operator, "positions": where}
    how["strength"] = _default_strength(operator) if strength is None else strength
    if calibrate:
        how |= _calibrated(output, loaded, own, pairs, how, prompt=prompt, generation=generation)
    options = {"prompt": prompt, "seed": seed, "generation": generation}
    _side_by_side(output, loaded, own, how, n, is_calibrated=calibrate, **options)


def _positions(text: str) -> str | list[int]:
    """Return positions as a name, or as numbers where they are written as such."""
    try:
        return [int(one) for one in text.split(",")]
    except ValueError:
        return text


def _check(operator: str, strength: float | None, positions: str | list[int], *, calibrate: bool) -> None:
    """Refuse what cannot be steered with, before anything is loaded."""
    from xalign.errors import ArgumentError
    from xalign.model.operators import OPERATORS, resolve_operator
    from xalign.model.positions import WHERE, check_positions

    if isinstance(positions, str) and positions not in WHERE:
        raise ArgumentError(
            f"positions={positions!r} must be one of {', '.join(WHERE)}, or numbers like 0,-1"
        )
    check_positions(positions)
    known = {name: one for name, one in OPERATORS.items() if one.of_units is not None}
    needs_strength = resolve_operator(operator, known).operand.is_needed
    if strength is not None and calibrate:
        raise ArgumentError(f"strength={strength:g}: --calibrate finds the strength, so leave one of the two")
    if not needs_strength and (calibrate or strength is not None):
        raise ArgumentError(f"operator={operator!r} has no strength: leave --strength and --calibrate away")


def _default_strength(operator: str) -> float:
    """Return the strength where none is given: factors are taken as they are."""
    from xalign.model.operators import OPERATORS

    return 1.0 if OPERATORS[operator].takes_factors else _STRENGTH


def _side_by_side(
    output: Output,
    loaded: Any,
    own: "UnitSet",
    how: dict[str, Any],
    n: int,
    *,
    is_calibrated: bool,
    **options: Any,
) -> None:
    """Continue the prompt without steering and with it, and show both."""
    from xalign.errors import ModelError
    from xalign.judging.sample import sample
    from xalign.model.operators import OPERATORS
    from xalign.steering.steer import steer as steering

    model, tokenizer = loaded
    without = sample(model, tokenizer, n, **options)
    try:
        with steering(model, own, **how) as done:
            steered = sample(model, tokenizer, n, **options)
    except RuntimeError as error:
        if "probability tensor" not in str(error):
            raise
        raise ModelError(
            f"strength={how['strength']:g} makes probabilities that are not finite; take a smaller one"
        ) from None
    if options["prompt"]:
        output.say(f"… after {options['prompt']!r}\n")
    has_strength = OPERATORS[how["operator"]].operand.is_needed
    shown = f"{how['operator']} × {how['strength']:g}" if has_strength else how["operator"]
    changed = sum(one != other for one, other in zip(without.ids, steered.ids, strict=True))
    counts = {"units": len(own), "tokens": done.tokens, "forwards": done.forwards, "changed": changed}
    content = {"language": own.labels[0], **how, "without": without.texts, "steered": steered.texts, **counts}
    output.show(_table(f"{own.labels[0]}, {shown}, {how['positions']}", without, steered), content)
    output.say(f"{len(own)} units, written at {done.tokens} tokens in {done.forwards} forwards")
    if not changed:
        advice = "other units or --positions all"
        if has_strength and not is_calibrated:
            stronger = "a greater" if how["strength"] else "another"
            advice = f"{stronger} --strength, --positions all, or --calibrate"
        output.say(f"The units were written, but every continuation is the same without it. Try {advice}.")


def _calibrated(
    output: Output, loaded: Any, own: "UnitSet", pairs: str, how: dict[str, Any], **options: Any
) -> dict[str, Any]:
    """Try strengths, show what came of each, and return the arguments of the best."""
    from xalign.cli.loading import load_text
    from xalign.errors import ArgumentError
    from xalign.judging.calibrate import calibrate
    from xalign.judging.identify import LanguageIdentifier

    texts, label = load_text(pairs, None, "eng_Latn", None).texts, own.labels[0]
    if label not in texts:
        raise ArgumentError(f"pairs={pairs!r} holds no {label} to compare with: give --pairs that do")
    found: Calibration = calibrate(
        *(*loaded, own, texts),
        operator=how["operator"],
        positions=[how["positions"]],
        samples=_SAMPLES,
        identify=LanguageIdentifier(texts),
        **options,
    )
    for row in found.to_rows():
        harder = "harder" if row["rise"] > 0 else "easier"
        output.say(
            f"strength {row['strength']:g}: {row['share']:.0%} in {label} ({row['before']:.0%} without); "
            f"the unsteered model finds this text {abs(row['rise']):.2f} nats per token {harder} than "
            "natural text"
        )
    return found(label)


def _units_of(source: str, language: str) -> "UnitSet":
    """Return the units of a language in a folder or repository."""
    from xalign.cli.loading import check_source
    from xalign.errors import ArgumentError
    from xalign.pairs.languages import match_language
    from xalign.units.unit_set import UnitSet

    check_source("units", source)
    found = UnitSet.from_pretrained(source)
    code = match_language(language, found.labels)
    if code is None:
        raise ArgumentError(f"language={language!r} has no units; there is {', '.join(found.labels)}")
    return found[code]


def _generation(temperature: float, max_new_tokens: int, n: int) -> dict[str, Any]:
    """Return the arguments of `generate`; check all numbers before a model is loaded."""
    from xalign.checks import positive, whole_number
    from xalign.errors import ArgumentError

    whole_number("n", n, least=1)
    temperature = positive("temperature", temperature, zero=True)
    if 0 < temperature < _COLDEST:
        raise ArgumentError(
            f"temperature={temperature:g} must be 0, for the likeliest token, or {_COLDEST:g} on"
        )
    sampling = {"temperature": temperature} if temperature else {"do_sample": False}
    return {"max_new_tokens": whole_number("max_new_tokens", max_new_tokens, least=1), **sampling}


def _table(how: str, without: "Sampled", steered: "Sampled") -> Table:
    """Return the continuations side by side."""
    from xalign.escape import cell

    table = Table("without", box=None, show_lines=True)
    table.add_column(cell(how))
    for one, other in zip(without.texts, steered.texts, strict=True):
        table.add_row(Text(one.strip()), Text(other.strip()))
    return table
