"""`incline`: states of a language mapped to those of English by least squares, at the end of the prompt."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import boolean, function_of
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.activations import Sites, activations, check_texts, site_names
from xalign.finding.provenance import origin_of
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.model.positions import Positions
from xalign.model.user_function import errors_of
from xalign.model.write import Edit
from xalign.steering.intervention import Intervention
from xalign.steering.interventions.least_squares import least_squares_map
from xalign.steering.interventions.reading import check_reading, two_languages
from xalign.steering.interventions.rows import rows_edit
from xalign.steering.interventions.same_size import generator_of, rotation
from xalign.steering.interventions.token_states import Prompt, token_states
from xalign.units.compatibility import check_compatible

MapFn = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Direction:
    """A way to use a map W: values become h + strength · h D.

    Attributes:
        name: What users type.
        of_map: From W [unit, unit] to D [unit, unit].
    """

    name: str
    of_map: MapFn


DIRECTIONS: dict[str, Direction] = {
    one.name: one
    for one in (
        Direction("add", lambda fitted: fitted),
        Direction("interpolate", lambda fitted: fitted - torch.eye(len(fitted), dtype=fitted.dtype)),
    )
}


@dataclass(frozen=True, slots=True)
class Incline(Intervention):
    """The intervention that `incline` fits, with its maps.

    Attributes:
        maps: Site -> the least-squares map W [unit, unit], fitted in float64 and kept in float32.
        directions: Site -> D of h + strength · h D.
    """

    maps: Mapping[Site, Tensor] = field(default_factory=dict)
    directions: Mapping[Site, Tensor] = field(default_factory=dict)

    def two_pass(
        self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[Prompt]
    ) -> Intervention:
        """Return the published form for some prompts, in which no block sees the edits of others.

        The prompts are run without an edit first. At the last token of each, the values h of all sites become
        h + strength · h D, and these values are put in their place when the prompts are run again. So a later
        block does not see what the edits before it did to its own output.

        Args:
            model: The model; it is only read.
            tokenizer: Its tokenizer.
            prompts: The prompts, in the order in which they are in the batch that is steered; a single prompt
                is used for every row of a batch.

        Returns:
            An intervention for forwards of these prompts.

        Raises:
            UnitsError: Maps that were fitted on a model of another shape.
        """
        check_compatible(self.provenance, map_model(model))
        clean = token_states(model, tokenizer, prompts, self.maps)
        return _two_pass(f"{self.name} in two passes", clean, self.directions, self.provenance)


def incline(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[str, Sequence[str]],
    language: str,
    pivot: str = "eng_Latn",
    *,
    sites: Sites = "mlp_out",
    mode: str | Direction | MapFn = "add",
    ridge: float | None = None,
    concatenated: bool = False,
    positions: Positions = "last_prompt",
    **options: Any,
) -> Incline:
    """Map the states of a language towards those of English, by a matrix that least squares fits.

    At each site, W maps the mean state of each sentence to that of its translation, without an intercept.
    At strength s, the values h at the last token of the prompt become h + s · h W (`"add"`) or h + s · (h W −
    h) (`"interpolate"`). Each block sees the edits before it; in the published form, `two_pass`, it does not.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Language -> sentences, line by line translations of one another.
        language: The language to map.
        pivot: The language to map it to.
        sites: Where: what feed-forward networks add by default; `"hidden"` maps the residual stream.
        mode: One of the names above, a `Direction`, or a function from W to D of h + s · h D.
        ridge: As in `least_squares_map`; with None, there must be as many sentences as coordinates.
        concatenated: Put the translation after every second sentence, as the published code does.
        positions: At which tokens, as in `write`.
        **options: Those of `activations` that are for reading, such as `token_budget`.

    Returns:
        An intervention. Its control moves every state as far, in directions that a random rotation gives.

    Raises:
        ArgumentError: A language without texts, sides that differ in length, or too few sentences.

    Reference:
        Wang et al. (2025), INCLINE, arXiv 2410.12462, §3.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> to_english = incline(model, tokenizer, texts, "deu_Latn", ridge=1.0)
        >>> with steer(model, to_english, strength=0.3):
        ...     _ = model(**batch)
    """
    check_reading("incline", options)
    direction, sides = _resolved(mode), _sides(texts, language, pivot)
    if boolean("concatenated", concatenated):
        sides = _with_translations(sides)
    maps, directions = {}, {}
    for found in activations(model, tokenizer, sides, sites, pool="mean", **options):
        source, target = (found.values[found.of(number)] for number in (0, 1))
        fitted = least_squares_map(source, target, ridge, name=f"site {found.site}")
        maps[found.site], directions[found.site] = fitted.float(), _direction(direction, fitted).float()
    settings = {"sites": site_names(sites), "mode": direction.name, "ridge": ridge}
    origin = origin_of(model, sides, "incline", settings | {"concatenated": concatenated} | options)
    return _one_pass(f"incline {' to '.join(sides)}", maps, directions, positions, origin)


def _resolved(mode: str | Direction | MapFn) -> Direction:
    if isinstance(mode, Direction):
        return mode
    if isinstance(mode, str) and mode in DIRECTIONS:
        return DIRECTIONS[mode]
    if callable(mode):
        function_of("mode", mode, "fitted")
        return Direction(getattr(mode, "__name__", type(mode).__name__), mode)
    raise ArgumentError(
        f"mode={mode!r:.60} must be one of {', '.join(DIRECTIONS)}, a Direction, or a function from a map to "
        "a map"
    )


def _direction(direction: Direction, fitted: Tensor) -> Tensor:
    with errors_of(f"mode {direction.name!r}"):
        found = direction.of_map(fitted)
    if not isinstance(found, Tensor) or found.shape != fitted.shape:
        raise ArgumentTypeError(
            f"mode {direction.name!r} must return a tensor {list(fitted.shape)}, not {found!r:.60}"
        )
    return found


def _sides(texts: Mapping[str, Sequence[str]], language: str, pivot: str) -> dict[str, Sequence[str]]:
    """Return the two languages' sentences, the language first."""
    check_texts(texts, least=2)
    sides = {code: texts[code] for code in two_languages(texts, language, pivot)}
    source, target = map(len, sides.values())
    if source != target:
        raise ArgumentError(
            f"texts has {source} sentences of {language} and {target} of {pivot}; give translations, line by "
            "line"
        )
    return sides


def _with_translations(sides: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return the sides with the translation behind every second sentence."""
    (code, source), (pivot, target) = sides.items()
    both = list(enumerate(zip(source, target, strict=True)))
    return {
        code: [f"{one} {other}" if row % 2 else one for row, (one, other) in both],
        pivot: [f"{other} {other}" if row % 2 else other for row, (_, other) in both],
    }


def _one_pass(
    name: str,
    maps: Mapping[Site, Tensor],
    directions: Mapping[Site, Tensor],
    positions: Positions,
    origin: Mapping[str, Any],
) -> Incline:
    def make(strength: float) -> dict[Site, Edit]:
        return {
            site: Edit("transform", (torch.eye(len(one)) + strength * one, None))
            for site, one in directions.items()
        }

    def control(seed: int) -> Intervention:
        drawn = _rotated(directions, seed, name)
        return _one_pass(f"{name} random {seed}", {}, drawn, positions, {**origin, "method": "random"})

    return Incline(name, make, positions, origin, control, maps, directions)


def _two_pass(
    name: str, clean: Mapping[Site, Tensor], directions: Mapping[Site, Tensor], origin: Mapping[str, Any]
) -> Intervention:
    moves = {site: values @ directions[site] for site, values in clean.items()}

    def make(strength: float) -> dict[Site, Edit]:
        return {site: rows_edit(values + strength * moves[site]) for site, values in clean.items()}

    def control(seed: int) -> Intervention:
        drawn = _rotated(directions, seed, name)
        return _two_pass(f"{name} random {seed}", clean, drawn, {**origin, "method": "random"})

    return Intervention(name, make, "last_prompt", origin, control)


def _rotated(directions: Mapping[Site, Tensor], seed: int, name: str) -> dict[Site, Tensor]:
    """Return maps under which every vector moves by as much, in random directions.

    All sites of a width have the same rotation: to draw one takes as long as to fit a map.
    """
    turns = {
        width: rotation(width, generator_of(seed, name, width)).float()
        for width in {len(one) for one in directions.values()}
    }
    return {site: one @ turns[len(one)] for site, one in directions.items()}
