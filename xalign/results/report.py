"""`AlignmentReport`: alignment per language, metric and layer, with the value of every sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from torch import Tensor

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.metrics.scale import Scale
from xalign.model.architectures.sites import Layer, Site
from xalign.pairs.parallel import ParallelPairs
from xalign.renamed import warn_deprecated
from xalign.results import compare, rows, saved
from xalign.results.lookup import Lookup
from xalign.results.published import Published
from xalign.results.resampling import resampled
from xalign.results.scores import Over, check_over, interval_of, mean_per_pair, score_of
from xalign.results.stability import Stability, report_stability
from xalign.results.values import Cost, LanguageStats, MetricResult
from xalign.statistics.intervals import KnownInterval, known_interval

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class AlignmentReport(Published, Lookup):
    """Alignment per language, metric and layer. `measure` makes it.

    Attributes:
        pairs: The sentences measured.
        metrics: Row -> its values. A metric of several parts has one row for each: retrieval has one from the
            pivot and one to it.
        stats: Language, including the pivot -> how the tokenizer splits its sentences.
        cost: The cost of the measurement.
        provenance: Model, revision, dtype, fingerprint of the pairs, settings, versions.
        step: The training step, if any.
        seed: The seed of the intervals.
    """

    pairs: ParallelPairs[Any]
    metrics: dict[str, MetricResult]
    stats: dict[str, LanguageStats]
    cost: Cost
    provenance: dict[str, Any]
    step: int | None = None
    seed: int = 0

    def scale(self, metric: str) -> Scale:
        """Return the meaning of a metric's numbers: title, unit, bounds, and whether higher is better.

        Args:
            metric: A metric of this report, or a row of it.
        """
        result = self._results(metric)[0]
        return result.scale.of_row(result.metric, metric)

    def per_sentence(self, metric: str, language: str, layer: Layer | Site | str) -> Shaped[Tensor, " pair"]:
        """Return the value of every pair at one layer: bits, or real numbers.

        Args:
            metric: A metric with one row, or a row, such as one direction of retrieval.
            language: The language.
            layer: A block number, `"embed"` or `"final"`; for a model with two stacks, text like
                `"decoder.3"`. A `Site` works for both.

        Raises:
            ArgumentError: A metric with several rows, or a language or layer that was not measured.
        """
        results = self._results(metric)
        if len(results) > 1:
            raise ArgumentError(
                f"metric={metric!r} has values per row; ask for {' or '.join(self._rows(metric))}"
            )
        (result,) = results
        known = result.sites if isinstance(layer, Site) else result.layers
        if layer not in known:
            raise ArgumentError(f"layer={layer!r} was not measured by {metric}; it has {list(result.layers)}")
        return result.values[self._language(language)][known.index(layer)]

    def bits(self, metric: str, language: str, layer: Layer) -> Shaped[Tensor, " pair"]:
        """Return `per_sentence`. Deprecated: this is its name in 0.1.0."""
        warn_deprecated("AlignmentReport.bits", "per_sentence")
        return self.per_sentence(metric, language, layer)

    def per_pair(
        self, metric: str, language: str | None = None, stack: str | None = None
    ) -> Shaped[np.ndarray, " pair"]:
        """Return each pair's mean over layers and, for retrieval, over both directions.

        The mean over pairs is the score.

        Args:
            metric: A metric of this report.
            language: A language; if None, the mean over all of them, which must then share their pivot
                sentences.
            stack: One of `stacks`; all of them if None.
        """
        return mean_per_pair(self._values(metric, language, stack))

    def worst_pairs(self, metric: str, language: str, most: int) -> list[tuple[str, float, str, str]]:
        """Return the pairs with the worst scores; of equal scores, the first pairs come first.

        Args:
            metric: A metric of this report.
            language: The language.
            most: The largest number of pairs to return.

        Returns:
            Id, score, pivot sentence and sentence of each pair; for recordings, their length and rate.
        """
        bitext, scores = self.pairs[self._language(language)], self.per_pair(metric, language)
        pivot, other = bitext.pivot_sentences, bitext.sentences
        ranked = scores if self.scale(metric).higher_is_better else -scores
        return [
            (bitext.ids[row], float(scores[row]), str(pivot[row]), str(other[row]))
            for row in np.argsort(ranked, kind="stable")[:most]
        ]

    def score(
        self,
        metric: str = "nasca",
        language: str | None = None,
        over: Over = "mean",
        stack: str | None = None,
    ) -> float:
        """Return a score: the mean over layers, of one language or averaged over all.

        Args:
            metric: A metric of this report; `"retrieval"` is the mean of its two directions.
            language: A language; the mean over all of them if None.
            over: `"mean"` of the layers, or `"max"`: the value of the best layer, which is the largest, or
                the smallest for a metric where lower is better.
            stack: One of `stacks`; the layers of all of them if None.

        Raises:
            ArgumentError: A metric, language or stack that was not measured, or an unknown `over`.
        """
        check_over(over)
        return score_of(self._values(metric, language, stack), over, self.scale(metric))

    def interval(
        self,
        metric: str = "nasca",
        language: str | None = None,
        over: Over = "mean",
        stack: str | None = None,
    ) -> KnownInterval:
        """Return the 95 % interval of a score, over documents where the pairs have them, else over sentences.

        The mean over layers of each sentence is resampled, together with the other sentences of its document
        (bootstrap; for shares, a Wilson interval for the number of independent answers with the same
        variance). Both ends are None if all values are equal real numbers, as in `to_rows`: their spread is
        then unknown. The arguments are those of `score`.

        Raises:
            ArgumentError: As for `score`. Also if no language is given and the languages have different pivot
                sentences, since their mean then has no common sentences to resample.
        """
        check_over(over)
        if language is None and not self.pairs.is_multiway:
            raise ArgumentError(
                "language=None: these languages have different pivot sentences, so their mean has no "
                "sentences in common to resample; ask for one language"
            )
        values = self._values(metric, language, stack)
        documents = resampled(self, None if language is None else self._language(language))
        ends = interval_of(values, over, self.scale(metric), seed=self.seed, documents=documents)
        return known_interval(*ends)

    def documents(self, language: str | None = None) -> int | None:
        """Return how many documents the intervals of a language resample; None if they resample sentences.

        They resample sentences if the source names no documents, if each sentence has its own, or if there
        are fewer than 6. With so few documents, the intervals hold for sentences of these documents only.

        Args:
            language: A language; None for the mean over all of them.
        """
        found = resampled(self, None if language is None else self._language(language))
        return None if found is None else found.count

    def worst(self, metric: str = "nasca") -> tuple[str, float]:
        """Return the language with the worst score, and that score."""
        worst = min if self.scale(metric).higher_is_better else max
        return worst(((code, self.score(metric, code)) for code in self.languages), key=lambda pair: pair[1])

    def floor(self, metric: str = "nasca", language: str | None = None) -> float | None:
        """Return the floor of a score: the same metric without any model.

        For text it is computed from token counts: the lexical floor. For recordings it is computed from the
        means of their log-mel spectra. `pairs.floor_name` says which.

        The floor is None for a metric that has none.
        """
        chosen = self.languages if language is None else [self._language(language)]
        results = self._results(metric)
        if not all(result.floors for result in results):
            return None
        return float(np.mean([result.floors[code].double().mean() for code in chosen for result in results]))

    def chance(self, metric: str, language: str) -> float | None:
        """Return the score expected without any information; None if it is not known."""
        return self._results(metric)[0].chance[self._language(language)]

    def mean_by_layer(self, metric: str, language: str | None = None) -> Shaped[np.ndarray, " layer"]:
        """Return the value of each layer, of one language or averaged over all."""
        means: Shaped[np.ndarray, " layer"] = np.mean(
            [values.mean(axis=1) for values in self._values(metric, language)], axis=0
        )
        return means

    def best_layer(self, metric: str, language: str) -> Layer | str:
        """Return the layer with the best value; of equal values, the lowest layer."""
        place = self.scale(metric).best(self.mean_by_layer(metric, language).tolist())
        return self._results(metric)[0].layers[place]

    def summary(self) -> dict[str, float]:
        """Return the scores of every metric, under keys like `nasca`, `nasca_deu_Latn` and `nasca_worst`."""
        numbers: dict[str, float] = {}
        for metric in self.measured:
            numbers[metric] = self.score(metric)
            numbers |= {f"{metric}_{language}": self.score(metric, language) for language in self.languages}
            numbers[f"{metric}_worst"] = self.worst(metric)[1]
        return numbers

    def to_rows(self, over: Sequence[Over] = ("mean",)) -> list[Row]:
        """Return a dict per metric, language and layer, and one per score.

        Args:
            over: The scores to return: `"mean"`, `"max"` or both. It is the `layer` of the row of a score.

        Returns:
            Dicts with the keys step, metric, language, stack, layer, value, low, high, n, documents (None
            where the interval is over sentences), chance, floor. `low` and `high` are None if all values are
            equal real numbers, whose spread is unknown.
        """
        if isinstance(over, str):
            raise ArgumentTypeError(f"over must be a list, like ['mean'], not {over!r}")
        return rows.report_rows(self, over)

    def compare(self, before: "AlignmentReport") -> list[Row]:
        """Return the differences from an earlier report of the same sentences, paired over sentences.

        Args:
            before: The earlier report.

        Returns:
            A dict per metric, language and layer, and per score, with layer `"mean"`. Keys: metric, language,
            stack, layer, before, after, difference, low, high (95 %, bootstrap of the differences per
            sentence; None where all of them are equal), p (two-sided, sign flips), n, and documents: where it
            is a number, whole documents are resampled and flipped.

        Raises:
            ReportError: Different pairs or options, no common metric, or a metric read at different places.
        """
        return compare.compare_reports(before, self)

    def stability(
        self, metric: str = "nasca", n: Sequence[int] | None = None, *, draws: int = 200, seed: int = 0
    ) -> Stability:
        """Return how much the scores vary when fewer of these sentences are drawn, by document if known.

        The sentences of a draw keep the values that they have among all sentences of the report. With fewer
        rivals, scores would be higher; `measure_stability` scores each draw among its own sentences.

        Args:
            metric: A metric of this report.
            n: How many sentences to draw; if None, a quarter and a half of them.
            draws: The number of draws.
            seed: The seed of the draws.

        Raises:
            ArgumentError: A metric that was not measured, or more sentences than there are.
        """
        return report_stability(self, metric, n, draws, seed)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Save the report, including its sentences, as JSON and safetensors: completely or not at all.

        Args:
            folder: The folder to save in; created where it does not exist.
            overwrite: Replace a report that the folder already holds.

        Returns:
            The folder.

        Raises:
            ReportError: The folder cannot be written, or it holds a report and `overwrite` is False.
        """
        return saved.save_report(self, folder, overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | Path) -> "AlignmentReport":
        """Load a report that `save` wrote.

        Raises:
            ReportError: The folder holds no report, a broken one, or one of another schema.
        """
        return cls(**saved.load_parts(folder))

    def __repr__(self) -> str:
        """Return the scores in one line."""
        scores = ", ".join(f"{metric} {self.score(metric):.3f}" for metric in self.measured)
        step = "" if self.step is None else f"step {self.step}, "
        return f"AlignmentReport({step}{scores}; {', '.join(self.languages)})"
