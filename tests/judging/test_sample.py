"""Continuations: one prompt many times, many prompts once; seeds, padding, ends."""

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.judging.sample import continue_each, sample
from xalign.steering.steer import steer
from xalign.units.unit_set import UnitSet

PROMPTS = ["It rains.", "Good night, and sleep well until the morning.", "Good", "It rains."]
GREEDY = {"do_sample": False, "max_new_tokens": 6}


def test_each_continues_as_it_does_alone():
    model, tokenizer = make_model("llama"), make_tokenizer()
    together = continue_each(model, tokenizer, PROMPTS, generation=GREEDY)
    assert len({one.prompt for one in together}) > 1, "no padding, so that nothing is shown"
    for prompt, found in zip(PROMPTS, together, strict=True):
        alone = sample(model, tokenizer, 1, prompt=prompt, generation=GREEDY)
        assert (found.ids, found.texts, found.prompt) == (alone.ids, alone.texts, alone.prompt)


def test_batches_do_not_matter_to_greedy_decoding_and_seeds_to_sampling():
    model, tokenizer = make_model("llama"), make_tokenizer()
    by_one, by_four = (
        continue_each(model, tokenizer, PROMPTS, generation=GREEDY, batch_size=size) for size in (1, 4)
    )
    assert [one.ids for one in by_one] == [one.ids for one in by_four]
    first, again, other = (continue_each(model, tokenizer, PROMPTS, seed=seed) for seed in (1, 1, 2))
    assert [one.ids for one in first] == [one.ids for one in again] != [one.ids for one in other]


def test_random_state_is_put_back():
    model, tokenizer = make_model("llama"), make_tokenizer()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    continue_each(model, tokenizer, PROMPTS)
    assert torch.equal(before, torch.get_rng_state())


def test_padded_prompts_are_steered_at_their_own_last_token():
    model, tokenizer = make_model("llama"), make_tokenizer()
    units = UnitSet.from_rows([("deu_Latn", "1.hidden", index, 1.0, 5.0) for index in range(8)])
    with steer(model, units, positions="last_prompt") as done:
        together = continue_each(model, tokenizer, PROMPTS, generation=GREEDY)
    assert done.tokens == len(PROMPTS)
    for prompt, found in zip(PROMPTS, together, strict=True):
        with steer(model, units, positions="last_prompt"):
            assert found.ids == sample(model, tokenizer, 1, prompt=prompt, generation=GREEDY).ids


def test_what_is_refused():
    model, tokenizer = make_model("llama"), make_tokenizer()
    for prompts, options, error, message in (
        ([], {}, ArgumentError, "prompts is empty"),
        ("It rains.", {}, ArgumentTypeError, "must be a list"),
        (["Good"], {"seed": -1}, ArgumentError, "seed=-1"),
        (["Good"], {"batch_size": 0}, ArgumentError, "batch_size=0"),
        (["Good"], {"generation": 3}, ArgumentTypeError, "arguments of generate"),
    ):
        with pytest.raises(error, match=message):
            continue_each(model, tokenizer, prompts, **options)
    with pytest.raises(ModelError, match="does not generate"):
        continue_each(make_model("bert"), tokenizer, ["Good"])
