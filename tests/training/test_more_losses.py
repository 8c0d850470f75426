"""Every loss by name and every transform, in an objective and a trainer, beside sentences run alone."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from tests.training.runs import (
    first_gradients,
    gradients_by_hand,
    make_trainer,
    minus,
    relative_difference,
)
from tests.training.test_objective import gradients, make_objective
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.losses import LOSSES, TRANSFORMS
from xalign.losses.transform import Transform
from xalign.losses.transport import TRANSPORT, transport
from xalign.training.config import AlignmentConfig

NEW = ["additive_margin", "hinge", "mse", "cka", "token_cka", "transport"]
MIXED = {"languages_per_batch": 2}


def states_by_hand(objective, block):
    """The hidden states of each sentence of the first micro-batch, run alone, and the language numbers."""
    tokenizer, sides, codes = make_tokenizer(), ([], []), []
    for code, row in objective.pairs_of(0):
        bitext = objective.pairs[code]
        codes.append(list(objective.pairs).index(code))
        for side, text in zip(sides, (bitext.sentences[row], bitext.pivot_sentences[row]), strict=True):
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            side.append(objective.model(input_ids=ids, output_hidden_states=True).hidden_states[block + 1][0])
    return *sides, torch.tensor(codes)


def by_hand(objective, block, transform=None):
    """A loss of one block from states of sentences that were run alone."""
    loss = objective._loss
    language, pivot, languages = states_by_hand(objective, block)
    options = {"temperature": objective.config.temperature} if "temperature" in loss.options else {}
    if loss.level == "token":
        masks = [
            torch.nn.utils.rnn.pad_sequence([torch.ones(len(one)) for one in side], batch_first=True) > 0
            for side in (language, pivot)
        ]
        sides = [torch.nn.utils.rnn.pad_sequence(side, batch_first=True) for side in (language, pivot)]
        masked = dict(zip(("language_mask", "pivot_mask"), masks, strict=True))
    else:
        sides = [torch.stack([one.mean(dim=0) for one in side]) for side in (language, pivot)]
        masked = {}
    if transform is not None:
        sides = TRANSFORMS[transform].fn(*sides, languages=languages, **masked)
    if "languages" in loss.options:
        options["languages"] = languages
    return loss.fn(*sides, **options, **masked)


@pytest.mark.parametrize(
    ("name", "transform"),
    [(name, None) for name in NEW]
    + [(name, transform) for name in ("contrastive", "transport") for transform in TRANSFORMS],
)
def test_the_loss_is_that_of_sentences_run_alone(name, transform):
    objective = make_objective(loss=name, transform=transform, **MIXED)
    assert objective(0).item() == pytest.approx(by_hand(objective, 1, transform).item(), rel=1e-4)


@pytest.mark.parametrize("name", ["transport", "cka"])
def test_layers_have_weights_as_in_a_schedule(name):
    model = make_model("llama")
    single = [make_objective(model, loss=name, layer=layer)(0).item() for layer in (0, 2)]
    ramp = make_objective(model, loss=name, layer={0: 1, 2: 3})(0).item()
    assert ramp == pytest.approx(single[0] / 4 + 3 * single[1] / 4, rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "hinge"},
        {"loss": "token_cka"},
        {"loss": "transport", "transform": "subtract_means", **MIXED},
        {"loss": "cka", "transform": "remove_subspace", **MIXED},
    ],
)
def test_chunks_give_the_gradient_of_the_whole_batch(options):
    model = make_model("llama").double()
    whole = gradients(make_objective(model, **options))
    chunked = gradients(make_objective(model, chunk_size=3, **options))
    assert chunked[0] == pytest.approx(whole[0], rel=1e-6)
    assert relative_difference(chunked[1], whole[1]) < 1e-6


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "options",
    [pytest.param({"loss": name}, marks=pytest.mark.slow) for name in NEW]
    + [
        {"loss": "transport", "transform": "subtract_means", "layer": "all", **MIXED},
        {"loss": "hinge", "transform": "remove_subspace", **MIXED},
    ],
)
def test_a_trainers_gradient_is_the_tasks_plus_the_mean_of_the_micro_batches(options):
    """With LoRA, accumulation and checkpointing together."""
    made = {"lora": True, "gradient_accumulation_steps": 2, "gradient_checkpointing": True}
    trainer = make_trainer("trainer", {"weight": 5.0, **options}, **made)
    pull = gradients_by_hand(trainer, 2)
    aligned, plain = first_gradients(trainer), first_gradients(make_trainer("trainer", **made))
    assert relative_difference(aligned, plain) > 1e-3  # not vacuous
    assert relative_difference(minus(aligned, plain), pull) < 1e-4


def test_the_arguments_of_a_loss_are_given_with_its_function():
    model = make_model("llama")
    debiased = replace(TRANSPORT, fn=partial(transport, debiased=True))
    assert make_objective(model, loss=debiased)(0) < make_objective(model, loss="transport")(0)
    softer = make_objective(model, loss="transport", temperature=1.0)
    assert softer.config.temperature == 1.0
    assert softer(0) > make_objective(model, loss="transport")(0)
    few = replace(TRANSPORT, fn=partial(transport, iterations=1, tolerance=1e-6))
    with pytest.raises(
        ArgumentError, match=r"transport plan of \d of 8 pairs .* has not converged: after 1 it"
    ):
        make_objective(model, loss=few)(0)


def test_a_transform_changes_what_the_loss_sees_and_not_what_is_logged():
    model = make_model("llama")
    plain = make_objective(model, loss="cosine", **MIXED)
    changed = make_objective(model, loss="cosine", transform="subtract_means", **MIXED)
    assert abs(plain(0).item() - changed(0).item()) > 1e-3
    for name in ("accuracy", "positive", "negative"):
        assert torch.equal(getattr(plain.last.in_batch, name), getattr(changed.last.in_batch, name))


def test_a_transform_of_your_own():
    seen = {}

    def noted(language, pivot, **options):
        seen.update(options)
        return language * 3, pivot * 3

    model = make_model("llama")
    plain = gradients(make_objective(model, loss="mse", **MIXED))
    objective = make_objective(model, loss="mse", transform=noted, **MIXED)
    found = gradients(objective)
    assert found[0] == pytest.approx(9 * plain[0], rel=1e-5)
    assert list(seen) == ["languages"]
    assert seen["languages"].tolist() == objective._stream.draw(0).languages.tolist()
    make_objective(model, loss="transport", transform=noted, **MIXED)(0)
    assert sorted(seen) == ["language_mask", "languages", "pivot_mask"]


def one_side(language, pivot, **options):
    return language


def cut(language, pivot, **options):
    return language[1:], pivot[1:]


def detached(language, pivot, **options):
    return language.detach(), pivot.detach()


@pytest.mark.parametrize(
    ("transform", "error", "message"),
    [
        (
            one_side,
            ArgumentTypeError,
            r"transform 'one_side' must return both sides, .* \(8, 32\) and \(8, 32\)",
        ),
        (cut, ArgumentTypeError, "transform 'cut' must return both sides"),
        (detached, ArgumentError, "gave a value without a gradient"),
    ],
)
def test_what_a_transform_must_return(transform, error, message):
    with pytest.raises(error, match=message):
        make_objective(loss="cosine", transform=transform)(0)


def test_what_is_refused_when_it_is_built():
    with pytest.raises(ArgumentError, match="transform='whiten' must be one of subtract_means, remove_subsp"):
        AlignmentConfig(transform="whiten")
    with pytest.raises(
        ArgumentError, match=r"transform='subtract_means' has no meaning for loss='neuron_state', .* \[0, 1\]"
    ):
        AlignmentConfig(transform="subtract_means")
    small = {"loss": "cosine", "batch_size": 6, "languages_per_batch": 4}
    with pytest.raises(ArgumentError, match="leaves one pair of some"):
        make_objective(transform="subtract_means", **small)
    make_objective(transform="remove_subspace", **small)
    with pytest.raises(ArgumentError, match=r"pool='last' has no meaning for loss='transport'"):
        AlignmentConfig(loss="transport", pool="last")
    for name in ("hinge", "cka", "additive_margin"):
        with pytest.raises(ArgumentError, match=f"batch_size=1: {name} compares each pair"):
            AlignmentConfig(loss=name, batch_size=1)
    for name in ("mse", "transport"):
        assert make_objective(loss=name, batch_size=1)(0) > 0


def test_from_a_file_by_name():
    from xalign.training.arguments import AlignmentArguments

    given = AlignmentArguments(
        align_loss="transport", align_transform="subtract_means", align_temperature=0.05
    )
    config = given.config()
    assert (config.resolved_loss, config.temperature) == (LOSSES["transport"], 0.05)
    assert config.resolved_transform is TRANSFORMS["subtract_means"]
    assert isinstance(config.resolved_transform, Transform)
