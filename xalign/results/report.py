"""`AlignmentReport`: alignment per language, metric and layer, with the bit of every sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Shaped
from torch import Tensor

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.metrics.intervals import Interval, largest_layer_interval, layer_interval, score_interval
from xalign.metrics.retrieval import retrieval_chance
from xalign.metrics.weak_alignment import weak_alignment_chance
from xalign.model.sites import Layer
from xalign.pairs.parallel import ParallelPairs
from xalign.results import compare, saved
from xalign.results.values import RETRIEVAL, Cost, LanguageStats, MetricResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

Over = Literal["mean", "max"]
Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class AlignmentReport:
    """Alignment per language, metric and layer. `measure` makes it.

    Attributes:
        pairs: The sentences measured.
        metrics: Metric -> its values. Retrieval stands there twice, from and to the pivot.
        stats: Language, the pivot too -> what the tokenizer makes of it.
        cost: What the measurement cost.
        provenance: Model, revision, dtype, fingerprint of the pairs, settings, versions.
        step: The training step, if any.
        seed: Seeds the intervals.
    """

    pairs: ParallelPairs
    metrics: dict[str, MetricResult]
    stats: dict[str, LanguageStats]
    cost: Cost
    provenance: dict[str, Any]
    step: int | None = None
    seed: int = 0

    @property
    def languages(self) -> list[str]:
        """The languages without the pivot."""
        return self.pairs.languages

    @property
    def measured(self) -> list[str]:
        """The metrics as they are asked for: both directions of retrieval are one."""
        return list(dict.fromkeys("retrieval" if metric in RETRIEVAL else metric for metric in self.metrics))

    def bits(self, metric: str, language: str, layer: Layer) -> Shaped[Tensor, " pair"]:
        """The value of every pair at one layer: bits, or real numbers for the margin."""
        if metric == "retrieval":
            raise ArgumentError(
                f"metric='retrieval' has bits per direction; ask for {' or '.join(RETRIEVAL)}"
            )
        (result,) = self._results(metric)
        if layer not in result.layers:
            raise ArgumentError(f"layer={layer!r} was not measured by {metric}; it has {list(result.layers)}")
        return result.values[self._language(language)][result.layers.index(layer)]

    def per_pair(self, metric: str, language: str | None = None) -> Shaped[np.ndarray, " pair"]:
        """Each pair's mean over the layers, of retrieval over both directions: their mean is the score.

        Without a language over all of them too, which then must share their pivot sentences.
        """
        values: Shaped[np.ndarray, " pair"] = np.mean(
            [layers.mean(axis=0) for layers in self._values(metric, language)], axis=0
        )
        return values

    def worst_pairs(self, metric: str, language: str, most: int) -> list[tuple[str, float, str, str]]:
        """The pairs that score lowest: id, score, pivot sentence, sentence; of equal ones the first."""
        bitext, scores = self.pairs[self._language(language)], self.per_pair(metric, language)
        return [
            (bitext.ids[row], float(scores[row]), bitext.pivot_sentences[row], bitext.sentences[row])
            for row in np.argsort(scores, kind="stable")[:most]
        ]

    def score(self, metric: str = "nasca", language: str | None = None, over: Over = "mean") -> float:
        """A score: the mean over layers, of one language or averaged over all.

        Args:
            metric: A metric of this report; `"retrieval"` is the mean of its two directions.
            language: A language; the mean over all of them where None.
            over: `"mean"` of the layers, or `"max"`, the largest layer's value.
        """
        _check_over(over)
        return float(np.mean([_over_layers(values, over) for values in self._values(metric, language)]))

    def interval(self, metric: str = "nasca", language: str | None = None, over: Over = "mean") -> Interval:
        """The 95 % interval of a score: a bootstrap over sentences of each sentence's mean over layers.

        Raises:
            ArgumentError: No language is given, and the languages have different pivot sentences: their mean
                then has no common sentences to resample.
        """
        _check_over(over)
        if language is None and not self.pairs.is_multiway:
            raise ArgumentError(
                "language=None: these languages have different pivot sentences, so their mean has no "
                "sentences in common to resample; ask for one language"
            )
        if over == "max":
            return largest_layer_interval(self._values(metric, language), seed=self.seed)
        return score_interval(self.per_pair(metric, language), seed=self.seed)

    def worst(self, metric: str = "nasca") -> tuple[str, float]:
        """The language with the smallest score, and that score."""
        return min(((code, self.score(metric, code)) for code in self.languages), key=lambda pair: pair[1])

    def floor(self, metric: str = "nasca", language: str | None = None) -> float:
        """The lexical floor of a score: the same metric of token counts, with no model at all."""
        chosen = self.languages if language is None else [self._language(language)]
        results = self._results(metric)
        return float(np.mean([result.floors[code].double().mean() for code in chosen for result in results]))

    def chance(self, metric: str, language: str) -> float | None:
        """The expected score without any information; None for the margin."""
        self._results(metric)
        n = len(self.pairs[self._language(language)])
        if metric == "margin":
            return None
        return retrieval_chance(n) if metric in ("retrieval", *RETRIEVAL) else weak_alignment_chance(n)

    def mean_by_layer(self, metric: str, language: str | None = None) -> Shaped[np.ndarray, " layer"]:
        """Each layer's value, of one language or averaged over all."""
        means: Shaped[np.ndarray, " layer"] = np.mean(
            [values.mean(axis=1) for values in self._values(metric, language)], axis=0
        )
        return means

    def best_layer(self, metric: str, language: str) -> Layer:
        """The layer with the largest value, the lowest of equal ones."""
        return self._results(metric)[0].layers[int(self.mean_by_layer(metric, language).argmax())]

    def summary(self) -> dict[str, float]:
        """Plain floats under plain keys, per metric: `nasca`, `nasca_deu_Latn`, `nasca_worst`."""
        numbers: dict[str, float] = {}
        for metric in self.measured:
            numbers[metric] = self.score(metric)
            numbers |= {f"{metric}_{language}": self.score(metric, language) for language in self.languages}
            numbers[f"{metric}_worst"] = self.worst(metric)[1]
        return numbers

    def to_rows(self, over: Sequence[Over] = ("mean",)) -> list[Row]:
        """A dict per metric, language and layer, and per score, with layer `"mean"` (or `"max"`).

        Keys: step, metric, language, stack, layer, value, low, high, n, chance, floor.
        """
        if isinstance(over, str):
            raise ArgumentTypeError(f"over must be a list, like ['mean'], not {over!r}")
        rows: list[Row] = []
        for metric, result in self.metrics.items():
            for language in self.languages:
                common = {"step": self.step, "metric": metric, "language": language, "stack": ""}
                about = {
                    "n": len(self.pairs[language]),
                    "chance": self.chance(metric, language),
                    "floor": self.floor(metric, language),
                }
                for layer, values in zip(result.layers, result.values[language], strict=True):
                    low, high = layer_interval(values.numpy(), seed=self.seed)
                    value = values.double().mean().item()
                    rows.append(common | {"layer": layer, "value": value, "low": low, "high": high} | about)
                for pooled in over:
                    low, high = self.interval(metric, language, pooled)
                    value = self.score(metric, language, pooled)
                    rows.append(common | {"layer": pooled, "value": value, "low": low, "high": high} | about)
        return rows

    def compare(self, before: "AlignmentReport") -> list[Row]:
        """What changed since another report of the same sentences, paired over sentences.

        Returns:
            A dict per metric, language and layer, and per score, with layer `"mean"`. Keys: metric, language,
            stack, layer, before, after, difference, low, high (95 %, bootstrap of the differences per
            sentence), p (two-sided, sign flips), n.

        Raises:
            ReportError: Other pairs, no common metric, or a metric read at other places.
        """
        return compare.compare_reports(before, self)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Saves the report, sentences included, as JSON and safetensors: whole or not at all.

        Args:
            folder: Made where it does not exist.
            overwrite: Replaces a report that the folder already holds.

        Raises:
            ReportError: The folder cannot be written, or holds a report and `overwrite` is off.
        """
        return saved.save_report(self, folder, overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | Path) -> "AlignmentReport":
        """Reads a report that `save` wrote.

        Raises:
            ReportError: No report there, a broken one, or one of another schema.
        """
        return cls(**saved.load_parts(folder))

    def table(self) -> "Table":
        """The report as a rich table: each score beside its interval and its lexical floor."""
        from xalign.report.table import report_table

        return report_table(self)

    def figure(self, metric: str = "nasca") -> "Figure":
        """A layer × language heatmap of one metric, with the lexical floor beside it (needs matplotlib)."""
        from xalign.report.heatmap import heatmap

        return heatmap(self, metric)

    def to_html(self, path: str | Path) -> Path:
        """Writes the report as one page that opens from disk; see `xalign.report.page.write_page`."""
        from xalign.report.page import write_page

        return write_page(self, path)

    def __repr__(self) -> str:
        """The scores in one line."""
        scores = ", ".join(f"{metric} {self.score(metric):.3f}" for metric in self.measured)
        step = "" if self.step is None else f"step {self.step}, "
        return f"AlignmentReport({step}{scores}; {', '.join(self.languages)})"

    def _results(self, metric: str) -> list[MetricResult]:
        """The result of a metric, or both of retrieval."""
        parts = RETRIEVAL if metric == "retrieval" else (metric,)
        if not isinstance(metric, str):
            raise ArgumentTypeError(f"metric={metric!r:.60} must be the name of one metric")
        missing = [part for part in parts if part not in self.metrics]
        if missing:
            raise ArgumentError(f"metric={metric!r} is not in this report; it has {', '.join(self.measured)}")
        return [self.metrics[part] for part in parts]

    def _language(self, language: str) -> str:
        if language not in self.pairs:
            raise ArgumentError(
                f"language={language!r} is not in this report; it has {', '.join(self.languages)}"
            )
        return language

    def _values(self, metric: str, language: str | None) -> list[Shaped[np.ndarray, "layer pair"]]:
        chosen = self.languages if language is None else [self._language(language)]
        return [result.values[code].double().numpy() for code in chosen for result in self._results(metric)]


def _check_over(over: str) -> None:
    if over not in ("mean", "max"):
        raise ArgumentError(f"over={over!r} must be 'mean' or 'max'")


def _over_layers(values: Shaped[np.ndarray, "layer pair"], over: Over) -> float:
    layers = values.mean(axis=1)
    return float(layers.mean() if over == "mean" else layers.max())
