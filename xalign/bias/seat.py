"""`seat`: sentence embedding association tests in several languages, on a model's pooled states."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.bias.bias_list import SETS, BiasList, WordSets
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.activations import Sites, activations
from xalign.metrics.association import associations, effect_size
from xalign.model.architectures.sites import Pool, Site
from xalign.statistics.partitions import MOST, partition_test
from xalign.steering.interventions.reading import check_reading

By = Literal["sentence", "word"]


@dataclass(frozen=True, slots=True)
class Association:
    """The association of a language at one site.

    Attributes:
        language: The language.
        site: Where the states were read.
        effect: WEAT's effect size, in [−2, 2]: above 0 where x goes with a, and y with b.
        p_value: The share of equal divisions of the targets that are at least as uneven.
        is_exact: Whether every division was looked at.
        targets: How many targets there are in x and y together.
    """

    language: str
    site: Site
    effect: float
    p_value: float
    is_exact: bool
    targets: int


def seat(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    words: BiasList | Mapping[str, WordSets],
    sites: Sites,
    *,
    pool: Pool = "mean",
    by: By = "sentence",
    seed: int = 0,
    most: int = MOST,
    **options: Any,
) -> list[Association]:
    """Test in each language whether a model's states of x are nearer to those of a, and y's to b's.

    Each word is put into every template, and the states of the sentences' tokens are pooled. The effect size
    is that of `xalign.metrics.association`; the p-value is one-sided, from equal divisions of the targets.
    Inside a `with steer(...)`, the states are those of the steered model.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        words: A bias list, or language -> word sets.
        sites: Where to read, as in `find_units`, such as `"5.hidden"`, or `"hidden"` for all blocks.
        pool: How tokens are pooled. The paper takes what each encoder is made for: for GPT, the `"last"`.
        by: What is divided: `"sentence"`, as in the paper, or `"word"`, which averages over the sentences of
            a word first. Sentences of a word are similar, so p is too small with `"sentence"` where there are
            several templates.
        seed: Seed of the random divisions.
        most: The most divisions to look at, as in `partition_test`.
        **options: Those of `activations` that are for reading, such as `token_budget`.

    Returns:
        An association per site and language.

    Raises:
        ArgumentError: No language, sites that do not exist, or states without any difference.

    Reference:
        May, Wang, Bordia, Bowman and Rudinger (2019), On Measuring Social Biases in Sentence Encoders, NAACL,
        §2–3; Caliskan et al. (2017).

    Example:
        >>> from xalign.bias import load_bias_list
        >>> found = seat(model, tokenizer, load_bias_list("kin_and_work"), "1.hidden", by="word")
        >>> [one.language for one in found if one.is_exact]
        ['eng_Latn', 'spa_Latn', 'deu_Latn', 'rus_Cyrl', 'zho_Hans']
    """
    check_reading("seat", options)
    if by not in get_args(By):
        raise ArgumentError(f"by={by!r:.60} must be one of {', '.join(get_args(By))}")
    sets = _sets(words)
    texts = {code: [text for name in SETS for text in one.sentences(name)] for code, one in sets.items()}
    found = []
    for read in activations(model, tokenizer, texts, sites, pool=pool, **options):
        for number, (language, one) in enumerate(sets.items()):
            x, y = _associations(read.values[read.of(number)], one, by)
            test = partition_test(x.tolist(), y.tolist(), seed=seed, most=most)
            size = effect_size(x, y)
            found.append(Association(language, read.site, size, test.p_value, test.is_exact, len(x) + len(y)))
    return found


def _sets(words: BiasList | Mapping[str, WordSets]) -> Mapping[str, WordSets]:
    sets = words.words if isinstance(words, BiasList) else words
    if not isinstance(sets, Mapping) or not all(isinstance(one, WordSets) for one in sets.values()):
        raise ArgumentTypeError("words must be a BiasList, or map languages to WordSets")
    if not sets:
        raise ArgumentError("words has no language; give the word sets of at least one")
    return sets


def _associations(
    states: Float[Tensor, "sentence width"], words: WordSets, by: By
) -> tuple[Float[Tensor, " target"], Float[Tensor, " target"]]:
    """Return the associations of both sets of targets, from the states of all sentences in order."""
    templates = len(words.templates)
    sizes = [len(getattr(words, name)) * templates for name in SETS]
    x, y, a, b = torch.split(states, sizes)
    found = [associations(one, a, b) for one in (x, y)]
    if by == "word":
        found = [one.reshape(-1, templates).mean(dim=1) for one in found]
    return found[0], found[1]
