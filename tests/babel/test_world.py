"""Sentences, meanings and splits."""

import csv
import random
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from xalign.babel import write_pairs
from xalign.babel.lexicon import LANGUAGES, load_lexicon
from xalign.babel.meanings import Meaning
from xalign.babel.splits import SPLITS, count_meanings, meaning_of, number_of, split_of, take_meanings
from xalign.babel.templates import SLOT, load_templates
from xalign.babel.transfer import intents
from xalign.babel.write import MIXTURES, write_documents
from xalign.errors import ArgumentError, ArgumentTypeError

CODES = list(LANGUAGES.values())
VERIFIED = list(
    csv.DictReader(
        (Path(__file__).parent / "verified.tsv").read_text(encoding="utf-8").splitlines(), delimiter="\t"
    )
)


@pytest.mark.parametrize("row", VERIFIED, ids=lambda row: row["template"])
def test_sentences_read_by_hand(row):
    """One of every template, read in all five languages: agreement, word order, aspect, articles."""
    slots = dict(slot.split("=") for slot in row["slots"].split())
    meaning = Meaning(row["template"], **slots)
    assert meaning.slots == slots
    assert {code: meaning.sentence(code) for code in CODES} == {code: row[code] for code in CODES}


def test_size():
    assert {row["template"] for row in VERIFIED} == set(load_templates())
    assert len(load_templates()) >= 24
    assert len(load_lexicon()) >= 150
    assert len(intents()) >= 12
    assert count_meanings() > 1_000_000


def test_templates_have_the_same_slots_in_every_language():
    for template in load_templates().values():
        for code, pattern in template.patterns.items():
            slots = {slot for slot in SLOT.findall(pattern) if slot in ("witness", "place", "time", "reason")}
            assert slots == set(template.slots), (template.name, code)


def test_gender_agrees():
    """By rules of the languages, not by the lexicon's own column."""
    lexicon = load_lexicon()
    for agent in lexicon.agents.values():
        assert agent.forms["deu_Latn"][""].startswith({"m": "der ", "f": "die "}[agent.gender])
        assert agent.forms["spa_Latn"][""].startswith({"m": "el ", "f": "la "}[agent.gender])
    for action in lexicon.actions.values():
        forms = action.forms["rus_Cyrl"]
        assert not forms["past_m"].endswith("а")
        assert forms["past_f"].endswith("ла")
    for thing in lexicon.objects.values():
        words = thing.forms["deu_Latn"]
        positive, negative = words[""].split(), words["negated"].split()
        assert positive[-1] == negative[-1]
        assert positive[-1][0].isupper()
        if len(positive) == 2:
            assert "k" + positive[0] == negative[0]


def test_every_meaning_has_one_number_and_one_split():
    total, draw = count_meanings(), random.Random(0)
    for number in [0, total - 1, *(draw.randrange(total) for _ in range(3000))]:
        meaning = meaning_of(number)
        assert number_of(meaning) == number
        assert meaning.witness != meaning.agent
    assert sum(count_meanings(split) for split in SPLITS) == total
    shares = Counter(split_of(meaning_of(draw.randrange(total))) for _ in range(3000))
    assert shares["train"] == pytest.approx(2400, abs=100)
    assert shares["held_out"] == pytest.approx(300, abs=80)


def test_splits_share_no_meaning_and_no_sentence():
    taken = {split: take_meanings(2000, seed=3, split=split) for split in SPLITS}
    for split, meanings in taken.items():
        assert len(set(meanings)) == 2000
        assert {split_of(meaning) for meaning in meanings} == {split}
        for code in CODES:
            assert len({meaning.sentence(code) for meaning in meanings}) == 2000
    pairs = {split: write_pairs(500, seed=1, split=split) for split in SPLITS}
    assert pairs["train"].overlap(pairs["held_out"]) == pairs["task"].overlap(pairs["held_out"]) == {}


def test_seeds():
    assert take_meanings(50, 4) == take_meanings(50, 4)
    assert take_meanings(50, 4) != take_meanings(50, 5)
    assert take_meanings(50, 4) == take_meanings(100, 4)[:50]


def test_all_meanings_of_a_split_can_be_had(monkeypatch):
    """Where drawing finds no new ones the rest is counted out."""
    import xalign.babel.splits as splits

    monkeypatch.setattr(splits, "draw_meanings", lambda random_state: iter([meaning_of(0)] * 10_000_000))
    meanings = take_meanings(300, seed=0, split="held_out")
    assert len(set(meanings)) == 300
    assert {split_of(meaning) for meaning in meanings} == {"held_out"}


def test_slots_depend_on_one_another():
    of_agent = defaultdict(Counter)
    for meaning in take_meanings(4000, 0):
        of_agent[meaning.agent][meaning.action] += 1
    likeliest = [counts.most_common(1)[0][1] / counts.total() for counts in of_agent.values()]
    assert min(likeliest) > 0.25  # 1/32 if actions were drawn freely
    rare = [
        sum(1 for count in counts.values() if count < 0.05 * counts.total()) for counts in of_agent.values()
    ]
    assert min(rare) > 5  # and some are


def test_no_word_gives_an_intent_away():
    meanings = take_meanings(6000, 0)
    assert Counter(meaning.intent for meaning in meanings).keys() == set(intents())
    for code in CODES:
        found = defaultdict(Counter)
        for meaning in meanings:
            sentence = meaning.sentence(code).lower()
            for word in set(sentence if code == "zho_Hans" else re.findall(r"\w+|[^\w\s]", sentence)):
                found[word][meaning.intent] += 1
        shares = {
            word: max(counts.values()) / counts.total()
            for word, counts in found.items()
            if counts.total() >= 100
        }
        assert max(shares.values()) < 0.6, max(shares, key=shares.get)


def test_documents():
    for mixture, directions in MIXTURES.items():
        stream = write_documents(mixture, seed=0)
        documents = [next(stream) for _ in range(1000)]
        assert sum("<sep>" not in document for document in documents) == pytest.approx(100, abs=40)
        again = write_documents(mixture, seed=0)
        assert documents[:20] == [next(again) for _ in range(20)]
        assert len(set(directions)) == {"aligned": 20, "unaligned": 8, "unequal": 8}[mixture]
    assert all("eng_Latn" in direction for direction in MIXTURES["unaligned"] + MIXTURES["unequal"])
    with pytest.raises(ArgumentError, match="mixture='both' must be one of aligned, unaligned, unequal"):
        next(write_documents("both", seed=0))


def test_documents_of_the_unequal_mixture():
    stream = write_documents("unequal", seed=1)
    documents = [next(stream) for _ in range(4000)]
    translations = [document for document in documents if "<sep>" in document]
    chinese = lambda texts: sum(bool(re.search("[一-鿿]", one)) for one in texts) / len(texts)  # noqa: E731
    russian = lambda texts: sum(bool(re.search("[а-я]", one)) for one in texts) / len(texts)  # noqa: E731
    assert chinese(translations) == pytest.approx(0.05, abs=0.012)
    assert russian(translations) == pytest.approx(0.15, abs=0.02)
    single = [document for document in documents if "<sep>" not in document]
    assert chinese(single) == pytest.approx(0.025, abs=0.03)
    assert russian(single) == pytest.approx(0.075, abs=0.05)


def test_pairs():
    pairs = write_pairs(10, seed=2, split="held_out", languages=["zh-Hans", "de"], pivot="es")
    assert (pairs.pivot, list(pairs)) == ("spa_Latn", ["zho_Hans", "deu_Latn"])
    assert pairs.source == "babel held_out, seed 2"
    assert [meaning_of(int(name.removeprefix("babel-"))) for name in pairs["deu_Latn"].ids] == take_meanings(
        10, 2, "held_out"
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"seed": 1.0}, ArgumentTypeError, "seed=1.0 must be a whole number"),
        ({"seed": "one"}, ArgumentTypeError, "seed='one' must be a whole number"),
        ({"n": True}, ArgumentTypeError, "n=True must be a whole number"),
        ({"n": 0}, ArgumentError, "n=0 must be at least 1"),
        ({"n": 10**8}, ArgumentError, r"n=100000000 is more than the \d+ meanings of split='train'"),
        ({"split": "test"}, ArgumentError, "split='test' must be one of train, held_out, task"),
        ({"languages": ["fr"]}, ArgumentError, "fra_Latn not in Babel; it has eng_Latn"),
        ({"pivot": "fr"}, ArgumentError, "fra_Latn not in Babel"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        write_pairs(**({"n": 5, "seed": 0} | arguments))
