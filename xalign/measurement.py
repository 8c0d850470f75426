"""`measure`: parallel text in, one pass through a model, an `AlignmentReport` out."""

import platform
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from xalign.errors import ArgumentError, ArgumentTypeError, ModelError, PairsError
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.lexical import lexical_similarity
from xalign.metrics.margin import margin
from xalign.metrics.retrieval import retrieval_from_pivot, retrieval_to_pivot
from xalign.metrics.weak_alignment import weak_alignment
from xalign.model.encode import Batch, Encoded, Template, context_of, encode, make_batches, pad_id_of
from xalign.model.layouts import Layout
from xalign.model.map import ModelMap, map_model
from xalign.model.read import States, device_of, read_states
from xalign.model.sites import Kind, Pool, Reading, Site, State
from xalign.pairs.load import load_pairs
from xalign.pairs.parallel import ParallelPairs
from xalign.results.report import AlignmentReport
from xalign.results.values import Cost, LanguageStats, MetricResult

Source = Literal["neurons_state", "neurons_value", "hidden"]
Kernel = Callable[[Tensor], Tensor]

# Metric -> where it reads, and per row of the report the function of the similarity matrix.
METRICS: dict[str, tuple[Source, dict[str, Kernel]]] = {
    "nasca": ("neurons_state", {"nasca": weak_alignment}),
    "navca": ("neurons_value", {"navca": weak_alignment}),
    "mexa": ("hidden", {"mexa": weak_alignment}),
    "retrieval": (
        "hidden",
        {"retrieval_from_pivot": retrieval_from_pivot, "retrieval_to_pivot": retrieval_to_pivot},
    ),
    "margin": ("hidden", {"margin": margin}),
}
DEFAULT_METRICS = ("nasca", "navca", "mexa", "retrieval")


class MeasureOptions(TypedDict, total=False):
    """The options of `measure`, which the monitor and the callback take too."""

    template: Template | None
    template_pooled: bool
    pool_special_tokens: bool
    truncate: bool
    pool: Pool
    nas: Literal["gate", "inner"]
    nav: Literal["gate", "inner"]
    include_embedding: bool
    token_budget: int
    seed: int
    revision: str | None
    layout: Layout | None
    progress: bool


def measure(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    pairs: ParallelPairs | str | Path = "bundled",
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    step: int | None = None,
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
        **options: `template`, a string with `{text}` or a function (text, language) -> text, for models that
            need a prefix or a chat form; `template_pooled` (False) pools the template's and the special
            tokens too; `pool_special_tokens` (True) pools, without a template, the special tokens the
            tokenizer adds; `truncate` (False) cuts sentences longer than the context instead of refusing
            them; `pool` (`"weighted"`), `"last"`, `"mean"` or `"max"`; `nas` (`"gate"`) and `nav`
            (`"inner"`), the site that neuron states and values are read at; `include_embedding` (True),
            whether MEXA, retrieval and margin take the embedding; `token_budget` (4096), the most tokens of a
            forward, padding included; `seed` (0) of the intervals; `revision` of the model, for provenance;
            `layout` for an unknown architecture; `progress` (False) shows a bar.

    Returns:
        The report: scores in [0, 1] beside chance and lexical floor, with intervals and the bit of every
        sentence.

    Raises:
        ArgumentError: Unknown or no metrics, a bad option, a sentence longer than the context.
        PairsError: Repeated pivot sentences, which can never win their row.
        ModelError: An unknown architecture, or states that are not finite.

    Reference:
        Huang et al. (2025), NeuronXA; Kargaran et al. (2025), MEXA.

    Example:
        >>> report = measure(model, tokenizer, "bundled", metrics=("nasca", "mexa"))
        >>> 0 <= report.score("nasca", "deu_Latn") <= 1
        True
    """
    return Measurement(model, tokenizer, pairs, metrics, **options).run(step)


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
        template: Template | None = None,
        template_pooled: bool = False,
        pool_special_tokens: bool = True,
        truncate: bool = False,
        pool: Pool = "weighted",
        nas: Literal["gate", "inner"] = "gate",
        nav: Literal["gate", "inner"] = "inner",
        include_embedding: bool = True,
        token_budget: int = 4096,
        seed: int = 0,
        revision: str | None = None,
        layout: Layout | None = None,
        progress: bool = False,
    ) -> None:
        self.metrics = _checked_metrics(metrics)
        self.pairs = pairs if isinstance(pairs, ParallelPairs) else load_pairs(pairs)
        _refuse_pivot_duplicates(self.pairs)
        self.model, self._layout, self._seed, self._progress = model, layout, seed, progress
        model_map = map_model(model, layout)
        for name, site in (("nas", nas), ("nav", nav)):
            if site not in ("gate", "inner"):
                raise ArgumentError(f"{name}={site!r} must be 'gate' or 'inner'")
        self._readings = {
            "neurons_state": _neurons(model_map, nas, "active", pool),
            "neurons_value": _neurons(model_map, nav, "abs", pool),
            "hidden": _hidden(model_map, pool, include_embedding),
        }
        context = context_of(model, tokenizer)

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
                ids=ids,
            )
            batches = make_batches(encoded, token_budget=token_budget, pad_id=pad_id_of(tokenizer))
            return _Side(encoded, batches)

        shared = self.pairs.is_multiway
        self._sides: dict[str, tuple[_Side, _Side]] = {}
        pivot: _Side | None = None
        for language, bitext in self.pairs.items():
            if pivot is None or not shared:
                pivot = side(self.pairs.pivot, bitext.pivot_sentences, bitext.ids)
            self._sides[language] = (pivot, side(language, bitext.sentences, bitext.ids))
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
            "versions": {name: version(name) for name in ("xalign", "torch", "transformers", "numpy")}
            | {"python": platform.python_version()},
        }
        runs = self._runs()
        self.forwards = sum(len(side.batches) for side in runs)
        self.tokens = sum(batch.input_ids.numel() for side in runs for batch in side.batches)

    def probe(self) -> None:
        """Runs one short sentence, to find out now whether every site is there and fires."""
        batch = min(
            (batch for side in self._runs() for batch in side.batches), key=lambda b: b.input_ids.shape[1]
        )
        line = Batch(batch.input_ids[:1], batch.attention_mask[:1], batch.pooled[:1], rows=((0,),))
        read_states(self.model, [line], self._users(), layout=self._layout)

    def run(self, step: int | None = None) -> AlignmentReport:
        """Runs the model over the sentences and scores what is read.

        Args:
            step: The training step to note in the report.
        """
        started, cpu_started = time.perf_counter(), time.process_time()
        users = self._users()
        values: dict[str, dict[str, list[Tensor]]] = {row: defaultdict(list) for row in self._rows()}
        pivot_side: _Side | None = None
        pivot_states: States = {}
        peak = 0
        with tqdm(total=self.forwards, desc="measuring", unit="forward", disable=not self._progress) as bar:
            for language, (pivot, side) in self._sides.items():
                if pivot is not pivot_side:
                    pivot_states = {}  # the old ones go before the new ones come
                    pivot_side, pivot_states = pivot, self._read(pivot, users, bar)
                states = self._read(side, users, bar)
                peak = max(peak, sum(s.nbytes for s in (*pivot_states.values(), *states.values())))
                for reading, rows in users.items():
                    similarity = cosine_matrix(pivot_states[reading], states[reading])
                    if bool(similarity.isnan().any()):
                        warnings.warn(
                            f"{language}: some sentence has only zeros at {reading}; it has no direction, "
                            "and what is compared with it loses",
                            UserWarning,
                            stacklevel=2,
                        )
                    for row, kernel in rows:
                        values[row][language].append(kernel(similarity))
        results = {
            row: MetricResult(
                tuple(
                    reading.site.layer for reading in self._readings[source] if reading.site.layer is not None
                ),
                tuple(str(reading) for reading in self._readings[source]),
                {language: torch.stack(layers) for language, layers in values[row].items()},
                {language: floors[row] for language, floors in self._floors.items()},
            )
            for row, source in self._rows().items()
        }
        if any(bool(v.isnan().any()) for r in results.values() for v in r.values.values()):
            raise ModelError(
                "a sentence whose hidden state is all zeros has no margin; leave the metric margin out"
            )
        cost = Cost(
            seconds=time.perf_counter() - started,
            cpu_seconds=time.process_time() - cpu_started,
            peak_bytes=peak,
            tokens=self.tokens,
            forwards=self.forwards,
        )
        return AlignmentReport(self.pairs, results, self._stats, cost, self._provenance, step, self._seed)

    def _read(self, side: _Side, readings: Sequence[Reading] | dict[Reading, Any], bar: Any) -> States:
        return read_states(self.model, side.batches, readings, layout=self._layout, on_batch=bar.update)

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


def _checked_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    if isinstance(metrics, str) or not isinstance(metrics, Sequence):
        raise ArgumentTypeError(f"metrics must be a list of names, like ['nasca'], not {metrics!r}")
    known = ", ".join(METRICS)
    if not metrics:
        raise ArgumentError(f"metrics is empty; choose from {known}")
    unknown = [metric for metric in metrics if metric not in METRICS]
    if unknown:
        raise ArgumentError(f"metrics={unknown!r} unknown; choose from {known}")
    if len(set(metrics)) != len(metrics):
        raise ArgumentError(f"metrics={list(metrics)!r} names a metric twice")
    return tuple(metrics)


def _refuse_pivot_duplicates(pairs: ParallelPairs) -> None:
    count = pairs.duplicates.get(pairs.pivot, 0)
    if count:
        raise PairsError(
            f"{count} pivot sentence(s) in {pairs.pivot} repeat an earlier one, and equal pivot sentences "
            "can never win their row; measure pairs.without_duplicates()"
        )


def _neurons(model_map: ModelMap, kind: Kind, state: State, pool: Pool) -> list[Reading]:
    return [Reading(site, state, pool) for site in model_map.sites(kind)]


def _hidden(model_map: ModelMap, pool: Pool, include_embedding: bool) -> list[Reading]:
    """MEXA's states: those that Hugging Face returns, where `final` stands for the last block."""
    last = Site("hidden", model_map.n_layers - 1)
    left_out = {last} if include_embedding else {last, Site("hidden", "embed")}
    return [Reading(site, "value", pool) for site in model_map.sites("hidden") if site not in left_out]


def _about_model(model: nn.Module, model_map: ModelMap, revision: str | None) -> dict[str, Any]:
    config = getattr(model, "config", None)
    return {
        "model": str(getattr(config, "_name_or_path", "")),
        "revision": revision or getattr(config, "_commit_hash", None),
        "model_class": type(model).__name__,
        "model_type": model_map.model_type,
        "n_layers": model_map.n_layers,
        "dtype": str(model_map.dtype).removeprefix("torch."),
        "device": str(device_of(model)),
    }


def _name(template: Template | None) -> str | None:
    if template is None or isinstance(template, str):
        return template
    return f"{template.__module__}.{template.__qualname__}"
