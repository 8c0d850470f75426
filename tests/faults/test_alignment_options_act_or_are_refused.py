"""Every option of an alignment loss acts or is refused, and a loss that fails is told from its model."""

import copy
import json
import math
import pickle
from dataclasses import asdict, replace

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity

from tests.tiny import make_model, make_tokenizer
from tests.training.runs import BUNDLED, gradients_of, make_trainer, relative_difference, training_pairs
from xalign import AlignmentConfig, AlignmentObjective, ParallelPairs
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.losses import LOSSES
from xalign.losses.loss import Loss


def make_objective(pairs=None, model=None, **options):
    return AlignmentObjective(
        make_model("llama") if model is None else model,
        make_tokenizer(),
        training_pairs() if pairs is None else pairs,
        **{"loss": "contrastive", "batch_size": 8, "layer": 1} | options,
    )


def gradients(objective, model=None):
    objective.model.zero_grad()
    loss = objective(0)
    loss.backward()
    return loss.item(), gradients_of(objective.model)


# Pairs that share a sentence


def with_repeated_pivots():
    """16 pairs of which 3 repeat the pivot sentence of another."""
    bitext = BUNDLED["deu_Latn"]
    pivot = list(bitext.pivot_sentences[:13])
    return ParallelPairs({"eng_Latn": [*pivot, *pivot[:3]], "deu_Latn": list(bitext.sentences[:16])})


def by_the_formula(objective, masked):
    """The fork's loss, −s_jj + log Σ_i exp(s_ij), pair by pair, with or without repeated pivots."""
    tokenizer, model, total = make_tokenizer(), objective.model, 0.0
    rows = [row for _, row in objective.pairs_of(0)]
    bitext = objective.pairs["deu_Latn"]

    def state(text):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        return model(input_ids=ids, output_hidden_states=True).hidden_states[2][0].mean(dim=0)

    pivots = [state(bitext.pivot_sentences[row]) for row in rows]
    for place, row in enumerate(rows):
        vector = state(bitext.sentences[row])
        scores = [cosine_similarity(vector, pivot, dim=0) / 0.1 for pivot in pivots]
        shown = [
            score
            for other, score in enumerate(scores)
            if not masked
            or other == place
            or bitext.pivot_sentences[rows[other]] != bitext.pivot_sentences[row]
        ]
        total = total + torch.stack(shown).logsumexp(dim=0) - scores[place]
    return total / len(rows)


@pytest.mark.thorough
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.filterwarnings("ignore:the pairs hold repeated sentences")
def test_pairs_that_share_a_sentence_are_negatives_on_request(masked):
    """They were always left out, without a word: 17 % off the gradients of the fork, which keeps them."""
    options = {"direction": "to_pivot", "centre": False, "temperature": 0.1, "batch_size": 16}
    objective = make_objective(with_repeated_pivots(), mask_duplicates=masked, **options)
    found, found_gradients = gradients(objective)
    for of_formula, is_same in ((masked, True), (not masked, False)):
        objective.model.zero_grad()
        expected = by_the_formula(objective, of_formula)
        expected.backward()
        difference = relative_difference(found_gradients, gradients_of(objective.model))
        assert (difference < 1e-4) == is_same
        assert difference < 1e-4 or difference > 0.02  # not vacuous
        assert (abs(found - expected.item()) < 1e-5) == is_same


@pytest.mark.filterwarnings("ignore:the pairs hold repeated sentences")
def test_masking_is_the_default_and_its_accuracy_follows():
    """Two pairs of one pivot sentence cannot be told apart: unmasked, neither is nearest."""
    pairs = {"pairs": with_repeated_pivots(), "batch_size": 16, "loss": "contrastive", "layer": 1}
    assert AlignmentConfig().mask_duplicates is True
    seen = {}
    for masked in (True, False):
        objective = make_objective(mask_duplicates=masked, **pairs)
        objective(0)
        repeated = [row in (0, 1, 2, 13, 14, 15) for _, row in objective.pairs_of(0)]
        seen[masked] = objective.last.in_batch.accuracy[repeated].sum()
    assert seen[False] == 0
    with pytest.raises(ArgumentTypeError, match="mask_duplicates=1 must be true or false"):
        AlignmentConfig(mask_duplicates=1)


# A config copied with another loss


@settings(max_examples=60)
@given(st.lists(st.sampled_from([*LOSSES]), min_size=2, max_size=5))
def test_a_copied_config_takes_what_its_own_loss_decides(names):
    """`replace(config, loss=...)` kept the old loss's temperature and pooling, and its kind was refused."""
    config = AlignmentConfig(loss=names[0])
    for name in names[1:]:
        config = replace(config, loss=name, seed=config.seed + 1)
    assert config == AlignmentConfig(loss=names[-1], seed=len(names) - 1)


def test_what_was_given_is_kept_in_a_copy():
    """A temperature that the user chose is not the loss's own, whatever its value."""
    config = AlignmentConfig(loss="contrastive", temperature=0.05, pool="last", kind="gate")
    copied = replace(config, loss="neuron_state")
    assert (copied.temperature, copied.pool, copied.kind) == (0.05, "last", "gate")
    with pytest.raises(ArgumentError, match=r"temperature=0.05 has no meaning for loss='cosine'"):
        replace(config, loss="cosine")
    assert replace(AlignmentConfig(loss="contrastive"), loss="cosine").temperature is None

    def of_tokens(language, pivot, *, language_mask, pivot_mask):
        return (language * pivot).mean()

    assert replace(AlignmentConfig(), loss=of_tokens).pool is None


def test_what_a_config_filled_in_is_written_as_plain_values():
    """The mark by which a copy knows such a value must not reach a file."""
    config = AlignmentConfig(pairs="bundled")
    values = asdict(config)
    assert [type(values[name]) for name in ("temperature", "kind", "pool")] == [float, str, str]
    assert yaml.safe_load(yaml.safe_dump(values)) == json.loads(json.dumps(values)) == values
    assert AlignmentConfig(**values) == pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config
    assert replace(pickle.loads(pickle.dumps(config)), loss="contrastive").temperature == 0.05


# Options that a loss does not have


@pytest.mark.parametrize(
    ("option", "value"), [("temperature", 0.1), ("direction", "to_pivot"), ("gather", True)]
)
@pytest.mark.parametrize("loss", ["cosine", lambda language, pivot: (language - pivot).square().mean()])
def test_options_that_a_loss_does_not_take_are_refused(option, value, loss):
    """`temperature=` and `direction=` were ignored in silence by losses that have none."""
    with pytest.raises(
        ArgumentError, match=rf"{option}={value!r} has no meaning for loss=.* no argument {option}"
    ):
        AlignmentConfig(loss=loss, **{option: value})
    AlignmentConfig(loss="contrastive", **{option: value})


@pytest.mark.parametrize("temperature", [1e-30, 9e-5, 0, -0.1, math.inf, math.nan])
def test_temperatures_are_refused_when_a_config_is_made(temperature):
    """A temperature of 1e-30 was taken, and its loss was inf at the first step."""
    for loss in ("contrastive", "neuron_state"):
        with pytest.raises(ArgumentError, match="temperature="):
            AlignmentConfig(loss=loss, temperature=temperature)
    with pytest.raises(ArgumentTypeError, match="temperature='low' must be a number"):
        AlignmentConfig(temperature="low")


# A loss that fails


def root(language, pivot):
    return (language - pivot).mean().clamp(max=-1.0).sqrt()


def detached(language, pivot):
    return (language - pivot).square().mean().detach()


def outside_of_torch(language, pivot):
    return torch.tensor(float((language - pivot).detach().numpy().mean()))


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (root, r"loss 'root' is nan at step 0, micro-step 0, on finite states of the pairs \w{3}_\w{4} \d+"),
        (detached, "loss 'detached' gave a value without a gradient, though the states"),
        (outside_of_torch, "loss 'outside_of_torch' gave a value without a gradient"),
    ],
)
def test_a_loss_of_ones_own_that_fails_is_named(loss, message):
    """The states of the model were blamed for a NaN of the loss, and frozen layers for a detached value."""
    with pytest.raises(ArgumentError, match=message):
        make_objective(loss=loss)(0)


def test_a_detached_loss_is_named_where_the_whole_forward_runs(monkeypatch):
    """The rest of a whole forward has a gradient, behind which the detached loss hid: it trained nothing."""
    monkeypatch.setattr("xalign.training.pair_forward.is_sharded", lambda model: True)
    with pytest.warns(UserWarning, match="runs whole"):
        objective = make_objective(loss=detached)
    with pytest.raises(ArgumentError, match="loss 'detached' gave a value without a gradient"):
        objective(0)


def test_states_that_are_not_finite_are_named_with_their_pairs():
    """The error named the first eight pairs of the batch, whichever of them it was."""
    objective = make_objective(layer=[0, 1])
    drawn = objective._stream.draw(0)
    broken = drawn.language_lines[3][0]
    own = [token for token in broken if not any(token in ids for ids, _ in others(drawn, broken))]
    with torch.no_grad():
        objective.model.model.embed_tokens.weight[own[0]] = math.nan
    code, name = drawn.names[3]
    with pytest.raises(ModelError, match=rf"block 0 are not finite for the pairs {code} {name}\. Lower"):
        objective(0)


def others(drawn, broken):
    return [line for line in (*drawn.language_lines, *drawn.pivot_lines) if line[0] != broken]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (lambda values: values.mean(dim=1), ArgumentError, r"a vector per token, .*returned \(\d, 32\)"),
        (lambda values: values.mean(dim=2), ArgumentError, r"returned \(\d, \d+\)"),
        (lambda values: values.flatten(0, 1), ArgumentError, r"returned \(\d+, 32\)"),
        (lambda values: values[:, 1:], ArgumentError, r"was given \(\d, \d+, 32\)"),
        (lambda values: values.tolist(), ArgumentTypeError, r"and returned \[\["),
        (lambda values: (values > 0).float(), ArgumentError, "torch.float32 without a gradient: it detaches"),
        (lambda values: values.detach(), ArgumentError, "without a gradient"),
    ],
)
@pytest.mark.parametrize("level", ["pair", "token"])
def test_a_state_that_is_no_vector_per_token_is_refused_when_built(state, error, message, level):
    """One that drops a dimension ended in a foreign error; frozen layers were blamed for one that rounds."""

    def of_pairs(language, pivot):
        return (language - pivot).square().mean()

    def of_tokens(language, pivot, *, language_mask, pivot_mask):
        return language.square().mean() + pivot.square().mean()

    fn = of_tokens if level == "token" else of_pairs
    with pytest.raises(error, match=message):
        make_objective(loss=Loss("own", fn, state=state, level=level))


# Edges of a batch, through a model


def with_a_new_token():
    """Pairs of which one sentence ends in a token with an embedding of zeros, and the model."""
    bitext = BUNDLED["deu_Latn"]
    pivot = [text.rstrip(".!?") for text in bitext.pivot_sentences[:8]]
    sentences = [*(text.rstrip(".!?") for text in bitext.sentences[:7]), "Ja"]
    ends = [make_tokenizer()(text)["input_ids"][-1] for text in (*sentences, *pivot)]
    new = ends[7]
    assert ends.count(new) == 1
    model = make_model("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight[new] = 0
        for added in (model.model.layers[0].self_attn.o_proj, model.model.layers[0].mlp.down_proj):
            added.weight.zero_()  # as in models whose blocks begin as the identity
    return ParallelPairs({"eng_Latn": pivot, "deu_Latn": sentences}), model


ZERO = {"layer": 0, "pool": "last", "batch_size": 8}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", ["contrastive", "cosine"])
def test_a_sentence_without_a_direction_does_not_take_over_the_step(loss, dtype):
    """Its gradient was 1e7 to 1e12 times that of the other sentences, or inf in float16."""
    pairs, model = with_a_new_token()
    objective = make_objective(pairs, model, loss=loss, centre=False, **ZERO)
    objective.model.zero_grad()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        value = objective(0)
    value.backward()
    length = torch.cat([one.flatten() for one in gradients_of(model).values()]).norm().item()
    assert bool(value.isfinite())
    assert 1e-4 < length < 1e3


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_in_bfloat16_goes_on_over_such_a_sentence():
    """Its gradient norm was 1e12, and clipping left nothing of the task and of the other sentences."""
    pairs, model = with_a_new_token()
    alignment = {"loss": "contrastive", "pairs": pairs, "centre": False, **ZERO}
    trainer = make_trainer("trainer", alignment, model=model, bf16=True, max_steps=3, logging_steps=1)
    trainer.train()
    norms = [row["grad_norm"] for row in trainer.state.log_history if "grad_norm" in row]
    assert len(norms) == 3
    assert all(norm < 1e3 for norm in norms)
    assert all(bool(parameter.isfinite().all()) for parameter in trainer.model.parameters())
