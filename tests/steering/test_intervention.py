"""An intervention: its edits, where it acts, its control, and what is refused."""

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign import Site, visit
from xalign.errors import ArgumentError, ArgumentTypeError, UnitsError
from xalign.judging.evaluate import evaluate
from xalign.model.write import Edit
from xalign.steering.intervention import Intervention
from xalign.steering.steer import steer
from xalign.units.compatibility import shape_of

BATCH = {"input_ids": torch.tensor([[1, 20, 30], [1, 40, 50]])}
SITE = Site("inner", 1)


def shift(strength):
    return {SITE: Edit("add", 3.0 * strength)}


def inner(model, what, **options):
    seen = []
    with torch.no_grad(), steer(model, what, **options) as done, visit(model, {SITE: seen.append}):
        model(**BATCH)
    return seen[0], done


def plain_inner(model):
    seen = []
    with torch.no_grad(), visit(model, {SITE: seen.append}):
        model(**BATCH)
    return seen[0]


def test_its_edits_are_made_at_its_strength():
    model = make_model("llama")
    plain, (steered, _) = plain_inner(model), inner(model, Intervention("shift", shift), strength=0.5)
    assert torch.allclose(steered, plain + 1.5)


def test_it_acts_where_it_says_unless_told_otherwise():
    model, what = make_model("llama"), Intervention("shift", shift, positions="last_prompt")
    plain, (last, done) = plain_inner(model), inner(model, what)
    assert done.tokens == 2
    assert torch.equal(last[:, :2], plain[:, :2])
    assert torch.allclose(last[:, 2], plain[:, 2] + 3)
    assert inner(model, what, positions="all")[1].tokens == 6


def test_it_is_judged_beside_its_control():
    texts = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}

    def harmless(seed):
        return Intervention("harmless", lambda strength: {SITE: Edit("add", 1e-9 * seed)})

    what = {"deu_Latn": Intervention("shift", shift, control=harmless)}
    result = evaluate(make_model("llama"), make_tokenizer(), what, texts, random_sets=2)
    assert abs(result.effect("deu_Latn", "loss")["difference"]) > 1e-3
    controls = [one for one in result.observations if one.arm == "random"]
    assert controls
    assert all(abs(one.difference) < 1e-4 for one in controls)


def test_what_is_refused():
    model, what = make_model("llama"), Intervention("shift", shift)
    with (
        pytest.raises(ArgumentError, match="intervention 'shift' has its own"),
        steer(model, what, operator="add"),
    ):
        pass
    with pytest.raises(ArgumentError, match="no random control"):
        what.random()
    with pytest.raises(ArgumentError, match="must return site -> Edit"):
        Intervention("empty", lambda strength: {}).edits()
    with pytest.raises(ArgumentTypeError, match="must be text"):
        Intervention("", shift)
    elsewhere = {"shape": {**shape_of_llama(), "n_layers": 7}}
    with (
        pytest.raises(UnitsError, match="n_layers 7 there"),
        steer(model, Intervention("s", shift, provenance=elsewhere)),
    ):
        pass


def shape_of_llama():
    from xalign import map_model

    return shape_of(map_model(make_model("llama")))
