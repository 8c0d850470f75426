"""SEAT on tiny models: states, effects and p-values by plain torch and numpy; what steering changes."""

from itertools import combinations

import numpy as np
import pytest
import torch

from tests.steering.interventions import plain
from tests.tiny import make_model, make_tokenizer
from xalign import steer
from xalign.bias import WordSets, seat
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.model.architectures.sites import Site
from xalign.model.write import Edit
from xalign.steering import Intervention

WORDS = {
    "eng_Latn": WordSets(
        ["the father", "the brother"],
        ["the mother", "the sister"],
        ["the office", "the salary"],
        ["the home", "the kitchen", "the cradle"],
        ["This is {word}.", "There is {word}."],
    ),
    "deu_Latn": WordSets(
        ["der Vater"], ["die Mutter"], ["das Büro"], ["die Küche"], ["Das ist {word}.", "Dort ist {word}."]
    ),
}


def by_hand(model, family, words, layer, by):
    """Effect and p-value from hooks of torch, with loops."""

    def state(text):
        look = ("output", layer)
        return plain.run(model, family, plain.ids_of(text), looks=[look])[1][look].double().mean(0).numpy()

    def cosine(one, other):
        return one @ other / np.sqrt((one @ one) * (other @ other))

    vectors = {name: [state(text) for text in words.sentences(name)] for name in "xyab"}

    def s(vector):
        return np.mean([cosine(vector, a) for a in vectors["a"]]) - np.mean(
            [cosine(vector, b) for b in vectors["b"]]
        )

    x, y = [s(one) for one in vectors["x"]], [s(one) for one in vectors["y"]]
    if by == "word":
        x, y = ([np.mean(one[i : i + 2]) for i in range(0, len(one), 2)] for one in (x, y))
    both = x + y
    reached = [
        sum(both[i] for i in rows) >= sum(x) - 1e-12 for rows in combinations(range(len(both)), len(x))
    ]
    return (np.mean(x) - np.mean(y)) / np.std(both, ddof=1), np.mean(reached)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("by", ["sentence", "word"])
def test_effects_and_p_values_are_those_by_hand(family, by):
    model = make_model(family)
    found = seat(model, make_tokenizer(), WORDS, ["0.hidden", "1.hidden"], by=by)
    assert [(str(one.site), one.language) for one in found] == [
        (site, code) for site in ("0.hidden", "1.hidden") for code in WORDS
    ]
    for one in found:
        effect, p = by_hand(model, family, WORDS[one.language], one.site.layer, by)
        assert one.effect == pytest.approx(effect, abs=1e-3)
        assert one.p_value == pytest.approx(p)
        assert one.is_exact and one.targets == (8 if by == "sentence" else 4) / (
            1 + (one.language == "deu_Latn")
        )


def test_steering_is_seen():
    model = make_model("llama")
    before = seat(model, make_tokenizer(), WORDS, "1.hidden")
    turn = Intervention("turn", lambda strength: {Site("hidden", 1): Edit("affine", (-1.0, 3.0))})
    with steer(model, turn):
        after = seat(model, make_tokenizer(), WORDS, "1.hidden")
    assert before == seat(model, make_tokenizer(), WORDS, "1.hidden")
    assert all(abs(one.effect - other.effect) > 1e-3 for one, other in zip(before, after, strict=True))


def test_what_is_refused():
    model, tokenizer = make_model("llama"), make_tokenizer()
    with pytest.raises(ArgumentError, match="by='words' must be one of sentence, word"):
        seat(model, tokenizer, WORDS, "1.hidden", by="words")
    with pytest.raises(ArgumentTypeError, match="map languages to WordSets"):
        seat(model, tokenizer, {"eng_Latn": ["father"]}, "1.hidden")
    with pytest.raises(ArgumentError, match="words has no language"):
        seat(model, tokenizer, {}, "1.hidden")
    with pytest.raises(ArgumentTypeError, match="has no option 'pols'"):
        seat(model, tokenizer, WORDS, "1.hidden", pols="last")


@torch.no_grad()
def test_the_model_is_left_as_it_was():
    model = make_model("llama")
    before = model(input_ids=torch.arange(3, 9)[None]).logits
    seat(model, make_tokenizer(), WORDS, "1.hidden")
    assert torch.equal(before, model(input_ids=torch.arange(3, 9)[None]).logits)
