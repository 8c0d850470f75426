"""The prepared sentences of a measurement: encoded and batched once, with the floors of their scores."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jaxtyping import Float
from torch import Tensor

from xalign.errors import ArgumentError, PairsError
from xalign.metrics.compute import compute_values
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.lexical import lexical_similarity
from xalign.metrics.metric import Metric
from xalign.model.audio_inputs import AudioInputs, EncodedAudio
from xalign.model.batches import Batch
from xalign.model.encode import Encoded
from xalign.model.inputs import Inputs, TextOptions
from xalign.model.log_mel import log_mel_means
from xalign.pairs.parallel import ParallelPairs
from xalign.results.values import LanguageStats
from xalign.warn import warn


@dataclass(frozen=True)
class Side:
    """One side of a bitext, ready to run.

    Attributes:
        encoded: Its sentences as token ids, or its recordings with their frames.
        batches: The same, in batches.
    """

    encoded: Encoded | EncodedAudio
    batches: list[Batch]

    @cached_property
    def log_mel_means(self) -> Float[Tensor, "recording bin"]:
        """The mean log-mel spectrum of each recording."""
        if not isinstance(self.encoded, EncodedAudio):
            raise TypeError("text has no spectrum")
        return log_mel_means([line.audio for line in self.encoded.lines])


class PreparedPairs:
    """Parallel sentences as a model takes them.

    Args:
        pairs: The sentences.
        inputs: What the model takes.
        options: How sentences become tokens.
        token_budget: The most tokens of a forward, padding included.

    Attributes:
        sides: Language -> the pivot's side of its bitext, and its own. Languages that share the pivot's
            sentences share the object.
        marks: Language, including the pivot -> the code with which the tokenizer marks its sentences; empty
            where it marks none. The token of the mark is not pooled.

    Raises:
        PairsError: Repeated pivot sentences, which can never be nearest to their own translation.
        ArgumentError: A bad template, or a sentence longer than the context.
    """

    def __init__(
        self,
        pairs: ParallelPairs[Any],
        inputs: Inputs | AudioInputs,
        options: TextOptions,
        token_budget: int,
    ) -> None:
        _refuse_pivot_duplicates(pairs)
        self.pairs = pairs

        def side(language: str, sentences: Sequence[Any], ids: Sequence[str]) -> Side:
            encoded: Any = inputs.encode(sentences, language, options, ids)
            return Side(encoded, inputs.batches(encoded.lines, token_budget=token_budget))

        self.sides: dict[str, tuple[Side, Side]] = {}
        pivot: Side | None = None
        for language, bitext in pairs.items():
            if pivot is None or not pairs.is_multiway:
                pivot = side(pairs.pivot, bitext.pivot_sentences, bitext.ids)
            self.sides[language] = (pivot, side(language, bitext.sentences, bitext.ids))
        codes = {
            language: inputs.language_token(language, options.source_codes)
            for language in (pairs.pivot, *pairs)
            if isinstance(inputs, Inputs)
        }
        self.marks = {language: code for language, code in codes.items() if code is not None}
        self._warn_about_equal_tokens()

    def runs(self) -> list[Side]:
        """Return the sides in the order in which they are run, each of them once."""
        runs = []
        previous = None
        for pivot, side in self.sides.values():
            runs += [side] if pivot is previous else [pivot, side]
            previous = pivot
        return runs

    @property
    def forwards(self) -> int:
        """Forwards of one run."""
        return sum(len(side.batches) for side in self.runs())

    @property
    def tokens(self) -> int:
        """Tokens of one run, padding included."""
        return sum(batch.pooled.numel() for side in self.runs() for batch in side.batches)

    @property
    def digest(self) -> str:
        """A digest of all token ids, or of all recordings."""
        ids = [[side.encoded.ids for side in sides] for sides in self.sides.values()]
        return hashlib.sha256(repr(ids).encode()).hexdigest()

    def shortest(self) -> Batch:
        """Return the shortest sentence, twice.

        It is returned twice, because some heads refuse several lines if they have no padding token.
        """
        batches = (batch for side in self.runs() for batch in side.batches)
        return min(batches, key=lambda batch: batch.shape[1]).take([0, 0], [(0,), (1,)])

    def floors(self, metrics: Sequence[Metric]) -> dict[str, dict[str, Tensor]]:
        """Return row of the report -> language -> the metric without a model, where a metric has a floor.

        It is computed from token counts; for recordings, from the means of their log-mel spectra.

        Raises:
            ArgumentError: A floor that is not finite.
        """
        with_floor = [metric for metric in metrics if metric.has_floor]
        floors: dict[str, dict[str, Tensor]] = {row: {} for metric in with_floor for row in metric.rows}
        for language, (pivot, side) in self.sides.items() if with_floor else ():
            similarity = _similarity_without_model(pivot, side)
            for metric in with_floor:
                for row, compute in metric.rows.items():
                    values = compute_values(row, compute, (similarity,), metric.scale, len(side.encoded))
                    if values.is_floating_point() and not bool(values.isfinite().all()):
                        raise ArgumentError(
                            f"metric {row!r} has no finite {self.pairs.floor_name} floor for {language}: "
                            "pass has_floor=False"
                        )
                    floors[row][language] = values
        return floors

    def stats(self) -> dict[str, LanguageStats]:
        """Return how the tokenizer splits each language, including the pivot, or how long its speech is."""

        def of(sides: Sequence[Side]) -> LanguageStats:
            own = sum(sum(side.encoded.own_tokens) for side in sides)
            unknown = sum(sum(side.encoded.unknown_tokens) for side in sides)
            n = sum(len(side.encoded) for side in sides)
            seconds = sum(
                line.audio.seconds
                for side in sides
                if isinstance(side.encoded, EncodedAudio)
                for line in side.encoded.lines
            )
            return LanguageStats(own / n, unknown / max(own, 1), seconds / n if self.pairs.is_audio else None)

        pivots = list({id(pivot): pivot for pivot, _ in self.sides.values()}.values())
        return {self.pairs.pivot: of(pivots)} | {
            language: of([side]) for language, (_, side) in self.sides.items()
        }

    def _warn_about_equal_tokens(self) -> None:
        """Warn of pivot sentences that differ as text and not as tokens: their states tie, and ties lose."""
        equal = max(len(side.encoded) - len(set(side.encoded.ids)) for side, _ in self.sides.values())
        if equal:
            warn(
                f"{equal} pivot sentence(s) in {self.pairs.pivot} are the same tokens as an earlier one: the "
                "tokenizer or truncate=True makes them equal, and their rows score 0"
            )


def _similarity_without_model(pivot: Side, side: Side) -> Float[Tensor, "pair pair"]:
    if isinstance(pivot.encoded, Encoded) and isinstance(side.encoded, Encoded):
        return lexical_similarity(pivot.encoded.pooled_ids, side.encoded.pooled_ids)
    return cosine_matrix(pivot.log_mel_means, side.log_mel_means)


def _refuse_pivot_duplicates(pairs: ParallelPairs[Any]) -> None:
    count = pairs.duplicates.get(pairs.pivot, 0)
    if count:
        raise PairsError(
            f"{count} pivot sentence(s) in {pairs.pivot} repeat an earlier one, and equal pivot sentences "
            "can never win their row; measure pairs.without_duplicates()"
        )
