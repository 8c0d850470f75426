"""Steering an encoder–decoder: the encoder is given the prompt, the decoder what is generated."""

import pytest
import torch

from tests.pairs_of_stacks import make_pair
from xalign import Site, steer
from xalign.errors import ArgumentError, ModelError
from xalign.model.visit import visit
from xalign.model.write import Edit, write
from xalign.units.unit_set import UnitSet

IDS = torch.tensor([[1, 20, 30, 40, 2], [1, 50, 2, 0, 0]])
MASK = (IDS != 0).long()
LABELS = torch.tensor([[60, 70, 2], [80, 2, -100]])
ENCODER, DECODER = Site("inner", 1, "encoder"), Site("inner", 1, "decoder")
BY_FAMILY = {"t5": "decoder.block.1.layer.2.DenseReluDense.wo", "bart": "model.decoder.layers.1.fc2"}


@pytest.fixture(scope="module", params=["t5", "bart"])
def model(request):
    model = make_pair(request.param)
    model.generation_config.update(max_new_tokens=4, min_new_tokens=4, do_sample=False)
    return model


def seen_in(model, site, run):
    """The values of a site in each forward, with what outer contexts put in place."""
    seen = []
    with visit(model, {site: lambda values: seen.append(values.clone())}):
        run()
    return seen


def generate(model, **options):
    return model.generate(input_ids=IDS, attention_mask=MASK, **options)


def test_generate_is_seen_in_both_stacks(model):
    """The encoder runs once, and the decoder once per token."""
    assert [values.shape[:2] for values in seen_in(model, ENCODER, lambda: generate(model))] == [(2, 5)]
    steps = seen_in(model, DECODER, lambda: generate(model))
    assert [values.shape[:2] for values in steps] == [(2, 1)] * 4


@pytest.mark.parametrize("positions", ["all", "prompt", "last_prompt"])
@pytest.mark.parametrize("how", ["forward", "generate"])
def test_the_encoders_tokens_are_prompt(model, positions, how):
    run = {
        "forward": lambda: model(input_ids=IDS, attention_mask=MASK, labels=LABELS),
        "generate": lambda: generate(model),
    }[how]
    (plain,) = seen_in(model, ENCODER, run)
    with write(model, {ENCODER: Edit("zero")}, positions=positions) as done:
        (steered,) = seen_in(model, ENCODER, run)
    expected = MASK.bool()
    if positions == "last_prompt":
        expected = torch.tensor([[False, False, False, False, True], [False, False, True, False, False]])
    assert done.tokens == int(expected.sum())
    assert not steered[expected].any()
    assert torch.equal(steered[~expected], plain[~expected])
    assert plain[expected].any()


@pytest.mark.parametrize("positions", ["all", "generated"])
def test_the_decoders_tokens_are_generated(model, positions):
    def forward():
        model(input_ids=IDS, attention_mask=MASK, labels=LABELS)

    (plain,) = seen_in(model, DECODER, forward)
    with write(model, {DECODER: Edit("zero")}, positions=positions) as done:
        (steered,) = seen_in(model, DECODER, forward)
    # Position t + 1 has label t; where no label is its input, it is padding.
    expected = torch.tensor([[True, True, True], [True, True, True]])
    assert done.tokens == 6
    assert not steered[expected].any()
    assert plain.any()
    longer = torch.tensor([[60, 70, 2, 90], [80, 2, -100, -100]])
    with write(model, {DECODER: Edit("zero")}, positions=positions, trace=True) as done:
        model(input_ids=IDS, attention_mask=MASK, labels=longer)
    assert [(one.sentence, one.column) for one in done.trace] == [
        *((0, place) for place in range(4)),
        *((1, place) for place in range(3)),
    ]
    with write(model, {DECODER: Edit("zero")}, positions=positions) as done:
        steps = seen_in(model, DECODER, lambda: generate(model))
    assert done.tokens == 8
    assert len(steps) == 4
    assert not any(values.any() for values in steps)


def test_decoder_steering_is_the_same_by_hand_and_in_generate(model):
    """With a cache, without one, and one teacher-forced forward on what was generated."""
    edits = {DECODER: Edit("add", 3.0, units=[1, 2])}
    with write(model, edits, positions="generated"):
        cached = generate(model)
        whole = generate(model, use_cache=False)
        given = {"input_ids": IDS, "attention_mask": MASK, "decoder_input_ids": cached[:, :-1]}
        by_hand = model(**given).logits
    assert torch.equal(cached, whole)
    assert not torch.allclose(model(**given).logits, by_hand)
    by_hand[..., model.generation_config.eos_token_id] = -torch.inf  # before the least number of tokens
    # The last token may be forced.
    assert torch.equal(by_hand[:, :-1].argmax(-1), cached[:, 1:-1])


def test_both_stacks_at_once(model):
    edits = {site: Edit("zero") for site in (ENCODER, DECODER)}
    with write(model, edits, positions="all") as done:
        model(input_ids=IDS, attention_mask=MASK, decoder_input_ids=IDS[:, :3])
    assert done.tokens == int(MASK.sum()) + 6


def test_beams_and_units(model):
    units = UnitSet.from_rows(
        [("deu_Latn", "decoder.1.inner", 3, 0.9, 2.5), ("deu_Latn", "encoder.0.inner", 5, 0.8, 1.5)]
    )
    with steer(model, units, strength=2.0) as done:
        steps = seen_in(model, DECODER, lambda: generate(model, num_beams=3))
    assert {values.shape[0] for values in steps} == {6}
    assert all(bool((values[..., 3] == 5.0).all()) for values in steps)
    assert done.tokens == int(MASK.sum()) + 6 * len(steps)


@pytest.mark.parametrize(
    ("site", "options", "message"),
    [
        (ENCODER, {"positions": "generated"}, "the sites are in the encoder, which is given prompt only"),
        (DECODER, {"positions": "prompt"}, "the sites are in the decoder, which is given what is generated"),
        (DECODER, {"positions": "last_prompt"}, "the sites are in the decoder"),
        (ENCODER, {"prompt_length": 3}, "prompt_length=3 is not for an encoder–decoder"),
    ],
)
def test_positions_that_are_not_there_are_refused(model, site, options, message):
    with pytest.raises(ArgumentError, match=message), write(model, {site: Edit("zero")}, **options):
        pass


def test_what_cannot_be_told_is_refused(model):
    both = {site: Edit("zero") for site in (ENCODER, DECODER)}
    mask = torch.ones(2, 5, dtype=torch.bool)
    with (
        pytest.raises(ArgumentError, match="whose columns are of different tokens"),
        write(model, both, positions=mask),
    ):
        pass
    if type(model).__name__.startswith("Bart"):  # it would shift the encoder's tokens by itself
        message = "give input_ids, and for the decoder decoder_input_ids or labels"
        with pytest.raises(ModelError, match=message), write(model, {DECODER: Edit("zero")}):
            model(input_ids=IDS, attention_mask=MASK)
