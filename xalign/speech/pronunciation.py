"""Pronunciation: how alike sentences sound, by their phones, so that sound and meaning can be told apart."""

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from torch import Tensor

from xalign.errors import ArgumentError, MissingExtraError
from xalign.pairs.parallel import ParallelPairs
from xalign.results.report import AlignmentReport
from xalign.statistics.shares import newcombe_interval

Phones = tuple[str, ...]
_LENGTH_AND_STRESS = "ˈˌːˑ.‿|‖ "
_LANGUAGE_SWITCH = re.compile(r"\([a-z-]+\)")  # espeak marks words that it reads in another language


def phones_of(sentences: Sequence[str], voice: str) -> list[Phones]:
    """Return the phones of sentences, as espeak-ng reads them: IPA, without stress, length and pauses.

    Args:
        sentences: The sentences.
        voice: A voice of espeak-ng, such as `de`.

    Raises:
        MissingExtraError: espeak-ng is not installed.
        ArgumentError: A voice that it does not have, or a sentence of which it says nothing.
    """
    if shutil.which("espeak-ng") is None:
        raise MissingExtraError("espeak-ng is not installed: apt-get install espeak-ng")
    found = []
    for sentence in sentences:
        command = ["espeak-ng", "-v", voice, "-q", "--ipa", "--", sentence]
        done = subprocess.run(command, capture_output=True, text=True)
        phones = phones_in(done.stdout)
        if done.returncode or not phones:
            raise ArgumentError(
                f"voice={voice!r}: espeak-ng gives no phones of a sentence: {done.stderr.strip()!r:.80}"
            )
        found.append(phones)
    return found


def phones_in(ipa: str) -> Phones:
    """Split a transcription into phones; a letter keeps its marks.

    Example:
        >>> phones_in("ɡˈuːtən tˈɑːk")
        ('ɡ', 'u', 't', 'ə', 'n', 't', 'ɑ', 'k')
    """
    found: list[str] = []
    for character in _LANGUAGE_SWITCH.sub("", ipa):
        if character.isspace() or character in _LENGTH_AND_STRESS:
            continue
        if found and (not character.isalpha() or character in "ʰʲʷˠˤⁿ̃"):
            found[-1] += character
        else:
            found.append(character)
    return tuple(found)


def phone_distance(one: Phones, other: Phones) -> float:
    """Return the edit distance of two sequences of phones, divided by the length of the longer one.

    Example:
        >>> phone_distance(("k", "a", "t"), ("k", "o", "t", "s"))
        0.5
    """
    longest = max(len(one), len(other))
    if not longest:
        return 0.0
    row = np.arange(len(other) + 1)
    for place, phone in enumerate(one, start=1):
        changed = row[:-1] + np.array([phone != there for there in other])
        best = np.concatenate([[place], np.minimum(changed, row[1:] + 1)])
        # Insertions: each cell is at most its left neighbour's value plus 1.
        steps = np.arange(len(best))
        row = np.minimum.accumulate(best - steps) + steps
    return float(row[-1]) / longest


def phone_similarity(pivot: Sequence[Phones], other: Sequence[Phones]) -> Float[Tensor, "pair pair"]:
    """Return 1 − the phone distance of every pivot sentence and every sentence.

    A metric of this matrix is what pronunciation alone gives, without any model.
    """
    rows = [[1 - phone_distance(one, there) for there in other] for one in pivot]
    return torch.tensor(rows, dtype=torch.float64)


def phone_distances(pairs: ParallelPairs[str], voices: Mapping[str, str]) -> dict[str, list[float]]:
    """Return language -> the phone distance of each sentence and its pivot sentence.

    Args:
        pairs: Written pairs; what is spoken of them.
        voices: Language, the pivot too -> voice of espeak-ng.

    Raises:
        ArgumentError: A language without a voice.
    """
    missing = [code for code in (pairs.pivot, *pairs) if code not in voices]
    if missing:
        raise ArgumentError(f"voices has none for {', '.join(missing)}; name one of espeak-ng --voices")
    found = {}
    for code, bitext in pairs.items():
        pivot = phones_of(bitext.pivot_sentences, voices[pairs.pivot])
        own = phones_of(bitext.sentences, voices[code])
        found[code] = [phone_distance(*two) for two in zip(pivot, own, strict=True)]
    return found


def by_pronunciation(
    report: AlignmentReport, metric: str, distances: Mapping[str, Sequence[float]]
) -> list[dict[str, Any]]:
    """Compare pairs that sound alike with pairs that do not.

    Where alignment rests on names and words that sound alike, the pairs with the smallest phone distance are
    aligned most. Where it rests on meaning, they are aligned no more than others.

    Args:
        report: A report of the spoken pairs.
        metric: A row of it whose values are bits.
        distances: Language -> the phone distance of each pair, in the order of the report.

    Returns:
        A dict per language and layer: alike and unlike (the metric of the third of the pairs that sounds most
        and least alike), difference with low and high (95 %, Newcombe), and spearman (of distance and value
        over all pairs; None where one of them does not vary).

    Raises:
        ArgumentError: A language without distances, or with another number of them, fewer than 6 pairs, or a
            metric without bits.
    """
    rows = []
    for code in report.languages:
        given = np.array(distances.get(code, ()), dtype=float)
        n = len(report.pairs[code])
        if len(given) != n or n < 6:
            raise ArgumentError(
                f"distances has {len(given)} for {n} pairs of {code}; at least 6, and one of each, are needed"
            )
        order, third = np.argsort(given, kind="stable"), n // 3
        for layer in report.metrics[metric].layers:
            bits = report.per_sentence(metric, code, layer)
            if bits.dtype != torch.bool:
                raise ArgumentError(f"metric={metric!r} has real numbers and no bits; choose one with bits")
            values = bits.double().numpy()
            alike, unlike = values[order[:third]], values[order[-third:]]
            low, high = newcombe_interval(int(alike.sum()), third, int(unlike.sum()), third)
            varies = np.ptp(values) > 0 and np.ptp(given) > 0
            rows.append(
                {
                    "language": code,
                    "layer": layer,
                    "alike": float(alike.mean()),
                    "unlike": float(unlike.mean()),
                    "difference": float(alike.mean() - unlike.mean()),
                    **{"low": low, "high": high},
                    "spearman": float(spearmanr(given, values).statistic) if varies else None,
                }
            )
    return rows
