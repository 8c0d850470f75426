"""`word_pairs`: the entries of dictionaries as pairs to align."""

from collections.abc import Sequence

from xalign.pairs.bitext import Bitext
from xalign.pairs.code_switch import checked_dictionaries
from xalign.pairs.dictionary import BilingualDictionary
from xalign.pairs.parallel import ParallelPairs
from xalign.pairs.saved import SavedPairs, save_bitexts


def word_pairs(dictionaries: BilingualDictionary | Sequence[BilingualDictionary]) -> ParallelPairs[str]:
    """Make pairs of single words: a translation, and the word that it translates.

    A word with several translations gives several pairs. In training they are not each other's negatives,
    because they share a side.

    Args:
        dictionaries: One, or one per language.

    Raises:
        PairsError: A dictionary with fewer than two entries.
        ArgumentError: Dictionaries of different pivots, or of one language twice.

    Reference:
        Li et al. (2024), PreAlign, contrasts words like these before it trains on text.

    Example:
        >>> dictionary = BilingualDictionary("de", "en", {"house": ("Haus",), "old": ("alt",)})
        >>> word_pairs(dictionary)["deu_Latn"].sentences
        ('Haus', 'alt')
    """
    bitexts = []
    for one in checked_dictionaries(dictionaries):
        rows = [(word, other) for word, others in one.entries.items() for other in others]
        words, others = zip(*rows, strict=True)
        bitexts.append(Bitext(one.language, one.pivot, others, words, tuple(map(str, range(len(rows))))))
    # `from_bitexts` would warn of repeats, and words with several translations are meant to repeat.
    saved: SavedPairs = {
        "pivot": bitexts[0].pivot,
        "source": "word pairs",
        "bitexts": save_bitexts(bitexts, is_multiway=False),
    }
    return ParallelPairs.from_dict(saved)
