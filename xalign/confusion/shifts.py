"""`answer_shifts`: by how much a model's states differ from another's where prompts are answered."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import whole_number
from xalign.confusion.answers import Prompt, checked_prompts, greedy, shown
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.activations import Sites, site_names, sites_of
from xalign.finding.provenance import origin_of
from xalign.judging.sample import Sampled, continue_each
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Site
from xalign.steering.interventions.token_states import token_states
from xalign.units.compatibility import shape_of
from xalign.units.language_vector import LanguageVector


def answer_shifts(
    model: nn.Module,
    reference: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    sites: Sites = "hidden",
    *,
    tokens: int = 16,
    stop: Sequence[int] = (),
    chat: bool = False,
    batch_size: int = 32,
    token_budget: int = 8192,
) -> dict[str, LanguageVector]:
    """Return per language the mean state of a reference minus that of a model, where prompts are answered.

    The reference, such as the model before fine-tuning, answers greedily, and both models read these answers.
    States are taken where the next token is chosen. Adding the vector there takes away what fine-tuning added
    on average. Use one site with `steer`: vectors of several sites would undo the same shift again.

    Args:
        model: The model whose answers are in the wrong language; it is only read.
        reference: One of the same shape whose answers are in the right one.
        tokenizer: The tokenizer of both.
        prompts: Prompts; those of each language give a vector.
        sites: Where, as in `mean_difference`.
        tokens: How many tokens of an answer are looked at; 1 reads the prompt alone.
        stop: Ids of tokens that end an answer, besides the reference's own.
        chat: As in `answer_prompts`.
        batch_size: The most prompts that are answered at once.
        token_budget: The most tokens in one forward pass.

    Returns:
        Language -> vector, to be added to the model from the last token of the prompt on.

    Raises:
        ArgumentError: No prompt, or a reference of another shape.

    Example:
        >>> answer_shifts(model, model, tokenizer, [Prompt("Gute Nacht", "de")], "1.hidden", tokens=2)
        {'deu_Latn': LanguageVector(deu_Latn at 1.hidden)}
    """
    prompts, tokens = checked_prompts(prompts), whole_number("tokens", tokens, least=1)
    _check_reference(model, reference)
    places = sites_of(model, map_model(model), sites)
    texts = shown(tokenizer, prompts, chat=chat)
    generation = greedy(reference, tokens, stop)
    found = continue_each(reference, tokenizer, texts, generation=generation, batch_size=batch_size)
    settings = {"sites": site_names(sites), "tokens": tokens, "reference": map_model(reference).name}
    vectors = {}
    for code in dict.fromkeys(one.language for one in prompts):
        rows = [row for row, one in enumerate(prompts) if one.language == code]
        parts = [part for row in rows for part in _parts(found[row])]
        without, with_it = (
            _means(token_states(one, tokenizer, parts, places, token_budget=token_budget))
            for one in (reference, model)
        )
        shifts = {site: (without[site] - with_it[site]).float() for site in places}
        origin = origin_of(model, {code: [texts[row] for row in rows]}, "answer_shifts", settings)
        vectors[code] = LanguageVector(code, shifts, origin, pool="last")
    return vectors


def _check_reference(model: nn.Module, reference: object) -> None:
    if not isinstance(reference, nn.Module):
        raise ArgumentTypeError(f"reference must be a model, not {type(reference).__name__}")
    ours, theirs = shape_of(map_model(model)), shape_of(map_model(reference))
    if ours != theirs:
        raise ArgumentError(f"reference must have the shape of the model: {theirs} there, {ours} here")


def _parts(answer: Sampled) -> list[list[int]]:
    """Return the token ids up to each place where a token of an answer is chosen; at least the prompt."""
    ids = answer.ids[0]
    return [ids[:end] for end in range(answer.prompt, max(answer.prompt + 1, len(ids)))]


def _means(states: dict[Site, Float[Tensor, "prompt width"]]) -> dict[Site, Float[Tensor, " width"]]:
    return {site: values.double().mean(dim=0) for site, values in states.items()}
