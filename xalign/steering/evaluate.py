"""`evaluate`: steers, and shows what changed beside what random units and shuffled labels change."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from xalign.arguments import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.measurement import Measurement
from xalign.pairs.parallel import ParallelPairs
from xalign.steering.controls import random_units, shuffled_texts
from xalign.steering.evaluation import Evaluation, Observation, Values
from xalign.steering.identify import Identify, identify_language
from xalign.steering.losses import id_losses, text_losses
from xalign.steering.responses import check_texts
from xalign.steering.sample import Sampled, sample
from xalign.steering.steer import steer
from xalign.units.language_vector import LanguageVector
from xalign.units.unit_set import UnitSet

Texts = Mapping[str, Sequence[str]]
Steering = UnitSet | Mapping[str, LanguageVector]
Finder = Callable[[nn.Module, PreTrainedTokenizerBase, dict[str, list[str]]], Steering]
How = Mapping[str, Any] | Callable[[str], Mapping[str, Any]]
_Look = dict[tuple[str, str], Values]


def evaluate(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    what: Steering | Finder,
    texts: Texts,
    *,
    finding: Texts | None = None,
    seeds: int = 5,
    how: How | None = None,
    random_sets: int = 5,
    shuffles: int = 1,
    pairs: ParallelPairs | None = None,
    metrics: Sequence[str] = ("nasca", "retrieval"),
    samples: int = 0,
    prompt: str = "",
    generation: Mapping[str, Any] | None = None,
    identify: Identify = identify_language,
    labels: Sequence[str] | None = None,
    token_budget: int = 8192,
    first_seed: int = 0,
) -> Evaluation:
    """Steers with each label's units or vector in turn, and compares what the model does with and without.

    Always the loss per token of every language; of the language steered, with `pairs`, its alignment, and
    with `samples` the share of what the model says that is in it, and what that would cost the unedited model
    (is it still language?). Controls run through the same: random units at the same sites, or random
    directions of the same norms; and, where `what` is a finder, what it finds under shuffled labels.

    Args:
        model: A causal language model. (Encoders: `measure(..., steered=)` has all that applies to them.)
        tokenizer: Its tokenizer.
        what: Units; or language -> vector; or a function (model, tokenizer, texts) that finds either, called
            once per seed with a random half of `finding`.
        texts: Language -> held-out sentences whose loss is taken: all languages that might suffer.
        finding: With a finder, the sentences it may look at; none of them may stand in `texts`.
        seeds: How often a finder finds, and continuations are drawn; units given are evaluated once where
            nothing is drawn.
        how: Arguments of `steer`: operator, strength, positions; or a function from label to these, as
            `calibrate` returns.
        random_sets: Controls of random units or directions, per seed and label.
        shuffles: Controls under shuffled labels, per seed.
        pairs: Held-out parallel sentences for alignment, both sides steered.
        metrics: What of alignment, as in `measure`.
        samples: Continuations per seed and steering.
        prompt: What they go on from; nothing where empty.
        generation: As in `sample`.
        identify: From text to language; by default of the five bundled ones.
        labels: Steer with these only.
        token_budget: The most tokens of one forward, padding included.
        first_seed: Seeds count from here, so that they can differ from those something was chosen on.

    Returns:
        Effects and controls with intervals.

    Raises:
        ArgumentError: A label without texts, a finder without `finding`, or finding and held-out texts that
            share sentences.

    Example:
        >>> texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}
        >>> units = find_units(model, tokenizer, texts, share=0.1)
        >>> unseen = {"eng_Latn": ["Come in.", "Sit down."], "deu_Latn": ["Komm herein.", "Setz dich."]}
        >>> result = evaluate(model, tokenizer, units, unseen, how={"operator": "zero"})
        >>> row = result.effect("deu_Latn", "loss")
        >>> row["low"] <= row["difference"] <= row["high"]
        True
    """
    check_texts(texts)
    seeds, samples = whole_number("seeds", seeds, least=1), whole_number("samples", samples)
    random_sets, shuffles = whole_number("random_sets", random_sets), whole_number("shuffles", shuffles)
    left_out = []
    if callable(what):
        if finding is None:
            raise ArgumentError("what is a finder and finding is None; give the sentences it may look at")
        check_texts(finding, least=2)
        _refuse_shared(finding, texts)
    else:
        if not isinstance(what, UnitSet | Mapping):
            raise ArgumentTypeError(f"what must be units, vectors or a finder, not {what!r:.60}")
        if shuffles:
            left_out.append("no control of shuffled labels: it takes a function that finds the units")
        seeds = seeds if samples else 1
    probe = _Probe(
        model, tokenizer, texts, pairs, metrics, samples, prompt, generation, identify, token_budget
    )
    observations: list[Observation] = []
    for seed in range(first_seed, first_seed + seeds):
        before = probe.before(seed)
        for arm, number, found in _arms(model, tokenizer, what, finding, seed, random_sets, shuffles):
            chosen = labels_of(found) if labels is None else [code for code in labels if code in labels_of(found)]
            for label in chosen:
                if label not in texts:
                    raise ArgumentError(f"texts has no {label!r}, which is steered; it has {', '.join(texts)}")
                arguments = how(label) if callable(how) else how or {}
                after = probe.look(seed, label, partial(steer, model, found[label], **arguments))
                observations += [
                    Observation(label, arm, seed, number, quantity, language, before[quantity, language], values)
                    for (quantity, language), values in after.items()
                ]
    if not observations:
        raise ArgumentError(f"nothing to steer with: what has no units or vectors for labels={labels!r}")
    return Evaluation(tuple(observations), tuple(left_out))


class _Probe:
    """Everything that is looked at, with and without steering."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        texts: Texts,
        pairs: ParallelPairs | None,
        metrics: Sequence[str],
        samples: int,
        prompt: str,
        generation: Mapping[str, Any] | None,
        identify: Identify,
        token_budget: int,
    ) -> None:
        self._losses = partial(text_losses, model, tokenizer, texts, token_budget=token_budget)
        self._id_losses = partial(id_losses, model, tokenizer, token_budget=token_budget)
        self._sample = partial(sample, model, tokenizer, samples, prompt=prompt, generation=generation)
        self._samples, self._identify, self._texts = samples, identify, texts
        self._measurements = {
            language: Measurement(model, tokenizer, pairs.only([language]), metrics, token_budget=token_budget)
            for language in (pairs or {})
        }
        self._unsteered: _Look = {}

    def before(self, seed: int) -> _Look:
        """The unedited model, of every language."""
        if not self._unsteered:
            self._unsteered = self._losses_now()
            for language in self._measurements:
                self._unsteered |= self._alignment_now(language)
        look = dict(self._unsteered)
        if self._samples:
            languages = [self._identify(text) for text in self._sample(seed=seed).texts]
            for language in self._texts:
                natural = look["loss", language].mean()
                look["output_share", language] = np.array([float(one == language) for one in languages])
                look["output_loss", language] = np.full(self._samples, natural)
        return look

    def look(self, seed: int, label: str, steered: Callable[[], Any]) -> _Look:
        """The steered model: losses of all languages, the rest of the label's."""
        with steered():
            look = self._losses_now() | self._alignment_now(label)
            said = self._sample(seed=seed) if self._samples else None
        if said is not None:
            languages = [self._identify(text) for text in said.texts]
            look["output_share", label] = np.array([float(one == label) for one in languages])
            look["output_loss", label] = self._output_losses(said)
        return look

    def _losses_now(self) -> _Look:
        return {("loss", language): _per_token(lost) for language, lost in self._losses().items()}

    def _alignment_now(self, language: str) -> _Look:
        if language not in self._measurements:
            return {}
        report = self._measurements[language].run()
        return {
            (metric, language): np.mean(
                [
                    result.values[language].double().numpy().mean(axis=0)
                    for row, result in report.metrics.items()
                    if row == metric or row.startswith(f"{metric}_")
                ],
                axis=0,
            )
            for metric in report.measured
        }

    def _output_losses(self, said: Sampled) -> Values:
        """What was said, under the model as it is; prompts are the same and cost nothing."""
        lost = self._id_losses(said.ids)
        if said.prompt > 1:
            lost = lost - self._id_losses([ids[: said.prompt] for ids in said.ids])
        return _per_token(lost)


def _per_token(lost: Tensor) -> Values:
    """Per sentence a value whose mean over sentences is the loss per token over all of them."""
    sums, counts = lost.numpy().T
    values: Values = sums / max(counts.mean(), 1e-9)
    return values


def _arms(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    what: Steering | Finder,
    finding: Texts | None,
    seed: int,
    random_sets: int,
    shuffles: int,
) -> Iterator[tuple[str, int, Steering]]:
    """(arm, its number, what to steer with) of a seed."""
    if isinstance(what, UnitSet | Mapping):
        found: Steering = what
    else:
        half = _half(finding or {}, seed)
        found = what(model, tokenizer, half)
        if not isinstance(found, UnitSet | Mapping):
            raise ArgumentTypeError(f"what must return units or vectors, not {found!r:.60}")
    yield ("units" if isinstance(found, UnitSet) else "vector"), 0, found
    for number in range(random_sets):
        if isinstance(found, UnitSet):
            yield "random", number, random_units(model, found, seed=number + seed * random_sets)
        else:
            drawn = {label: vector.random(number + seed * random_sets) for label, vector in found.items()}
            yield "random", number, drawn
    if not isinstance(what, UnitSet | Mapping):
        for number in range(shuffles):
            dealt = shuffled_texts(half, seed=number + seed * shuffles)
            yield "shuffled", number, what(model, tokenizer, dealt)


def _half(finding: Texts, seed: int) -> dict[str, list[str]]:
    """A random half of each language's sentences."""
    draw = random.Random(seed)
    return {
        label: draw.sample(list(sentences), max(1, len(sentences) // 2)) for label, sentences in finding.items()
    }


def labels_of(found: Steering) -> list[str]:
    """What there is to steer with."""
    return found.labels if isinstance(found, UnitSet) else list(found)


def _refuse_shared(finding: Texts, texts: Texts) -> None:
    seen = {text for sentences in finding.values() for text in sentences}
    shared = [text for sentences in texts.values() for text in sentences if text in seen]
    if shared:
        raise ArgumentError(
            f"{len(shared)} sentence(s) of texts stand in finding too, like {shared[0]!r:.60}; units must be "
            "found on other sentences than they are judged on"
        )
