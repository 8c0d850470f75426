"""`xalign steer MODEL`."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xalign.cli.options import Device, Dtype, DtypeName, Revision, TrustRemoteCode

if TYPE_CHECKING:
    from xalign.judging.sample import Sampled
    from xalign.units.unit_set import UnitSet


def steer(
    model: Annotated[str, typer.Argument(help="Hub id or folder of a causal language model.")],
    units: Annotated[str, typer.Option(help="Folder or Hub id of units, as `xalign experts` saves them.")],
    language: Annotated[str, typer.Option(help="The language whose units are changed, like deu_Latn.")],
    prompt: Annotated[str, typer.Option(help="The text to continue; nothing where empty.")] = "",
    operator: Annotated[str, typer.Option(help="{operators}.")] = "set",
    strength: Annotated[
        float, typer.Option(help="Times the values that the units take in their language.")
    ] = 4.0,
    positions: Annotated[str, typer.Option(help="prompt, all, generated or last_prompt.")] = "prompt",
    n: Annotated[int, typer.Option(help="Number of continuations.")] = 3,
    max_new_tokens: Annotated[int, typer.Option(help="The longest continuation.")] = 32,
    temperature: Annotated[
        float, typer.Option(help="Temperature of sampling; 0 takes the likeliest token.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Same seed, same continuations.")] = 0,
    revision: Revision = None,
    dtype: Dtype = DtypeName.auto,
    device: Device = "auto",
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Let a model continue a prompt with a language's units changed and without, side by side.

    Example: `xalign steer Qwen/Qwen3-0.6B --units units --language deu --prompt "The weather" --strength 2`
    """
    from xalign.cli.loading import load_model
    from xalign.errors import ArgumentError
    from xalign.judging.sample import sample
    from xalign.model.operators import OPERATORS
    from xalign.model.positions import WHERE
    from xalign.steering.steer import steer as steering

    if positions not in WHERE:
        raise ArgumentError(f"positions={positions!r} must be one of {', '.join(WHERE)}")
    own, generation = _units_of(units, language), _generation(temperature, max_new_tokens)
    loaded, tokenizer = load_model(
        model,
        revision=revision,
        dtype=dtype.value,  # type: ignore[arg-type]
        device=device,
        trust_remote_code=trust_remote_code,
        progress=sys.stderr.isatty(),
    )
    without = sample(loaded, tokenizer, n, prompt=prompt, seed=seed, generation=generation)
    with steering(
        loaded,
        own,
        operator=operator,
        strength=strength,
        positions=positions,
    ) as done:
        steered = sample(loaded, tokenizer, n, prompt=prompt, seed=seed, generation=generation)
    console = Console()
    if prompt:
        console.print(f"… after {prompt!r}\n", markup=False, highlight=False)
    has_strength = OPERATORS[operator].operand.is_needed
    how = f"{operator} × {strength:g}" if has_strength else operator
    console.print(_table(f"{own.labels[0]}, {how}, {positions}", without, steered))
    console.print(f"{len(own)} units, changed at {done.tokens} tokens in {done.forwards} forwards")


def _units_of(source: str, language: str) -> "UnitSet":
    """Return the units of a language in a folder or repository."""
    from xalign.errors import ArgumentError
    from xalign.pairs.languages import normalize_language
    from xalign.units.unit_set import UnitSet

    found = UnitSet.from_pretrained(source)
    code = language if language in found.labels else normalize_language(language)
    if code not in found.labels:
        raise ArgumentError(f"language={language!r} has no units; there is {', '.join(found.labels)}")
    return found[code]


def _generation(temperature: float, max_new_tokens: int) -> dict[str, Any]:
    """Return the arguments of `generate`."""
    from xalign.checks import positive, whole_number

    temperature = positive("temperature", temperature, zero=True)
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
