"""`perturb`: parallel pairs with one side changed, and which sentences could be changed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from xalign.checks import whole_number
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.pairs.bitext import Bitext
from xalign.pairs.parallel import ParallelPairs
from xalign.robustness.perturbations import PERTURBATIONS
from xalign.robustness.perturbations.perturbation import Given, Perturbation

Changing = Literal["languages", "pivot"]
Kinds = Sequence[str | Perturbation]


@dataclass(frozen=True, eq=False)
class Perturbed:
    """Pairs with one side changed.

    Attributes:
        pairs: The pairs; sentences that could not be changed are as they were.
        changed: Language -> whether each sentence was changed; with `side="pivot"`, that of its pivot.
    """

    pairs: ParallelPairs[str]
    changed: Mapping[str, tuple[bool, ...]]

    @property
    def counts(self) -> dict[str, int]:
        """Language -> how many sentences were changed."""
        return {code: sum(changed) for code, changed in self.changed.items()}


def perturb(
    pairs: ParallelPairs[Any], kind: str | Perturbation, *, side: Changing = "languages", seed: int = 0
) -> Perturbed:
    """Change the sentences of one side, as far as the kind can change them.

    A sentence is changed in the same way wherever it occurs, whatever other languages there are. Kinds that
    need more than the sentence (`entities` takes names of other sentences) depend on the side's other
    sentences too.

    Args:
        pairs: Written pairs.
        kind: A name in `PERTURBATIONS`, or a `Perturbation`.
        side: `"languages"`: the sentences of every language but the pivot. `"pivot"`: those of the pivot.
        seed: The same seed gives the same changes.

    Returns:
        The pairs, and which sentences were changed: `counts` says how many.

    Raises:
        ArgumentError: An unknown kind or side.
        ArgumentTypeError: A way to change that gives no text.
        PairsError: Spoken pairs.

    Example:
        >>> text = {"en": ["It is 5 o'clock.", "Good night."], "de": ["Es ist 5 Uhr.", "Gute Nacht."]}
        >>> found = perturb(ParallelPairs(text), "numbers")
        >>> found.counts, found.pairs["de"].sentences[1]
        ({'deu_Latn': 1}, 'Gute Nacht.')
    """
    (perturbation,) = resolve_kinds([kind])
    if side not in get_args(Changing):
        raise ArgumentError(f"side={side!r:.40} must be 'languages' or 'pivot'")
    if pairs.is_audio:
        raise PairsError("these pairs are spoken: what is changed are the letters of written sentences")
    seed = whole_number("seed", seed)
    bitexts, changed = [], {}
    for code, bitext in pairs.items():
        own, other = bitext.sentences, bitext.pivot_sentences
        language = code
        if side == "pivot":
            own, other, language = other, own, pairs.pivot
        new = _changed_side(perturbation, language, own, other, seed)
        sentences = tuple(before if after is None else after for before, after in zip(own, new, strict=True))
        bitexts.append(_with(bitext, side, sentences))
        changed[code] = tuple(after is not None for after in new)
    return Perturbed(_pairs_of(pairs, bitexts, f"{perturbation.name}, seed {seed}"), changed)


def resolve_kinds(kinds: Kinds) -> tuple[Perturbation, ...]:
    """Return the ways to change sentences that a list of names and objects stands for.

    Raises:
        ArgumentError: An unknown name, a name twice, or an empty list.
        ArgumentTypeError: Not a list.
    """
    if isinstance(kinds, str) or not isinstance(kinds, Sequence):
        raise ArgumentTypeError(f"kinds={kinds!r:.60} must be a list, like ['typos']")
    known = ", ".join(PERTURBATIONS)
    unknown = [
        one
        for one in kinds
        if not isinstance(one, Perturbation) and not (isinstance(one, str) and one in PERTURBATIONS)
    ]
    if unknown or not kinds:
        raise ArgumentError(f"kinds={list(kinds)!r:.100} must be of {known}, or `Perturbation` objects")
    found = [PERTURBATIONS[one] if isinstance(one, str) else one for one in kinds]
    if len({one.name for one in found}) < len(found):
        raise ArgumentError(f"kinds={[one.name for one in found]!r:.100} names a kind twice")
    return tuple(found)


def _changed_side(
    perturbation: Perturbation, language: str, own: Sequence[str], other: Sequence[str], seed: int
) -> list[str | None]:
    """Return each sentence changed; None where it could not be."""
    others, found = tuple(zip(own, other, strict=True)), []
    for sentence, translation in others:
        drawn = random.Random(f"{seed}:{perturbation.name}:{sentence}")
        after = perturbation.change(Given(sentence, language, translation, others, drawn))
        if after is not None and not isinstance(after, str):
            raise ArgumentTypeError(
                f"kind {perturbation.name!r} must give text or None, not {type(after).__name__}"
            )
        found.append(None if after == sentence else after)
    return found


def _with(bitext: Bitext[Any], side: Changing, sentences: tuple[str, ...]) -> Bitext[str]:
    if side == "pivot":
        return replace(bitext, pivot_sentences=sentences)
    return replace(bitext, sentences=sentences)


def _pairs_of(pairs: ParallelPairs[Any], bitexts: Sequence[Bitext[str]], what: str) -> ParallelPairs[str]:
    return ParallelPairs.from_bitexts(bitexts, pairs.pivot, source=f"{pairs.source or 'pairs'}, {what}")
