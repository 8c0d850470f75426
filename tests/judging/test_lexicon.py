"""Related words against control pairs: states by hand, tests, real words, and what is refused."""

import json

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from tests.minilm import minilm_folder
from tests.tiny import make_model, make_tokenizer
from xalign import load_items
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError, PairsError
from xalign.judging.lexicon import compare_words
from xalign.metrics.angular import angular_similarity
from xalign.pairs.lexicon import Word, sense_pairs, single_words
from xalign.statistics.partitions import division_test
from xalign.statistics.welch import welch_test

GERMAN = [
    Word("de", "Haus", ["Das alte Haus.", "Ein Haus ist alt."]),
    Word("de", "Hund"),
    Word("de", ("Brot", "Brötchen"), ["Zwei Brötchen, bitte."]),
]
ENGLISH = [Word("en", "house", ["The old house."]), Word("en", "dog", ["My dog barks."]), Word("en", "bread")]
RELATED = list(zip(GERMAN, ENGLISH, strict=True))
CONTROL = list(zip(GERMAN, ENGLISH[1:] + ENGLISH[:1], strict=True))


def state(model, tokenizer, word, layer):
    """The mean over contexts of the mean over the word's tokens, one context at a time."""
    found = []
    for text, (start, end) in word.occurrences:
        coded = tokenizer(text, return_offsets_mapping=True, return_tensors="pt")
        inside = [one < end and two > start and two > one for one, two in coded["offset_mapping"][0].tolist()]
        with torch.no_grad():
            states = model(input_ids=coded["input_ids"], output_hidden_states=True).hidden_states[layer][0]
        found.append(states[torch.tensor(inside)].double().mean(dim=0))
    return torch.stack(found).mean(dim=0)


@pytest.mark.parametrize("scale", ["unit", "signed"])
def test_states_are_those_of_single_contexts(scale):
    model, tokenizer = make_model("llama"), make_tokenizer()
    found = compare_words(model, tokenizer, RELATED, CONTROL, ["embed.hidden", "1.hidden"], scale=scale)
    assert [str(one.site) for one in found] == ["embed.hidden", "1.hidden"]
    for one, layer in zip(found, (0, 2), strict=True):
        for values, pairs in ((one.related, RELATED), (one.control, CONTROL)):
            sides = [
                torch.stack([state(model, tokenizer, pair[side], layer) for pair in pairs]) for side in (0, 1)
            ]
            expected = angular_similarity(*sides, scale=scale)
            assert torch.tensor(values, dtype=torch.float64) == pytest.approx(expected, abs=1e-5)
        assert one.welch == welch_test(one.related, one.control)
        assert one.permutation == division_test(one.related, one.control)
        assert one.to_dict()["difference"] == pytest.approx(
            sum(one.related) / 3 - sum(one.control) / 3, abs=1e-12
        )
        assert json.dumps(one.to_dict())


def test_a_word_beside_itself():
    model, tokenizer = make_model("llama"), make_tokenizer()
    same = [(word, word) for word in GERMAN]
    (found,) = compare_words(model, tokenizer, same, CONTROL, "1.hidden")
    assert found.related == pytest.approx((1, 1, 1), abs=1e-7)
    assert found.permutation.p_value == 1 / 20  # the best of all divisions of six
    assert found.welch.difference > 0


def test_the_context_counts():
    model, tokenizer = make_model("llama"), make_tokenizer()
    other = [(Word("de", "Haus", ["Mein Haus brennt."]), ENGLISH[0]), RELATED[1]]
    one, two = (compare_words(model, tokenizer, pairs, CONTROL, "1.hidden")[0] for pairs in (RELATED, other))
    assert one.related[1] == pytest.approx(two.related[1], abs=1e-6)
    assert abs(one.related[0] - two.related[0]) > 1e-4


@pytest.mark.parametrize(
    ("related", "control", "error", "said"),
    [
        (RELATED[:1], CONTROL, PairsError, r"related has 1 pair\(s\)"),
        (RELATED, [], PairsError, r"control has 0 pair\(s\)"),
        ("words", CONTROL, ArgumentTypeError, "related must be a list"),
        (RELATED, [("Haus", "house")] * 2, ArgumentTypeError, "control: entry 0 must be"),
    ],
)
def test_pairs_that_are_refused(related, control, error, said):
    with pytest.raises(error, match=said):
        compare_words(make_model("llama"), make_tokenizer(), related, control)


def test_sites_and_scales_that_are_not_there(as_for_users):
    with pytest.raises(ModelError, match="9.hidden"):
        compare_words(make_model("llama"), make_tokenizer(), RELATED, CONTROL, "9.hidden")
    with pytest.raises(ArgumentError, match="scale"):
        compare_words(make_model("llama"), make_tokenizer(), RELATED, CONTROL, "1.hidden", scale="half")


def test_swadesh_lists(real_text):
    """MiniLM tells German and French words for a sense from others at its last block."""
    items = load_items(real_text / "swadesh" / "swadesh207.jsonl", ["deu", "fra"])
    items = single_words(items)
    assert items.n > 150
    model = AutoModel.from_pretrained(minilm_folder()).eval()
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    for language in ("deu", "fra"):
        (found,) = compare_words(model, tokenizer, *sense_pairs(items, language), "5.hidden")
        assert found.welch.interval[0] > 0
        assert found.permutation.p_value < 0.01
