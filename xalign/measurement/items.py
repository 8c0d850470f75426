"""`measure_items`: test items in, one pass through a model, an `AlignmentReport` out."""

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from xalign.checks import boolean, whole_number
from xalign.errors import ArgumentError
from xalign.measurement.options import MeasureOptions, ReadOptions, check_options, split_options
from xalign.measurement.prepare import Side
from xalign.measurement.prepared_items import PreparedItems, check_parallel, checked_options
from xalign.measurement.provenance import notes_of, provenance_of
from xalign.measurement.readings import options_of_stack, readings_of
from xalign.measurement.run import Metrics
from xalign.measurement.steered import entered
from xalign.measurement.subtract import checked_offsets, subtract_offsets
from xalign.metrics import METRICS
from xalign.metrics.compute import compute_values
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.metric import NULL, Metric, resolve_metrics
from xalign.model.architectures.map import ModelMap, map_model
from xalign.model.architectures.sites import Reading
from xalign.model.distributed import refuse_split
from xalign.model.inputs import Inputs
from xalign.model.read import States, read_states
from xalign.pairs.item import Choice
from xalign.pairs.items import ParallelItems
from xalign.pairs.load_items import load_items
from xalign.results.report import AlignmentReport
from xalign.results.values import Cost, MetricResult

DEFAULT_ITEM_METRICS = ("dali", "dali_strong", "mexa_t")
_FINAL = "final"


def measure_items(
    model: nn.Module,
    tokenizer: Any,
    items: ParallelItems[Choice] | str | Path,
    metrics: Metrics = DEFAULT_ITEM_METRICS,
    *,
    include_final: bool = False,
    step: int | None = None,
    **options: Unpack[MeasureOptions],
) -> AlignmentReport:
    """Measure, for each item of a choice task, whether a model lines its options up with the pivot's.

    Context and option are run as one text. Its state is read at the last position, special tokens included,
    at every layer from the embedding to the last block but one. `report.score` gives the mean of all layers,
    or with `over="max"` the best layer; `report.per_sentence` gives the bit of every item at a layer.

    Args:
        model: A transformers model of a known architecture.
        tokenizer: Its tokenizer.
        items: Choice tasks, all with the same number of options, or what `load_items` takes. Gold answers
            are not read.
        metrics: Names of metrics of items (`dali`, `dali_strong`, `mexa_t`), or `Metric` objects over
            `"options"` or `"contexts"`.
        include_final: Read the final hidden state too, as MEXA does.
        step: The training step to note in the report.
        **options: As in `measure`, with `pool="last"` as the default.

    Returns:
        The report. Each of its sentences is all the text of one item.

    Raises:
        ArgumentError: Metrics that are not of items, contexts that repeat, or a bad option.
        PairsError: Items that are not aligned, or with different numbers of options.

    Reference:
        Ravisankar, Han and Carpuat (2025), arXiv 2504.09378.

    Example:
        >>> from xalign.pairs.item import Choice
        >>> english = [Choice("It rains.", ("I am wet.", "No.")), Choice("I eat.", ("Fine.", "No."))]
        >>> german = [Choice("Es regnet.", ("Ich bin nass.", "Nein.")), Choice("Ich esse.", ("Ja.", "Nie."))]
        >>> report = measure_items(model, tokenizer, ParallelItems({"en": english, "de": german}))
        >>> round(report.chance("dali", "deu_Latn"), 4), report.per_sentence("dali", "deu_Latn", 0).shape
        (0.1667, torch.Size([2]))
    """
    check_options(measure_items, options)
    step = None if step is None else whole_number("step", step)
    given = items if isinstance(items, ParallelItems) else load_items(items)
    measurement = _ItemMeasurement(model, tokenizer, given, metrics, include_final, options)
    return measurement.run(step)


class _ItemMeasurement:
    """The arguments of `measure_items`, checked and tokenized."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        items: ParallelItems[Choice],
        metrics: Metrics,
        include_final: bool,
        options: MeasureOptions,
    ) -> None:
        text, read, self._run_options = split_options({"pool": "last", **options})
        self._metrics = _checked_metrics(metrics)
        self._options, self._items, self._model = checked_options(items), items, model
        check_parallel(items)
        self._pairs = items.as_pairs()
        refuse_split(model)
        model_map = map_model(model)
        text, self._read_options = options_of_stack(model, model_map, text, read)
        include_final = boolean("include_final", include_final)
        self._readings = {
            metric.name: _readings(model_map, metric, self._read_options, include_final)
            for metric in self._metrics
        }
        self._used = list(dict.fromkeys(one for each in self._readings.values() for one in each))
        self._offsets = checked_offsets(read.subtract, items, self._used, model_map)
        self._prepared = PreparedItems(
            items,
            Inputs(model, tokenizer),
            text,
            read.token_budget,
            with_contexts=any(metric.takes_similarity for metric in self._metrics),
        )
        self._provenance = provenance_of(
            *(model, model_map, tokenizer, self._pairs, self._metrics),
            options=(text, self._read_options),
            revision=self._run_options.revision,
        )
        self._provenance |= notes_of(model_map, self._read_options.stack, {})
        self._provenance["items"] = {
            "fingerprint": items.fingerprint,
            "options": self._options,
            "include_final": include_final,
        }

    def run(self, step: int | None) -> AlignmentReport:
        """Run the model over the texts, and score what is read."""
        started, cpu_started, peak = time.perf_counter(), time.process_time(), 0
        values: dict[str, dict[str, Tensor]] = defaultdict(dict)
        pivot = self._read(self._items.pivot)
        for language in self._items.languages:
            own = self._read(language)
            peak = max(peak, sum(one.nbytes for part in (*pivot, *own) for one in part.values()))
            for metric in self._metrics:
                for row, of_layers in self._score(metric, pivot, own).items():
                    values[row][language] = of_layers
        cost = Cost(
            seconds=time.perf_counter() - started,
            cpu_seconds=time.process_time() - cpu_started,
            peak_bytes=peak,
            tokens=self._prepared.tokens,
            forwards=self._prepared.forwards,
        )
        floors = self._prepared.floors(self._metrics, self._items.pivot)
        results = {
            row: self._result(row, metric, values, floors.get(row, {}))
            for metric in self._metrics
            for row in metric.rows
        }
        stats, provenance, seed = self._prepared.stats(), dict(self._provenance), self._run_options.seed
        return AlignmentReport(self._pairs, results, stats, cost, provenance, step, seed)

    def _read(self, language: str) -> tuple[States, States]:
        """Return the states of the options' texts, and of the contexts where they are compared."""
        side = self._prepared.sides[language]
        offsets = self._offsets.get(language, {})

        def states(part: Side | None) -> States:
            if part is None:
                return {}
            with entered(self._read_options.steered, language):
                found = read_states(self._model, part.batches, self._used)
            subtract_offsets(found, offsets)
            return found

        return states(side.options), states(side.contexts)

    def _score(
        self, metric: Metric, pivot: tuple[States, States], own: tuple[States, States]
    ) -> dict[str, Tensor]:
        """Return row -> values of each layer and item."""
        layers: dict[str, list[Tensor]] = defaultdict(list)
        for reading in self._readings[metric.name]:
            if metric.takes_similarity:
                given: tuple[Tensor, ...] = (cosine_matrix(pivot[1][reading], own[1][reading]),)
            else:
                given = tuple(
                    side[0][reading].view(self._items.n, self._options, -1) for side in (pivot, own)
                )
            for row, compute in metric.computed.items():
                layers[row].append(compute_values(row, compute, given, metric.scale, self._items.n))
        return {row: torch.stack(found) for row, found in layers.items()}

    def _result(
        self, row: str, metric: Metric, values: dict[str, dict[str, Tensor]], floors: dict[str, Tensor]
    ) -> MetricResult:
        readings, nulls = self._readings[metric.name], values.get(f"{row}{NULL}", {})
        chance = dict.fromkeys(self._items.languages, metric.chance_of(self._items.n))
        return MetricResult(
            metric=metric.name,
            scale=metric.scale,
            sites=tuple(reading.site for reading in readings),
            readings=tuple(map(str, readings)),
            values=values[row],
            floors=floors,
            chance=chance | {code: float(null.double().mean()) for code, null in nulls.items()},
        )


def _checked_metrics(metrics: Metrics) -> Sequence[Metric]:
    found = resolve_metrics(metrics, METRICS)
    of_pairs = [metric.name for metric in found if not metric.is_of_items]
    if of_pairs:
        known = ", ".join(name for name, metric in METRICS.items() if metric.is_of_items)
        raise ArgumentError(
            f"metrics={of_pairs!r} are of pairs of sentences: use measure; of items there are {known}"
        )
    return found


def _readings(
    model_map: ModelMap, metric: Metric, options: ReadOptions, include_final: bool
) -> list[Reading]:
    found = readings_of(model_map, metric.reads, options)
    return [one for one in found if include_final or one.site.layer != _FINAL]
