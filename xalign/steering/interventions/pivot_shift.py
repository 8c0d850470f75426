"""`pivot_shift`: a language moved to where English is, for some blocks, and back (ShifCon, Lens)."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import boolean, known_options, whole_number
from xalign.errors import ArgumentError
from xalign.finding.activations import activations, check_texts
from xalign.finding.provenance import origin_of
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Pool, Site
from xalign.model.positions import Positions
from xalign.model.write import Edit
from xalign.pairs.languages import match_language
from xalign.steering.intervention import Intervention
from xalign.steering.interventions.language_subspace import language_subspace
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

    At the input of block `to`, h becomes h + s · (m_pivot − m_language), and at the input of block `back` it
    becomes h + s · (m_language − m_pivot), where the means m are taken at that place in the unedited model,
    and s is the strength. So the blocks between work on states that lie where the pivot's do.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        texts: Language -> sentences that means are taken of; of the two languages, and with `rank` of as many
            others as you have.
        language: The language of what the model is given.
        pivot: The language to shift to.
        to: The block before which it is shifted.
        back: The block before which it is shifted back, up to the number of blocks, which is behind the last;
            None to leave it shifted.
        rank: Shift within the subspace of languages only, of this many directions (`language_subspace` of the
            means of all languages in `texts`). The whole difference of the means where None.
        normalised: Divide the vector of each sentence by its norm before the mean, as the published code of
            ShifCon does.
        pool: How tokens are pooled over a sentence.
        positions: At which tokens, as in `write`.
        **options: `pool_special_tokens`, `truncate`, `source_codes` and `token_budget` of `activations`.

    Returns:
        An intervention that `steer` takes. Its random control shifts by random vectors of the same lengths,
        with the same angle between them.

    Raises:
        ArgumentError: A language without texts, blocks that do not exist or are in the wrong order, or a rank
            that the number of languages does not allow.

    Reference:
        Zhang et al. (2025), ShifCon, arXiv 2410.19453, §3.2; of the subspace, Zhao et al. (2024), Lens,
        arXiv 2410.04407, §3.1.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> in_english = pivot_shift(model, tokenizer, texts, "deu_Latn", to=1, back=3)
        >>> with steer(model, in_english) as done:
        ...     _ = model(**batch)
        >>> done.tokens
        10
    """
    check_texts(texts, least=2)
    known_options("pivot_shift", options, _READING)
    known, towards = two_languages(texts, language, pivot)
    sites = _sites(to, back, map_model(model).n_layers)
    read = {known: texts[known], towards: texts[towards]} if rank is None else dict(texts)
    shifts = {}
    for found in activations(model, tokenizer, read, sites, pool=pool, **options):
        values = found.values / found.values.norm(dim=1, keepdim=True) if normalised else found.values
        states = {label: values[found.of(number)] for number, label in enumerate(read)}
        shifts[found.site] = -_difference(states, known, towards, rank)
    shifts |= {site: -shifts[site] for site in sites[1:]}
    settings = {"to": to, "back": back, "rank": rank, "normalised": boolean("normalised", normalised)}
    origin = origin_of(model, read, "pivot_shift", settings | {"pool": pool} | options)
    return _intervention(f"pivot_shift {known} to {towards}", shifts, positions, origin)


_READING = ("pool_special_tokens", "truncate", "source_codes", "token_budget", "site_bytes")


def two_languages(texts: Mapping[str, Sequence[str]], language: str, pivot: str) -> tuple[str, str]:
    """Return the labels of the texts that two languages mean.

    Raises:
        ArgumentError: One that is not there, or the same twice.
    """
    found = []
    for name, code in (("language", language), ("pivot", pivot)):
        known = match_language(code, texts) if isinstance(code, str) else None
        if known is None:
            raise ArgumentError(f"{name}={code!r:.60} is not in texts, which has {', '.join(texts)}")
        found.append(known)
    if found[0] == found[1]:
        raise ArgumentError(f"language and pivot are both {language!r}; name two languages")
    return found[0], found[1]


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
