"""Latent language: token sets counted by hand, sums over them, Babel's own, prompts, and what is refused."""

import math
from collections import Counter

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign.babel import load_babel, write_pairs
from xalign.errors import ArgumentError
from xalign.probing import (
    LatentLanguage,
    TokenSets,
    answer_sets,
    latent_language,
    logit_lens,
    token_sets,
    translation_prompts,
)

TEXTS = {
    "eng_Latn": ["The dog sleeps.", "The house is old."],
    "deu_Latn": ["Der Hund schläft.", "Das Haus ist alt."],
}
PROMPTS = ["The dog", "Das Haus ist", "The"]


def ids(text):
    return make_tokenizer()(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("purity", [1.0, 0.6])
def test_tokens_belong_where_they_occur(purity):
    sets = token_sets(make_tokenizer(), TEXTS, purity=purity)
    counts = {code: Counter(token for text in own for token in ids(text)) for code, own in TEXTS.items()}
    assert sets.names == ("eng_Latn", "deu_Latn", "several", "none")
    kinds = set()
    for token in range(500):
        rates = [count[token] / count.total() for count in counts.values()]
        expected = "none"
        if sum(rates):
            share = max(rates) / sum(rates)
            expected = ("eng_Latn", "deu_Latn")[rates.index(max(rates))] if share >= purity else "several"
        assert sets.names[sets.of(7)[token]] == expected
        kinds.add(expected)
    assert kinds == set(sets.names)
    assert sum(sets.counts().values()) == 500


def test_answers_are_spelt_from_their_beginning():
    tokenizer = make_tokenizer()
    sets = answer_sets(tokenizer, {"en": ["dog", "hand"], "de": ["Hund", "Hand"]})
    assert sets.group.shape == (2, 500)
    for row, words in enumerate((("dog", "Hund"), ("hand", "Hand"))):
        for token in range(500):
            text = tokenizer.decode([token]).strip()
            owners = [word for word in words if text and word.startswith(text)]
            expected = {0: "none", 2: "several"}.get(len(owners))
            name = sets.names[sets.of(row)[token]]
            assert name == (expected or ("eng_Latn", "deu_Latn")[words.index(owners[0])])
    spelt = {tokenizer.decode([token]) for token in (sets.of(0) == 0).nonzero()[:, 0].tolist()}
    assert {"d", "do"} & spelt and {" d", " do"} & spelt  # with a space and without


def test_a_character_without_a_token_is_known_by_its_first_byte():
    tokenizer = make_tokenizer()
    assert "語" not in {tokenizer.decode([token]) for token in range(500)}
    sets = answer_sets(tokenizer, {"ja": ["語"], "en": ["dog"]})
    assert (sets.of(0) == 0).nonzero()[:, 0].tolist() == ids("語")[:1]


def test_shares_are_sums_over_the_sets():
    model, sets = make_model("llama"), token_sets(make_tokenizer(), TEXTS)
    found = latent_language(model, make_tokenizer(), PROMPTS, TEXTS)
    predicted = {}
    for some in logit_lens(model, make_tokenizer(), PROMPTS):
        predicted |= dict(zip(some.rows, some.log_probability.double().exp(), strict=True))
    for layer, name in enumerate(("embed", "0", "1", "2")):
        entropy = 0.0
        for row in range(3):
            own = predicted[row][layer].tolist()
            entropy -= sum(p * math.log2(p) for p in own if p) / 3
        for number, language in enumerate(sets.names):
            (line,) = found.where(layer=name, language=language)
            sums = [sum(predicted[row][layer][sets.of(row) == number].tolist()) for row in range(3)]
            assert line["share"] == pytest.approx(sum(sums) / 3, abs=1e-6)
            assert line["low"] <= line["share"] <= line["high"]
            assert line["entropy"] == pytest.approx(entropy, abs=1e-5)
            best = [int(sets.of(row)[predicted[row][layer].argmax()]) == number for row in range(3)]
            assert line["likeliest"] == pytest.approx(sum(best) / 3)
            assert line["chance"] == pytest.approx(int((sets.of(0) == number).sum()) / 500)


def test_a_uniform_model_is_at_chance():
    """Entropy of log₂ 500 bits, within 1e-3, and every share at its chance."""
    model = make_model("llama")
    with torch.no_grad():
        model.lm_head.weight.zero_()
    found = latent_language(model, make_tokenizer(), PROMPTS, TEXTS)
    for row in found.rows:
        assert row["share"] == pytest.approx(row["chance"], abs=1e-5)
        assert row["entropy"] == pytest.approx(math.log2(500), abs=1e-3)


def test_what_leaves_it_as_it_is():
    model, tokenizer = make_model("llama"), make_tokenizer()
    whole = latent_language(model, tokenizer, PROMPTS, TEXTS)
    for again in (
        latent_language(model, tokenizer, PROMPTS[::-1], TEXTS, token_budget=1),
        latent_language(model, tokenizer, PROMPTS, dict(reversed(TEXTS.items()))),
    ):
        for row in whole.rows:
            (other,) = again.where(layer=row["layer"], language=row["language"])
            assert other["share"] == pytest.approx(row["share"], abs=1e-5)


def test_babel_answers_in_english_and_its_layers_say_when():
    """The unaligned model learnt translations into English alone; no two languages share a content word."""
    model, tokenizer = load_babel("unaligned")
    prompts = [f"{text} <sep>" for text in write_pairs(8, seed=0, split="held_out").texts["deu_Latn"]]
    found = latent_language(model, tokenizer, prompts, write_pairs(100, seed=1).texts)
    english, german = (list(found.curve(code).values()) for code in ("en", "de"))
    assert english[-1] > 0.95 and german[-1] < 0.01
    assert english[0] < 0.3 and english == sorted(english)
    assert len(found.table().columns) == 5 + 4


def test_it_is_saved_and_loaded(tmp_path):
    found = latent_language(make_model("llama"), make_tokenizer(), PROMPTS, TEXTS)
    assert LatentLanguage.load(found.save(tmp_path / "latent.json")).rows == found.rows
    with pytest.raises(ArgumentError, match="language='fr' must be one of eng_Latn, deu_Latn, several, none"):
        found.curve("fr")


def test_heads_that_are_longer_or_shorter_than_the_vocabulary():
    longer = make_model("llama", vocab_size=512)
    found = latent_language(longer, make_tokenizer(), PROMPTS, TEXTS)
    assert sum(row["share"] for row in found.where(layer="embed")) == pytest.approx(1, abs=1e-6)
    group = torch.full((1, 600), 3)
    group[0, 599] = 0
    with pytest.raises(ArgumentError, match="tokens hold 600 tokens, and the model predicts 500"):
        latent_language(make_model("llama"), make_tokenizer(), PROMPTS, TokenSets(("a", "b"), group))


def test_prompts_for_translations():
    words = {"fr": ["pain", "lait", "eau"], "zh-CN": ["面包", "牛奶", "水"]}
    names = {"fr": "Français", "zho_Hans": "中文"}
    prompts = translation_prompts(words, "fr", "zho_Hans", names=names, shots=2)
    for row, prompt in enumerate(prompts):
        *shown, asked = prompt.splitlines()
        assert asked == f'Français: "{words["fr"][row]}" - 中文: "'
        pairs = [f'Français: "{a}" - 中文: "{b}"' for a, b in zip(words["fr"], words["zh-CN"], strict=True)]
        assert sorted(shown) == sorted(pairs[:row] + pairs[row + 1 :])
    assert prompts == translation_prompts(words, "fr", "zho_Hans", names=names, shots=2)
    assert translation_prompts(words, "zho_Hans", "fra_Latn", shots=0)[2].endswith('- French: "')


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: token_sets(make_tokenizer(), {"en": ["a b"]}), "at least 2 are needed"),
        (lambda: token_sets(make_tokenizer(), TEXTS, purity=0.5), "purity=0.5 must be above .5"),
        (lambda: token_sets(make_tokenizer(), {"en": ["a"], "de": ["a"]}), "eng_Latn has no token in 2"),
        (lambda: answer_sets(make_tokenizer(), {"en": ["a", "b"], "de": ["a"]}), r"not \[1, 2\]"),
        (lambda: translation_prompts({"en": ["a"] * 4, "de": ["b"] * 4}, "en", "de"), "more than 4"),
        (lambda: translation_prompts({"en": ["a"]}, "en", "de"), "target='de' is not among"),
        (
            lambda: translation_prompts({"en": ["a"] * 5, "de": ["b"] * 5}, "en", "de", names={"en": "E"}),
            "no name of de",
        ),
        (
            lambda: latent_language(
                make_model("llama"), make_tokenizer(), PROMPTS, TokenSets(("a",), torch.zeros(2, 500).long())
            ),
            "tokens are of 2 prompts, and there are 3",
        ),
    ],
)
def test_what_is_refused(call, match):
    with pytest.raises(ArgumentError, match=match):
        call()
