"""Tokens of a prompt by number: with padding on either side, in generate, with a cache, in packed rows."""

import pytest
import torch

from tests.pairs_of_stacks import make_pair
from tests.tiny import make_model
from xalign import Site
from xalign.errors import ArgumentError
from xalign.model.write import Edit, write

SITE = Site("hidden", 1)
LEFT = {
    "input_ids": torch.tensor([[0, 0, 1, 20, 30], [1, 70, 80, 90, 95]]),
    "attention_mask": torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]),
}
RIGHT = {
    "input_ids": torch.tensor([[1, 20, 30, 0, 0], [1, 70, 80, 90, 95]]),
    "attention_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]),
}


def changed(positions, run, **options):
    """Sentence and column of each token that is changed; `run` is called with the model."""
    model = make_model("llama")
    edit = {SITE: Edit("add", 1.0)}
    with torch.no_grad(), write(model, edit, positions=positions, trace=True, **options) as done:
        run(model)
    assert done.tokens == len(done.trace)
    return sorted((one.sentence, one.column) for one in done.trace)


@pytest.mark.parametrize(
    ("positions", "right", "left"),
    [
        (0, [(0, 0), (1, 0)], [(0, 2), (1, 0)]),
        ([0], [(0, 0), (1, 0)], [(0, 2), (1, 0)]),
        (-1, [(0, 2), (1, 4)], [(0, 4), (1, 4)]),
        ([1, -1], [(0, 1), (0, 2), (1, 1), (1, 4)], [(0, 3), (0, 4), (1, 1), (1, 4)]),
        ([-3], [(0, 0), (1, 2)], [(0, 2), (1, 2)]),
        ((0, -3), [(0, 0), (1, 0), (1, 2)], [(0, 2), (1, 0), (1, 2)]),
    ],
)
def test_padding_is_not_counted(positions, right, left):
    assert changed(positions, lambda model: model(**RIGHT)) == right
    assert changed(positions, lambda model: model(**LEFT)) == left


@pytest.mark.parametrize("cache", [True, False])
def test_in_generate_numbers_are_of_the_prompt(cache):
    def run(model):
        model.generate(**LEFT, max_new_tokens=3, min_new_tokens=3, use_cache=cache)

    times = 1 if cache else 3  # without a cache, each forward runs the prompt again
    assert changed([-1, 0], run) == sorted([(0, 2), (0, 4), (1, 0), (1, 4)] * times)

    def beams(model):
        model.generate(**LEFT, max_new_tokens=2, min_new_tokens=2, num_beams=2, use_cache=cache)

    # One row for each beam, in all forwards or, with a cache, in the first.
    found = changed([-2], beams)
    assert {column for _, column in found} == {3} and {row for row, _ in found} == {0, 1, 2, 3}


def test_a_prompt_in_parts():
    from transformers import DynamicCache

    def run(model):
        cache = DynamicCache(config=model.config)
        model(input_ids=LEFT["input_ids"][1:, :2], past_key_values=cache)
        model(input_ids=LEFT["input_ids"][1:, 2:], past_key_values=cache)

    assert changed([3, -4], run, prompt_length=4) == [(0, 0), (0, 3)]
    assert changed([-1], run, prompt_length=2) == [(0, 1)]
    with pytest.raises(ArgumentError, match="a forward that goes on with a cache of 2 tokens"):
        changed([-1], run)


def test_rows_that_hold_several_sequences():
    ids = torch.tensor([[1, 20, 30, 1, 40, 50, 60]])
    places = torch.tensor([[0, 1, 2, 0, 1, 2, 3]])

    def run(model):
        model(input_ids=ids, position_ids=places)

    assert changed([0], run) == [(0, 0), (0, 3)]
    assert changed([-1], run) == [(0, 2), (0, 6)]
    assert changed([-3], run) == [(0, 0), (0, 4)]
    assert changed([-1], run, prompt_length=2) == [(0, 1), (0, 4)]
    with pytest.raises(ArgumentError, match="number 3, and the prompt of sentence 0 has 3 token"):
        changed([3], run)


def test_numbers_are_those_of_last_prompt_and_of_masks():
    for batch in (LEFT, RIGHT):
        last = changed("last_prompt", lambda model, batch=batch: model(**batch))
        assert changed([-1], lambda model, batch=batch: model(**batch)) == last
        every = changed([0, 1, 2, -1, -2, -3], lambda model, batch=batch: model(**batch))
        mask = batch["attention_mask"].bool()
        real = [(row, column) for row in range(2) for column in range(5) if mask[row, column]]
        assert every == real


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([3], "positions has number 3, and the prompt of sentence 0 has 3 token"),
        ([-4], "positions has number -4, and the prompt of sentence 0 has 3 token"),
        ([], r"positions=\[\] must be different numbers of tokens, at least one"),
        ([1, 1], "must be different numbers"),
    ],
)
def test_bad_numbers(positions, message):
    for batch in (LEFT, RIGHT):
        with pytest.raises(ArgumentError, match=message):
            changed(positions, lambda model, batch=batch: model(**batch))


def test_a_prompt_that_is_too_short_is_refused_in_generate():
    with pytest.raises(ArgumentError, match="the prompt of sentence 0 has 3 token"):
        changed([4], lambda model: model.generate(**LEFT, max_new_tokens=2))


def test_encoder_decoders():
    model = make_pair("t5")
    batch = {"input_ids": torch.tensor([[5, 6, 7]]), "decoder_input_ids": torch.tensor([[1, 2]])}
    edit = {Site("hidden", 0, "encoder"): Edit("add", 1.0)}
    with torch.no_grad(), write(model, edit, positions=[-1], trace=True) as done:
        model(**batch)
    assert [one.column for one in done.trace] == [2]
    decoder = {Site("hidden", 0, "decoder"): Edit("add", 1.0)}
    with (
        pytest.raises(
            ArgumentError, match="the sites are in the decoder, which is given what is generated only"
        ),
        write(model, decoder, positions=[0]),
    ):
        pass
