"""Own losses: plain functions and `Loss` objects, of pairs and of tokens, in any loop and any trainer."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize, relu

from tests.tiny import make_model
from tests.training.runs import (
    first_gradients,
    gradients_by_hand,
    make_trainer,
    minus,
    relative_difference,
)
from tests.training.test_objective import HELD_OUT, gradients, make_objective
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.losses import LOSSES
from xalign.losses.contrastive import contrastive
from xalign.losses.loss import Loss
from xalign.training.config import AlignmentConfig


def distance(language, pivot, *, detach_pivot=False):
    """A pair loss: the mean squared distance of directions."""
    pivot = pivot.detach() if detach_pivot else pivot
    return (normalize(language, dim=1) - normalize(pivot, dim=1)).square().sum(dim=1).mean()


def nearest_token(language, pivot, *, language_mask, pivot_mask):
    """A token loss: how far each token of the sentence is from the nearest of its translation."""
    cosines = normalize(language, dim=2) @ normalize(pivot, dim=2).transpose(1, 2)
    best = cosines.masked_fill(~pivot_mask.unsqueeze(1), -torch.inf).amax(dim=2)
    return ((1 - best) * language_mask).sum() / language_mask.sum()


def mean_of(values, mask):
    return (values * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def contrast_of_means(
    language, pivot, *, language_mask, pivot_mask, temperature=0.05, languages=None, same=None
):
    """A token loss that pools by itself, and is then the contrastive loss."""
    sides = mean_of(language, language_mask), mean_of(pivot, pivot_mask)
    return contrastive(*sides, temperature=temperature, languages=languages, same=same)


OWN = {
    "pair function": {"loss": distance},
    "pair object": {
        "loss": Loss("relu_distance", distance, kinds=("inner", "gate"), state=relu, pool="weighted")
    },
    "token function": {"loss": nearest_token},
    "token object": {"loss": Loss("nearest", nearest_token, kinds=("mlp_out",), level="token")},
}


@pytest.fixture(params=list(OWN))
def own(request):
    return OWN[request.param]


def test_an_objective_trains_with_it(own):
    objective = make_objective(layer=[0, 2], languages_per_batch=2, **own)
    loss, found = gradients(objective)
    _, other = gradients(make_objective(objective.model, layer=[0, 2], languages_per_batch=2, loss="cosine"))
    assert sum(grad.abs().sum() for grad in found.values()) > 0
    assert relative_difference(found, other) > 0.1  # another force than a known one
    # The gradient belongs to the loss: a small step against it lowers it by as much as it says.
    step = 1e-4 / sum(grad.square().sum() for grad in found.values()).item()
    with torch.no_grad():
        for name, parameter in objective.model.named_parameters():
            if name in found:
                parameter -= step * found[name]
    assert objective(0).item() - loss == pytest.approx(-1e-4, rel=0.1)
    accuracy, positive = objective.last.in_batch.accuracy, objective.last.in_batch.positive
    assert accuracy.shape == positive.shape == (8,)
    assert not positive.requires_grad


def test_a_trainer_trains_with_it(own):
    aligned = make_trainer(alignment={"weight": 0.5, **own})
    pull = gradients_by_hand(aligned, 1)
    found = first_gradients(aligned)
    plain = first_gradients(make_trainer())
    assert relative_difference(found, plain) > 1e-3  # not vacuous
    assert relative_difference(minus(found, plain), pull) < 1e-5
    (row,) = [row for row in aligned.state.log_history if "align_loss" in row]
    assert row["align_loss"] > 0
    assert -1 <= row["align_positive"] <= 1


@pytest.mark.parametrize("chunk_size", [None, 1, 3])
@pytest.mark.parametrize("options", [{}, {"layer": "all", "kind": "gate", "template": "say: {text}"}])
def test_a_token_loss_that_pools_itself_is_the_pair_loss_of_means(options, chunk_size):
    model = make_model("llama")
    options = {"languages_per_batch": 2, "weight": 2.0} | options
    pair = make_objective(model, loss="contrastive", pool="mean", **options)
    token = make_objective(model, loss=contrast_of_means, chunk_size=chunk_size, **options)
    lines = token._stream.draw(0).language_lines + token._stream.draw(0).pivot_lines
    assert len({len(ids) for ids, _ in lines}) > 3  # chunks are of different lengths
    assert any(not all(pooled) for _, pooled in lines) == ("template" in options)
    (expected, expected_gradients), (found, found_gradients) = gradients(pair), gradients(token)
    assert found == pytest.approx(expected, rel=1e-6)
    assert relative_difference(found_gradients, expected_gradients) < 1e-6
    for name in ("accuracy", "positive", "negative"):
        logged = [getattr(one.last.in_batch, name) for one in (pair, token)]
        assert torch.allclose(*logged, atol=1e-6), name


def test_a_token_loss_gets_the_states_of_each_token():
    seen = []

    def spy(language, pivot, *, language_mask, pivot_mask, languages):
        seen.append((language, pivot, language_mask, pivot_mask, languages))
        return nearest_token(language, pivot, language_mask=language_mask, pivot_mask=pivot_mask)

    objective = make_objective(loss=spy, languages_per_batch=2)
    drawn = objective._stream.draw(0)
    objective(0)
    ((language, pivot, language_mask, pivot_mask, languages),) = seen
    assert languages.tolist() == drawn.languages.tolist()
    for values, mask, lines in (
        (language, language_mask, drawn.language_lines),
        (pivot, pivot_mask, drawn.pivot_lines),
    ):
        assert mask.dtype == torch.bool
        assert mask.sum(dim=1).tolist() == [sum(pooled) for _, pooled in lines]
        assert not values[~mask].any()
        for row, (ids, _) in enumerate(lines):
            states = objective.model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states
            assert torch.allclose(values[row, : len(ids)], states[2][0], atol=1e-5)


def test_a_loss_gets_the_options_that_it_names_and_no_others():
    seen = {}

    def noted(language, pivot, *, temperature=0.2, direction="both", same=None, more=7):
        seen.update(temperature=temperature, direction=direction, same=same, more=more)
        return (language - pivot).square().mean()

    objective = make_objective(loss=noted, direction="to_pivot")
    assert (objective.config.temperature, objective.config.kind) == (0.2, "hidden")
    objective(0)
    assert seen.pop("same").tolist() == objective._stream.draw(0).same.tolist()
    assert seen == {"temperature": 0.2, "direction": "to_pivot", "more": 7}
    objective.config.temperature = 0.3  # options can be changed on the way
    objective(0)
    assert seen["temperature"] == 0.3


def test_the_pivot_stays_where_the_loss_has_no_option_for_it():
    def plain(language, pivot):
        return distance(language, pivot)

    options = {"detach_pivot": True}
    model = make_model("llama")
    own, named = (gradients(make_objective(model, loss=loss, **options)) for loss in (plain, distance))
    assert own[0] == named[0]
    assert relative_difference(own[1], named[1]) == 0
    moving = gradients(make_objective(model, loss=plain))
    assert relative_difference(moving[1], own[1]) > 0.1


def test_a_module_is_a_loss():
    objective = make_objective(loss=nn.MSELoss())
    assert objective(0) > 0


def test_an_object_is_what_its_name_is():
    model = make_model("llama")
    for name, loss in LOSSES.items():
        if loss.needs_links:  # tests/training/test_word_links.py
            continue
        named, given = (gradients(make_objective(model, loss=one)) for one in (name, loss))
        assert named[0] == given[0]
        assert relative_difference(named[1], given[1]) == 0


@pytest.mark.filterwarnings("ignore:no block is above its lexical floor")
def test_auto_measures_what_the_loss_reads():
    options = {"layer": "auto", "held_out": HELD_OUT}
    assert ": mexa " in make_objective(loss=distance, **options).reason
    own = Loss("own", distance, kinds=("inner",))
    assert ": nasca " in make_objective(loss=own, **options).reason


def names_margin(language, pivot, margin):
    return (language - pivot).square().mean() + margin


def one_mask(language, pivot, *, language_mask):
    return (language - pivot).square().mean()


def per_pair(language, pivot):
    return (language - pivot).square().mean(dim=1)


def number(language, pivot):
    return 0.0


TOKENS = Loss("tokens", nearest_token, level="token")
NEEDS_TWO = Loss("needs_two", distance, needs_negatives=True)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"loss": 5},
            ArgumentTypeError,
            "loss=5 must be one of contrastive, cosine, neuron_state, .*, or a Loss",
        ),
        ({"loss": nn.MSELoss}, ArgumentTypeError, "loss=<class .*or a function"),
        ({"loss": names_margin}, ArgumentError, "'names_margin' must be callable .*'margin'.* a default"),
        ({"loss": one_mask}, ArgumentError, "'one_mask' must be callable .*'language_mask'"),
        ({"loss": lambda language: language}, ArgumentError, "'<lambda>' must be callable .*too many"),
        (
            {"loss": distance, "kind": "linear"},
            ArgumentError,
            "kind='linear' must be one of hidden, gate, in",
        ),
        ({"loss": distance, "gather": True}, ArgumentError, "gather=True has no meaning for loss='distance'"),
        ({"loss": TOKENS, "pool": "last"}, ArgumentError, "pool='last' has no meaning for loss='tokens'"),
        (
            {"loss": NEEDS_TWO, "batch_size": 1},
            ArgumentError,
            "batch_size=1: needs_two .*loss='cosine', .* or 'word_level' works",
        ),
    ],
)
def test_what_is_refused_when_it_is_built(options, error, message):
    with pytest.raises(error, match=message):
        AlignmentConfig(**options)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (per_pair, r"loss 'per_pair' must return one number, .* it returned shape \(8,\)"),
        (number, "loss 'number' must return one number, .* it returned a float"),
    ],
)
def test_what_a_loss_must_return(loss, message):
    objective = make_objective(loss=loss)
    with pytest.raises(ArgumentTypeError, match=message):
        objective(0)


class Projected(nn.Module):
    """A loss with weights of its own."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Linear(32, 8)

    def forward(self, language, pivot):
        return (self.weight(language) - self.weight(pivot)).square().mean()


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_says_that_it_does_not_train_the_weights_of_a_loss():
    loss = Projected()
    with pytest.warns(
        UserWarning, match="loss 'Projected' has parameters of its own, which the trainer's optim"
    ):
        make_trainer("trainer", {"loss": loss, "layer": 1})
    loss.requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        make_trainer("trainer", {"loss": loss, "layer": 1})
