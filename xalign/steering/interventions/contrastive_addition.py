"""`contrastive_addition`: the mean difference of two sides of a contrast, added after the prompt (CAA)."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.activations import Sites, site_names, sites_of
from xalign.finding.provenance import origin_of
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.model.positions import Positions
from xalign.model.tokens import Tokens
from xalign.model.write import Edit
from xalign.steering.intervention import Intervention
from xalign.steering.interventions.same_size import generator_of, turned
from xalign.steering.interventions.token_states import Prompt, Token, token_states


def contrastive_addition(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    positive: Sequence[Prompt],
    negative: Sequence[Prompt],
    sites: Sites,
    *,
    token: Token = -1,
    positions: Positions = "generated",
    label: str = "",
    token_budget: int = 8192,
) -> Intervention:
    """Add the mean difference of two sides of a contrast, read at one token, at the tokens after the prompt.

    The vector of a site is the mean over the pairs of the difference of both states. At strength s, which may
    be negative, the site's values become h + s · vector.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        positive: Prompts of the side to move to, as texts or token ids; for a language, its sentences.
        negative: As many prompts of the other side, pair by pair; for a language, their translations.
        sites: Where, as in `mean_difference`; the paper uses one middle block, `"13.hidden"`.
        token: Which token is read, as `Token` says: its position, its text, or a function from token ids to a
            position. The paper reads the letter of the answer, the token before the last, `-2`.
        positions: At which tokens it is added: the `"generated"` ones, `from_last_prompt`, or as in `write`.
        label: What it stands for; controls of different labels point in different directions.
        token_budget: The most tokens in one forward pass, padding included.

    Returns:
        An intervention. Its control adds random vectors of the same lengths and angles.

    Raises:
        ArgumentError: Sides of different lengths, a prompt without that token, or sites that do not exist.

    Reference:
        Rimsky et al. (2024), Steering Llama 2 via Contrastive Activation Addition, §3.

    Example:
        >>> german, english = ["Es regnet.", "Gute Nacht."], ["It rains.", "Good night."]
        >>> towards = contrastive_addition(model, tokenizer, german, english, "1.hidden", positions="all")
        >>> with steer(model, towards, strength=2.0) as done:
        ...     _ = model(**batch)
        >>> done.tokens
        10
    """
    _check_sides(positive, negative)
    places = sites_of(model, map_model(model), sites)
    sides = [
        token_states(model, tokenizer, side, places, token, token_budget=token_budget)
        for side in (positive, negative)
    ]
    vectors = {site: contrast(sides[0][site], sides[1][site]) for site in places}
    settings = {"sites": site_names(sites), "token": token if isinstance(token, int | str) else repr(token)}
    texts = {"positive": [str(one) for one in positive], "negative": [str(one) for one in negative]}
    origin = origin_of(model, texts, "contrastive_addition", settings | {"label": label})
    return _intervention(f"contrastive_addition {label}".strip(), vectors, positions, origin)


def _check_sides(positive: Sequence[Prompt], negative: Sequence[Prompt]) -> None:
    for name, side in (("positive", positive), ("negative", negative)):
        if isinstance(side, str | bytes) or not isinstance(side, Sequence):
            raise ArgumentTypeError(f"{name}={side!r:.60} must be a list of texts or of token ids")
    if len(positive) != len(negative) or not positive:
        raise ArgumentError(
            f"positive has {len(positive)} prompts and negative {len(negative)}; give pairs, at least one"
        )


def contrast(
    positive: Float[Tensor, "pair width"], negative: Float[Tensor, "pair width"]
) -> Float[Tensor, " width"]:
    """Return the mean of the differences of two sides, computed in float64, in the dtype of the first.

    Example:
        >>> contrast(torch.tensor([[2.0, 1.0], [4.0, 1.0]]), torch.tensor([[1.0, 1.0], [1.0, 3.0]]))
        tensor([ 2., -1.])
    """
    return (positive.double() - negative.double()).mean(dim=0).to(positive.dtype)


def from_last_prompt(tokens: Tokens) -> Bool[Tensor, "batch token"]:
    """Return the last token of the prompt and all that are generated, for `positions=`.

    The first token that is generated is computed at the last token of the prompt, which `"generated"` leaves
    as it is.
    """
    last: Bool[Tensor, "batch token"] = tokens.last_prompt | ~tokens.prompt
    return last


def _intervention(
    name: str, vectors: Mapping[Site, Tensor], positions: Positions, origin: Mapping[str, Any]
) -> Intervention:
    def control(seed: int) -> Intervention:
        drawn: dict[Site, Tensor] = {}
        for width in {len(vector) for vector in vectors.values()}:
            alike = [site for site, vector in vectors.items() if len(vector) == width]
            found = turned([vectors[site] for site in alike], generator_of(seed, name, width))
            drawn |= dict(zip(alike, found, strict=True))
        return _intervention(f"{name} random {seed}", drawn, positions, {**origin, "method": "random"})

    def make(strength: float) -> dict[Site, Edit]:
        return {site: Edit("add", strength * vector) for site, vector in vectors.items()}

    return Intervention(name, make, positions, origin, control)
