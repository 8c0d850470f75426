"""The experts of a mixture, written: each operator is held against the weights, and then steered with."""

import copy

import pytest
import torch

from tests.mixtures import DENSE, EXPERT_WIDTH, EXPERTS, by_hand, experts_of, make_mixture
from tests.tiny import make_model, make_tokenizer
from xalign import LanguageVector, Site, UnitSet, find_units, load_pairs, map_model, steer, visit
from xalign.errors import ArgumentError, UnitsError
from xalign.judging import evaluate
from xalign.model.operators import Operator
from xalign.model.write import Edit, write

LAYER = 1
SITE = Site("expert_inner", LAYER)
# Neurons of three experts, not in order; expert 2 twice.
UNITS = [2 * EXPERT_WIDTH + 7, 5, 2 * EXPERT_WIDTH + 3, 5 * EXPERT_WIDTH]
VALUES = torch.tensor([3.0, -2.0, 0.5, 4.0])
IMPLEMENTATIONS = ("eager", "grouped_mm", "batched_mm")
TEXTS = {code: list(load_pairs("bundled", n=8)[code].sentences) for code in ("deu_Latn", "rus_Cyrl")}
LOWER, UPPER = VALUES - 3.2, VALUES - 3.0
EDITS = {
    "set": (Edit("set", VALUES, UNITS), lambda old: VALUES),
    "add": (Edit("add", VALUES, UNITS), lambda old: old + VALUES),
    "scale": (Edit("scale", 3.0, UNITS), lambda old: old * 3.0),
    "zero": (Edit("zero", units=UNITS), lambda old: old * 0),
    "clamp": (Edit("clamp", (LOWER, UPPER), UNITS), lambda old: old.clamp(LOWER, UPPER)),
    "clamp above": (Edit("clamp", (None, -0.1), UNITS), lambda old: old.clamp(max=-0.1)),
}


def batch():
    short = [TEXTS["deu_Latn"][0][:40], TEXTS["rus_Cyrl"][1][:12], "Es regnet."]
    return make_tokenizer()(short, return_tensors="pt", padding=True)


def predicted(model, new_of, mask):
    """The logits of a model whose experts are run by hand, with new values at the units of masked tokens."""
    model = copy.deepcopy(model)
    experts, reached = experts_of(model, LAYER), set()

    def change(token, expert, inner):
        if not mask.flatten()[token]:
            return inner
        inner = inner.clone()
        for number, unit in enumerate(UNITS):
            if unit // EXPERT_WIDTH == expert:
                column = unit % EXPERT_WIDTH
                inner[column] = new_of(inner[column].repeat(len(UNITS)))[number]
                reached.add(unit)
        return inner

    experts.forward = by_hand(experts, change)
    with torch.no_grad():
        logits = model(**batch()).logits
    assert len(reached) > 2  # tokens were routed to the experts, so that there was something to change
    return logits


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", EDITS)
def test_an_operator_acts_on_the_tokens_routed_there(name, implementation):
    edit, new_of = EDITS[name]
    model, inputs = make_mixture(), batch()
    model.set_experts_implementation(implementation)
    mask = inputs["attention_mask"].bool()
    some = mask.clone()
    some[:, 4:] = False
    with torch.no_grad():
        before = model(**inputs).logits
        for positions, tokens in (("all", mask), (some, some)):
            with write(model, {SITE: edit}, positions=positions) as done:
                found = model(**inputs).logits
            assert done.tokens == int(tokens.sum())
            expected = predicted(model, new_of, tokens)
            assert (expected - before)[mask].abs().max() > 1e-2
            assert (found - expected)[mask].abs().max() < 1e-5
        assert torch.equal(model(**inputs).logits, before)


def test_zeroing_a_neuron_is_zeroing_its_weights():
    model, inputs = make_mixture(), batch()
    without = copy.deepcopy(model)
    with torch.no_grad():
        for unit in UNITS:
            experts_of(without, LAYER).down_proj[unit // EXPERT_WIDTH, :, unit % EXPERT_WIDTH] = 0
        expected, before = without(**inputs).logits, model(**inputs).logits
        units = UnitSet.from_rows([("deu_Latn", SITE, unit, 1.0, 2.0) for unit in UNITS])
        with steer(model, units, operator="zero"):
            found = model(**inputs).logits
    mask = inputs["attention_mask"].bool()
    assert (expected - before)[mask].abs().max() > 1e-3
    assert (found - expected)[mask].abs().max() < 1e-5


def test_an_exception_leaves_the_model_as_it_was():
    model, inputs = make_mixture(), batch()
    before, names = model(**inputs).logits, [sorted(vars(one)) for one in model.modules()]

    def breaking(values, operand):
        raise KeyError("mine")

    with pytest.raises(Exception, match="mine"), write(model, {SITE: Edit(breaking, 1.0, UNITS)}):
        model(**inputs)
    assert [sorted(vars(one)) for one in model.modules()] == names
    assert torch.equal(model(**inputs).logits, before)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_gradients_pass_the_edit(implementation):
    """As the weights say: a scaled neuron passes its scaled gradient, a neuron that is set passes none."""
    model, inputs = make_mixture(), batch()
    model.set_experts_implementation(implementation)
    experts, other = experts_of(model, LAYER), make_mixture()
    hand = experts_of(other, LAYER)
    expert, column = divmod(UNITS[0], EXPERT_WIDTH)
    mask = inputs["attention_mask"].bool()

    def scaled(token, number, inner):
        if number != expert or not mask.flatten()[token]:
            return inner
        return torch.cat([inner[:column], inner[column : column + 1] * 3, inner[column + 1 :]])

    hand.forward = by_hand(hand, scaled)
    with write(model, {SITE: Edit("scale", 3.0, [UNITS[0]])}):
        model(**inputs).logits[mask].square().mean().backward()
    other(**inputs).logits[mask].square().mean().backward()
    assert hand.gate_up_proj.grad[expert].abs().max() > 0
    assert torch.allclose(experts.gate_up_proj.grad, hand.gate_up_proj.grad, atol=1e-5)
    model.zero_grad()
    with write(model, {SITE: Edit("set", 1.0, [UNITS[0]])}):
        model(**inputs).logits[mask].square().mean().backward()
    real = experts.gate_up_proj.grad[expert, [column, EXPERT_WIDTH + column]]
    assert real.abs().max() < 1e-9


def test_own_operators_get_one_expert_at_a_time():
    shapes = []

    def negate(values, operand):
        shapes.append((values.shape[0], values.shape[2], operand.shape))
        return operand - values

    model = make_mixture()
    with torch.no_grad(), write(model, {SITE: Edit(Operator("negate", negate), VALUES, UNITS)}):
        model(**batch())
    assert {shape[1] for shape in shapes} == {1, 2}  # units of experts 0 and 5, and of expert 2
    assert all(lines == 1 and operand == (units,) for lines, units, operand in shapes)


def test_what_makes_no_sense_at_experts_is_refused():
    model = make_mixture()
    for edit in (
        Edit("project", torch.ones(EXPERTS * EXPERT_WIDTH)),
        Edit("replace", torch.ones(3, EXPERTS * EXPERT_WIDTH)),
    ):
        with (
            pytest.raises(ArgumentError, match="values at the few experts alone"),
            write(model, {SITE: edit}),
        ):
            pass
    vector = LanguageVector("deu_Latn", {SITE: torch.ones(EXPERTS * EXPERT_WIDTH)})
    with pytest.raises(ArgumentError, match="mlp_out"), steer(model, vector, operator="project"):
        pass
    with pytest.raises(ArgumentError, match="outside site 1.expert_inner, which has 120 units"):
        write(model, {SITE: Edit("zero", units=[EXPERTS * EXPERT_WIDTH])}).__enter__()
    with steer(model, vector, strength=0.5):  # a number per unit: that can be added
        model(**batch())


def test_found_saved_loaded_steered_and_generated(tmp_path):
    model, tokenizer = make_mixture(), make_tokenizer()
    units = find_units(model, tokenizer, TEXTS, share=0.1)
    assert {str(site) for site in units.columns.sites} <= {"0.inner", "1.expert_inner", "2.expert_inner"}
    assert any(site.kind == "expert_inner" for site in units.columns.sites)
    assert units.provenance["shape"]["n_experts"] == EXPERTS
    assert units.provenance["shape"]["expert_width"] == EXPERT_WIDTH
    units.save_pretrained(tmp_path)
    loaded = UnitSet.from_pretrained(tmp_path)
    assert loaded == units and loaded.provenance == units.provenance
    german = loaded["deu_Latn"] - loaded["rus_Cyrl"]
    ids = tokenizer("Das ist", return_tensors="pt")
    plain = model.generate(**ids, max_new_tokens=6, do_sample=False)
    for positions in ("all", "prompt", "generated"):
        with steer(model, german, strength=20.0, positions=positions) as done:
            steered = model.generate(**ids, max_new_tokens=6, min_new_tokens=6, do_sample=False)
        assert done.tokens
        assert not torch.equal(steered[0, : len(plain[0])], plain[0])
    assert torch.equal(model.generate(**ids, max_new_tokens=6, do_sample=False), plain)


def test_units_of_other_experts_do_not_fit():
    units = find_units(make_mixture(), make_tokenizer(), TEXTS, k=2)
    other = make_mixture(num_experts=10, moe_intermediate_size=12)
    message = "n_experts 6 there, 10 here, expert_width 20 there, 12 here"
    with pytest.raises(UnitsError, match=message), steer(other, units["deu_Latn"]):
        pass
    dense = find_units(make_model("llama"), make_tokenizer(), TEXTS, k=2)
    assert "n_experts" not in dense.provenance["shape"]
    # What was saved before experts could be read says nothing of them.
    shape = {name: value for name, value in units.provenance["shape"].items() if "expert" not in name}
    older = UnitSet.from_rows([("deu_Latn", "0.hidden", 3, 1.0, 1.0)], {"shape": shape})
    with steer(make_mixture(), older):
        pass


def test_effects_on_a_mixture_are_judged():
    model, tokenizer = make_mixture(), make_tokenizer()
    units = find_units(model, tokenizer, TEXTS, k=6)
    unseen = {code: list(load_pairs("bundled", n=12)[code].sentences[8:]) for code in TEXTS}
    found = evaluate(model, tokenizer, units, unseen, how={"operator": "zero"}, random_sets=2)
    assert found.effect("deu_Latn", "loss")


def test_the_router_can_be_written_too():
    """Without the weight of an expert, its output does not enter."""
    model, inputs = make_mixture(), batch()
    without, seen = copy.deepcopy(model), []
    with torch.no_grad():
        experts_of(without, LAYER).down_proj[2] = 0
        expected = without(**inputs).logits
        edits = {Site("router", LAYER): Edit("zero", units=[2])}
        with write(model, edits), visit(model, {SITE: seen.append}):
            found = model(**inputs).logits
    mask = inputs["attention_mask"].bool()
    assert bool((seen[0].experts == 2).any())
    assert (found - expected)[mask].abs().max() < 1e-5


def test_the_dense_block_stays_an_ordinary_network():
    assert map_model(make_mixture()).sites("inner") == [Site("inner", DENSE)]
