"""`bench_steering`: all ways to steer on the same pairs, with one judge and beside the same controls."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.judging.arms import Steering, labels_of
from xalign.judging.bench.contestant import Contestant
from xalign.judging.bench.judges import Judge, Judged, JudgeOfStates, JudgeOfTexts
from xalign.judging.bench.standing import Standing, harmonic_mean
from xalign.judging.controls import random_units
from xalign.judging.identify import Identify, LanguageIdentifier
from xalign.measurement.options import MeasureOptions
from xalign.measurement.run import Measurement
from xalign.metrics.weak_alignment import NASCA
from xalign.model.architectures.layout_argument import takes_layout
from xalign.pairs.parallel import ParallelPairs
from xalign.steering.steer import steer
from xalign.units.unit_set import UnitSet

_LEAST = 8


@takes_layout
def bench_steering(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    pairs: ParallelPairs,
    contestants: Sequence[str | Contestant] | None = None,
    *,
    prompt: str = "{text}",
    generation: Mapping[str, Any] | None = None,
    identify: Identify | None = None,
    seeds: int = 5,
    first_seed: int = 0,
    random_sets: int = 1,
    on_result: Any = None,
) -> Standing:
    """Compare ways to steer: how often the language changes, whether the meaning is kept, and what it costs.

    For each seed, the pairs are split at random into three parts: half to find with, a quarter to choose
    strength and positions with, and a quarter to judge. A causal model continues each pivot sentence,
    greedily; an encoder is judged by its states. Every contestant is compared with random units or directions
    of the same size, and with itself found under shuffled languages, both steered in the same way.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        pairs: Parallel sentences, all languages of the same meanings.
        contestants: Names of `CONTESTANTS`, or ways of your own; all of them if None.
        prompt: What a causal model is given, with `{text}` in place of the sentence.
        generation: Arguments of `generate`; greedy decoding of 32 tokens by default.
        identify: Function from text to language; if None, it learns from the pairs to find with.
        seeds: How often the pairs are split.
        first_seed: Seeds count from here.
        random_sets: Random controls per seed and language.
        on_result: Called with each row as soon as it is known.

    Returns:
        A row per contestant, control, language and seed.

    Raises:
        ArgumentError: Unknown contestants, fewer than 32 pairs, languages that do not translate the same
            sentences, or a prompt without `{text}`.

    Reference:
        CLaS-Bench (2026) for the harmonic mean of language and meaning, and for difference of means as the
        baseline to beat.
    """
    chosen = _resolved(contestants)
    _check(pairs, prompt)
    rows: list[dict[str, Any]] = []
    first = whole_number("first_seed", first_seed)
    for seed in range(first, first + whole_number("seeds", seeds, least=1)):
        parts = _deal(pairs, seed)
        judge = _judge(model, tokenizer, parts, prompt, generation or {}, identify)
        one = _Round(model, tokenizer, parts, judge, prompt, seed, whole_number("random_sets", random_sets))
        for row in one.rows(chosen):
            rows.append(row)
            if on_result is not None:
                on_result(row)
    return Standing(tuple(rows))


def _check(pairs: ParallelPairs, prompt: str) -> None:
    """Raise an error for pairs that cannot be dealt into parts, or a prompt that no sentence goes into."""
    if not isinstance(pairs, ParallelPairs) or not pairs.is_multiway:
        raise ArgumentError("pairs must be ParallelPairs whose languages all translate the same sentences")
    n = len(next(iter(pairs.values())).sentences)
    if n < 4 * _LEAST:
        raise ArgumentError(
            f"pairs has {n} sentences; at least {4 * _LEAST} are needed to find, choose and judge"
        )
    if "{text}" not in prompt:
        raise ArgumentError(f"prompt={prompt!r:.60} must hold {{text}}, where the sentence goes")


@dataclass(frozen=True, slots=True)
class _Parts:
    finding: ParallelPairs
    choosing: ParallelPairs
    judged: ParallelPairs


def _deal(pairs: ParallelPairs, seed: int) -> _Parts:
    n = len(next(iter(pairs.values())).sentences)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    ends = (0, n // 2, n // 2 + n // 4, n)
    return _Parts(*(pairs.rows(sorted(order[a:b])) for a, b in zip(ends, ends[1:], strict=False)))


def _judge(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    parts: _Parts,
    prompt: str,
    generation: Mapping[str, Any],
    identify: Identify | None,
) -> Judge:
    can_generate = getattr(model, "can_generate", None)
    if callable(can_generate) and can_generate():
        identify = identify or LanguageIdentifier(parts.finding.texts)
        return JudgeOfTexts(model, tokenizer, parts.choosing, identify, prompt, generation)
    return JudgeOfStates(model, tokenizer, parts.finding)


@dataclass
class _Round:
    """The contest of one seed."""

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    parts: _Parts
    judge: Judge
    prompt: str
    seed: int
    random_sets: int

    def rows(self, contestants: Sequence[Contestant]) -> Iterator[dict[str, Any]]:
        """Yield a row per contestant, control and language."""
        for label in self.parts.judged:
            yield self._row("none", "own", label, None, self._judged(None, label, {}), {})
        for one in contestants:
            started = time.process_time()
            found = one.fit(self.model, self.tokenizer, self.parts.finding)
            seconds = time.process_time() - started
            shuffled = self._shuffled(one)
            for label in (label for label in labels_of(found) if label in self.parts.judged):
                way, way_shown = self._best_way(one, found, label)
                yield self._row(
                    one.name, "own", label, seconds, self._judged(found, label, way), way_shown, found=found
                )
                for number in range(self.random_sets):
                    control = self._random(found, label, self.seed * self.random_sets + number)
                    yield self._row(
                        one.name,
                        "random",
                        label,
                        None,
                        self._judged(control, label, way),
                        way_shown,
                        found=control,
                    )
                if shuffled is not None and label in labels_of(shuffled):
                    yield self._row(
                        one.name, "shuffled", label, None, self._judged(shuffled, label, way), way_shown
                    )

    def _best_way(
        self, one: Contestant, found: Steering, label: str
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the arguments of `steer` that do best on the pairs to choose with."""
        scores, ways = [], one.ways
        if not self.judge.generates and "prompt" in one.positions:
            ways = [way for way in ways if way["positions"] != "all"]  # the prompt is all there is
        for way in ways:
            judged = self._judged(found, label, way, self.parts.choosing)
            scores.append(harmonic_mean(*_means(judged)))
        best = ways[max(range(len(scores)), key=lambda at: scores[at])]
        return dict(best), {name: best[name] for name in ("strength", "positions")}

    def _judged(
        self, found: Steering | None, label: str, way: Mapping[str, Any], pairs: ParallelPairs | None = None
    ) -> Judged:
        pairs = self.parts.judged if pairs is None else pairs
        if found is None:
            return self.judge.judge(self.judge.run(pairs, label), pairs, label)
        with steer(self.model, found[label], **way):
            output = self.judge.run(pairs, label)
        return self.judge.judge(output, pairs, label)

    def _random(self, found: Steering, label: str, seed: int) -> Steering:
        if isinstance(found, UnitSet):
            return random_units(self.model, found[label], seed=seed)
        return {label: found[label].random(seed)}

    def _shuffled(self, one: Contestant) -> Steering | None:
        """Return what a contestant finds where each row's sentences stand under random languages."""
        if not one.has_shuffled:
            return None
        draw, texts = torch.Generator().manual_seed(self.seed), self.parts.finding.texts
        codes = list(texts)
        dealt: dict[str, list[str]] = {code: [] for code in codes}
        for row in zip(*texts.values(), strict=True):
            order = torch.randperm(len(codes), generator=draw).tolist()
            for code, at in zip(codes, order, strict=True):
                dealt[code].append(row[at])
        return one.fit(self.model, self.tokenizer, ParallelPairs(dealt, pivot=self.parts.finding.pivot))

    def _row(
        self,
        name: str,
        arm: str,
        label: str,
        seconds: float | None,
        judged: Judged,
        way: Mapping[str, Any],
        found: Steering | None = None,
    ) -> dict[str, Any]:
        language, meaning = _means(judged)
        row = {"contestant": name, "arm": arm, "label": label, "seed": self.seed, "language": language}
        row |= {"meaning": meaning, "both": harmonic_mean(language, meaning), "loss": judged.loss}
        alignment = self._alignment(found, label, way) if arm == "own" else None
        return row | {"alignment": alignment, "cpu_seconds": seconds, **way}

    def _alignment(self, found: Steering | None, label: str, way: Mapping[str, Any]) -> float | None:
        """Return NASCA of a language with both sides steered; None where no text is changed."""
        whole = MeasureOptions(template=self.prompt, template_pooled=True) if self.prompt != "{text}" else {}
        measurement = Measurement(
            self.model, self.tokenizer, self.parts.judged.only([label]), [NASCA], **whole
        )
        if found is None:
            return measurement.run().score(NASCA.name, label)
        if way.get("positions") in ("generated", "last_prompt"):
            return None
        with steer(self.model, found[label], **way):
            return measurement.run().score(NASCA.name, label)


def _means(judged: Judged) -> tuple[float, float]:
    return float(judged.language.float().mean()), float(judged.meaning.float().mean())


def _resolved(contestants: Sequence[str | Contestant] | None) -> list[Contestant]:
    from xalign.judging.bench.contestants import CONTESTANTS

    if contestants is None:
        return list(CONTESTANTS.values())
    if isinstance(contestants, str) or not isinstance(contestants, Sequence) or not contestants:
        raise ArgumentTypeError(f"contestants={contestants!r:.60} must be a list, like ['mean_difference']")
    for one in contestants:
        if not isinstance(one, Contestant) and one not in CONTESTANTS:
            raise ArgumentError(
                f"contestant {one!r:.60} must be one of {', '.join(CONTESTANTS)}, or a Contestant"
            )
    return [one if isinstance(one, Contestant) else CONTESTANTS[one] for one in contestants]
