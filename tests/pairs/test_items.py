"""Test items and their loaders: what each source becomes, fingerprints, and what is refused."""

import hashlib
import json

import pytest
from datasets import Dataset

from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.pairs.item import Choice, MinimalPair, WordSense
from xalign.pairs.items import ParallelItems
from xalign.pairs.load_items import load_items

RAIN, EAT = Choice("It rains.", ("I get wet.", "I fly."), 0), Choice("I eat.", ("I am full.", "I glow."), 1)
REGEN = Choice("Es regnet.", ("Ich werde nass.", "Ich fliege."), 0)
ESSEN = Choice("Ich esse.", ("Ich bin satt.", "Ich leuchte."), 1)
ITEMS = {"en": [RAIN, EAT], "de": [REGEN, ESSEN]}


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_mapping_of_languages():
    items = ParallelItems(ITEMS, ids=["a", "b"], source="mine")
    assert list(items) == ["eng_Latn", "deu_Latn"] and items.languages == ["deu_Latn"]
    assert items["de"] == (REGEN, ESSEN) and items.n == len(items) == 2 and items.kind is Choice
    assert items.rows([1, 0]).ids == ("b", "a") and items.rows([1, 0])["en"] == (EAT, RAIN)
    assert items.first(2).fingerprint == items.sample(2, seed=1).fingerprint == items.fingerprint
    assert items.only([]).languages == [] and items.only(["de"]).source == "mine"
    with pytest.raises(KeyError, match="fra_Latn is not among the languages of these items"):
        items["fr"]


def test_the_fingerprint_is_of_what_is_written():
    items = ParallelItems(ITEMS)
    text = [
        "eng_Latn",
        "Choice",
        [
            ["deu_Latn", [["Es regnet.", ["Ich werde nass.", "Ich fliege."], 0]] + [_plain(ESSEN)]],
            ["eng_Latn", [_plain(RAIN), _plain(EAT)]],
        ],
    ]
    expected = hashlib.sha256(json.dumps(text, ensure_ascii=False).encode()).hexdigest()
    assert items.fingerprint == expected
    assert ParallelItems(dict(reversed(ITEMS.items()))).fingerprint == expected
    assert ParallelItems(ITEMS, ids=["x", "y"], source="other").fingerprint == expected
    without = [Choice(one.context, one.options) for one in (RAIN, EAT)]
    assert ParallelItems(ITEMS | {"en": without}).fingerprint != expected


def _plain(choice):
    return [choice.context, list(choice.options), choice.gold]


def test_as_pairs():
    pairs = ParallelItems(ITEMS, ids=["a", "b"]).as_pairs()
    assert pairs["de"].sentences[0] == "Es regnet.\nIch werde nass.\nIch fliege." and pairs["de"].ids == (
        "a",
        "b",
    )
    with pytest.raises(PairsError, match="only the pivot eng_Latn"):
        ParallelItems(ITEMS).only([]).as_pairs()
    with pytest.raises(PairsError, match="not the same item in all languages"):
        ParallelItems(ITEMS, is_aligned=False).as_pairs()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Choice("It rains.", ()), PairsError, r"0 option\(s\); a choice needs at least two"),
        (lambda: Choice("It rains.", ("So.",)), PairsError, r"1 option\(s\)"),
        (lambda: Choice("It rains.", ("So.", "So. ")), PairsError, "two options of an item are equal"),
        (lambda: Choice("It rains.", ("So.", "No."), 2), PairsError, "gold=2 is out of range: .* 0 to 1"),
        (lambda: Choice("It rains.", ("So.", "No."), -1), ArgumentError, "gold=-1"),
        (lambda: Choice("\u200b", ("So.", "No.")), PairsError, "context: entry 0 is empty"),
        (lambda: Choice("It rains.", ("So.", " ")), PairsError, "options: entry 1 is empty"),
        (lambda: Choice("It rains.", "So."), ArgumentTypeError, "options must be a list of strings, not str"),
        (lambda: Choice(5, ("So.", "No.")), ArgumentTypeError, "context: entry 0 must be a string"),
        (lambda: MinimalPair("he laughs", "he laughs"), PairsError, "both sentences .* are equal"),
        (lambda: MinimalPair("he laughs", ""), PairsError, "entry 1 is empty"),
        (lambda: WordSense("I", ()), PairsError, r"0 word\(s\)"),
        (lambda: WordSense("I", ("ich", "ich")), PairsError, "each another"),
        (lambda: WordSense("I", ("ich",), ("Du gehst.",)), PairsError, "context 0 of a sense holds none"),
        (lambda: ParallelItems({"de": [REGEN, ESSEN]}), ArgumentError, "pivot='eng_Latn' is not among"),
        (lambda: ParallelItems(ITEMS | {"de": [REGEN]}), PairsError, "eng_Latn 2, deu_Latn 1; line i"),
        (lambda: ParallelItems({"en": [RAIN]}), PairsError, r"there are 1 item\(s\); at least 2"),
        (lambda: ParallelItems({"en": [RAIN, "It."]}), ArgumentTypeError, "entry 1 must be a Choice"),
        (
            lambda: ParallelItems({"en": "It."}),
            ArgumentTypeError,
            "eng_Latn must be a list of items, not str",
        ),
        (
            lambda: ParallelItems({"en": [RAIN, MinimalPair("he laughs", "he laugh")]}),
            PairsError,
            "different kinds: Choice, MinimalPair",
        ),
        (
            lambda: ParallelItems(ITEMS | {"de": [REGEN, Choice("Ich.", ("a", "b", "c"), 1)]}),
            PairsError,
            "item 1 has 3 options in deu_Latn and 2 in eng_Latn",
        ),
        (
            lambda: ParallelItems(ITEMS | {"de": [REGEN, Choice("Ich.", ("a", "b"), 0)]}),
            PairsError,
            "gold answer of item 1 is 0 in deu_Latn and 1 in eng_Latn",
        ),
        (lambda: ParallelItems(ITEMS, ids=["a"]), PairsError, "ids must be a text for each of the 2 items"),
        (lambda: ParallelItems(ITEMS).first(3), PairsError, "n=3 is more than the 2 items"),
    ],
)
def test_what_is_refused(make, error, message, as_for_users):
    with pytest.raises(error, match=message):
        make()


STORY = {"story_id": "s", "context": "It rains.", "ending1": "I get wet.", "ending2": "I fly.", "label": 0}
COPA = {"idx": 0, "premise": "It rains.", "choice1": "I get wet.", "choice2": "I fly.", "question": "effect"}
BELEBELE = {"flores_passage": "It rains.", "question": "Why?", "correct_answer_num": "4"} | {
    f"mc_answer{number}": f"For {number}" for number in range(1, 5)
}
CLOZE = {f"input_sentence_{number}": f"Day {number}." for number in range(1, 5)} | {
    "sentence_quiz1": "Sun.",
    "sentence_quiz2": "Rain.",
    "answer_right_ending": 2,
}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"context": "It rains.", "options": ["I get wet.", "I fly."], "gold": 0}, RAIN),
        (STORY, RAIN),
        (CLOZE, Choice("Day 1. Day 2. Day 3. Day 4.", ("Sun.", "Rain."), 1)),
        (COPA | {"label": 1}, Choice("It rains therefore", ("i get wet.", "i fly."), 1)),
        (COPA | {"question": "cause"}, Choice("It rains because", ("i get wet.", "i fly."))),
        (BELEBELE, Choice("It rains. Why?", ("For 1", "For 2", "For 3", "For 4"), 3)),
        ({"passage_question": "It. Why?", "options": ["a", "b"]}, Choice("It. Why?", ("a", "b"))),
        ({"good": "he laughs", "bad": "he laugh"}, MinimalPair("he laughs", "he laugh")),
        ({"good": "a", "bad": "b", "construction": "c"}, MinimalPair("a", "b", "c")),
        ({"sentence_good": "a", "sentence_bad": "b", "UID": "c"}, MinimalPair("a", "b", "c")),
        ({"sense": "I", "words": ["ich"]}, WordSense("I", ("ich",))),
    ],
)
def test_rows_of_every_form(row, expected, tmp_path):
    rows = [row, row]
    given = load_items({"en": rows, "de": rows} if "premise" not in row else {"en": rows})
    assert given["en"] == (expected, expected)
    assert given.is_aligned == ("construction" not in row and "UID" not in row)
    write(tmp_path / "items" / "eng_Latn.jsonl", rows)
    write(tmp_path / "items" / "deu_Latn.jsonl", rows[:2])
    if "premise" not in row:
        from_folder = load_items(tmp_path / "items", ["de"], n=2)
        assert from_folder.fingerprint == given.fingerprint and from_folder.source == "items"


def test_one_file_with_a_language_per_key(tmp_path):
    row = {"context": "It rains.", "options": ["I get wet.", "I fly."]}
    path = write(tmp_path / "a.jsonl", [{"id": k, "eng_Latn": row, "deu_Latn": row} for k in (7, 8)])
    items = load_items(path)
    assert items.ids == ("7", "8") and items["de"][1].options == ("I get wet.", "I fly.")
    lists = [{"concept": k, "words": {"eng_Latn": ["I"], "deu_Latn": ["ich"][:k]}} for k in (0, 1, 2)]
    path = write(tmp_path / "b.jsonl", lists)
    with pytest.raises(PairsError, match=r"deu_Latn, line 1.* cannot be used: 1; correct"):
        load_items(path)
    items = load_items(path, unusable="drop")
    assert items.ids == ("1", "2") and items["de"][0] == WordSense("1", ("ich",))
    assert items.source == "b.jsonl without lines 1"


def test_datasets_objects():
    items = load_items({"en": Dataset.from_list([STORY, STORY])})
    assert items["en"][0] == RAIN


def test_copa_in_a_language_without_known_words():
    rows = [COPA, COPA]
    with pytest.raises(PairsError, match="COPA in deu_Latn needs the words before the choice"):
        load_items({"en": rows, "de": rows})
    items = load_items({"en": rows, "de": rows}, connectives={"de": ("weil", "deshalb")})
    assert items["de"][0].context == "It rains deshalb"
    thai = [COPA | {"premise": "ฝนตก"}] * 2
    assert load_items({"th": thai}, pivot="th")["th"][0].context == "ฝนตก ดังนั้น"  # there is no stop to take


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"en": [{"text": "It"}] * 2}, "eng_Latn, line 1 has the fields text, and items are known by"),
        ({"en": ["It", "is"]}, "eng_Latn, line 1 must be an object, not str"),
        ({"en": [STORY, STORY | {"ending2": "I get wet."}]}, "eng_Latn, line 2: two options .* are equal"),
        ({"en": [STORY, STORY | {"label": 2}]}, "eng_Latn, line 2: gold=2 is out of range"),
        ({"en": [COPA, COPA | {"question": "why"}]}, "question='why' must be 'cause' or 'effect'"),
        ({"en": [STORY] * 2, "de": [STORY] * 3}, "different numbers of items: eng_Latn 2, deu_Latn 3"),
        ({"en": [STORY] * 2, "de": [STORY, STORY | {"story_id": "t"}]}, "line 2 is item s in eng_Latn and t"),
        ({"de": [STORY] * 2}, "has no items of the pivot eng_Latn; it has deu_Latn"),
    ],
)
def test_rows_that_are_refused(rows, message):
    with pytest.raises(PairsError, match=message):
        load_items(rows)


def test_sources_that_are_refused(tmp_path, as_for_users):
    with pytest.raises(PairsError, match="must be a folder or a .jsonl file that exists"):
        load_items(tmp_path / "none.jsonl")
    with pytest.raises(PairsError, match=r"holds no \.jsonl file"):
        load_items(tmp_path)
    (tmp_path / "a.jsonl").write_text("{]\n")
    with pytest.raises(PairsError, match="line 1 is not valid JSON"):
        load_items(tmp_path / "a.jsonl")
    with pytest.raises(ArgumentTypeError, match="source=5 must be a folder"):
        load_items(5)
    with pytest.raises(ArgumentError, match="unusable='skip' must be 'refuse' or 'drop'"):
        load_items({"en": [STORY] * 2}, unusable="skip")
    with pytest.raises(ArgumentError, match="found in items; it has eng_Latn"):
        load_items({"en": [STORY] * 2}, ["fr"])


@pytest.mark.parametrize(
    ("folder", "options", "languages", "n", "aligned"),
    [
        ("xstorycloze", {"unusable": "drop"}, 11, 399, True),  # one Arabic item has equal options
        ("xcopa/test", {"pivot": "ita"}, 11, 500, True),
        ("belebele_nogold", {}, 12, 60, True),
        ("clams", {}, 5, 420, False),
        ("swadesh/swadesh207.jsonl", {"languages": ["deu", "fra"]}, 3, 207, True),
        ("swadesh/swadesh207.jsonl", {"unusable": "drop"}, 29, 165, True),
    ],
)
@pytest.mark.realdata
def test_published_sets(real_text, folder, options, languages, n, aligned):
    items = load_items(real_text / folder, **options)
    assert (len(items), items.n, items.is_aligned) == (languages, n, aligned)
