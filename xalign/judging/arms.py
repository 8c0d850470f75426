"""`Arms`: what `evaluate` steers with: what is judged, and its controls."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedTokenizerBase

from xalign.checks import function_of
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.activations import check_texts
from xalign.judging.controls import random_units, shuffled_texts
from xalign.judging.evaluation import CONTROLS
from xalign.judging.options import EvaluateOptions
from xalign.pairs.parallel import ParallelPairs
from xalign.steering.intervention import Intervention
from xalign.units.language_vector import LanguageVector
from xalign.units.unit_set import UnitSet

Texts = Mapping[str, Sequence[str]]
Steering = UnitSet | Mapping[str, LanguageVector | Intervention]
Finder = Callable[[nn.Module, PreTrainedTokenizerBase, dict[str, list[str]]], Steering]


@dataclass(frozen=True, slots=True)
class Arm:
    """Units, vectors or interventions to steer with.

    Attributes:
        name: `"units"`, `"vector"` or `"intervention"`, or the control: `"random"` or `"shuffled"`.
        number: The number of a control among those of its kind.
        found: Units, or label -> vector or intervention.
    """

    name: str
    number: int
    found: Steering

    @property
    def is_control(self) -> bool:
        """Whether it is a control, to compare with."""
        return self.name in CONTROLS


@dataclass(frozen=True, slots=True)
class Arms:
    """Everything that `evaluate` steers with, seed by seed.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        what: Units, vectors, interventions, or a finder of these.
        finding: The sentences that a finder may see.
        options: How many seeds and controls.

    Raises:
        ArgumentError: A finder without sentences.
        ArgumentTypeError: `what` is not one of these.
    """

    model: nn.Module
    tokenizer: PreTrainedTokenizerBase
    what: Steering | Finder
    finding: Texts | None
    options: EvaluateOptions

    def __post_init__(self) -> None:
        """Check what there is to steer with."""
        if self.finding is not None:
            check_texts(self.finding, least=2 if self.finds else 1, name="finding")
        if callable(self.what):
            function_of("what", self.what, "model", "tokenizer", "texts")
            if self.finding is None:
                raise ArgumentError("what is a finder and finding is None; give the sentences it may look at")
        else:
            labels_of(self.what)

    @property
    def finds(self) -> bool:
        """Whether units or vectors are found anew with every seed."""
        return callable(self.what)

    @property
    def seeds(self) -> range:
        """The seeds; only one if units are given and nothing is sampled."""
        count = self.options.seeds if self.finds or self.options.samples else 1
        return range(self.options.first_seed, self.options.first_seed + count)

    def check_held_out(self, texts: Texts, pairs: ParallelPairs | None) -> None:
        """Raise an error if a finder would see sentences that units are judged on."""
        if self.finds and self.finding is not None:
            _check_disjoint(self.finding, texts, "texts")
            if pairs is not None:
                _check_disjoint(self.finding, pairs.texts, "pairs")

    def of(self, seed: int) -> Iterator[Arm]:
        """Yield the arms of a seed: what is judged, then its controls, each made when its turn comes."""
        half = random_half(self.finding or {}, seed) if self.finds else {}
        found = self._find(half)
        yield Arm(_kind_of(found), 0, found)
        sets, shuffles = self.options.random_sets, self.options.shuffles
        for number in range(sets):
            yield Arm("random", number, self._random(found, seed=number + seed * sets))
        for number in range(shuffles if self.finds else 0):
            yield Arm("shuffled", number, self._find(shuffled_texts(half, seed=number + seed * shuffles)))

    def _find(self, texts: dict[str, list[str]]) -> Steering:
        if isinstance(self.what, UnitSet | Mapping):
            return self.what
        found = self.what(self.model, self.tokenizer, texts)
        if not isinstance(found, UnitSet | Mapping):
            raise ArgumentTypeError(f"what must return units or vectors, not {found!r:.60}")
        return found

    def _random(self, found: Steering, seed: int) -> Steering:
        if isinstance(found, UnitSet):
            return random_units(self.model, found, seed=seed)
        return {label: vector.random(seed) for label, vector in found.items()}


def _kind_of(found: Steering) -> str:
    """Return what results call that with which is steered."""
    if isinstance(found, UnitSet):
        return "units"
    return "intervention" if any(isinstance(one, Intervention) for one in found.values()) else "vector"


def labels_of(found: Steering) -> list[str]:
    """Return the labels that there are units or vectors of."""
    if not isinstance(found, UnitSet | Mapping):
        raise ArgumentTypeError(f"what must be units, vectors, interventions or a finder, not {found!r:.60}")
    kinds = LanguageVector | Intervention
    if not isinstance(found, UnitSet) and not all(isinstance(one, kinds) for one in found.values()):
        raise ArgumentTypeError(
            f"what must map labels to vectors or interventions, and holds others: {found!r:.60}"
        )
    return found.labels if isinstance(found, UnitSet) else list(found)


def random_half(texts: Texts, seed: int) -> dict[str, list[str]]:
    """Return a random half of each language's sentences.

    If all languages have the same number of sentences, the same rows are taken from each, so that parallel
    text stays parallel.
    """
    draw = random.Random(seed)
    counts = {len(sentences) for sentences in texts.values()}
    if len(counts) == 1:
        (n,) = counts
        rows = draw.sample(range(n), max(1, n // 2))
        return {label: [sentences[row] for row in rows] for label, sentences in texts.items()}
    return {
        label: draw.sample(list(sentences), max(1, len(sentences) // 2)) for label, sentences in texts.items()
    }


def _check_disjoint(finding: Texts, texts: Texts, name: str) -> None:
    seen = {text for sentences in finding.values() for text in sentences}
    shared = [text for sentences in texts.values() for text in sentences if text in seen]
    if shared:
        raise ArgumentError(
            f"{len(shared)} sentence(s) of {name} are in finding too, like {shared[0]!r:.60}; units must "
            "be found on other sentences than they are judged on"
        )
