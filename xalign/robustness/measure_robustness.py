"""`measure_robustness`: how many alignment bits survive when sentences are changed."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from xalign.checks import whole_number
from xalign.errors import ArgumentError
from xalign.measurement.compared import Compared
from xalign.measurement.options import MeasureOptions, check_options
from xalign.measurement.run import Metrics
from xalign.metrics import METRICS
from xalign.metrics.lexical import lexical_similarity
from xalign.metrics.metric import Compute, Metric, resolve_metrics
from xalign.model.architectures.sites import Layer
from xalign.model.inputs_for import Processing
from xalign.pairs.load import load_pairs
from xalign.pairs.parallel import ParallelPairs
from xalign.results.values import layer_name
from xalign.robustness.perturb import Changing, Kinds, Perturbed, perturb, resolve_kinds
from xalign.robustness.perturbations import PERTURBATIONS
from xalign.robustness.perturbations.perturbation import Perturbation
from xalign.robustness.robustness import Key, Robustness
from xalign.robustness.states import PooledStates
from xalign.robustness.survival import Survival, bits_among
from xalign.statistics.documents import Documents, documents_of

ALL_KINDS = tuple(PERTURBATIONS)
Bits = tuple[Tensor, Tensor]  # of all sentences, without and with the change


def measure_robustness(
    model: nn.Module,
    tokenizer: Processing,
    pairs: ParallelPairs[Any] | str | Path = "bundled",
    kinds: Kinds = ALL_KINDS,
    metrics: Metrics = ("nasca", "mexa"),
    *,
    side: Changing = "languages",
    **options: Unpack[MeasureOptions],
) -> Robustness:
    """Measure how many alignment bits survive when sentences are changed, paired over sentences.

    Sentences are changed on one side. If a change keeps the meaning (typing errors), the changed sentence
    replaces the original: a robust model still aligns it. If it does not (another name, another number, the
    opposite, another order), the changed sentence competes with the original: a robust model still prefers
    the original. All numbers are for the sentences that could be changed.

    Args:
        model: As in `measure`, like the next two.
        tokenizer: Its tokenizer.
        pairs: Written pairs.
        kinds: Names in `PERTURBATIONS`, or `Perturbation` objects, such as the look-alikes of
            `load_look_alikes`.
        metrics: Metrics of a similarity matrix whose values are bits, such as `nasca`, `mexa`, `retrieval`.
        side: `"languages"` changes the sentences of every language but the pivot, `"pivot"` those of the
            pivot.
        **options: The options of `measure`. `seed` also seeds the changes.

    Returns:
        The bits before and after, as rows and as a table.

    Raises:
        ArgumentError: An unknown kind or side, or a metric that gives no bits; as `measure`.
        PairsError: Spoken pairs, or changes that make two sentences of the pivot equal.

    Reference:
        Chen et al. (2023), xsim++, for synthetic sentences as rivals; Zhang et al. (2019), PAWS, for
        look-alikes.

    Example:
        >>> found = measure_robustness(model, tokenizer, pairs, ["typos", "negation"], ["nasca"])
        >>> [(row["kind"], row["competes"]) for row in found.to_rows()]
        [('typos', False), ('negation', True)]
    """
    check_options(measure_robustness, options)
    perturbations, chosen = resolve_kinds(kinds), _with_bits(metrics)
    given = pairs if isinstance(pairs, ParallelPairs) else load_pairs(pairs)
    seed = whole_number("seed", options.get("seed", 0))
    read = PooledStates(model, tokenizer, given, chosen, **options)
    comparisons = []
    for kind in perturbations:
        changed = perturb(given, kind, side=side, seed=seed)
        if any(changed.counts.values()):
            other = PooledStates(model, tokenizer, changed.pairs, chosen, **options)
            comparisons.append(_Comparison(kind, side, read, other, changed))
    found = _bits(read, comparisons)
    floors = {key: bits for one in comparisons for key, bits in one.floors().items()}
    return Robustness(perturbations, _layers(read), found, floors, given.counts, side, seed)


def _with_bits(metrics: Metrics) -> tuple[Metric, ...]:
    """Return the metrics, or refuse those that cannot give bits."""
    chosen = resolve_metrics(metrics, METRICS)
    without = [one.name for one in chosen if not one.takes_similarity or not one.scale.is_share]
    if without:
        raise ArgumentError(
            f"metrics={without!r} are no shares of a similarity matrix: what survives are bits; choose "
            "nasca, navca, mexa or retrieval"
        )
    return chosen


def _layers(read: PooledStates) -> dict[str, list[Layer | str]]:
    """Return row of a metric -> the layers that it is computed of."""
    found: dict[str, list[Layer | str]] = {row: [] for metric in read.metrics for row in metric.rows}
    for reading, users in read.users.items():
        for row, _, _ in users:
            found[row].append(layer_name(reading.site))
    return found


def _bits(read: PooledStates, comparisons: "Sequence[_Comparison]") -> dict[Key, Survival]:
    """Read the pairs once, and the changed ones of each kind beside them, language by language."""
    found: dict[Key, Survival] = {}
    for (code, own), *changed in zip(read.compared(), *(one.compared() for one in comparisons), strict=True):
        used = [(one, new) for one, (_, new) in zip(comparisons, changed, strict=True) if one.changes(code)]
        layers: list[dict[str, list[Bits]]] = [defaultdict(list) for _ in used]
        for (reading, similarity, _), *others in zip(own, *(new for _, new in used), strict=True):
            for row, _, compute in read.users[reading] if used else ():
                before = _checked_bits(row, compute(similarity))
                for (one, _), into, (_, other, _) in zip(used, layers, others, strict=True):
                    into[row].append((before, one.after(compute, similarity, other, code)))
        for (one, _), of_rows in zip(used, layers, strict=True):
            found |= {one.key(row, code): one.survival(bits, code) for row, bits in of_rows.items()}
    return found


def _checked_bits(row: str, values: Tensor) -> Tensor:
    """Return the values of a metric, or refuse those that are no bits."""
    if values.dtype != torch.bool:
        raise ArgumentError(
            f"metric {row!r} gives {str(values.dtype).removeprefix('torch.')} values: what survives are "
            "bits; choose nasca, navca, mexa or retrieval"
        )
    return values


class _Comparison:
    """One kind of change: what is read of the pairs, and of the changed ones."""

    def __init__(
        self, kind: Perturbation, side: Changing, read: PooledStates, other: PooledStates, changed: Perturbed
    ) -> None:
        self._kind, self._side, self._read, self._other = kind, side, read, other
        self._rows = {code: np.array(bits) for code, bits in changed.changed.items() if any(bits)}

    def compared(self) -> Iterator[tuple[str, Compared]]:
        """Yield what is read of the changed pairs, per language."""
        yield from self._other.compared()

    def changes(self, code: str) -> bool:
        """Return whether some sentence of a language was changed."""
        return code in self._rows

    def key(self, row: str, code: str) -> Key:
        """Return the key of a row in one language."""
        return self._kind.name, row, code

    def floors(self) -> dict[Key, Survival]:
        """Return the same of token counts, of metrics that have a floor."""
        found: dict[Key, Survival] = {}
        for code in self._rows:
            sides = (one.token_ids(code) for one in (self._read, self._other))
            similarity, changed = (lexical_similarity(*ids) for ids in sides)
            for metric in self._read.metrics:
                for row, compute in metric.rows.items() if metric.has_floor else ():
                    before = _checked_bits(row, compute(similarity))
                    bits = before, self.after(compute, similarity, changed, code)
                    found[self.key(row, code)] = self.survival([bits], code)
        return found

    def after(self, compute: Compute, similarity: Tensor, changed: Tensor, code: str) -> Tensor:
        """Return the bits of all sentences with the change."""
        if self._kind.keeps_meaning:
            return compute(changed)
        return bits_among(compute, similarity, changed, self._rows[code], self._side)

    def survival(self, layers: Sequence[Bits], code: str) -> Survival:
        """Return the bits of the sentences that were changed, of all layers."""
        rows = self._rows[code]
        before, after = (torch.stack([bits[place] for bits in layers]).numpy()[:, rows] for place in (0, 1))
        return Survival(before, after, self._documents(code, rows))

    def _documents(self, code: str, rows: np.ndarray) -> Documents | None:
        names = self._read.pairs[code].documents
        return None if names is None else documents_of(tuple(names[row] for row in np.flatnonzero(rows)))
