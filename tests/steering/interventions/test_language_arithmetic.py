"""Arithmetic on neurons: activated, deactivated, both at once, its control, and what is refused."""

import numpy as np
import pytest
import torch

from tests.mixtures import make_mixture
from tests.steering.interventions import plain
from tests.steering.interventions.plain import FAMILIES, PROMPTS, TEXTS, ids_of, model_of, padded
from tests.tiny import FFN, make_model, make_tokenizer
from xalign import Site, UnitSet, find_units, steer
from xalign.errors import ArgumentError, ArgumentTypeError, UnitsError
from xalign.steering import language_arithmetic

STRENGTH, EXACT = 1.5, 1e-5
GERMAN, ENGLISH, BOTH = [3, 17, 40], [5, 60], 40  # neuron 40 belongs to both
UNITS = {
    kind: UnitSet.from_rows(
        [("deu_Latn", f"1.{kind}", unit, 1.0, 9.0) for unit in GERMAN]
        + [("eng_Latn", f"1.{kind}", unit, 1.0, 9.0) for unit in (*ENGLISH, BOTH)]
        + [("eng_Latn", f"0.{kind}", 8, 1.0, 9.0)]
    )
    for kind in ("gate", "inner")
}


def means(model, family, kind):
    """Per language the mean over all its tokens, by plain hooks."""
    found = {}
    for code, texts in TEXTS.items():
        seen = [plain.run(model, family, ids_of(text), looks=[(kind, 1)])[1][kind, 1] for text in texts]
        found[code] = torch.cat(seen).double().mean(dim=0)
    return found


def arithmetic(model, kind="inner", **options):
    given = {"activate": "deu", "deactivate": "eng"} | options
    return language_arithmetic(model, make_tokenizer(), UNITS[kind], TEXTS, **given)


@pytest.mark.thorough
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["gate", "inner"])
@pytest.mark.parametrize("mode", ["additive", "replace", "difference"])
def test_neurons_become_what_the_formula_says(family, kind, mode):
    """Batched, padded, with a cache; against single sequences without any of these."""
    model = model_of(family)
    mean = means(model, family, kind)
    own = mean["deu_Latn"][GERMAN]
    others = (mean["eng_Latn"] + mean["spa_Latn"])[GERMAN] / 2
    amount = STRENGTH * (own - others if mode == "difference" else own)

    def at_block_1(values):
        values[:, [*ENGLISH, BOTH]] = 0
        if mode == "replace":
            values[:, GERMAN] = 0
        values[:, GERMAN] += amount.float()
        return values

    def at_block_0(values):
        values[:, 8] = 0
        return values

    with steer(model, arithmetic(model, kind, mode=mode), strength=STRENGTH):
        logits, tokens = plain.generated(model, padded(PROMPTS))
    edits = {(kind, 1): at_block_1, (kind, 0): at_block_0}
    for row, prompt in enumerate(PROMPTS):
        expected = plain.continued(model, family, ids_of(prompt), tokens[row], edits)
        assert torch.allclose(logits[row], expected, atol=EXACT)
    assert not torch.allclose(logits, plain.generated(model, padded(PROMPTS))[0], atol=1e-3)


def changed(what, strength=1.0):
    """Unit -> (scale, shift) at block 1."""
    edit = what.edits(strength)[Site("inner", 1)]
    scale, shift = edit.value
    return {unit: (float(s), float(t)) for unit, s, t in zip(edit.units, scale, shift, strict=True)}


def test_a_deactivated_neuron_keeps_a_share_and_is_filled():
    model = model_of("llama")
    what = arithmetic(model, keep=0.25, fill=-1.0)
    mean = means(model, "llama", "inner")["deu_Latn"]
    found = changed(what, strength=2)
    assert found[5] == found[60] == (0.25, -1.0)
    assert found[3] == (1.0, pytest.approx(2 * float(mean[3]), abs=EXACT))
    assert found[BOTH] == (0.25, pytest.approx(-1 + 2 * float(mean[BOTH]), abs=EXACT))
    replaced = changed(arithmetic(model, keep=0.25, fill=-1.0, mode="replace"), strength=2)
    assert replaced[BOTH] == (0.0, pytest.approx(2 * float(mean[BOTH]), abs=EXACT))
    only = changed(arithmetic(model, deactivate=()))
    assert sorted(only) == GERMAN


def test_a_neuron_fires_for_a_language_as_its_tokens_do():
    """Long sentences count more: means are over tokens, not over sentences."""
    model = model_of("llama")
    texts = {"deu_Latn": ["Nein.", "Das ist ein sehr langer Satz, der nicht enden will, weil er nicht muss."]}
    what = language_arithmetic(model, make_tokenizer(), UNITS["inner"], texts, "deu_Latn")
    seen = [
        plain.run(model, "llama", ids_of(one), looks=[("inner", 1)])[1]["inner", 1]
        for one in texts["deu_Latn"]
    ]
    mean, of_sentences = torch.cat(seen).mean(dim=0), (seen[0].mean(dim=0) + seen[1].mean(dim=0)) / 2
    assert changed(what)[3][1] == pytest.approx(float(mean[3]), abs=EXACT)
    assert abs(float(mean[3] - of_sentences[3])) > 10 * EXACT


def test_a_mode_of_ones_own():
    model = model_of("llama")
    own = changed(arithmetic(model, mode=lambda own, others: own - others))
    assert own == changed(arithmetic(model, mode="difference"))


def test_found_units_and_several_languages_to_deactivate():
    model = model_of("llama")
    units = find_units(model, make_tokenizer(), TEXTS, method="lape", share=0.1)
    what = language_arithmetic(model, make_tokenizer(), units, TEXTS, "deu_Latn", ["eng_Latn", "spa_Latn"])
    assert what.name == "arithmetic +deu_Latn -eng_Latn -spa_Latn"
    assert {site.kind for site in what.edits()} == {"gate"}
    everything = {(row.site, row.index) for row in units}
    assert {(site, unit) for site, edit in what.edits().items() for unit in edit.units} == everything
    with torch.no_grad(), steer(model, what) as done:
        model(**padded(PROMPTS))
    assert done.tokens


def test_experts_of_a_mixture():
    model = make_mixture()
    units = find_units(model, make_tokenizer(), TEXTS, share=0.02)
    what = language_arithmetic(model, make_tokenizer(), units, TEXTS, "deu_Latn", "eng_Latn")
    with torch.no_grad():
        before = model(**padded(PROMPTS)).logits
        with steer(model, what, strength=4.0):
            assert not torch.allclose(model(**padded(PROMPTS)).logits, before)


def test_the_control_does_the_same_to_as_many_others():
    what = arithmetic(model_of("llama"))
    given, drawn = changed(what), changed(what.random(3))
    assert len(drawn) == len(given)
    assert not set(drawn) & set(given)
    assert sorted(drawn.values()) == sorted(given.values())
    assert changed(what.random(3)) == drawn
    assert set(changed(what.random(4))) != set(drawn)


def test_in_bfloat16():
    model = make_model("llama").to(torch.bfloat16)
    with torch.no_grad(), steer(model, arithmetic(model)) as done:
        assert model(**padded(PROMPTS)).logits.isfinite().all()
    assert done.tokens


def test_what_is_refused(as_for_users):
    model, tokenizer = model_of("llama"), make_tokenizer()
    with pytest.raises(ArgumentError, match="activate='fra_Latn' has no units; there are those of deu_Latn"):
        arithmetic(model, activate="fra_Latn")
    with pytest.raises(ArgumentError, match="deactivate='fra_Latn' has no units"):
        arithmetic(model, deactivate="fra_Latn")
    with pytest.raises(ArgumentError, match="mode='multiply' must be one of additive, replace, difference"):
        arithmetic(model, mode="multiply")
    with pytest.raises(ArgumentTypeError, match="must return a tensor"):
        arithmetic(model, mode=lambda own, others: 1.0)
    german = {"deu_Latn": TEXTS["deu_Latn"]}
    with pytest.raises(ArgumentError, match="at least 2 are needed"):
        language_arithmetic(model, tokenizer, UNITS["inner"], german, "deu_Latn", mode="difference")
    with pytest.raises(ArgumentError, match="texts has no 'eng_Latn', which is activated; it has deu_Latn"):
        language_arithmetic(model, tokenizer, UNITS["inner"], german, "eng_Latn")
    with pytest.raises(ArgumentTypeError, match="has no option 'pool'"):
        arithmetic(model, pool="max")
    outside = UnitSet.from_rows([("deu_Latn", "1.inner", FFN, 1.0, 0.0)])
    with pytest.raises(ArgumentError, match=r"units \[80\] are outside site 1.inner, which has 80 units"):
        language_arithmetic(model, tokenizer, outside, TEXTS, "deu_Latn")
    found = find_units(make_model("gpt2"), tokenizer, TEXTS, share=0.05)
    with pytest.raises(UnitsError, match="do not fit this one"):
        language_arithmetic(model, tokenizer, found, TEXTS, "deu_Latn")
    with pytest.raises(UnitsError, match="do not fit this one"), steer(make_model("gpt2"), arithmetic(model)):
        pass
    many = UnitSet.from_rows([("deu_Latn", "1.inner", unit, 1.0, 0.0) for unit in range(41)])
    with pytest.raises(ArgumentError, match="41 of the 80 units of site 1.inner are changed"):
        language_arithmetic(model, tokenizer, many, TEXTS, "deu_Latn").random().edits()
    assert np.isfinite(list(changed(arithmetic(model)).values())).all()
