"""Units of words: states token by token, what is selected, overlaps, checkpoints, and what is refused."""

import json

import pytest
import torch

from tests.tiny import WIDTH, make_model, make_tokenizer
from xalign import UnitSet
from xalign.errors import ArgumentError, ArgumentTypeError, ReportError
from xalign.pairs.conllu import AnnotatedSentence, Word
from xalign.probing import (
    LabelledText,
    OverlapHistory,
    Overlaps,
    Selector,
    labelled_texts,
    overlaps,
    track_overlaps,
    word_units,
)
from xalign.probing.labelled import word_states

NOUNS = {"eng_Latn": ("dog", "cat", "house", "tree"), "deu_Latn": ("Hund", "Katze", "Haus", "Baum")}
VERBS = {"eng_Latn": ("sleeps", "runs", "falls", "sings"), "deu_Latn": ("schläft", "rennt", "fällt", "singt")}


def sentence(code, number):
    noun, verb = NOUNS[code][number % 4], VERBS[code][number // 4 % 4]
    text = f"{'The' if code == 'eng_Latn' else 'Das'} {noun} {verb} now {number}."
    at, then = text.index(noun), text.index(verb)
    return LabelledText(text, ((at, at + len(noun), "NOUN"), (then, then + len(verb), "VERB")))


TEXTS = {code: [sentence(code, number) for number in range(20)] for code in NOUNS}
OPTIONS = {"k": 4, "least": 2}


@pytest.fixture(scope="module")
def model():
    return make_model("llama")


def test_a_words_state_is_the_mean_over_its_tokens(model):
    tokenizer = make_tokenizer()
    found = {str(one.site): one for one in word_states(model, tokenizer, TEXTS, ["embed.hidden", "1.hidden"])}
    row = 0
    for number, own in enumerate(TEXTS.values()):
        for at, one in enumerate(own):
            coded = tokenizer(one.text, return_tensors="pt", return_offsets_mapping=True)
            offsets = coded.pop("offset_mapping")[0].tolist()
            with torch.no_grad():
                states = model(**coded, output_hidden_states=True).hidden_states
            for start, end, label in one.words:
                inside = [t for t, (a, b) in enumerate(offsets) if a < end and b > start]
                assert len(inside) > 1 or end - start < 4
                for layer, site in ((0, "embed.hidden"), (2, "1.hidden")):
                    expected = states[layer][0][inside].mean(dim=0)
                    assert torch.allclose(found[site].values[row], expected, atol=1e-5)
                assert (found["1.hidden"].language[row], found["1.hidden"].sentence[row]) == (number, at)
                assert found["1.hidden"].label[row] == label
                row += 1
    assert row == len(found["1.hidden"].values)


def first_units(train, dev, k, seed):
    """What a selector is given, written into what it returns."""
    first_units.seen.append((train, dev, seed))
    return torch.arange(k), torch.linspace(1, 0.5, k)


FIRST = Selector("first", first_units, "the first units")


def test_sentences_are_dealt_and_the_rest_is_left_out(model):
    first_units.seen = []
    units = word_units(model, make_tokenizer(), TEXTS, "1.hidden", selector=FIRST, seed=7, **OPTIONS)
    (states,) = word_states(model, make_tokenizer(), TEXTS, "1.hidden")
    for number, ((train, train_label), (dev, dev_label), seed) in enumerate(first_units.seen):
        own = states.language == number
        assert seed == 7 and len(first_units.seen) == 2
        for part, values, labels in (((0, 1, 2), train, train_label), ((3,), dev, dev_label)):
            rows = [row for row in own.nonzero()[:, 0].tolist() if int(states.sentence[row]) % 5 in part]
            assert torch.equal(values, states.values[rows])
            assert [("NOUN", "VERB")[label] for label in labels] == [states.label[row] for row in rows]
    assert [(row.label, str(row.site), row.index) for row in units][:2] == [
        ("eng_Latn", "1.hidden", 0),
        ("eng_Latn", "1.hidden", 1),
    ]
    mean = first_units.seen[0][0][0].mean(dim=0)
    assert units.columns.value[:4] == pytest.approx(mean[:4].numpy(), abs=1e-6)
    assert units.provenance["settings"]["labels"]["deu_Latn"] == ["NOUN", "VERB"]


def test_it_finds_units_that_carry_the_attribute(model):
    """A unit that is set to the label's number is found in both languages, and by no shuffled label."""
    import copy

    planted = copy.deepcopy(model)
    words = {*NOUNS["eng_Latn"], *NOUNS["deu_Latn"]}
    tokens = {token for word in words for token in make_tokenizer()(f" {word}")["input_ids"][1:]}
    others = {
        token
        for own in VERBS.values()
        for word in own
        for token in make_tokenizer()(f" {word}")["input_ids"][1:]
    }
    with torch.no_grad():
        planted.model.embed_tokens.weight[:, 11] = 0
        planted.model.embed_tokens.weight[sorted(tokens - others), 11] = 5
    (best,) = {
        row.index for row in word_units(planted, make_tokenizer(), TEXTS, "embed.hidden", k=1, least=2)
    }
    assert best == 11
    shuffled = word_units(planted, make_tokenizer(), TEXTS, "embed.hidden", k=1, least=2, shuffled=True)
    assert max(row.score for row in shuffled) < 0.5


def test_languages_and_sites_have_units_of_their_own(model):
    units = word_units(model, make_tokenizer(), TEXTS, ["0.hidden", "2.hidden"], **OPTIONS)
    assert {(row.label, str(row.site)) for row in units} == {
        (code, site) for code in TEXTS for site in ("0.hidden", "2.hidden")
    }
    assert len(units) == 16
    again = word_units(model, make_tokenizer(), dict(reversed(TEXTS.items())), ["0.hidden"], **OPTIONS)
    assert {row.place for row in again["deu_Latn"]} == {
        row.place for row in units["deu_Latn"] if str(row.site) == "0.hidden"
    }


def test_overlaps_are_those_of_sets(model, tmp_path):
    rows = [("de", "1.hidden", unit, 1.0, 0.0) for unit in (1, 2, 3, 4)]
    rows += [("es", "1.hidden", unit, 1.0, 0.0) for unit in (3, 4, 5, 6)]
    rows += [("fr", "1.hidden", unit, 1.0, 0.0) for unit in (9, 10)]
    rows += [("de", "0.inner", 5, 1.0, 0.0), ("fr", "0.inner", 5, 1.0, 0.0), ("es", "2.hidden", 1, 1.0, 0.0)]
    found = overlaps(UnitSet.from_rows(rows), model)
    by_pair = {(row["site"], row["one"], row["two"]): row for row in found.rows}
    assert len(by_pair) == 4
    one = by_pair["1.hidden", "de", "es"]
    assert (one["shared"], one["share"], one["chance"]) == (2, 0.5, 4 / WIDTH)
    assert by_pair["0.inner", "de", "fr"]["chance"] == pytest.approx(1 / 80)
    assert by_pair["1.hidden", "de", "fr"]["shared"] == 0
    assert found.mean("share", site="1.hidden") == pytest.approx(0.5 / 3)
    assert Overlaps.load(found.save(tmp_path / "overlaps.json")).rows == found.rows
    with pytest.raises(ArgumentError, match="no site has units of two labels"):
        overlaps(UnitSet.from_rows(rows[:4]), model)
    with pytest.raises(ArgumentError, match="no row, or no number"):
        found.mean("one")
    with pytest.raises(ArgumentTypeError, match="units must be a UnitSet"):
        overlaps([1, 2], model)


@pytest.mark.thorough
def test_along_checkpoints_each_is_measured_once(tmp_path):
    models, loaded, said = {0: make_model("llama"), 5: make_model("llama", seed=1)}, [], []

    def load(step):
        loaded.append(step)
        if step == 9:
            raise OSError("no weights")
        return models[step], make_tokenizer()

    def track(steps, **more):
        options = {"sites": "1.hidden", **OPTIONS, **more}
        return track_overlaps(lambda: {step: step for step in steps}, load, tmp_path, TEXTS, **options)

    first = track([5])
    with pytest.warns(UserWarning, match="step 9 is left out: no weights"):
        whole = track([0, 5, 9], on_step=lambda step, times: said.append((step, times)))
    assert loaded == [5, 0, 9] and whole.steps == [0, 5]
    alone = overlaps(word_units(models[5], make_tokenizer(), TEXTS, "1.hidden", **OPTIONS), models[5])
    assert [{"step": 5, **row} for row in alone.rows] == first.to_rows() == whole.where(step=5)
    assert said == [(0, whole.curve()[0])]
    assert whole.curve("share")[5] == alone.mean("share")
    assert OverlapHistory.load(tmp_path / "overlaps.json").rows == whole.rows
    with pytest.raises(ReportError, match="holds overlaps of other texts or options"):
        track([0], k=5)
    assert json.loads((tmp_path / "overlaps.json").read_text())["about"]["languages"] == list(TEXTS)


def test_attributes_of_annotated_sentences():
    words = (
        Word("Im", 0, 2, "ADP"),
        *(Word("in", 3, 5, "ADP", is_part=True), Word("Hund", 6, 10, "NOUN", {"Number": "Sing"})),
    )
    found = labelled_texts({"deu_Latn": [AnnotatedSentence("Im im Hund", words)]}, "Number")
    assert found["deu_Latn"][0].words == ((6, 10, "Sing"),)
    upos = labelled_texts({"deu_Latn": [AnnotatedSentence("Im im Hund", words)]}, "upos")
    assert upos["deu_Latn"][0].words == ((0, 2, "ADP"), (6, 10, "NOUN"))  # no part of a contraction
    with pytest.raises(ArgumentError, match="attribute='Case': no word in deu_Latn has it; there are Number"):
        labelled_texts({"deu_Latn": [AnnotatedSentence("Im im Hund", words)]}, "Case")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"texts": {"eng_Latn": TEXTS["eng_Latn"]}}, "at least 2 languages"),
        ({"texts": TEXTS | {"deu_Latn": ["Das Haus"]}}, "must be a list of LabelledText"),
        ({"least": 9}, "eng_Latn: fewer than 2 labels have 9 words in each part"),
        ({"k": 33}, "k=33 is more than the 32 units of 1.hidden"),
        ({"selector": "probe"}, "selector='probe' must be one of"),
    ],
)
def test_what_is_refused(model, change, match):
    given = {"texts": TEXTS, **OPTIONS} | change
    with pytest.raises(ArgumentError, match=match):
        word_units(model, make_tokenizer(), given.pop("texts"), "1.hidden", **given)


def test_words_outside_a_sentence_and_slow_tokenizers(model):
    for span in ((0, 0, "NOUN"), (2, 9, "NOUN"), (0, 2, ""), (2, 3, "X")):
        with pytest.raises(ArgumentError, match="is not in a sentence of 5 characters"):
            LabelledText("It is", (span,))

    class Slow:
        is_fast = False

    with pytest.raises(ArgumentError, match="load it with use_fast=True"):
        word_units(model, Slow(), TEXTS, "1.hidden", **OPTIONS)
    long = {code: [LabelledText("a " * 600 + "dog", ((1200, 1203, "NOUN"),))] * 9 for code in TEXTS}
    with pytest.raises(ArgumentError, match="no token is left of the word 'NOUN' from 1200 to 1203"):
        list(word_states(model, make_tokenizer(), long, "1.hidden", truncate=True))
