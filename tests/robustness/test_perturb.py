"""Changed sentences: what each kind does in each script, and that nothing else changes."""

import random
import re
import unicodedata

import pytest
from hypothesis import given as example_of
from hypothesis import settings
from hypothesis import strategies as st

from xalign import Audio, ParallelPairs, load_pairs
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.robustness import Perturbation, perturb
from xalign.robustness.perturbations import PERTURBATIONS, Given
from xalign.robustness.perturbations.entities import names_in
from xalign.robustness.script import clusters, pieces

KINDS = ["entities", "numbers", "negation", "word_order", "typos"]


@pytest.fixture(scope="module")
def pairs():
    return load_pairs("bundled")


def changed(kind, text, language, others=(), translation="", seed=0):
    given = Given(text, language, translation, others, random.Random(seed))
    return PERTURBATIONS[kind].change(given)


# What holds for all kinds.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["languages", "pivot"])
def test_it_says_what_it_changed_and_changes_nothing_else(pairs, kind, side):
    found = perturb(pairs, kind, side=side, seed=4)
    for code, bitext in pairs.items():
        now = found.pairs[code]
        before, after = (
            (one.pivot_sentences, one.sentences)[:: -1 if side == "languages" else 1] for one in (bitext, now)
        )
        assert before[1] == after[1]
        assert [a != b for a, b in zip(before[0], after[0], strict=True)] == list(found.changed[code])
        assert found.counts[code] == sum(found.changed[code])
        assert now.ids == bitext.ids
    assert sum(found.counts.values()) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_and_nothing_else(pairs, kind):
    one = pairs.only(["de"])
    found = perturb(pairs, kind, seed=1).pairs["de"].sentences
    assert perturb(one, kind, seed=1).pairs["de"].sentences == found
    assert perturb(one, kind, seed=2).pairs["de"].sentences != found or kind == "negation"
    if kind != "entities":  # whose names come from the other sentences
        order = list(range(len(one["de"])))[::-1]
        assert perturb(one.rows(order), kind, seed=1).pairs["de"].sentences[::-1] == found


def test_which_kinds_keep_the_meaning():
    assert list(PERTURBATIONS) == KINDS
    assert [one for one in KINDS if PERTURBATIONS[one].keeps_meaning] == ["typos"]


# Scripts.


@pytest.mark.parametrize("text", ["né", "हिंदी", "ภาษาไทย", "사과", "e\u0301a", "နိုင်ငံ", "👩\u200d🚀a"])
def test_letters_keep_their_marks(text):
    found = clusters(text)
    assert "".join(found) == text
    assert not any(unicodedata.category(one[0])[0] == "M" for one in found[1:])
    assert not any(one[-1] in "เแโใไ" for one in found)


@settings(max_examples=60)
@example_of(st.text(max_size=40))
def test_pieces_of_any_text_are_letters_in_order(text):
    spans = pieces(text, 2)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))
    assert all(text[start].isalpha() for start, _ in spans)
    assert not any(text[start:end].isspace() for start, end in spans)
    inside = {place for span in spans for place in range(*span)}
    assert inside >= {place for place, one in enumerate(text) if one.isalpha()}


# Numbers.


def script(digit):
    """The zero of a digit's script."""
    return ord(digit) - unicodedata.digit(digit)


@pytest.mark.parametrize("text", ["In 1969, 3 men.", "عام ١٩٦٩", "१९६९ में", "9,99 %", "1"])
def test_numbers_keep_their_digits_and_their_length(text):
    for seed in range(20):
        found = changed("numbers", text, "eng_Latn", seed=seed)
        old, new = re.findall(r"\d+", text), re.findall(r"\d+", found)
        assert re.sub(r"\d", "0", found) == re.sub(r"\d", "0", text).replace("٠", "0").replace("०", "0")
        for before, after in zip(old, new, strict=True):
            assert before != after
            assert len(before) == len(after)
            assert [script(one) for one in before] == [script(one) for one in after]
            assert len(before) == 1 or int(after[0]) > 0
    assert changed("numbers", "None at all", "eng_Latn") is None


# Names.


@pytest.mark.parametrize(
    ("text", "translation", "names"),
    [
        ("Yesterday Ana Lima met the BBC.", None, ["Ana Lima", "BBC"]),
        ("President Obama left. Then Obama came back.", None, ["Obama"]),
        ('He said: "London is big." I agree.', None, []),
        ("Вчера Анна Петрова уехала в Москву.", None, ["Анна Петрова", "Москву"]),
        ("Χθες η Μαρία γύρισε.", None, ["Μαρία"]),
        ("昨天我见了王先生。", None, []),
        ("Der Hund biss Peter im Garten.", "The dog bit Peter in the garden.", ["Peter"]),
        ("Nun isst Jean-Luc O'Brien Käse.", None, ["Jean-Luc O'Brien Käse"]),
    ],
)
def test_names(text, translation, names):
    assert names_in(text, translation) == names


def test_a_name_becomes_one_of_another_sentence():
    others = (("He met Anna Bell.", ""), ("Then Peter saw Peter in Rome.", ""))
    found = {changed("entities", others[1][0], "eng_Latn", others, seed=seed) for seed in range(20)}
    assert found == {"Then Anna Bell saw Anna Bell in Rome.", "Then Peter saw Peter in Anna Bell."}
    assert changed("entities", others[1][0], "eng_Latn", others[1:]) is None  # no other name is known


def test_german_nouns_are_no_names():
    text = {
        "en": ["Now the dog bites Peter.", "Here Anna eats cheese.", "Then the cat slept."],
        "de": ["Nun beißt der Hund Peter.", "Hier isst Anna einen Käse.", "Dann schlief die Katze."],
    }
    found = perturb(ParallelPairs(text), "entities").pairs["de"].sentences
    assert found == ("Nun beißt der Hund Anna.", "Hier isst Peter einen Käse.", "Dann schlief die Katze.")


# Negation.


@pytest.mark.parametrize(
    ("language", "plain", "negated"),
    [
        ("eng_Latn", "The sky is blue.", "The sky is not blue."),
        ("eng_Latn", "It has been said.", "It has not been said."),
        ("deu_Latn", "Das war ein Fehler.", {"Das war kein Fehler.", "Das war nicht ein Fehler."}),
        ("fra_Latn", "Le ciel est bleu.", "Le ciel n'est pas bleu."),
        ("spa_Latn", "El cielo es azul.", "El cielo no es azul."),
        ("ita_Latn", "Il cielo è blu.", "Il cielo non è blu."),
        ("rus_Cyrl", "Он был дома.", "Он не был дома."),
        ("ces_Latn", "Nebe je modré.", "Nebe není modré."),
        ("fin_Latn", "Taivas on sininen.", "Taivas ei ole sininen."),
        ("tur_Latn", "Evde su var.", "Evde su yok."),
        ("ind_Latn", "Dia bisa datang.", "Dia tidak bisa datang."),
        ("vie_Latn", "Tôi có thể đi.", "Tôi không thể đi."),
        ("swh_Latn", "Alikuja na alikuwa mgonjwa.", "Alikuja na hakuwa mgonjwa."),
        ("hin_Deva", "आकाश नीला है।", "आकाश नीला नहीं है।"),
        ("arb_Arab", "كان البيت كبيرا", "لم يكن البيت كبيرا"),
        ("zho_Hans", "他是老师。", "他不是老师。"),
        ("jpn_Jpan", "彼は先生です。", "彼は先生ではありません。"),
        ("kor_Hang", "집에 물이 있다.", "집에 물이 없다."),
        ("tha_Thai", "เขาเป็นครู", "เขาไม่ได้เป็นครู"),
    ],
)
def test_negated_and_back(language, plain, negated):
    allowed = negated if isinstance(negated, set) else {negated}
    found = {changed("negation", plain, language, seed=seed) for seed in range(20)}
    assert found == allowed
    for one in allowed:
        assert changed("negation", one, language) == plain


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("eng_Latn", "This island."),  # "is" stands within words only
        ("hin_Deva", "वे हैरान"),  # "है" too
        ("fra_Latn", "C'est bleu."),  # after an elision "n'est pas" would be wrong
        ("zho_Hans", "但是我走。"),
        ("tam_Taml", "வானம் நீலம்."),  # not in the list
        ("xyz_Latn", "is"),
    ],
)
def test_what_cannot_be_negated(language, text):
    assert changed("negation", text, language) is None


# Order and typing errors.


@pytest.mark.parametrize(
    "text",
    [
        "The dog, aged 5, bites him.",
        "今天下雨，我们不去。",
        "ฉันไปโรงเรียนทุกวัน",
        "आकाश आज नीला है।",
        "어제 비가 많이 왔다.",
    ],
)
def test_words_change_places_and_nothing_is_lost(text):
    for seed in range(10):
        found = changed("word_order", text, "eng_Latn", seed=seed)
        assert found != text
        assert sorted(clusters(found)) == sorted(clusters(text))
        assert re.sub(r"[^\W\d_]|[^\w\s]", "", found) == re.sub(r"[^\W\d_]|[^\w\s]", "", text)
    assert changed("word_order", "Good night.", "eng_Latn") is None
    assert changed("word_order", "ho ho ho", "eng_Latn") is None


def edits(one, other):
    """The Damerau–Levenshtein distance (neighbours swapped count one), over letters with their marks."""
    a, b = clusters(one), clusters(other)
    table = {(-1, j): j + 1 for j in range(-1, len(b))} | {(i, -1): i + 1 for i in range(-1, len(a))}
    for i in range(len(a)):
        for j in range(len(b)):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a[i] != b[j]))
            if i and j and a[i] == b[j - 1] and a[i - 1] == b[j]:
                table[i, j] = min(table[i, j], table[i - 2, j - 2] + 1)
    return table[len(a) - 1, len(b) - 1]


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("Yesterday nothing happened.", 1),
        ("Several thousand people walked through London yesterday evening", 2),
        ("Вчера ничего хорошего здесь совсем никто нигде", 2),
        ("今天下雨我们不去", 1),
        ("हमारा विद्यालय", 1),
    ],
)
def test_one_word_of_five_has_one_error(text, errors):
    for seed in range(20):
        found = changed("typos", text, "eng_Latn", seed=seed)
        assert 1 <= edits(text, found) <= errors
        assert clusters(found)[0] == clusters(text)[0]
    assert changed("typos", "I am 12345 so", "eng_Latn") is None


# What is refused.


def test_kinds_of_ones_own(pairs):
    shout = Perturbation("shout", lambda given: given.sentence.upper(), keeps_meaning=True)
    assert perturb(pairs, shout).pairs["de"].sentences[0] == pairs["de"].sentences[0].upper()
    with pytest.raises(ArgumentTypeError, match="must give text or None, not int"):
        perturb(pairs, Perturbation("five", lambda given: 5, keeps_meaning=True))
    with pytest.raises(ArgumentError, match="must be a word"):
        Perturbation("to shout", str.upper, keeps_meaning=True)
    with pytest.raises(ArgumentTypeError, match="must be a function"):
        Perturbation("shout", "upper", keeps_meaning=True)


def test_what_cannot_be_changed(pairs):
    with pytest.raises(ArgumentError, match="must be of entities, numbers, negation, word_order, typos"):
        perturb(pairs, "spelling")
    with pytest.raises(ArgumentError, match="side='both' must be 'languages' or 'pivot'"):
        perturb(pairs, "typos", side="both")
    spoken = {
        code: [Audio([0.1 * row, 0.2, -0.1 * place], rate=16_000) for row in range(2)]
        for place, code in enumerate(["en", "de"])
    }
    with pytest.raises(PairsError, match="are spoken"):
        perturb(ParallelPairs(spoken), "typos")
