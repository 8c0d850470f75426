"""`judge_debiasing`: bias and loss with a remedy and without, where it was fitted and in other languages."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.bias.bias_list import BiasList, Pairs, WordSets
from xalign.bias.debiasing import LOSS, Debiasing, DebiasingRow
from xalign.bias.likelihood_gaps import Count, likelihood_gaps
from xalign.bias.seat import seat
from xalign.checks import names, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.activations import Sites, check_texts
from xalign.judging.text_losses import text_losses
from xalign.languages import match_language
from xalign.model.architectures.map import map_model
from xalign.statistics.intervals import bootstrap_interval, known_interval
from xalign.steering.intervention import Intervention
from xalign.steering.steer import steer
from xalign.units.compatibility import check_compatible

Key = tuple[str, str]
"""A measure and a language."""


@dataclass(frozen=True)
class _Values:
    """What was measured: a value, and what it is the mean of, where that is known."""

    value: float
    each: Float[np.ndarray, " one"] | None = None


@dataclass(frozen=True)
class _Probe:
    """What is measured, on a model as it is at the time."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    pairs: Pairs
    words: Mapping[str, WordSets]
    sites: Sites | None
    texts: Mapping[str, Sequence[str]]
    count: Count

    def values(self) -> dict[Key, _Values]:
        """Measure everything."""
        found: dict[Key, _Values] = {}
        if self.pairs:
            gaps = likelihood_gaps(self.model, self.tokenizer, self.pairs, count=self.count)
            found |= {("gap", code): _Values(one.mean, one.gaps) for code, one in gaps.items()}
            found |= {("preferred", code): _Values(one.preferred) for code, one in gaps.items()}
        if self.words and self.sites is not None:
            tests = seat(self.model, self.tokenizer, self.words, self.sites, by="word", most=2)
            found |= {(f"effect {one.site}", one.language): _Values(one.effect) for one in tests}
        if self.texts:
            for code, lost in text_losses(self.model, self.tokenizer, self.texts).items():
                each = (lost[:, 0] / lost[:, 1]).numpy()
                found[LOSS, code] = _Values(float(each.mean()), each)
        return found


def judge_debiasing(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    what: Intervention,
    *,
    fitted_on: Sequence[str],
    pairs: BiasList | Pairs | None = None,
    words: BiasList | Mapping[str, WordSets] | None = None,
    sites: Sites | None = None,
    texts: Mapping[str, Sequence[str]] | None = None,
    strength: float = 1.0,
    count: Count = "shared",
    random_sets: int = 1,
) -> Debiasing:
    """Judge a remedy: the bias before and after, its transfer to other languages, and what the task lost.

    Give other pairs than those it was fitted on.

    Args:
        model: A causal language model; an encoder where only `words` are given.
        tokenizer: Its tokenizer.
        what: The remedy, such as `subspace_projection` or `latent_projection`.
        fitted_on: The languages that it was fitted on; may be empty.
        pairs: Sentence pairs, as for `likelihood_gaps`.
        words: Word sets, as for `seat`; each word counts once, whatever the number of templates.
        sites: Where to read the states for `words`.
        texts: Language -> sentences of the task, whose loss in nats per token is measured.
        strength: As in `steer`.
        count: As in `likelihood_gaps`.
        random_sets: How many random controls of the remedy to measure, with the seeds from 0.

    Returns:
        A row per measure and language, with intervals over pairs and sentences, and shares over languages.

    Raises:
        ArgumentError: Nothing to measure, words without sites, a language of `fitted_on` that nothing is
            measured in, or a remedy without the controls that are asked for.
        UnitsError: A remedy that was fitted on a model of another shape.

    Example:
        >>> from xalign.steering import subspace_projection
        >>> pairs = {"eng_Latn": [("He reads.", "She reads."), ("He runs.", "She runs.")]}
        >>> away = subspace_projection(model, tokenizer, pairs, "1.hidden")
        >>> judge_debiasing(model, tokenizer, away, fitted_on=["eng_Latn"], pairs=pairs).measures
        ['gap', 'preferred']
    """
    if not isinstance(what, Intervention):
        raise ArgumentTypeError(f"what must be an Intervention, not {type(what).__name__}")
    check_compatible(what.provenance, map_model(model))
    probe = _probe(model, tokenizer, pairs, words, sites, texts, count)
    before = probe.values()
    languages = dict.fromkeys(code for _, code in before)
    fitted = {_known(code, languages) for code in names("fitted_on", fitted_on)}
    with steer(model, what, strength=strength):
        after = probe.values()
    controls = []
    for seed in range(whole_number("random_sets", random_sets)):
        with steer(model, what.random(seed), strength=strength):
            controls.append(probe.values())
    return Debiasing(what.name, tuple(_rows(before, after, controls, fitted)))


def _rows(
    before: Mapping[Key, _Values],
    after: Mapping[Key, _Values],
    controls: Sequence[Mapping[Key, _Values]],
    fitted: Collection[str],
) -> Iterator[DebiasingRow]:
    """Yield a row per measure and language."""
    for key, found in before.items():
        measure, code = key
        random = float(np.mean([one[key].value for one in controls])) if controls else None
        low, high = _interval(found, after[key])
        yield DebiasingRow(code, code in fitted, measure, found.value, after[key].value, random, low, high)


def _probe(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    pairs: BiasList | Pairs | None,
    words: BiasList | Mapping[str, WordSets] | None,
    sites: Sites | None,
    texts: Mapping[str, Sequence[str]] | None,
    count: Count,
) -> _Probe:
    """Check what is to be measured."""
    if texts is not None:
        check_texts(texts)
    given_pairs = pairs.pairs if isinstance(pairs, BiasList) else pairs or {}
    given_words = words.words if isinstance(words, BiasList) else words or {}
    if not given_pairs and not given_words:
        raise ArgumentError("there is no bias to measure: give pairs=, or words= and sites=")
    if bool(given_words) != (sites is not None):
        raise ArgumentError("words and sites belong together: the states of the words are read at the sites")
    return _Probe(model, tokenizer, given_pairs, given_words, sites, texts or {}, count)


def _known(code: str, languages: Mapping[str, None]) -> str:
    found = match_language(code, languages)
    if found is None:
        raise ArgumentError(f"fitted_on has {code!r:.60}, and only {', '.join(languages)} are measured")
    return found


def _interval(before: _Values, after: _Values) -> tuple[float | None, float | None]:
    """Return the interval of the mean change, over pairs or sentences."""
    if before.each is None or after.each is None or len(before.each) < 2:
        return None, None
    return known_interval(*bootstrap_interval(after.each - before.each))
