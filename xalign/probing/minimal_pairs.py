"""Minimal pairs by layer: whether a probe tells good from bad, and what the model itself prefers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from xalign.checks import known_options, whole_number
from xalign.errors import ArgumentError, PairsError
from xalign.finding.activations import activations
from xalign.finding.provenance import origin_of
from xalign.judging.text_losses import id_losses
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.sites import Pool
from xalign.model.inputs import Inputs
from xalign.model.run import is_pair
from xalign.model.wrapped import base_model_of
from xalign.pairs.item import MinimalPair
from xalign.pairs.items import ParallelItems
from xalign.probing.findings import Findings
from xalign.probing.pair_probe import FOLDS, apply_probe, pair_probe, shuffled_sides
from xalign.schema import Fields
from xalign.statistics.intervals import share_interval

Tasks = Mapping[str, ParallelItems[MinimalPair]]
_SATURATED = 0.95  # of the peak
_OPTIONS = ("truncate", "token_budget", "site_bytes")


class _Row(Fields):
    task: str
    language: str
    trained_on: str
    layer: str
    accuracy: float
    low: float
    high: float
    f1: float
    control: float
    selectivity: float
    performance: float | None
    pairs: int


@dataclass(frozen=True)
class MinimalPairs(Findings):
    """What `probe_minimal_pairs` found: a row per task, language, language of training, and layer.

    Columns: `task`; `language` of the pairs that are judged; `trained_on`, the language of those that the
    probe learnt from; `layer`, `embed`, the number of a block, or `final`; `accuracy` of the probe on
    sentences of unseen pairs, ½ by chance, with its 95 % interval `low` to `high`; `f1` of the good ones;
    `control`, the accuracy where a coin decided what is called good, and `selectivity`, the accuracy minus
    that; `performance`, the share of pairs whose good sentence the model finds likelier, the same for all
    layers, None where it predicts no tokens; `pairs`, their number.
    """

    kind: ClassVar[str] = "xalign.MinimalPairs"
    row: ClassVar[type[Fields]] = _Row
    shown: ClassVar[tuple[str, ...]] = (
        *("task", "language", "trained_on", "layer", "accuracy", "control", "selectivity", "performance"),
    )

    def summary(self) -> list[dict[str, Any]]:
        """Return a dict per task and pair of languages: where the probe is best, and from where on nearly so.

        `maximum` is the layer of the highest accuracy, the first of equal ones; `competence` that accuracy,
        with its interval `low` to `high`, which is a little too high because it is the best of several;
        `saturation` the first layer with 95 % of it; `performance` as in the rows.
        """
        found = []
        for task, language, trained in dict.fromkeys(
            (row["task"], row["language"], row["trained_on"]) for row in self.rows
        ):
            own = self.where(task=task, language=language, trained_on=trained)
            best = max(own, key=lambda row: row["accuracy"])
            enough = next(row for row in own if row["accuracy"] >= _SATURATED * best["accuracy"])
            one: dict[str, Any] = {"task": task, "language": language, "trained_on": trained}
            one |= {"competence": best["accuracy"], "low": best["low"], "high": best["high"]}
            one |= {"maximum": best["layer"], "saturation": enough["layer"], "control": best["control"]}
            found.append(one | {"performance": best["performance"]})
        return found


@takes_layout
def probe_minimal_pairs(
    model: nn.Module,
    tokenizer: Any,
    items: ParallelItems[MinimalPair] | Tasks,
    *,
    pool: Pool = "last",
    folds: int = FOLDS,
    transfer: bool = False,
    draws: int = 1,
    seed: int = 0,
    **options: Any,
) -> MinimalPairs:
    """Train, at every layer, a probe that tells the good sentence of a minimal pair from the bad one.

    States are those of the last token, special tokens included. What the probe can tell (competence) stands
    next to what the model prefers by log-likelihood (performance), and to a control with shuffled labels.

    Args:
        model: The model; it is only read.
        tokenizer: Its tokenizer.
        items: Minimal pairs; or task -> minimal pairs, such as `{"form": …, "meaning": …}`.
        pool: How states are pooled: `"last"`, as in the paper, `"mean"`, `"weighted"` or `"max"`.
        folds: The number of folds; all sentences of a pair are in one.
        transfer: Also train on all pairs of each language and judge those of every other.
        draws: How often labels are shuffled for the control, which is a mean.
        seed: The seed of the shuffling.
        **options: `truncate`, `token_budget` and `site_bytes` of `activations`.

    Returns:
        A row per task, language, language of training and layer.

    Raises:
        PairsError: Items that are no minimal pairs, or fewer than folds.

    Reference:
        He et al. (2025), Large Language Models as Neurolinguistic Subjects, arXiv 2411.07533.

    Example:
        >>> pairs = [MinimalPair(f"the {one} laughs", f"the {one} laugh") for one in "abcdef"]
        >>> found = probe_minimal_pairs(model, tokenizer, ParallelItems({"en": pairs}))
        >>> [row["layer"] for row in found.rows]
        ['embed', '0', '1', '2', 'final']
    """
    known_options("probe_minimal_pairs", options, _OPTIONS)
    folds, draws = whole_number("folds", folds, least=2), whole_number("draws", draws, least=1)
    seed, tasks, rows = whole_number("seed", seed), _checked(items, folds), list[dict[str, Any]]()
    for task, own in tasks.items():
        texts = {code: [text for one in side for text in (one.good, one.bad)] for code, side in own.items()}
        groups = {code: [one.group for one in side] for code, side in own.items()}
        preferred = _preferences(model, tokenizer, texts)
        for of_site in activations(model, tokenizer, texts, "hidden", pool=pool, **options):
            states = of_site.values.view(len(texts), own.n, 2, -1)
            sides = {code: (side[:, 0], side[:, 1]) for code, side in zip(texts, states, strict=True)}
            for row in _judged(sides, groups, folds, transfer, draws, seed):
                place = {"task": task, "layer": str(of_site.site.layer), "pairs": own.n}
                rows.append({**place, **row, "performance": preferred.get(row["language"])})
    settings = {"pool": pool, "folds": folds, "transfer": transfer, "draws": draws, "seed": seed}
    every = {f"{task} {code}": [one.text for one in own[code]] for task, own in tasks.items() for code in own}
    about = origin_of(model, every, "probe_minimal_pairs", settings | options)
    return MinimalPairs(_by_probe(rows), about)


def _checked(items: ParallelItems[MinimalPair] | Tasks, folds: int) -> dict[str, ParallelItems[MinimalPair]]:
    tasks = {"pairs": items} if isinstance(items, ParallelItems) else items
    if not isinstance(tasks, Mapping) or not tasks:
        raise ArgumentError("items must be ParallelItems, or map names of tasks to ParallelItems")
    for task, own in tasks.items():
        if not isinstance(own, ParallelItems) or own.kind is not MinimalPair:
            what = own.kind.plural if isinstance(own, ParallelItems) else type(own).__name__
            raise PairsError(f"items of {task!r:.40} are {what}; only minimal pairs are good or bad")
        if own.n < folds:
            raise PairsError(f"items of {task!r:.40} are {own.n}; folds={folds} need as many pairs at least")
    return dict(tasks)


def _by_probe(rows: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return the layers of each task, language and language of training one after another."""
    order = list(dict.fromkeys((row["task"], row["language"], row["trained_on"]) for row in rows))
    return tuple(sorted(rows, key=lambda row: order.index((row["task"], row["language"], row["trained_on"]))))


def _judged(
    sides: Mapping[str, tuple[Tensor, Tensor]],
    groups: Mapping[str, Sequence[str]],
    folds: int,
    transfer: bool,
    draws: int,
    seed: int,
) -> Iterator[dict[str, Any]]:
    """Yield language, language of training, and what the probe and its control come to."""
    for code, (good, bad) in sides.items():
        probe = partial(pair_probe, folds=folds, groups=groups[code])
        found = probe(good, bad)
        coins = [shuffled_sides(good, bad, seed + number) for number in range(draws)]
        control = float(np.mean([probe(*one).accuracy for one in coins]))
        own = torch.stack([found.good, found.bad])
        yield {"language": code, "trained_on": code, **_numbers(own, control)}
        for other, judged in (sides if transfer else {}).items():
            if other != code:
                over = [apply_probe(one, judged).double().mean().item() for one in coins]
                right = apply_probe((good, bad), judged)
                yield {"language": other, "trained_on": code, **_numbers(right, float(np.mean(over)))}


def _numbers(judged: Bool[Tensor, "side pair"], control: float) -> dict[str, float]:
    per_pair: Float[Tensor, " pair"] = judged.double().mean(dim=0)
    low, high = share_interval(per_pair.numpy())
    accuracy, hits = float(per_pair.mean()), float(judged[0].sum())
    called = hits + float((~judged[1]).sum())
    f1 = 2 * hits / (called + judged.shape[1])
    return {
        **{"accuracy": accuracy, "low": low, "high": high, "f1": f1},
        **{"control": control, "selectivity": accuracy - control},
    }


def _preferences(model: nn.Module, tokenizer: Any, texts: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Return, per language, how many good sentences are likelier than the bad ones; empty for encoders."""
    can_generate = getattr(base_model_of(model), "can_generate", lambda: False)
    if is_pair(model) or not can_generate():
        return {}
    found = {}
    for code, own in texts.items():
        ids = Inputs(model, tokenizer).encode(own, code).ids
        likelihood = -id_losses(model, tokenizer, ids)[:, 0].view(-1, 2)
        found[code] = float((likelihood[:, 0] > likelihood[:, 1]).double().mean())
    return found
