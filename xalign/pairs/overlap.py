"""Find the sentences that two sets of bitexts share."""

import unicodedata
from collections.abc import Iterable
from typing import Any

from xalign.pairs.bitext import Bitext


def shared_sentences(ours: Iterable[Bitext[Any]], theirs: Iterable[Bitext[Any]]) -> dict[str, list[Any]]:
    """Find the sentences that two sets of bitexts share, compared after NFC normalisation.

    Recordings are shared if all their samples are the same.

    Args:
        ours: One set of bitexts.
        theirs: The other set.

    Returns:
        Language -> shared sentences in that language, in our order, the pivot first. Languages without any
        are left out.
    """
    our_texts, their_texts = _normalised(ours), _normalised(theirs)
    shared = {
        language: [text for text in texts if text in their_texts.get(language, {})]
        for language, texts in our_texts.items()
    }
    return {language: texts for language, texts in shared.items() if texts}


def _normalised(bitexts: Iterable[Bitext[Any]]) -> dict[str, dict[Any, None]]:
    """Collect the sentences of each language; the keys of a dict are an ordered set."""
    sides: dict[str, dict[Any, None]] = {}
    for bitext in bitexts:
        for language, texts in (
            (bitext.pivot, bitext.pivot_sentences),
            (bitext.language, bitext.sentences),
        ):
            known = sides.setdefault(language, {})
            known.update(
                (unicodedata.normalize("NFC", one) if isinstance(one, str) else one, None) for one in texts
            )
    return sides
