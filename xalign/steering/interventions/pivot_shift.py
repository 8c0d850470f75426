"""`pivot_shift`: a language moved to where English is, for some blocks, and back (ShifCon, Lens)."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import boolean, whole_number
from xalign.errors import ArgumentError
from xalign.finding.activations import Activations, activations, check_texts
from xalign.finding.provenance import origin_of
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Pool, Site
from xalign.model.positions import Positions
from xalign.model.write import Edit
from xalign.steering.intervention import Intervention
from xalign.steering.interventions.language_subspace import language_subspace
from xalign.steering.interventions.reading import check_reading, two_languages
from xalign.steering.interventions.same_size import generator_of, turned


def pivot_shift(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    texts: Mapping[str, Sequence[str]],
    language: str,
    pivot: str = "eng_Latn",
    *,
    to: int,
    back: int | None,
    rank: int | None = None,
    normalised: bool = False,
    pool: Pool = "mean",
    positions: Positions = "all",
    **options: Any,
) -> Intervention:
    """Shift a language's states to the pivot's before one block, and back before a later one.

    At the input of block `to`, h becomes h + s · (m_pivot − m_language), and at the input of block `back`
    h + s · (m_language − m_pivot), with the strength s and the means m at that place in the unedited model.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Language -> sentences to take means of; with `rank` also of other languages.
        language: The language of what the model is given.
        pivot: The language to shift to.
        to: The block before which it is shifted.
        back: The block before which it is shifted back; the number of blocks means after the last.
        rank: Shift within the `language_subspace` of so many directions only, of all languages in `texts`.
        normalised: Divide each sentence's vector by its norm before the mean, as ShifCon's code does.
        pool: How tokens are pooled over a sentence.
        positions: At which tokens, as in `write`.
        **options: Those of `activations` that are for reading, such as `token_budget`.

    Returns:
        An intervention. Its control shifts by random vectors of the same lengths and angle.

    Raises:
        ArgumentError: A language without texts, blocks in the wrong order, or a rank that is too high.

    Reference:
        Zhang et al. (2025), ShifCon, §3.2; of the subspace, Zhao et al. (2024), Lens, §3.1.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> in_english = pivot_shift(model, tokenizer, texts, "deu_Latn", to=1, back=3)
        >>> with steer(model, in_english):
        ...     _ = model(**batch)
    """
    check_texts(texts, least=2)
    check_reading("pivot_shift", options)
    known, towards = two_languages(texts, language, pivot)
    sites, shifts = _sites(to, back, map_model(model).n_layers), {}
    read = {known: texts[known], towards: texts[towards]} if rank is None else dict(texts)
    settings = {"to": to, "back": back, "rank": rank, "normalised": boolean("normalised", normalised)}
    for found in activations(model, tokenizer, read, sites, pool=pool, **options):
        away = _difference(_states(found, list(read), normalised), known, towards, rank)
        shifts[found.site] = -away if found.site == sites[0] else away
    origin = origin_of(model, read, "pivot_shift", settings | {"pool": pool} | options)
    return _intervention(f"pivot_shift {known} to {towards}", shifts, positions, origin)


def input_of_block(block: int) -> Site:
    """Return the place of the states that go into a block."""
    return Site("hidden", block - 1) if block else Site("hidden", "embed")


def _sites(to: int, back: int | None, n_layers: int) -> list[Site]:
    """Return where to shift, and where to shift back."""
    to = whole_number("to", to)
    if to >= n_layers:
        raise ArgumentError(f"to={to} must be a block, from 0 to {n_layers - 1}")
    if back is None:
        return [input_of_block(to)]
    if not to < whole_number("back", back) <= n_layers:
        raise ArgumentError(
            f"back={back} must be above to={to}, and at most {n_layers}, behind the last block"
        )
    return [input_of_block(to), input_of_block(back)]


def _states(found: Activations, labels: Sequence[str], normalised: bool) -> dict[str, Tensor]:
    """Return the states of each language's sentences."""
    values = found.values / found.values.norm(dim=1, keepdim=True) if normalised else found.values
    return {label: values[found.of(number)] for number, label in enumerate(labels)}


def _difference(
    states: Mapping[str, Tensor], language: str, pivot: str, rank: int | None
) -> Float[Tensor, " width"]:
    """Return by how much a language's mean differs from the pivot's."""
    if rank is not None:
        return language_subspace(states, rank).direction(language, pivot).float()
    return (states[language].double().mean(dim=0) - states[pivot].double().mean(dim=0)).float()


def _intervention(
    name: str, shifts: Mapping[Site, Tensor], positions: Positions, origin: Mapping[str, Any]
) -> Intervention:
    def control(seed: int) -> Intervention:
        drawn = turned(list(shifts.values()), generator_of(seed, name))
        elsewhere = dict(zip(shifts, drawn, strict=True))
        return _intervention(f"{name} random {seed}", elsewhere, positions, {**origin, "method": "random"})

    def make(strength: float) -> dict[Site, Edit]:
        return {site: Edit("add", strength * shift) for site, shift in shifts.items()}

    return Intervention(name, make, positions, origin, control)
