"""`measure`: parallel text in, one pass through a model, an `AlignmentReport` out."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from tqdm import tqdm

from xalign.checks import boolean, whole_number
from xalign.errors import ArgumentTypeError
from xalign.identity import across_processes
from xalign.measurement.cached_reads import CachedReads, opened
from xalign.measurement.compared import compared
from xalign.measurement.finite import refuse_not_finite
from xalign.measurement.options import MeasureOptions, check_options, split_options
from xalign.measurement.prepare import PreparedPairs, Side
from xalign.measurement.provenance import notes_of, provenance_of, renewed_records
from xalign.measurement.readings import options_of_stack, readings_of
from xalign.measurement.state_cache import StateCache
from xalign.measurement.steered import entered
from xalign.measurement.subtract import checked_offsets, subtract_offsets
from xalign.measurement.unknown import warn_of_unknown_languages
from xalign.metrics import METRICS
from xalign.metrics.compute import compute_values
from xalign.metrics.metric import NULL, Compute, Metric, check_counts, resolve_metrics
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.map import map_model
from xalign.model.architectures.sites import Reading
from xalign.model.distributed import Ranks, is_sharded, refuse_split
from xalign.model.inputs_for import Processing, inputs_for
from xalign.model.placement import device_of
from xalign.model.read import States, read_states, reader_of
from xalign.pairs.load import load_pairs
from xalign.pairs.parallel import ParallelPairs
from xalign.results.report import AlignmentReport
from xalign.results.values import OWN_FUNCTIONS, Cost, MetricResult

DEFAULT_METRICS = ("nasca", "navca", "mexa", "retrieval")
Metrics = Sequence[str | Metric | Compute]
_Read = Callable[..., States]


def measure(
    model: nn.Module,
    tokenizer: Processing,
    pairs: ParallelPairs[Any] | str | Path = "bundled",
    metrics: Metrics = DEFAULT_METRICS,
    *,
    step: int | None = None,
    distributed: bool = False,
    cache: StateCache | str | Path | None = None,
    **options: Unpack[MeasureOptions],
) -> AlignmentReport:
    """Measure how well a model aligns its languages with the pivot language.

    One forward pass over the sentences serves every metric. The model is left as it was.

    Args:
        model: A transformers model of a known architecture, wrapped or not.
        tokenizer: Its tokenizer; for recordings, its feature extractor or its processor.
        pairs: Parallel sentences, written or spoken, or what `load_pairs` takes.
        metrics: Names in `xalign.metrics.METRICS`, `Metric` objects, or functions of a similarity matrix;
            `["all"]` for all that any model has.
        step: The training step to note in the report.
        distributed: Share the forward passes between the processes of `torch.distributed`. All of them must
            call `measure`. Each gets the same report, bit for bit, as a single process would.
        cache: A folder, or a `StateCache`. States that it holds are not read again, and newly read states are
            kept there. The scores are the same, bit for bit, as without a cache.
        **options: The fields of `TextOptions` (`template`, `truncate`, ...), `ReadOptions` (`pool`,
            `state_site`, `value_site`, `token_budget`, `subtract`, `steered`, ...) and `RunOptions` (`seed`,
            `revision`, `progress`), which describe them.

    Returns:
        The report: scores with their chance level, floor and interval, and the value of every sentence.

    Raises:
        ArgumentError: Unknown or no metrics, a bad option, too few pairs, or sentences beyond the context.
        PairsError: Repeated pivot sentences, which can never be nearest to their own translation.
        ModelError: An unknown architecture, a model split in a way that hides its states (ZeRO-3, FSDP1,
            tensor parallelism), states that are not finite, or an error in another process.

    Reference:
        Huang et al. (2025), NeuronXA; Kargaran et al. (2025), MEXA.

    Example:
        >>> report = measure(model, tokenizer, "bundled", metrics=("nasca", "mexa"))
        >>> 0 <= report.score("nasca", "deu_Latn") <= 1
        True
    """
    with Ranks(boolean("distributed", distributed)).raise_everywhere():
        check_options(measure, options)
    measurement = Measurement(
        model, tokenizer, pairs, metrics, distributed=distributed, cache=cache, **options
    )
    warn_of_unknown_languages(measurement.unknown_shares)
    return measurement.run(step)


class Measurement:
    """A prepared measurement: everything is checked and tokenized once, and it can be run repeatedly.

    Args:
        model: The model. All arguments are as in `measure`.
        tokenizer: Its tokenizer.
        pairs: Parallel sentences, or what `load_pairs` takes.
        metrics: Names of metrics, `Metric` objects, or functions.
        distributed: Whether the processes of `torch.distributed` share the forwards.
        cache: The cache that keeps the states of a run for later runs.
        **options: The options of `measure`.

    Attributes:
        model: The model that is run.
        pairs: The sentences.
        metrics: The metrics.
        scales: Row of the report -> what its numbers mean.
        tokens: Tokens of one run, padding included, if nothing is taken from a cache.
        forwards: Forward passes of one run, if nothing is taken from a cache.
    """

    @takes_layout
    def __init__(
        self,
        model: nn.Module,
        tokenizer: Processing,
        pairs: ParallelPairs[Any] | str | Path = "bundled",
        metrics: Metrics = DEFAULT_METRICS,
        *,
        distributed: bool = False,
        cache: StateCache | str | Path | None = None,
        **options: Unpack[MeasureOptions],
    ) -> None:
        self._ranks = Ranks(boolean("distributed", distributed))
        with self._ranks.raise_everywhere():
            is_steered, is_shared = options.get("steered") is not None, self._ranks.count > 1
            self._cache = opened(cache, is_steered=is_steered, is_shared=is_shared)
            self._prepare(model, tokenizer, pairs, metrics, options)
        self._ranks.refuse_differences(self._facts())

    def _prepare(
        self,
        model: nn.Module,
        tokenizer: Processing,
        pairs: ParallelPairs[Any] | str | Path,
        metrics: Metrics,
        options: MeasureOptions,
    ) -> None:
        """Check and tokenize."""
        text, read, self._run_options = split_options(options)
        self.metrics = resolve_metrics(metrics, METRICS)
        if not isinstance(pairs, ParallelPairs | str | Path):
            raise ArgumentTypeError(
                f"pairs={pairs!r:.60} must be ParallelPairs, or what load_pairs takes: 'bundled' or a path"
            )
        self.pairs = pairs if isinstance(pairs, ParallelPairs) else load_pairs(pairs)
        check_counts(self.metrics, self.pairs.counts)
        self.model = model
        model_map = map_model(model)
        text, self._read_options = options_of_stack(model, model_map, text, read)
        refuse_split(model)
        self._readings = {
            row: readings_of(model_map, metric.reads, self._read_options)
            for metric in self.metrics
            for row in metric.rows
        }
        self.scales = {row: metric.scale for metric in self.metrics for row in metric.rows}
        self._users = self._users_of_readings()
        self._with_states = {
            reading for reading, users in self._users.items() if any(over == "states" for _, over, _ in users)
        }
        languages = (self.pairs.pivot, *self.pairs)
        self._offsets = checked_offsets(self._read_options.subtract, languages, self._users, model_map)
        inputs = inputs_for(model, tokenizer, self.pairs.is_audio)
        self._prepared = PreparedPairs(self.pairs, inputs, text, self._read_options.token_budget)
        self.forwards, self.tokens = self._prepared.forwards, self._prepared.tokens
        self._floors = self._prepared.floors(self.metrics)
        self._stats = self._prepared.stats()
        self._provenance = provenance_of(
            *(model, model_map, tokenizer, self.pairs, self.metrics),
            options=(text, self._read_options),
            revision=self._run_options.revision,
        )
        self._provenance |= notes_of(model_map, self._read_options.stack, self._prepared.marks)
        self._renewed_records = partial(renewed_records, self._provenance, model, tokenizer, self.metrics)

    @property
    def unknown_shares(self) -> dict[str, float]:
        """Language, including the pivot -> the share of its tokens that the tokenizer does not know."""
        return {code: stats.unknown_share for code, stats in self._stats.items()}

    @property
    def provenance(self) -> dict[str, Any]:
        """What the report of the latest run says about how it was made."""
        return dict(self._provenance)

    @property
    def readings(self) -> dict[str, tuple[str, ...]]:
        """Row of the report -> the places it reads, from the first layer to the last."""
        return {row: tuple(map(str, readings)) for row, readings in self._readings.items()}

    def probe(self) -> None:
        """Run one short sentence, to check that every site exists and is reached."""
        read_states(self.model, [self._prepared.shortest()], self._users, ranks=self._ranks)

    def run(self, step: int | None = None) -> AlignmentReport:
        """Run the model over the sentences, and score what is read.

        Args:
            step: The training step to note in the report.
        """
        step = None if step is None else whole_number("step", step)
        refuse_split(self.model)  # it may have been wrapped since
        started, cpu_started = time.perf_counter(), time.process_time()
        with self._ranks.raise_everywhere():
            self._renew()
        with self._ranks.raise_everywhere():
            layout, sides = self._provenance["layout"], self._prepared.runs()
            cached = CachedReads(self._cache, self.model, layout, self._users, sides)
            values, peak = self._scores(cached)
        self._provenance |= cached.note
        cost = Cost(
            seconds=time.perf_counter() - started,
            cpu_seconds=time.process_time() - cpu_started,
            peak_bytes=peak,
            tokens=self.tokens - cached.tokens,
            forwards=self.forwards - cached.forwards,
        )
        values, cost = self._ranks.broadcast((values, cost))
        results = {row: self._result(row, metric, values) for metric in self.metrics for row in metric.rows}
        return AlignmentReport(
            self.pairs, results, self._stats, cost, self._provenance, step, self._run_options.seed
        )

    def _renew(self) -> None:
        """Record anew the functions that a run calls; what they are bound to may have changed."""
        records = self._renewed_records(self._read_options.steered)
        self._ranks.refuse_differences({name: across_processes(one) for name, one in records.items()})
        if records[OWN_FUNCTIONS] != self._provenance[OWN_FUNCTIONS]:
            self._floors = self._prepared.floors(self.metrics)
        self._provenance = {**self._provenance, **records}

    def _facts(self) -> dict[str, object]:
        """Return what must be the same in all processes that measure together."""
        settings = [name for names in self._provenance["must_agree"].values() for name in names]
        return {
            "pairs": self.pairs.fingerprint,
            "tokenizer": self._prepared.digest,
            "token_budget": self._read_options.token_budget,
            "number of batches": [len(side.batches) for side in self._prepared.runs()],
            "metrics": self.readings,
            "seed": self._run_options.seed,
            **{name: across_processes(self._provenance[name]) for name in settings},
        }

    def _scores(self, cached: CachedReads) -> tuple[dict[str, dict[str, Tensor]], int]:
        """Return row -> language -> values of each layer and pair, and the most bytes of states held."""
        values: dict[str, dict[str, Tensor]] = defaultdict(dict)
        without_direction: list[str] = []
        peak = 0
        own = sum(-(-len(side.batches) // self._ranks.count) for side in self._prepared.runs())
        shown = self._run_options.progress and self._ranks.index == 0
        device = device_of(self.model)
        with (
            self._reading() as read,
            tqdm(total=own, desc="measuring", unit="forward", disable=not shown) as bar,
        ):
            for language, pivot, states in self._read_languages(cached.through(read), bar.update):
                peak = max(peak, sum(state.nbytes for state in (*pivot.values(), *states.values())))
                layers: dict[str, list[Tensor]] = defaultdict(list)
                n = len(self.pairs[language])
                for reading, similarity, sides in compared(pivot, states, device, self._with_states):
                    if bool(similarity.isnan().any()):
                        without_direction.append(f"{reading} of {language}")
                    for row, over, compute in self._users[reading]:
                        given = (similarity,) if over == "similarity" else sides
                        scale = self.scales[row.removesuffix(NULL)]
                        layers[row].append(compute_values(row, compute, given, scale, n))
                for row, of_layers in layers.items():
                    values[row][language] = torch.stack(of_layers)
        cached.end()
        refuse_not_finite(values, self._readings, without_direction)
        return values, peak

    def _result(self, row: str, metric: Metric, values: dict[str, dict[str, Tensor]]) -> MetricResult:
        readings, nulls = self._readings[row], values.get(f"{row}{NULL}", {})
        chance = {code: metric.chance_of(n) for code, n in self.pairs.counts.items()}
        return MetricResult(
            metric=metric.name,
            scale=metric.scale,
            sites=tuple(reading.site for reading in readings),
            readings=tuple(str(reading) for reading in readings),
            values=values[row],
            floors=self._floors.get(row, {}),
            chance=chance | {code: float(null.double().mean()) for code, null in nulls.items()},
        )

    def _reading(self) -> AbstractContextManager[_Read]:
        """Return what reads states; of a model that is the same for all languages, observed once for all."""
        if self._read_options.steered is not None or is_sharded(self.model):
            return nullcontext(partial(read_states, self.model))
        return reader_of(self.model)

    def _read_languages(
        self, read: _Read, on_batch: Callable[[], object] | None = None
    ) -> Iterator[tuple[str, States, States]]:
        """Yield per language the pivot's states and its own. No more than these are held at one time."""
        read_side: Side | None = None
        pivot_states: States = {}
        for language, (pivot, side) in self._prepared.sides.items():
            if pivot is not read_side:
                pivot_states.clear()
                read_side, pivot_states = pivot, self._read(read, self.pairs.pivot, pivot, on_batch)
            states = self._read(read, language, side, on_batch)
            yield language, pivot_states, states
            states.clear()

    def _read(self, read: _Read, language: str, side: Side, on_batch: Callable[[], object] | None) -> States:
        with entered(self._read_options.steered, language):
            states = read(side.batches, self._users, on_batch=on_batch, ranks=self._ranks, on_device=True)
        subtract_offsets(states, self._offsets.get(language, {}))
        return states

    def _users_of_readings(self) -> dict[Reading, list[tuple[str, str, Compute]]]:
        """Map each reading to the rows that use it, so that each similarity matrix is made only once."""
        users: dict[Reading, list[tuple[str, str, Compute]]] = defaultdict(list)
        for metric in self.metrics:
            for row, compute in metric.computed.items():
                for reading in self._readings[row.removesuffix(NULL)]:
                    users[reading].append((row, metric.over, compute))
        return users
