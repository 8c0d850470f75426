"""In which language a model seems to think: what each layer would predict, by the language of its tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from xalign.checks import whole_number
from xalign.errors import ArgumentError
from xalign.escape import cell
from xalign.finding.provenance import origin_of
from xalign.model.architectures.layout_argument import takes_layout
from xalign.pairs.languages import language_name, match_language, normalize_languages
from xalign.probing.findings import Findings
from xalign.probing.lens import checked_causal, logit_lens, prompt_list
from xalign.probing.token_sets import TokenSets, token_sets
from xalign.schema import Fields
from xalign.statistics.intervals import share_interval

if TYPE_CHECKING:
    from rich.table import Table


class _Row(Fields):
    layer: str
    language: str
    share: float
    low: float
    high: float
    likeliest: float
    chance: float
    entropy: float


@dataclass(frozen=True)
class LatentLanguage(Findings):
    """What `latent_language` found: a row per layer and language, and for tokens of `several` and of `none`.

    Columns: `layer`, `embed` or the number of a block; `language`; `share`, the probability of the language's
    tokens, the mean over prompts, with its 95 % interval `low` to `high`; `likeliest`, the share of prompts
    whose likeliest token is one of them; `chance`, their share of the vocabulary; `entropy`, of the layer's
    whole prediction in bits, the mean over prompts.
    """

    kind: ClassVar[str] = "xalign.LatentLanguage"
    row: ClassVar[type[Fields]] = _Row
    shown: ClassVar[tuple[str, ...]] = (
        *("layer", "language", "share", "low", "high", "likeliest", "chance", "entropy"),
    )

    def table(self) -> "Table":
        """Return the shares as a table: a line per layer, a column per language, and the entropy."""
        from rich.table import Table

        languages = list(dict.fromkeys(row["language"] for row in self.rows))
        table = Table(box=None)
        for name in ("layer", *languages, "bits"):
            table.add_column(cell(name), justify="left" if name == "layer" else "right")
        for layer in dict.fromkeys(row["layer"] for row in self.rows):
            own = self.where(layer=layer)
            table.add_row(layer, *(f"{row['share']:.3f}" for row in own), f"{own[0]['entropy']:.2f}")
        return table

    def curve(self, language: str, column: str = "share") -> dict[str, float]:
        """Return layer -> a column of a language.

        Raises:
            ArgumentError: An unknown language.
        """
        known = list(dict.fromkeys(row["language"] for row in self.rows))
        code = language if language in known else match_language(language, known)
        if code is None:
            raise ArgumentError(f"language={language!r:.40} must be one of {', '.join(known)}")
        return {row["layer"]: row[column] for row in self.where(language=code)}


@takes_layout
def latent_language(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[str],
    tokens: TokenSets | Mapping[str, Sequence[str]],
    *,
    token_budget: int = 4096,
) -> LatentLanguage:
    """Measure, at every layer, the probability that falls on tokens of each language after some prompts.

    Args:
        model: A causal language model; it is only read.
        tokenizer: Its tokenizer.
        prompts: The prompts, such as those of `translation_prompts`, or unfinished sentences.
        tokens: Which tokens belong to which language: `token_sets` of much text, `answer_sets` of the right
            answers, or language -> sentences, from which `token_sets` are made.
        token_budget: The most tokens of one forward, padding included.

    Returns:
        A row per layer and language.

    Raises:
        ModelError: As in `logit_lens`, which refuses encoders.
        ArgumentError: Token sets for another number of prompts, or of another tokenizer.

    Reference:
        Wendler et al. (2024), Do Llamas Work in English? On the Latent Language of Multilingual Transformers.

    Example:
        >>> texts = {"en": ["It rains.", "Good night."], "de": ["Es regnet.", "Gute Nacht."]}
        >>> found = latent_language(model, tokenizer, ["It rains and", "Good"], texts)
        >>> round(sum(row["share"] for row in found.where(layer="0")), 5)
        1.0
    """
    checked_causal(model)
    prompts = prompt_list(prompts)
    sets = tokens if isinstance(tokens, TokenSets) else token_sets(tokenizer, tokens)
    if len(sets.group) not in (1, len(prompts)):
        raise ArgumentError(f"tokens are of {len(sets.group)} prompts, and there are {len(prompts)}")
    shares: Tensor | None = None
    entropy, likeliest = torch.zeros(0), torch.zeros(0)
    layers: tuple[str, ...] = ()
    for found in logit_lens(model, tokenizer, prompts, token_budget=token_budget):
        if shares is None:
            layers = found.layers
            shares = torch.zeros(len(prompts), len(layers), len(sets.names), dtype=torch.float64)
            entropy, likeliest = torch.zeros(shares.shape[:2], dtype=torch.float64), torch.zeros_like(shares)
        for row, predicted in zip(found.rows, found.log_probability, strict=True):
            shares[row], likeliest[row], entropy[row] = _sorted(predicted, sets, row)
    if shares is None:
        raise ArgumentError("no prompt was run")
    rows = _rows(layers, sets, shares, likeliest, entropy)
    origin = origin_of(model, {"prompts": prompts}, "latent_language", {"languages": list(sets.languages)})
    return LatentLanguage(tuple(rows), origin | {"tokens": sets.counts()})


def _sorted(
    predicted: Float[Tensor, "layer token"], sets: TokenSets, row: int
) -> tuple[Float[Tensor, "layer group"], Float[Tensor, "layer group"], Float[Tensor, " layer"]]:
    """Return, per layer, the probability of each group of tokens, whose the likeliest is, and the entropy."""
    group = sets.of(row)
    if predicted.shape[1] > len(group):  # a head is often padded beyond the vocabulary
        rest = torch.full((predicted.shape[1] - len(group),), len(sets.names) - 1)
        group = torch.cat([group, rest])
    if predicted.shape[1] < len(group) and bool((group[predicted.shape[1] :] < len(sets.languages)).any()):
        raise ArgumentError(
            f"tokens hold {len(group)} tokens, and the model predicts {predicted.shape[1]}: make the sets "
            "with the tokenizer that belongs to the model"
        )
    group = group[: predicted.shape[1]]
    probability = predicted.double().exp()
    shares = torch.zeros(len(predicted), len(sets.names), dtype=torch.float64)
    shares.index_add_(1, group, probability)
    likeliest = torch.nn.functional.one_hot(group[predicted.argmax(dim=1)], len(sets.names)).double()
    bits = -torch.xlogy(probability, probability).sum(dim=1) / np.log(2)
    return shares, likeliest, bits


def _rows(
    layers: Sequence[str],
    sets: TokenSets,
    shares: Float[Tensor, "prompt layer group"],
    likeliest: Float[Tensor, "prompt layer group"],
    entropy: Float[Tensor, "prompt layer"],
) -> list[dict[str, Any]]:
    counts = sets.counts()
    total = sum(counts.values())
    rows = []
    for layer, name in enumerate(layers):
        for number, language in enumerate(sets.names):
            values = shares[:, layer, number].clamp(0, 1).numpy()
            low, high = share_interval(values)
            row: dict[str, Any] = {"layer": name, "language": language, "share": float(values.mean())}
            row |= {"low": low, "high": high, "likeliest": float(likeliest[:, layer, number].mean())}
            row |= {"chance": counts[language] / total, "entropy": float(entropy[:, layer].mean())}
            rows.append(row)
    return rows


def translation_prompts(
    words: Mapping[str, Sequence[str]],
    source: str,
    target: str,
    *,
    names: Mapping[str, str] | None = None,
    shots: int = 4,
    seed: int = 42,
) -> list[str]:
    """Write a prompt per word that asks for its translation, after a few translated examples.

    A line is `Français: "fleur" - 中文: "花"`; the last one ends before the answer.

    Args:
        words: Language -> words, line-aligned.
        source: The language of the words.
        target: The language that is asked for.
        names: Language -> its name in the prompts; English names if None.
        shots: How many other words are translated before it.
        seed: The seed of their choice.

    Raises:
        ArgumentError: A language without words, different numbers of words, or fewer than `shots` + 1 words.

    Reference:
        Wendler et al. (2024), with four examples and seed 42.

    Example:
        >>> words = {"en": ["bread", "milk"], "de": ["Brot", "Milch"]}
        >>> print(translation_prompts(words, "de", "en", shots=1)[0])
        German: "Milch" - English: "milk"
        German: "Brot" - English: "
    """
    shots, seed = whole_number("shots", shots), whole_number("seed", seed)
    given_codes = dict(zip(normalize_languages("words", words), words.values(), strict=True))
    sides = []
    for role, code in (("source", source), ("target", target)):
        known = match_language(code, given_codes)
        if known is None:
            there = ", ".join(given_codes)
            raise ArgumentError(f"{role}={code!r:.40} is not among the languages of words: {there}")
        sides.append((known, list(given_codes[known])))
    (one, given), (two, asked) = sides
    if len(given) != len(asked) or len(given) <= shots:
        raise ArgumentError(
            f"words: {one} has {len(given)} and {two} {len(asked)}; both need as many, and more than {shots}"
        )
    shown = {code: _name(code, names) for code in (one, two)}
    draw = np.random.default_rng(seed)
    prompts = []
    for row in range(len(given)):
        others = [at for at in draw.permutation(len(given)).tolist() if at != row][:shots]
        lines = [f'{shown[one]}: "{given[at]}" - {shown[two]}: "{asked[at]}"' for at in others]
        prompts.append("\n".join([*lines, f'{shown[one]}: "{given[row]}" - {shown[two]}: "']))
    return prompts


def _name(code: str, names: Mapping[str, str] | None) -> str:
    if names is None:
        return language_name(code)
    known = dict(zip(normalize_languages("names", names), names.values(), strict=True))
    if code not in known:
        raise ArgumentError(f"names has no name of {code}; add it, or leave names out")
    return known[code]
