"""Steering with a unit set: what is written, where, and what is refused; and in another process."""

import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests.tiny import ROOT, make_model, make_tokenizer
from xalign import Site, map_model, visit
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError, UnitsError
from xalign.finding.expert_ap import expert_ap
from xalign.model.architectures import proved
from xalign.steering.steer import steer
from xalign.units.unit_set import UnitSet

BATCH = {"input_ids": torch.tensor([[1, 20, 30], [1, 40, 50]])}
UNITS = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.9, 2.5), ("deu_Latn", "2.inner", 3, 0.8, -1.0)])
TEXTS = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}


def neurons(model, **options):
    """The neurons of blocks 1 and 2, steered and not."""
    seen = []
    look = {Site("inner", layer): (lambda values: seen.append(values.detach().clone())) for layer in (1, 2)}
    with torch.no_grad():
        with steer(model, UNITS, **options), visit(model, look):
            model(**BATCH)
        with visit(model, look):
            model(**BATCH)
    return seen


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, lambda x: torch.full_like(x, 2.5)),
        ({"strength": 2}, lambda x: torch.full_like(x, 5.0)),
        ({"operator": "add", "strength": -1.0}, lambda x: x - 2.5),
        ({"operator": "scale", "strength": 0.5}, lambda x: x * 0.5),
        ({"operator": "zero"}, torch.zeros_like),
    ],
)
def test_exactly_the_units_are_changed(options, expected):
    steered, _, plain, _ = neurons(make_model("llama"), **options)
    assert torch.allclose(steered[..., 7], expected(plain[..., 7]))
    others = [index for index in range(plain.shape[-1]) if index != 7]
    assert torch.equal(steered[..., others], plain[..., others])


def test_positions_and_trace():
    model = make_model("llama")
    with torch.no_grad(), steer(model, UNITS, positions="last_prompt", trace=True) as done:
        model(**BATCH)
    assert [(one.sentence, one.column, one.token) for one in done.trace] == [(0, 2, 30), (1, 2, 50)]


def test_the_model_is_what_it_was():
    model = make_model("llama")
    with torch.no_grad():
        before = model(**BATCH).logits
        with pytest.raises(ZeroDivisionError), steer(model, UNITS):
            assert not torch.equal(model(**BATCH).logits, before)
            raise ZeroDivisionError
        assert torch.equal(model(**BATCH).logits, before)


@pytest.mark.parametrize("cache", [True, False])
def test_generate_of_an_adapted_model_is_steered(cache):
    model = make_model("llama")
    adapted = get_peft_model(model, LoraConfig(target_modules="all-linear", init_lora_weights=False))
    options = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "use_cache": cache}
    ids = BATCH["input_ids"]
    prompt = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    strong = UnitSet.from_rows([(row.label, row.site, row.index, 1, 200.0) for row in UNITS])
    plain = adapted.generate(**prompt, **options)
    with steer(adapted, strong, positions="generated") as done:
        steered = adapted.generate(**prompt, **options)
    assert done.forwards == 4
    assert done.tokens == 2 * (3 if cache else 6)
    assert torch.equal(plain[:, :4], steered[:, :4])
    assert not torch.equal(plain, steered)
    with torch.no_grad(), steer(adapted, strong) as done:  # called itself, it is one forward
        adapted(**prompt)
    assert (done.forwards, done.tokens) == (1, 6)
    assert torch.equal(adapted.generate(**prompt, **options), plain)


def test_values_of_another_state_are_not_written():
    model = make_model("llama")
    units = expert_ap(model, make_tokenizer(), TEXTS, "gate", k=3, state="act")
    message = "what holds values of the state 'act', and 'set' writes plain"
    with pytest.raises(ArgumentError, match=message), steer(model, units["deu_Latn"]):
        pass
    with torch.no_grad(), steer(model, units["deu_Latn"], operator="zero") as done:
        model(**BATCH)
    assert done.tokens == 6


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["function", "in place"])
def test_a_compiled_model_is_steered(how):
    model = make_model("llama")
    with torch.no_grad():
        with steer(model, UNITS):
            expected = model(**BATCH).logits
        plain = model(**BATCH).logits
        compiled = torch.compile(model, backend="aot_eager") if how == "function" else model
        if how == "in place":
            model.compile(backend="aot_eager")
        compiled(**BATCH)  # the graph is made without hooks
        with steer(compiled, UNITS):
            steered = compiled(**BATCH).logits
        after = compiled(**BATCH).logits
    assert torch.allclose(steered, expected, atol=1e-5)
    assert torch.allclose(after, plain, atol=1e-5)
    assert not torch.allclose(steered, plain, atol=1e-2)


def test_the_inner_one_wins():
    model = make_model("llama")
    with torch.no_grad():
        with steer(model, UNITS, operator="zero"):
            zeroed = model(**BATCH).logits
        with steer(model, UNITS), steer(model, UNITS, operator="zero"):
            assert torch.equal(model(**BATCH).logits, zeroed)
        with steer(model, UNITS, operator="zero"), steer(model, UNITS):
            assert not torch.equal(model(**BATCH).logits, zeroed)


ELSEWHERE = """
import sys, torch
from tests.tiny import make_model
from xalign.steering.steer import steer
from xalign.units.unit_set import UnitSet
with torch.no_grad(), steer(make_model("llama"), UnitSet.from_pretrained(sys.argv[1])["deu_Latn"]) as done:
    pass
model = make_model("llama")
with torch.no_grad(), steer(model, UnitSet.from_pretrained(sys.argv[1])["deu_Latn"]):
    torch.save(model(input_ids=torch.tensor([[1, 20, 30], [1, 40, 50]])).logits, sys.argv[2])
"""


@pytest.mark.thorough
def test_found_here_steers_elsewhere_with_equal_logits(tmp_path):
    model = make_model("llama")
    units = expert_ap(model, make_tokenizer(), TEXTS, k=9)
    units.save_pretrained(tmp_path / "units")
    with torch.no_grad(), steer(model, units["deu_Latn"]):
        here = model(**BATCH).logits
        assert not torch.equal(here, make_model("llama")(**BATCH).logits)
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "units"), str(tmp_path / "logits.pt")]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    assert torch.equal(torch.load(tmp_path / "logits.pt"), here)


def test_what_does_not_fit():
    model = make_model("llama")
    units = expert_ap(model, make_tokenizer(), TEXTS, k=2)["deu_Latn"]
    for other, message in (
        (make_model("llama", num_hidden_layers=2), "n_layers 3 there, 2 here"),
        (make_model("qwen2"), "model_type llama there, qwen2 here"),
    ):
        with pytest.raises(UnitsError, match=message), steer(other, units):
            pass
    for rows, error, message in (
        ([("x", "7.inner", 0, 1, 1)], ModelError, "blocks 0 to 2"),
        ([("x", "1.inner", 80, 1, 1)], ArgumentError, r"units \[80\] are outside site 1.inner"),
        ([], ArgumentError, "units is empty"),
        ([("x", "1.inner", 8, 1, 1), ("y", "1.inner", 8, 1, 2)], ArgumentError, "labels x, y share units"),
    ):
        with pytest.raises(error, match=message), steer(model, UnitSet.from_rows(rows)):
            pass
    for options, error, message in (
        (
            {"operator": "clamp"},
            ArgumentError,
            "operator='clamp' must be one of set, add, scale, dampen, zero",
        ),
        ({"strength": "much"}, ArgumentTypeError, "strength='much' must be a number"),
        ({"strength": float("nan")}, ArgumentError, "strength=nan must be finite"),
        ({"positions": "nowhere"}, ArgumentError, "positions='nowhere' must be one of"),
    ):
        with pytest.raises(error, match=message), steer(model, UNITS, **options):
            pass
    with (
        pytest.raises(
            ArgumentTypeError, match="what must be a UnitSet, a LanguageVector or an Intervention, not dict"
        ),
        steer(model, {}),
    ):
        pass


def test_a_model_is_not_proved_anew_at_every_with(monkeypatch):
    """A map holds until something in the model changes; to watch `generate` changes nothing."""
    model = make_model("llama")
    map_model(model)
    monkeypatch.setattr(proved, "_run", lambda model: pytest.fail("the model was run to be mapped again"))
    units = UnitSet.from_rows([("deu_Latn", "1.inner", 3, 1.0, 2.0)])
    with steer(model, units), steer(model, units, operator="zero"):
        model.generate(torch.tensor([[1, 20]]), max_new_tokens=2, pad_token_id=0)
