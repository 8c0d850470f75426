"""Links of words in training: against the loss written by hand, from files, and what is refused."""

import random

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests.tiny import make_model, make_tokenizer
from tests.training.runs import (
    BUNDLED,
    first_gradients,
    gradients_by_hand,
    make_trainer,
    minus,
    moved,
    relative_difference,
)
from tests.training.test_objective import gradients, make_objective
from xalign import Audio, ParallelPairs
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError, PairsError
from xalign.links.link import link_pairs
from xalign.training.word_links import _without_gaps, linked_only, links_of, read_links

PAIRS = BUNDLED.only(["deu_Latn", "spa_Latn"]).first(12)
LORA = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")


def links_by_chance(pairs, seed=0):
    """Up to four links per pair, between any words of its sentences."""
    order = random.Random(seed)
    return {
        code: [
            [
                (order.randrange(len(text.split())), order.randrange(len(other.split())))
                for _ in range(order.randint(1, 4))
            ]
            for text, other in zip(bitext.sentences, bitext.pivot_sentences, strict=True)
        ]
        for code, bitext in pairs.items()
    }


LINKS = links_by_chance(PAIRS)
WORDS = {"loss": "word_level", "layer": 1, "links": LINKS, "languages_per_batch": 2}


def word_vectors(model, text):
    """A vector per word: the mean of the states of the tokens that end within it, the sentence run alone."""
    coded = make_tokenizer()(text, return_offsets_mapping=True)
    ids = torch.tensor([coded["input_ids"]])
    states = model(input_ids=ids, output_hidden_states=True).hidden_states[2][0]
    vectors, place = [], 0
    for word in text.split():
        start = text.index(word, place)
        place = start + len(word)
        inside = [token for token, (_, end) in enumerate(coded["offset_mapping"]) if start < end <= place]
        vectors.append(states[inside].mean(dim=0))
    return torch.stack(vectors)


def by_hand(model, objective, weight=1.0):
    """The mean over links and coordinates, and that over all words of the pivot, pair by pair."""
    apart, drifted = [], []
    for code, row in objective.pairs_of(0):
        bitext = PAIRS[code]
        language, pivot = (
            word_vectors(model, side[row]) for side in (bitext.sentences, bitext.pivot_sentences)
        )
        with torch.no_grad(), model.disable_adapter():
            start = word_vectors(model, bitext.pivot_sentences[row])
        apart += [language[one] - pivot[other] for one, other in LINKS[code][row]]
        drifted += list(pivot - start)
    return torch.stack(apart).square().mean() + weight * torch.stack(drifted).square().mean()


@pytest.fixture(scope="module")
def adapted():
    model = get_peft_model(make_model("llama"), LORA)
    objective = make_objective(model, PAIRS, **WORDS)
    return moved(model), objective


def test_the_loss_is_that_written_by_hand(adapted):
    model, objective = adapted
    model.eval()
    expected = by_hand(model, objective)
    assert objective(0).item() == pytest.approx(expected.item(), rel=1e-4)
    alone = by_hand(model, objective, weight=0.0)
    assert expected - alone > 1e-3  # the drift is in it
    model.zero_grad()
    expected.backward()
    wanted = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    assert relative_difference(gradients(objective)[1], wanted) < 1e-4


def test_chunks_and_a_template_change_nothing_of_the_words(adapted):
    model, objective = adapted
    chunked = make_objective(model, PAIRS, chunk_size=3, **WORDS)
    assert chunked(0).item() == pytest.approx(objective(0).item(), rel=1e-5)
    framed = make_objective(model, PAIRS, template="say: {text} .", **WORDS)
    words, other = objective._stream.draw(0).words, framed._stream.draw(0).words
    assert torch.equal(words.links, other.links)
    assert torch.equal(words.language.amax(dim=1), other.language.amax(dim=1))


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_with_lora_accumulation_and_checkpointing():
    made = {"lora": True, "gradient_accumulation_steps": 2, "gradient_checkpointing": True}
    trainer = make_trainer("trainer", {"pairs": PAIRS, "weight": 5.0, **WORDS}, **made)
    pull = gradients_by_hand(trainer, 2)
    aligned, plain = first_gradients(trainer), first_gradients(make_trainer("trainer", **made))
    assert relative_difference(aligned, plain) > 1e-3  # not vacuous
    assert relative_difference(minus(aligned, plain), pull) < 1e-4


def test_links_from_files(tmp_path):
    lines = "\n".join(" ".join(f"{one}-{other}" for one, other in links) for links in LINKS["spa_Latn"])
    (tmp_path / "spa_Latn.txt").write_text(lines, encoding="utf-8")
    assert read_links(tmp_path / "spa_Latn.txt") == LINKS["spa_Latn"]
    (tmp_path / "de.links").write_text("0-0\n" * 12, encoding="utf-8")
    found = links_of(tmp_path, PAIRS)
    assert found == {"deu_Latn": [[(0, 0)]] * 12, "spa_Latn": LINKS["spa_Latn"]}
    assert links_of({"de": tmp_path / "de.links", "es": LINKS["spa_Latn"]}, PAIRS) == found
    (tmp_path / "de.links").write_text("0-0\n0:1\n" * 6, encoding="utf-8")
    with pytest.raises(ArgumentError, match=r"line 2: '0:1' must be like 0-2"):
        links_of(tmp_path, PAIRS)


def test_links_of_the_built_in_aligner_fit():
    found = link_pairs(PAIRS, lambda text, language: text.split())
    pairs, links = linked_only(PAIRS, found)
    assert links_of(links, pairs) == links
    assert sum(map(len, links["deu_Latn"])) == sum(map(len, found["deu_Latn"])) > 12


def test_pairs_without_links_are_left_out_on_request():
    links = LINKS | {"spa_Latn": [[], *LINKS["spa_Latn"][1:]]}
    with pytest.raises(ArgumentError, match=r"no link for 1 pair\(s\), like 0: a batch .*linked_only"):
        links_of(links, PAIRS)
    pairs, kept = linked_only(PAIRS, links)
    assert pairs.counts == {"deu_Latn": 12, "spa_Latn": 11}
    assert pairs["spa_Latn"].sentences == PAIRS["spa_Latn"].sentences[1:]
    assert links_of(kept, pairs) == {"deu_Latn": LINKS["deu_Latn"], "spa_Latn": LINKS["spa_Latn"][1:]}
    with pytest.raises(PairsError, match=r"spa_Latn has 1 pair\(s\) with a link; at least 2 are needed"):
        linked_only(PAIRS, LINKS | {"spa_Latn": [[(0, 0)], *[[]] * 11]})


FAR = [[(0, 99)], *LINKS["deu_Latn"][1:]]


@pytest.mark.parametrize(
    ("links", "error", "message"),
    [
        (None, ArgumentTypeError, "links=None must map each language to the links of its pairs"),
        ({"deu_Latn": LINKS["deu_Latn"]}, ArgumentError, "links has none of spa_Latn, which are trained on"),
        (
            LINKS | {"deu_Latn": FAR},
            ArgumentError,
            r"\['deu_Latn'\]\[0\] holds \(0, 99\), and pair 0 has \d+ and \d+ words, .* of other sentences",
        ),
        (LINKS | {"deu_Latn": [[(-1, 0)]] * 12}, ArgumentError, r"holds \(-1, 0\), and pair 0 has"),
        (
            LINKS | {"deu_Latn": LINKS["deu_Latn"][:5]},
            ArgumentError,
            "has 5 entries for 12 pairs: they",
        ),
        (LINKS | {"deu_Latn": [[(0, 0.5)]] * 12}, ArgumentTypeError, r"a link is \(word, pivot word\)"),
        (LINKS | {"deu_Latn": [[(0, 0, 0)]] * 12}, ArgumentTypeError, r"a link is \(word, pivot word\)"),
        (LINKS | {"deu_Latn": "nowhere"}, ArgumentError, "links='nowhere' cannot be read as UTF-8 text"),
        (LINKS | {"deu_Latn": 5}, ArgumentTypeError, r"links\['deu_Latn'\] must be a list of links per pair"),
        ("nowhere", ArgumentError, "links='nowhere' is no folder; give one with a file per language"),
    ],
)
def test_links_that_do_not_fit_are_refused(links, error, message):
    with pytest.raises(error, match=message):
        links_of(links, PAIRS)


def test_words_that_are_cut_off_are_refused():
    last = {
        code: [[(len(text.split()) - 1, 0)] for text in bitext.sentences] for code, bitext in PAIRS.items()
    }
    model = get_peft_model(make_model("llama"), LORA)
    with pytest.raises(ArgumentError, match=r"links words that have no token in \d+ pair\(s\), like .*max_"):
        make_objective(model, PAIRS, **WORDS | {"links": last, "max_length": 6})
    first = {code: [[(0, 0)]] * 12 for code in PAIRS}
    assert make_objective(model, PAIRS, **WORDS | {"links": first, "max_length": 6})(0) > 0


def test_a_model_without_a_start_is_refused():
    with pytest.raises(ModelError, match="loss='word_level' compares with the model before training"):
        make_objective(make_model("llama"), PAIRS, **WORDS)
    copied = make_objective(make_model("llama"), PAIRS, start="copy", **WORDS)
    assert copied(0) > 0


def test_a_word_without_a_token_is_passed_over():
    """The tokenizer's normalizer drops it: the words behind it are numbered on, and links to it refused."""
    assert _without_gaps((-1, 0, 0, 2, 2, 3)) == ((-1, 0, 0, 1, 1, 2), {0: 0, 2: 1, 3: 2})


def test_spoken_pairs_have_no_words():
    sounds = [Audio(np.zeros(1600, dtype=np.float32) + number, 16000) for number in range(4)]
    pairs = ParallelPairs({"eng_Latn": sounds[:2], "deu_Latn": sounds[2:]})
    with pytest.raises(PairsError, match="links are between words, and these pairs are spoken"):
        links_of({"deu_Latn": [[(0, 0)]] * 2}, pairs)
