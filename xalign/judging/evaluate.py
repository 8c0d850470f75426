"""`evaluate`: steers, and shows what changed beside what random units and shuffled labels change."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.activations import check_texts
from xalign.judging.controls import random_units, shuffled_texts
from xalign.judging.evaluation import CONTROLS, Evaluation, Observation
from xalign.judging.identify import Identify, check_known, identify_language
from xalign.judging.probe import Look, Probe
from xalign.measurement import Measurement
from xalign.model.architectures.layout_argument import takes_layout
from xalign.pairs.parallel import ParallelPairs
from xalign.steering.steer import steer
from xalign.units.language_vector import LanguageVector
from xalign.units.unit_set import UnitSet

Texts = Mapping[str, Sequence[str]]
Steering = UnitSet | Mapping[str, LanguageVector]
Finder = Callable[[nn.Module, PreTrainedTokenizerBase, dict[str, list[str]]], Steering]
How = Mapping[str, Any] | Callable[[str], Mapping[str, Any]]


@takes_layout
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
        seeds: How often a finder finds, and continuations are drawn; for units given, all but continuations
            is looked at once.
        how: Arguments of `steer`: operator, strength, positions; or a function from label to these, as
            `calibrate` returns, with `labels=calibration.labels`. In a given text every token is prompt.
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
    if pairs is not None and not isinstance(pairs, ParallelPairs):
        raise ArgumentTypeError(f"pairs={pairs!r:.60} must be ParallelPairs: load_pairs gives them")
    left_out: dict[str, str] = {}
    if callable(what):
        if finding is None:
            raise ArgumentError("what is a finder and finding is None; give the sentences it may look at")
        check_texts(finding, least=2)
        _refuse_shared(finding, texts, "texts")
        if pairs is not None:
            _refuse_shared(finding, pairs.texts, "pairs")
    else:
        if not isinstance(what, UnitSet | Mapping):
            raise ArgumentTypeError(f"what must be units, vectors or a finder, not {what!r:.60}")
        if shuffles:
            left_out["shuffled"] = "no control of shuffled labels: it takes a function that finds the units"
        seeds = seeds if samples else 1
    probe = Probe(
        model,
        tokenizer,
        texts,
        samples=samples,
        prompt=prompt,
        generation=generation,
        identify=identify,
        token_budget=token_budget,
    )
    measurements: dict[str, Measurement] = {}
    if pairs is not None:
        for language in pairs:
            alone = pairs.only([language])
            measurements[language] = Measurement(model, tokenizer, alone, metrics, token_budget=token_budget)
    unsteered = probe.losses()
    for measurement in measurements.values():
        unsteered |= _alignment(measurement)
    observations: list[Observation] = []
    for seed in range(first_seed, first_seed + seeds):
        before = unsteered | (probe.usual_output(seed) if samples else {})
        own: list[str] = []
        for arm, number, found in _arms(model, tokenizer, what, finding, seed, random_sets, shuffles):
            if arm not in CONTROLS:
                own = _chosen(found, labels, texts)
                ways = {label: _way(how, label) for label in own}  # before the work, not amidst it
                if samples:
                    check_known(identify, own)
            for label in own:
                arguments = ways[label]
                # Of units given, only what is sampled differs from seed to seed.
                looked = callable(what) or seed == first_seed
                where = arguments.get("positions")
                if isinstance(where, str) and where in ("generated", "last_prompt"):
                    looked = False
                    left_out[where] = (
                        f"no loss and no alignment: in a text no token is {where!r} and followed by another"
                    )
                after: Look = {}
                if label not in labels_of(found):
                    after = unsteered if looked else {}  # a control that found nothing changes nothing
                else:
                    with steer(model, found[label], **arguments):
                        if looked:
                            after |= probe.losses()
                            if label in measurements:
                                after |= _alignment(measurements[label])
                        said = probe.speak(seed) if samples else None
                    if said is not None:
                        after |= probe.output(said, label)
                observations += [
                    Observation(
                        label, arm, seed, number, quantity, language, before[quantity, language], values
                    )
                    for (quantity, language), values in after.items()
                ]
    if not observations:
        raise ArgumentError(
            f"nothing was looked at: {'; '.join(left_out.values())}; pass samples= to look at what is said"
        )
    return Evaluation(tuple(observations), tuple(left_out.values()))


def _way(how: How | None, label: str) -> dict[str, Any]:
    """The arguments of `steer` for a label."""
    said = how(label) if callable(how) else how or {}
    if not isinstance(said, Mapping) or set(said) - {"operator", "strength", "positions"}:
        raise ArgumentTypeError(
            f"how={said!r:.80} must hold arguments of steer, like {{'operator': 'zero'}}: operator, "
            "strength, positions"
        )
    return dict(said)


def _chosen(found: Steering, labels: Sequence[str] | None, texts: Texts) -> list[str]:
    """The labels to steer with, all with texts."""
    if isinstance(labels, str):
        raise ArgumentTypeError(f"labels={labels!r} must be a list, like [{labels!r}]")
    there = labels_of(found)
    chosen = there if labels is None else list(labels)
    absent = [label for label in chosen if label not in there]
    if absent or not chosen:
        raise ArgumentError(
            f"labels={labels!r}: no units or vectors of {', '.join(absent) or 'any'}; there is {there}"
        )
    for label in chosen:
        if label not in texts:
            raise ArgumentError(f"texts has no {label!r}, which is steered; it has {', '.join(texts)}")
    return chosen


def _alignment(measurement: Measurement) -> Look:
    """Per metric and language, each pair's mean over the layers."""
    report = measurement.run()
    return {
        (metric, language): report.per_pair(metric, language)
        for metric in report.measured
        for language in report.languages
    }


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
            yield (
                "random",
                number,
                random_units(model, found, seed=number + seed * random_sets),
            )
        else:
            drawn = {label: vector.random(number + seed * random_sets) for label, vector in found.items()}
            yield "random", number, drawn
    if not isinstance(what, UnitSet | Mapping):
        for number in range(shuffles):
            dealt = shuffled_texts(half, seed=number + seed * shuffles)
            yield "shuffled", number, what(model, tokenizer, dealt)


def _half(finding: Texts, seed: int) -> dict[str, list[str]]:
    """A random half of each language's sentences; the same rows where all have as many, as parallel text."""
    draw = random.Random(seed)
    counts = {len(sentences) for sentences in finding.values()}
    if len(counts) == 1:
        (n,) = counts
        rows = draw.sample(range(n), max(1, n // 2))
        return {label: [sentences[row] for row in rows] for label, sentences in finding.items()}
    return {
        label: draw.sample(list(sentences), max(1, len(sentences) // 2))
        for label, sentences in finding.items()
    }


def labels_of(found: Steering) -> list[str]:
    """What there is to steer with."""
    if not isinstance(found, UnitSet | Mapping):
        raise ArgumentTypeError(f"what must be units, or label -> vector, not {found!r:.60}")
    return found.labels if isinstance(found, UnitSet) else list(found)


def _refuse_shared(finding: Texts, texts: Texts, name: str) -> None:
    seen = {text for sentences in finding.values() for text in sentences}
    shared = [text for sentences in texts.values() for text in sentences if text in seen]
    if shared:
        raise ArgumentError(
            f"{len(shared)} sentence(s) of {name} stand in finding too, like {shared[0]!r:.60}; units must "
            "be found on other sentences than they are judged on"
        )
