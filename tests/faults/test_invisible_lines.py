"""A line that shows nothing is an empty line, whatever characters it holds."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xalign import ParallelPairs, load_pairs
from xalign.errors import PairsError

# The default-ignorable characters of Unicode 15, as its file DerivedCoreProperties.txt lists them.
IGNORABLE = [
    *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), *range(0x200B, 0x2010)),
    *(*range(0x202A, 0x202F), *range(0x2060, 0x2070), 0x3164, *range(0xFE00, 0xFE10), 0xFEFF, 0xFFA0),
    *(*range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000)),
]
DRAWN_AS_NOTHING = [0x2800, 0x1D159, 0x16FE4]
SPACES = [code for code in range(0x110000) if unicodedata.category(chr(code)) in ("Zs", "Zl", "Zp")]
INVISIBLE = sorted({*IGNORABLE, *DRAWN_AS_NOTHING, *SPACES} - {0x2028, 0x2029}) + [0x2028, 0x2029]

invisible = st.text(st.sampled_from([chr(code) for code in INVISIBLE]), max_size=12)
# Letters, marks, digits, signs: what is assigned and seen.
visible = st.characters(
    categories=("L", "N", "P", "S"), exclude_characters=[chr(code) for code in INVISIBLE]
).filter(lambda letter: unicodedata.category(letter) != "Cn")


def pairs_of(line):
    return ParallelPairs({"en": ["Good morning.", "It rains."], "de": ["Guten Morgen.", line]})


@pytest.mark.parametrize("code", INVISIBLE[:: 1 + len(INVISIBLE) // 200] + DRAWN_AS_NOTHING, ids=hex)
def test_each_character_alone(code):
    """U+2800, U+3164 and variation selectors counted as sentences: a column of them was measured."""
    with pytest.raises(PairsError, match=r"deu_Latn has 1 empty line\(s\), the first at line 2"):
        pairs_of(chr(code))


@given(invisible)
def test_any_string_of_them(line):
    """So did strings of them."""
    with pytest.raises(PairsError, match="empty line"):
        pairs_of(line)


@given(invisible, visible, invisible)
def test_one_visible_character_is_enough(before, letter, after):
    """Nothing that can be seen is refused, and nothing is stripped from it."""
    line = before + letter + after
    assert pairs_of(line)["deu_Latn"].sentences[1] == line


@pytest.mark.parametrize("line", ["\u2800", "\ufe0f\ufe0f", "\u3164 \u00ad", "\U000e0041", "\u202e\u200f"])
@pytest.mark.parametrize("name", ["pairs.tsv", "pairs.jsonl", "folder"])
def test_in_files(tmp_path, name, line):
    """Files with such lines were loaded without a word."""
    if name == "folder":
        (tmp_path / name).mkdir()
        (tmp_path / name / "eng_Latn.txt").write_text("Good morning.\nIt rains.\n", encoding="utf-8")
        (tmp_path / name / "deu_Latn.txt").write_text(f"Guten Morgen.\n{line}\n", encoding="utf-8")
    elif name == "pairs.tsv":
        (tmp_path / name).write_text(
            f"eng\tdeu\nGood morning.\tGuten Morgen.\nIt rains.\t{line}\n", encoding="utf-8"
        )
    else:
        (tmp_path / name).write_text(
            f'{{"eng": "Good.", "deu": "Gut."}}\n{{"eng": "It rains.", "deu": "{line}"}}\n', encoding="utf-8"
        )
    with pytest.raises(PairsError, match="empty line"):
        load_pairs(tmp_path / name)
