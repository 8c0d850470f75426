"""Token alignability: counts by hand, its floor, comparison, and the figures of two tokenizers on FLORES."""

import json
from collections import Counter

import pytest
from transformers import AutoTokenizer, LlamaTokenizer

from tests.minilm import minilm_folder
from tests.tiny import make_tokenizer
from xalign import ParallelPairs, load_pairs
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.links import Aligner, OneWay
from xalign.links.link import link_pairs, link_tokens
from xalign.measurement.alignability import alignability, compare_alignability
from xalign.metrics.link_quality import link_quality
from xalign.pairs.words import word_spans

PAIRS = load_pairs("bundled", ["deu_Latn", "zho_Hans"], n=60)


def ids_of(text):
    return make_tokenizer()(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("how", ["intersection", "grow_diag_final_and"])
def test_counts_are_those_of_loops(how):
    links = link_pairs(PAIRS, make_tokenizer(), how=how, null=0.2)
    for found in alignability(make_tokenizer(), PAIRS, how=how, null=0.2):
        bitext, alone, ones, others = PAIRS[found.language], 0, 0, 0
        for pair in links[found.language]:
            first, second = Counter(i for i, _ in pair), Counter(j for _, j in pair)
            alone += sum(first[i] == second[j] == 1 for i, j in pair)
            ones, others = ones + len(first), others + len(second)
        tokens = sum(len(ids_of(text)) for text in bitext.sentences)
        pivot_tokens = sum(len(ids_of(text)) for text in bitext.pivot_sentences)
        assert (found.tokens, found.pivot_tokens, found.pairs) == (tokens, pivot_tokens, 60)
        assert found.parity == tokens / pivot_tokens
        assert (found.of_language, found.of_pivot) == (alone / tokens, alone / pivot_tokens)
        assert found.null_of_language == pytest.approx(1 - ones / tokens)
        assert found.null_of_pivot == pytest.approx(1 - others / pivot_tokens)
        assert found.one_to_one == 2 * alone / (tokens + pivot_tokens)
        assert found.low < found.one_to_one < found.high
        assert found.metric == "alignability_ibm1"
        words = sum(len(text.split()) for text in bitext.sentences)
        spaced = found.language != "zho_Hans"
        assert found.tokens_per_word == (pytest.approx(tokens / words) if spaced else None)


def test_identical_text_and_shuffled_lines():
    texts = PAIRS.texts["eng_Latn"]
    (found,) = alignability(make_tokenizer(), ParallelPairs({"en": texts, "de": texts}))
    assert found.one_to_one == found.of_language == found.of_pivot == 1
    assert found.shuffled < 0.25
    assert (found.jaccard, found.jensen_shannon, found.parity) == (1, 0, 1)
    assert found.cost < 0.6


def test_the_tokenizer_may_be_a_function_and_the_aligner_ones_own():
    def letters(text, language):
        return list(text.replace(" ", ""))

    def first(language, pivot):
        links, scores = [[(0, 0)]] * len(language), (1.0, float("nan"), *(3.0,) * (len(language) - 2))
        return OneWay(links, scores), OneWay(links, scores)

    (found,) = alignability(letters, PAIRS.only(["zh"]).first(5), aligner=Aligner("first", first))
    assert found.metric == "alignability_first"
    assert found.one_to_one == pytest.approx(10 / (found.tokens + found.pivot_tokens))
    assert found.unknown is None
    assert found.cost == 2.5  # over finite values: 1, 3, 3 and 3


def test_two_tokenizers():
    def words(text, language):
        return text.split()

    pairs = PAIRS.only(["de"])
    (one,), (other,) = alignability(make_tokenizer(), pairs), alignability(words, pairs)
    (row,) = compare_alignability([one], [other])
    assert row["difference"] == one.one_to_one - other.one_to_one
    assert row["low"] < row["difference"] < row["high"]
    with pytest.raises(ArgumentError, match="the same languages, aligner and pairs"):
        compare_alignability([one], alignability(words, pairs.first(5)))


def test_the_seed_changes_the_floor_alone():
    pairs = PAIRS.only(["de"])
    (one,), (two,) = (alignability(make_tokenizer(), pairs, seed=seed) for seed in (0, 1))
    assert one == alignability(make_tokenizer(), pairs)[0]
    assert one.one_to_one == two.one_to_one
    assert one.shuffled != two.shuffled
    assert json.dumps(one.to_dict())


def test_what_is_refused():
    def nothing_of_chinese(text, language):
        return [letter for letter in text if letter.isascii()]

    with pytest.raises(PairsError, match="cannot be aligned"):
        alignability(nothing_of_chinese, PAIRS)
    with pytest.raises(ArgumentTypeError, match="did you mean smoothing"):
        alignability(make_tokenizer(), PAIRS, smooth=1)
    with pytest.raises(ArgumentError, match="one of ibm1, eflomal"):
        alignability(make_tokenizer(), PAIRS, aligner="hmm")


def tokenizers(real_text):
    return {
        "mistral": LlamaTokenizer.from_pretrained(real_text / "tokenizer_mistral_v1"),
        "minilm": AutoTokenizer.from_pretrained(minilm_folder()),
    }


def test_figures_on_flores(real_text):
    english = load_pairs(real_text / "flores200", ["deu"]).texts["eng_Latn"]
    pairs = load_pairs(real_text / "flores200", ["deu", "kor"])
    for name, tokenizer in tokenizers(real_text).items():
        (same,) = alignability(tokenizer, ParallelPairs({"en": english, "de": english}))
        assert same.one_to_one >= 0.98, name
        assert same.shuffled <= 0.25 * same.one_to_one, name
        german, korean = alignability(tokenizer, pairs)
        assert german.one_to_one > 3 * german.shuffled
        ids = tokenizer(list(pairs["kor"].sentences), add_special_tokens=False)["input_ids"]
        unknown = [token == tokenizer.unk_token_id for row in ids for token in row]
        assert korean.unknown == sum(unknown) / len(unknown)


def gold(real_text):
    path = real_text / "wordalign" / "eng_Latn-jpn_Jpan.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    links = [[tuple(link) for link in row["links"]] for row in rows]
    return [row["tgt"] for row in rows], [row["src"] for row in rows], links


def quality(links, real_text):
    return link_quality([[(j, i) for i, j in pair] for pair in links], gold(real_text)[2]).f1


def test_gold_links_without_other_text(real_text):
    japanese, english, _ = gold(real_text)
    options = {"how": "grow_diag_final_and", "leave_one_out": True}
    assert quality(link_tokens(japanese, english, **options), real_text) > 0.37


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the pairs hold repeated sentences:UserWarning")
def test_gold_links_with_other_text(real_text):
    japanese, english, _ = gold(real_text)
    known = {word for sentence in japanese for word in sentence}

    def words(text, language):
        """Words and punctuation marks: Japanese ones are the longest of the gold text."""
        text = text.lower()
        found, end = [], 0
        spans = word_spans(text, language, known if language == "jpn_Jpan" else None)
        for start, stop in [*spans, (len(text), len(text))]:
            found += [sign for sign in text[end:start] if not sign.isspace()]
            found += [text[start:stop]] if stop > start else []
            end = stop
        return found

    for name in ("ntrex", "flores200", "tatoeba"):
        bitext = load_pairs(real_text / name, ["jpn"])["jpn"]
        japanese = japanese + [words(text, "jpn_Jpan") for text in bitext.sentences]
        english = english + [words(text, "eng_Latn") for text in bitext.pivot_sentences]
    options = {"how": "grow_diag_final_and", "leave_one_out": True}
    assert quality(link_tokens(japanese, english, **options)[:300], real_text) >= 0.45
