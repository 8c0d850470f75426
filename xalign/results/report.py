"""`AlignmentReport`: alignment per language, metric and layer, with the bit of every sentence."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Shaped
from torch import Tensor

from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.metrics.metric import Scale
from xalign.model.architectures.sites import Layer, Site
from xalign.pairs.parallel import ParallelPairs
from xalign.results import compare, saved
from xalign.results.values import Cost, LanguageStats, MetricResult
from xalign.statistics.intervals import Interval, largest_layer_interval, layer_interval, score_interval

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
        metrics: Row -> its values. A metric of several parts has a row for each, as retrieval has from and to
            the pivot.
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
        """The metrics as they are asked for; those of several rows are one."""
        return list(dict.fromkeys(result.metric for result in self.metrics.values()))

    @property
    def stacks(self) -> list[str]:
        """The stacks measured: `[""]`, or `["encoder", "decoder"]` of a model that has both."""
        return list(dict.fromkeys(site.stack for result in self.metrics.values() for site in result.sites))

    def scale(self, metric: str) -> Scale:
        """What a metric's numbers mean: title, unit, bounds, and whether higher is better."""
        return self._results(metric)[0].scale

    def sites(self, metric: str) -> tuple[Site, ...]:
        """The places at which a metric was measured, from the lowest of each stack."""
        return self._results(metric)[0].sites

    def per_sentence(self, metric: str, language: str, layer: Layer | Site | str) -> Shaped[Tensor, " pair"]:
        """The value of every pair at one layer: bits, or real numbers.

        Args:
            metric: A metric of one row; of retrieval, one direction.
            language: The language.
            layer: A block, `"embed"` or `"final"`; of a model with two stacks a `Site`, or text like
                `"decoder.3"`.
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
        """Deprecated: the name of `per_sentence` in 0.1.0."""
        warnings.warn(
            "AlignmentReport.bits is deprecated and will be removed in the next version: use per_sentence",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.per_sentence(metric, language, layer)

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
        """The language with the worst score, and that score."""
        worst = min if self.scale(metric).higher_is_better else max
        return worst(((code, self.score(metric, code)) for code in self.languages), key=lambda pair: pair[1])

    def floor(self, metric: str = "nasca", language: str | None = None) -> float | None:
        """The lexical floor of a score: the same metric of token counts, with no model at all.

        None for a metric that has no floor.
        """
        chosen = self.languages if language is None else [self._language(language)]
        results = self._results(metric)
        if not all(result.floors for result in results):
            return None
        return float(np.mean([result.floors[code].double().mean() for code in chosen for result in results]))

    def chance(self, metric: str, language: str) -> float | None:
        """The score expected without any information; None where it is not known."""
        return self._results(metric)[0].chance[self._language(language)]

    def mean_by_layer(self, metric: str, language: str | None = None) -> Shaped[np.ndarray, " layer"]:
        """Each layer's value, of one language or averaged over all."""
        means: Shaped[np.ndarray, " layer"] = np.mean(
            [values.mean(axis=1) for values in self._values(metric, language)], axis=0
        )
        return means

    def best_layer(self, metric: str, language: str) -> Layer | str:
        """The layer with the best value, the lowest of equal ones."""
        return self._results(metric)[0].layers[
            best_place(self.mean_by_layer(metric, language), self.scale(metric))
        ]

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
                common = {"step": self.step, "metric": metric, "language": language}
                about = {
                    "n": len(self.pairs[language]),
                    "chance": self.chance(metric, language),
                    "floor": self.floor(metric, language),
                }
                for site, values in zip(result.sites, result.values[language], strict=True):
                    place = {"stack": site.stack, "layer": str(site) if site.layer is None else site.layer}
                    low, high = layer_interval(values.numpy(), seed=self.seed)
                    value = values.double().mean().item()
                    rows.append(common | place | {"value": value, "low": low, "high": high} | about)
                for pooled in over:
                    place = {"stack": "", "layer": pooled}
                    low, high = self.interval(metric, language, pooled)
                    value = self.score(metric, language, pooled)
                    rows.append(common | place | {"value": value, "low": low, "high": high} | about)
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
        from xalign.views.table import report_table

        return report_table(self)

    def figure(self, metric: str = "nasca") -> "Figure":
        """A layer × language heatmap of one metric, with the lexical floor beside it (needs matplotlib)."""
        from xalign.views.heatmap import heatmap

        return heatmap(self, metric)

    def to_html(self, path: str | Path) -> Path:
        """Writes the report as one page that opens from disk; see `xalign.views.page.write_page`."""
        from xalign.views.page import write_page

        return write_page(self, path)

    def __repr__(self) -> str:
        """The scores in one line."""
        scores = ", ".join(f"{metric} {self.score(metric):.3f}" for metric in self.measured)
        step = "" if self.step is None else f"step {self.step}, "
        return f"AlignmentReport({step}{scores}; {', '.join(self.languages)})"

    def _results(self, metric: str) -> list[MetricResult]:
        """The results of a metric: one, or one per part."""
        return [self.metrics[row] for row in self._rows(metric)]

    def _rows(self, metric: str) -> list[str]:
        if not isinstance(metric, str):
            raise ArgumentTypeError(f"metric={metric!r:.60} must be the name of one metric")
        rows = [row for row, result in self.metrics.items() if metric in (row, result.metric)]
        if not rows:
            raise ArgumentError(f"metric={metric!r} is not in this report; it has {', '.join(self.measured)}")
        return rows

    def _language(self, language: str) -> str:
        if language not in self.pairs:
            raise ArgumentError(
                f"language={language!r} is not in this report; it has {', '.join(self.languages)}"
            )
        return language

    def _values(self, metric: str, language: str | None) -> list[Shaped[np.ndarray, "layer pair"]]:
        chosen = self.languages if language is None else [self._language(language)]
        return [result.values[code].double().numpy() for code in chosen for result in self._results(metric)]


def best_place(values: Shaped[np.ndarray, " layer"], scale: Scale) -> int:
    """Where the best of some values stands, the first of equal ones."""
    return int(values.argmax() if scale.higher_is_better else values.argmin())


def _check_over(over: str) -> None:
    if over not in ("mean", "max"):
        raise ArgumentError(f"over={over!r} must be 'mean' or 'max'")


def _over_layers(values: Shaped[np.ndarray, "layer pair"], over: Over) -> float:
    layers = values.mean(axis=1)
    return float(layers.mean() if over == "mean" else layers.max())
