"""CoNLL-U: where words stand, contractions, what is refused; and the pairs that are made of it."""

import re
from collections import Counter

import pytest

from xalign.errors import ArgumentError, PairsError
from xalign.pairs.conllu import AnnotatedSentence, Word, load_annotated
from xalign.pairs.derived_pairs import derived_pairs

GERMAN = """# sent_id = a1
# text = Er geht am Montag.
1\tEr\t_\tPRON\t_\tCase=Nom|Number=Sing\t2\tnsubj\t_\t_
2\tgeht\t_\tVERB\t_\tTense=Pres\t0\troot\t_\t_
3-4\tam\t_\t_\t_\t_\t_\t_\t_\t_
3\tan\t_\tADP\t_\t_\t5\tcase\t_\t_
4\tdem\t_\tDET\t_\t_\t5\tdet\t_\t_
4.1\tx\t_\tNOUN\t_\t_\t_\t_\t_\t_
5\tMontag\t_\tNOUN\t_\tNumber=Sing\t2\tobl\t_\tSpaceAfter=No
6\t.\t_\tPUNCT\t_\t_\t2\tpunct\t_\t_

"""


def write(folder, name, text):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_words_stand_where_they_are(tmp_path):
    (sentence,) = load_annotated(write(tmp_path / "tagged", "de.conllu", GERMAN))["deu_Latn"]
    assert (sentence.text, sentence.id) == ("Er geht am Montag.", "a1")
    assert [sentence.text[word.start : word.end] for word in sentence.words] == [
        *("Er", "geht", "am", "am", "Montag", ".")
    ]
    assert [word.is_part for word in sentence.words] == [False, False, True, True, False, False]
    assert sentence.words[0] == Word("Er", 0, 2, "PRON", {"Case": "Nom", "Number": "Sing"}, 1, "nsubj")
    assert sentence.words[1].head == -1
    assert [sentence.words[4].attribute(name) for name in ("upos", "relation", "Number", "Case")] == [
        *("NOUN", "obl", "Sing", None)
    ]


def test_without_a_text_the_words_are_joined(tmp_path):
    rows = "".join(line + "\n" for line in GERMAN.splitlines() if not line.startswith("#"))
    (sentence,) = load_annotated(write(tmp_path / "tagged", "deu_Latn.conllu", rows))["deu_Latn"]
    assert sentence.text == "Er geht am Montag."


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        (GERMAN.replace("2\tgeht\t_", "2\tgeht"), "line 4: 9 columns; CoNLL-U has 10"),
        (GERMAN.replace("2\tgeht", "2\tlief"), "line 4: 'lief' does not follow in 'Er geht am Montag.'"),
        (GERMAN.replace("Tense=Pres", "Tense"), "line 4: head '0' or features 'Tense' are not UD"),
        (GERMAN.replace("\t0\troot", "\tx\troot"), "line 4: head 'x'"),
    ],
)
def test_broken_files_are_refused_by_line(tmp_path, broken, match):
    with pytest.raises(PairsError, match=match):
        load_annotated(write(tmp_path / "tagged", "de.conllu", broken))


def test_folders_without_files_and_unknown_languages(tmp_path):
    with pytest.raises(PairsError, match=r"holds no \.conllu file; name files after their language"):
        load_annotated(tmp_path)
    folder = write(tmp_path / "tagged", "de.conllu", GERMAN)
    with pytest.raises(ArgumentError, match="fra_Latn"):
        load_annotated(folder, ["fr"])


def sentence(noun, number="Sing"):
    text = f"So the {noun} sleeps at noon."
    words = [
        *(("So", "ADV", {}, 3), ("the", "DET", {}, 2), (noun, "NOUN", {"Number": number}, 3)),
        *(("sleeps", "VERB", {}, -1), ("at", "ADP", {}, 5), ("noon", "NOUN", {"Number": "Sing"}, 3)),
    ]
    found, at = [], 0
    for form, upos, features, head in words:
        at = text.index(form, at)
        found.append(Word(form, at, at + len(form), upos, features, head))
    return AnnotatedSentence(text, tuple(found))


SENTENCES = [sentence(one) for one in ("dog", "cat", "baker", "train", "moon")] * 3


def test_form_pairs_have_the_same_words_in_another_order():
    pairs = derived_pairs({"en": SENTENCES}, "form")["en"]
    assert len(pairs) == 15
    for pair in pairs:
        assert sorted(pair.good[:-1].split()) == sorted(pair.bad[:-1].split())
        moved = [a != b for a, b in zip(pair.good[:-1].split(), pair.bad[:-1].split(), strict=True)]
        assert sum(moved) == 2 and pair.phenomenon == "form"


def test_meaning_pairs_have_the_same_nouns_on_both_sides():
    pairs = derived_pairs({"en": SENTENCES + [sentence("mice", "Plur")]}, "meaning")["en"]
    words = [
        Counter(word for pair in pairs for word in re.findall(r"\w+", side(pair)))
        for side in (lambda pair: pair.good, lambda pair: pair.bad)
    ]
    assert words[0] == words[1]  # no word by itself tells good from bad
    assert all(pairs[at].group == pairs[at + 1].group for at in range(0, len(pairs), 2))  # who exchanged
    assert len({pair.group for pair in pairs}) == len(pairs) // 2
    assert all("mice" not in pair.good for pair in pairs)  # no other noun has its features
    for pair in pairs:
        changed = [a for a, b in zip(pair.good.split(), pair.bad.split(), strict=True) if a != b]
        assert len(changed) == 1


def test_nouns_that_are_too_many_are_left_out():
    pairs = derived_pairs({"en": [sentence("dog")] * 9 + [sentence("cat"), sentence("moon")]}, "meaning")
    assert 2 <= pairs.n < 11
    assert all(pair.good != pair.bad for pair in pairs["en"])


def test_the_same_seed_gives_the_same_pairs():
    one, two, other = (derived_pairs({"en": SENTENCES}, "meaning", seed=seed) for seed in (1, 1, 2))
    assert one["en"] == two["en"] != other["en"]
    assert not one.is_aligned
    assert derived_pairs({"en": SENTENCES}, "form", n=4).n == 4


def test_what_gives_no_pairs_is_refused():
    with pytest.raises(ArgumentError, match="kind='both' must be 'form' or 'meaning'"):
        derived_pairs({"en": SENTENCES}, "both")
    with pytest.raises(PairsError, match="en gives 15 pairs of form, of 15 sentences"):
        derived_pairs({"en": SENTENCES}, "form", n=16)
    with pytest.raises(PairsError, match="gives 0 pairs of meaning, of 1 sentences"):
        derived_pairs({"en": [sentence("dog")]}, "meaning")


@pytest.mark.realdata
def test_pud_reads_whole(real_text):
    found = load_annotated(real_text / "pud" / "conllu")
    assert {len(own) for own in found.values()} == {500} and len(found) == 10
    for own in found.values():
        for one in own[:50]:
            assert all(one.text[w.start : w.end] == w.form for w in one.words if not w.is_part)
    counts = Counter(word.attribute("Number") for one in found["eng_Latn"] for word in one.words)
    assert (counts["Sing"], counts["Plur"]) == (2806, 718)  # as its README says
