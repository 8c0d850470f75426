"""`measure`: parallel text in, one pass through a model, an `AlignmentReport` out."""

import platform
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from xalign.arguments import whole_number
from xalign.errors import ArgumentTypeError, ModelError, PairsError
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.lexical import lexical_similarity
from xalign.model.encode import (
    Batch,
    Encoded,
    Template,
    context_of,
    encode,
    make_batches,
    pad_id_of,
    vocabulary_of,
)
from xalign.model.layouts import Layout
from xalign.model.map import ModelMap, map_model
from xalign.model.ranks import Ranks
from xalign.model.read import States, device_of, read_states
from xalign.model.sites import Pool, Reading
from xalign.model.split import refuse_split
from xalign.pairs.load import load_pairs
from xalign.pairs.parallel import ParallelPairs
from xalign.readout import Subtract, checked_offsets, take_off
from xalign.results.report import AlignmentReport
from xalign.results.values import Cost, LanguageStats, MetricResult
from xalign.scores import DEFAULT_METRICS, METRICS, Kernel, NeuronSite, Source, checked_metrics, readings_of

Steered = Callable[[str], AbstractContextManager[Any]]


class MeasureOptions(TypedDict, total=False):
    """The options of `measure`, which the monitor and the callback take too."""

    template: Template | None
    template_pooled: bool
    pool_special_tokens: bool
    truncate: bool
    pool: Pool
    nas: NeuronSite
    nav: NeuronSite
    include_embedding: bool
    token_budget: int
    seed: int
    revision: str | None
    layout: Layout | None
    progress: bool
    subtract: Subtract | None
    steered: Steered | None


def measure(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    pairs: ParallelPairs | str | Path = "bundled",
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    step: int | None = None,
    distributed: bool = False,
    **options: Unpack[MeasureOptions],
) -> AlignmentReport:
    """Measures how well a model lines its languages up with the pivot.

    One forward pass over the sentences serves every metric. The model is left as it was.

    Args:
        model: A transformers model of a known architecture, wrapped or not.
        tokenizer: Its tokenizer.
        pairs: Parallel sentences, or what `load_pairs` takes.
        metrics: Any of

            - `nasca`: weak alignment of neuron activation states, over all blocks (NeuronXA);
            - `navca`: weak alignment of neuron activation values, over all blocks (NeuronXA);
            - `mexa`: weak alignment of hidden states at the embedding, every block and the final norm (MEXA);
            - `retrieval`: top-1 retrieval from and to the pivot on MEXA's states;
            - `margin`: by how much translations beat their nearest rivals, on MEXA's states.
        step: The training step to note in the report.
        distributed: Shares the forwards between the processes of `torch.distributed`, all of which must call;
            the report is that of one process alone, to the bit, and every process gets it.
        **options: `template`, a string with `{text}` or a function (text, language) -> text, for models that
            need a prefix or a chat form; `template_pooled` (False) pools the template's and the special
            tokens too; `pool_special_tokens` (True) pools, without a template, the special tokens the
            tokenizer adds; `truncate` (False) cuts sentences longer than the context instead of refusing
            them; `pool` (`"weighted"`), `"last"`, `"mean"` or `"max"`; `nas` (`"gate"`) and `nav`
            (`"inner"`), the site that neuron states and values are read at; `include_embedding` (True),
            whether MEXA, retrieval and margin take the embedding; `token_budget` (4096), the most tokens of a
            forward, padding included; `seed` (0) of the intervals; `revision` of the model, for provenance;
            `layout` for an unknown architecture; `progress` (False) shows a bar; `subtract`, language -> the
            `LanguageVector`s to take off what is read of it, the pivot's too (see `language_means`);
            `steered`, a function from a language, the pivot too, to the context in which its sentences run,
            like `lambda code: steer(model, units[code])`.

    Returns:
        The report: scores in [0, 1] beside chance and lexical floor, with intervals and the bit of every
        sentence.

    Raises:
        ArgumentError: Unknown or no metrics, a bad option, a sentence longer than the context.
        PairsError: Repeated pivot sentences, which can never win their row.
        ModelError: An unknown architecture, a model split in a way that hides its states (ZeRO-3, FSDP1,
            tensor parallelism), states that are not finite, or an error in another process.

    Reference:
        Huang et al. (2025), NeuronXA; Kargaran et al. (2025), MEXA.

    Example:
        >>> report = measure(model, tokenizer, "bundled", metrics=("nasca", "mexa"))
        >>> 0 <= report.score("nasca", "deu_Latn") <= 1
        True
    """
    return Measurement(model, tokenizer, pairs, metrics, distributed=distributed, **options).run(step)


@dataclass(frozen=True)
class _Side:
    """One side of a bitext, ready to run."""

    encoded: Encoded
    batches: list[Batch]


class Measurement:
    """A measurement made ready: everything checked and tokenized once, to be run as often as wanted.

    Args:
        model: As in `measure`, and so are the others.
        tokenizer: Its tokenizer.
        pairs: Parallel sentences, or what `load_pairs` takes.
        metrics: Names of metrics.
        distributed: Whether the processes of `torch.distributed` share the forwards.
        **options: The options of `measure`.

    Attributes:
        model: The model that is run.
        pairs: The sentences.
        tokens: Tokens of one run, padding included.
        forwards: Forwards of one run.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        pairs: ParallelPairs | str | Path = "bundled",
        metrics: Sequence[str] = DEFAULT_METRICS,
        *,
        distributed: bool = False,
        template: Template | None = None,
        template_pooled: bool = False,
        pool_special_tokens: bool = True,
        truncate: bool = False,
        pool: Pool = "weighted",
        nas: NeuronSite = "gate",
        nav: NeuronSite = "inner",
        include_embedding: bool = True,
        token_budget: int = 4096,
        seed: int = 0,
        revision: str | None = None,
        layout: Layout | None = None,
        progress: bool = False,
        subtract: Subtract | None = None,
        steered: Steered | None = None,
    ) -> None:
        self.metrics = checked_metrics(metrics)
        seed, token_budget = whole_number("seed", seed), whole_number("token_budget", token_budget, least=1)
        if revision is not None and not isinstance(revision, str):
            raise ArgumentTypeError(f"revision={revision!r:.60} must be text, or None")
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise ArgumentTypeError(
                f"tokenizer must be a transformers tokenizer, not {type(tokenizer).__name__}"
            )
        self.pairs = pairs if isinstance(pairs, ParallelPairs) else load_pairs(pairs)
        _refuse_pivot_duplicates(self.pairs)
        self._ranks = Ranks(distributed)
        self.model, self._layout, self._seed = model, layout, seed
        self._progress = progress and self._ranks.index == 0
        model_map = map_model(model, layout)
        refuse_split(model)
        self._readings = readings_of(
            model_map, pool=pool, nas=nas, nav=nav, include_embedding=include_embedding
        )
        self._offsets = checked_offsets(subtract, (self.pairs.pivot, *self.pairs), self._users(), model_map)
        if steered is not None and (not callable(steered) or hasattr(steered, "__enter__")):
            raise ArgumentTypeError(
                f"steered={steered!r:.60} must be a function from a language to a context, like "
                "lambda code: steer(model, units[code])"
            )
        self._steered = steered
        context = context_of(model, tokenizer)
        vocabulary = vocabulary_of(model)
        pad_id = pad_id_of(tokenizer, below=vocabulary)

        def side(language: str, sentences: Sequence[str], ids: Sequence[str]) -> _Side:
            encoded = encode(
                tokenizer,
                sentences,
                language=language,
                template=template,
                template_pooled=template_pooled,
                pool_special_tokens=pool_special_tokens,
                context=context,
                truncate=truncate,
                vocabulary=vocabulary,
                ids=ids,
            )
            batches = make_batches(encoded.lines, token_budget=token_budget, pad_id=pad_id)
            return _Side(encoded, batches)

        shared = self.pairs.is_multiway
        self._sides: dict[str, tuple[_Side, _Side]] = {}
        pivot: _Side | None = None
        for language, bitext in self.pairs.items():
            if pivot is None or not shared:
                pivot = side(self.pairs.pivot, bitext.pivot_sentences, bitext.ids)
            self._sides[language] = (pivot, side(language, bitext.sentences, bitext.ids))
        self._warn_about_equal_tokens()
        self._floors = self._lexical_floors()
        self._stats = self._language_stats()
        self._provenance = {
            **_about_model(model, model_map, revision),
            "tokenizer": str(getattr(tokenizer, "name_or_path", "")),
            "pairs": self.pairs.source,
            "fingerprint": self.pairs.fingerprint,
            "template": _name(template),
            "template_pooled": template_pooled,
            "pool_special_tokens": pool_special_tokens,
            "truncate": truncate,
            "token_budget": token_budget,
            "subtract": sorted(self._offsets),
            "steered": _name(steered),
            "versions": {name: version(name) for name in ("xalign", "torch", "transformers", "numpy")}
            | {"python": platform.python_version()},
        }
        runs = self._runs()
        self.forwards = sum(len(side.batches) for side in runs)
        self.tokens = sum(batch.input_ids.numel() for side in runs for batch in side.batches)

    def _warn_about_equal_tokens(self) -> None:
        """Pivot sentences that differ as text and not as tokens: their states tie, and ties lose."""
        equal = max(len(side.encoded) - len(set(side.encoded.ids)) for side, _ in self._sides.values())
        if equal:
            warnings.warn(
                f"{equal} pivot sentence(s) in {self.pairs.pivot} are the same tokens as an earlier one: the "
                "tokenizer or truncate=True makes them equal, and their rows score 0",
                UserWarning,
                stacklevel=3,
            )

    @property
    def unknown_shares(self) -> dict[str, float]:
        """Language, the pivot too -> the share of its tokens that the tokenizer does not know."""
        return {code: stats.unknown_share for code, stats in self._stats.items()}

    def probe(self) -> None:
        """Runs one short sentence, to find out now whether every site is there and fires."""
        batch = min(
            (batch for side in self._runs() for batch in side.batches), key=lambda b: b.input_ids.shape[1]
        )
        # Two lines: some heads refuse more than one where they know no padding.
        lines = Batch(
            batch.input_ids[:1].repeat(2, 1),
            batch.attention_mask[:1].repeat(2, 1),
            batch.pooled[:1].repeat(2, 1),
            rows=((0,), (1,)),
        )
        self._states([lines], self._users())

    def run(self, step: int | None = None) -> AlignmentReport:
        """Runs the model over the sentences and scores what is read.

        Args:
            step: The training step to note in the report.
        """
        step = None if step is None else whole_number("step", step)
        refuse_split(self.model)  # it may have been wrapped since
        started, cpu_started = time.perf_counter(), time.process_time()
        users = self._users()
        values: dict[str, dict[str, Tensor]] = {row: {} for row in self._rows()}
        zeros: list[str] = []
        peak = 0
        own = sum(-(-len(side.batches) // self._ranks.count) for side in self._runs())
        with tqdm(total=own, desc="measuring", unit="forward", disable=not self._progress) as bar:
            for language, pivot_states, states in self._read_languages(list(users), bar):
                peak = max(peak, sum(state.nbytes for state in (*pivot_states.values(), *states.values())))
                layers: dict[str, list[Tensor]] = defaultdict(list)
                for reading, rows in users.items():
                    similarity = cosine_matrix(pivot_states[reading], states[reading])
                    if bool(similarity.isnan().any()):
                        zeros.append(f"{reading} of {language}")
                    for row, kernel in rows:
                        layers[row].append(kernel(similarity))
                for row, of_layers in layers.items():
                    values[row][language] = torch.stack(of_layers)
        if zeros and "margin" in self.metrics:
            raise ModelError(f"only zeros in {zeros[0]}: such a sentence has no margin; leave margin out")
        if zeros:
            warnings.warn(
                f"some sentence has only zeros in {', '.join(zeros[:3])}{' …' if len(zeros) > 3 else ''}; "
                "it has no direction, and what is compared with it loses",
                UserWarning,
                stacklevel=2,
            )
        cost = Cost(
            seconds=time.perf_counter() - started,
            cpu_seconds=time.process_time() - cpu_started,
            peak_bytes=peak,
            tokens=self.tokens,
            forwards=self.forwards,
        )
        values, cost = self._ranks.from_first((values, cost))
        results = {row: self._result(row, source, values[row]) for row, source in self._rows().items()}
        return AlignmentReport(self.pairs, results, self._stats, cost, self._provenance, step, self._seed)

    def _result(self, row: str, source: Source, values: dict[str, Tensor]) -> MetricResult:
        readings = self._readings[source]
        return MetricResult(
            layers=tuple(reading.site.layer for reading in readings if reading.site.layer is not None),
            readings=tuple(str(reading) for reading in readings),
            values=values,
            floors={language: floors[row] for language, floors in self._floors.items()},
        )

    def _read_languages(
        self, readings: Sequence[Reading], bar: "tqdm[Any]"
    ) -> Iterator[tuple[str, States, States]]:
        """Per language the pivot's states and its own; no more than these are held at one time."""
        read_side: _Side | None = None
        pivot_states: States = {}
        for language, (pivot, side) in self._sides.items():
            if pivot is not read_side:
                pivot_states.clear()
                read_side, pivot_states = pivot, self._read(self.pairs.pivot, pivot, readings, bar)
            states = self._read(language, side, readings, bar)
            yield language, pivot_states, states
            states.clear()

    def _read(self, language: str, side: _Side, readings: Sequence[Reading], bar: "tqdm[Any]") -> States:
        with nullcontext() if self._steered is None else self._steered(language):
            states = self._states(side.batches, readings, bar.update)
        take_off(states, self._offsets.get(language, {}))
        return states

    def _states(
        self,
        batches: Sequence[Batch],
        readings: Iterable[Reading],
        on_batch: Callable[[], None] | None = None,
    ) -> States:
        return read_states(
            self.model, batches, readings, layout=self._layout, on_batch=on_batch, ranks=self._ranks
        )

    @property
    def provenance(self) -> dict[str, Any]:
        """What a report says of how it was made."""
        return dict(self._provenance)

    @property
    def readings(self) -> dict[str, tuple[str, ...]]:
        """Row of the report -> the places it reads, from the first layer to the last."""
        return {row: tuple(map(str, self._readings[source])) for row, source in self._rows().items()}

    def _rows(self) -> dict[str, Source]:
        """Row of the report -> where it reads."""
        return {row: METRICS[metric][0] for metric in self.metrics for row in METRICS[metric][1]}

    def _users(self) -> dict[Reading, list[tuple[str, Kernel]]]:
        """Reading -> the rows that use it, so that each similarity matrix is made once and let go."""
        users: dict[Reading, list[tuple[str, Kernel]]] = defaultdict(list)
        for metric in self.metrics:
            source, kernels = METRICS[metric]
            for reading in self._readings[source]:
                users[reading] += kernels.items()
        return users

    def _runs(self) -> list[_Side]:
        runs = []
        previous = None
        for pivot, side in self._sides.values():
            runs += [side] if pivot is previous else [pivot, side]
            previous = pivot
        return runs

    def _lexical_floors(self) -> dict[str, dict[str, Tensor]]:
        floors = {}
        for language, (pivot, side) in self._sides.items():
            similarity = lexical_similarity(pivot.encoded.pooled_ids, side.encoded.pooled_ids)
            kernels = [kernel for metric in self.metrics for kernel in METRICS[metric][1].items()]
            floors[language] = {row: kernel(similarity) for row, kernel in kernels}
        return floors

    def _language_stats(self) -> dict[str, LanguageStats]:
        def stats(sides: Sequence[_Side]) -> LanguageStats:
            own = sum(sum(side.encoded.own_tokens) for side in sides)
            unknown = sum(sum(side.encoded.unknown_tokens) for side in sides)
            return LanguageStats(own / sum(len(side.encoded) for side in sides), unknown / max(own, 1))

        pivots = list({id(pivot): pivot for pivot, _ in self._sides.values()}.values())
        return {self.pairs.pivot: stats(pivots)} | {
            language: stats([side]) for language, (_, side) in self._sides.items()
        }


def _refuse_pivot_duplicates(pairs: ParallelPairs) -> None:
    count = pairs.duplicates.get(pairs.pivot, 0)
    if count:
        raise PairsError(
            f"{count} pivot sentence(s) in {pairs.pivot} repeat an earlier one, and equal pivot sentences "
            "can never win their row; measure pairs.without_duplicates()"
        )


def _about_model(model: nn.Module, model_map: ModelMap, revision: str | None) -> dict[str, Any]:
    config = getattr(getattr(model, "module", model), "config", None)
    return {
        "model": str(getattr(config, "_name_or_path", "")),
        "revision": revision or getattr(config, "_commit_hash", None),
        "model_class": type(model).__name__,
        "model_type": model_map.model_type,
        "n_layers": model_map.n_layers,
        "dtype": str(model_map.dtype).removeprefix("torch."),
        "device": str(device_of(model)),
    }


def _name(option: Template | Steered | None) -> str | None:
    """A function or text given as an option, as it is kept in a report."""
    if option is None or isinstance(option, str):
        return option
    named = option if hasattr(option, "__qualname__") else type(option)
    return f"{named.__module__}.{named.__qualname__}"
