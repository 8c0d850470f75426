"""INCLINE: what is fitted, one pass and two, where it acts, its control, and what is refused."""

import numpy as np
import pytest
import torch

from tests.steering.interventions import plain
from tests.steering.interventions.plain import FAMILIES, PROMPTS, at, ids_of, model_of, padded
from tests.tiny import LAYERS, WIDTH, make_model, make_tokenizer
from tests.versions.require import require
from xalign import load_pairs, steer
from xalign.errors import ArgumentError, ArgumentTypeError, UnitsError
from xalign.model.architectures.sites import Site
from xalign.steering import Intervention, incline

N, STRENGTH = 2 * WIDTH, 0.5
EXACT = 2e-4  # of logits of about 1: a map of 64 pairs has entries of up to 10
PAIRS = load_pairs("bundled", ["deu_Latn"], n=N).texts
MLPS = [Site("mlp_out", layer) for layer in range(LAYERS)]


def means(model, family, texts, kind="mlp_out"):
    """Mean over tokens at each block, of each text, by plain hooks: [text, block, width]."""
    looks = [(kind, layer) for layer in range(LAYERS)]
    seen = [plain.run(model, family, ids_of(text), looks=looks)[1] for text in texts]
    return np.stack([[one[look].double().mean(dim=0).numpy() for look in looks] for one in seen])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_maps_are_those_of_numpy(family):
    model = model_of(family)
    found = incline(model, make_tokenizer(), PAIRS, "deu", "eng")
    source, target = (means(model, family, PAIRS[code]) for code in ("deu_Latn", "eng_Latn"))
    for layer, site in enumerate(MLPS):
        expected = np.linalg.lstsq(source[:, layer], target[:, layer], rcond=None)[0]
        # float32 states, and a map that is fitted to hardly more pairs than coordinates
        assert np.allclose(found.maps[site].numpy(), expected, atol=1e-2 * np.abs(expected).max())
        error = np.linalg.norm(source[:, layer] @ found.maps[site].numpy() - target[:, layer])
        best = np.linalg.norm(source[:, layer] @ expected - target[:, layer])
        assert error == pytest.approx(best, rel=1e-5)


def test_concatenated_pairs_are_those_of_the_published_code():
    model = model_of("llama")
    found = incline(model, make_tokenizer(), PAIRS, "deu_Latn", concatenated=True, ridge=0.1)
    german, english = PAIRS["deu_Latn"], PAIRS["eng_Latn"]
    source = [
        f"{one} {two}" if row % 2 else one for row, (one, two) in enumerate(zip(german, english, strict=True))
    ]
    target = [f"{two} {two}" if row % 2 else two for row, two in enumerate(english)]
    expected = incline(
        model, make_tokenizer(), {"deu_Latn": source, "eng_Latn": target}, "deu_Latn", ridge=0.1
    )
    plain_pairs = incline(model, make_tokenizer(), PAIRS, "deu_Latn", ridge=0.1)
    for site in MLPS:
        assert torch.equal(found.maps[site], expected.maps[site])
        assert not torch.allclose(found.maps[site], plain_pairs.maps[site])


def moved(directions, strength):
    """From a site to the edit of one column, by plain arithmetic."""
    return {
        (site.kind, site.layer): lambda own, site=site: (
            own.double() + strength * own.double() @ directions[site].double()
        ).float()
        for site in directions
    }


@pytest.mark.thorough
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", ["add", "interpolate"])
@pytest.mark.parametrize("strength", [STRENGTH, -STRENGTH])
def test_one_pass_edits_what_each_block_makes_of_the_edits_before(family, mode, strength):
    """Batched, padded, with a cache; against single sequences without any of these."""
    model = model_of(family)
    what = incline(model, make_tokenizer(), PAIRS, "deu_Latn", mode=mode, ridge=1.0)
    identity = torch.eye(WIDTH)
    directions = {site: one - identity if mode == "interpolate" else one for site, one in what.maps.items()}
    with steer(model, what, strength=strength) as done:
        logits, tokens = plain.generated(model, padded(PROMPTS))
    assert done.tokens == 2
    for row, prompt in enumerate(PROMPTS):
        ids = ids_of(prompt)
        edits = {place: at(len(ids) - 1, change) for place, change in moved(directions, strength).items()}
        expected = plain.continued(model, family, ids, tokens[row], edits)
        assert torch.allclose(logits[row], expected, atol=EXACT)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", ["add", "interpolate"])
def test_two_passes_put_edited_values_of_the_unedited_model_in_place(family, mode):
    model = model_of(family)
    fitted = incline(model, make_tokenizer(), PAIRS, "deu_Latn", mode=mode, ridge=1.0)
    what = fitted.two_pass(model, make_tokenizer(), PROMPTS)
    with steer(model, what, strength=STRENGTH) as done:
        logits, tokens = plain.generated(model, padded(PROMPTS))
    assert done.tokens == 2
    with steer(model, fitted, strength=STRENGTH):
        assert not torch.allclose(plain.generated(model, padded(PROMPTS))[0], logits, atol=1e-2)
    for row, prompt in enumerate(PROMPTS):
        ids = ids_of(prompt)
        looks = [("mlp_out", layer) for layer in range(LAYERS)]
        clean = plain.run(model, family, ids, looks=looks)[1]
        values = {place: moved(fitted.directions, STRENGTH)[place](clean[place][-1]) for place in looks}
        edits = {place: at(len(ids) - 1, lambda own, value=value: value) for place, value in values.items()}
        expected = plain.continued(model, family, ids, tokens[row], edits)
        assert torch.allclose(logits[row], expected, atol=EXACT)


def test_at_one_site_one_pass_and_two_are_the_same():
    model, options = model_of("llama"), {"sites": "1.hidden", "ridge": 1.0, "mode": "interpolate"}
    fitted = incline(model, make_tokenizer(), PAIRS, "deu_Latn", **options)
    with steer(model, fitted, strength=STRENGTH):
        one, _ = plain.generated(model, padded(PROMPTS))
    with steer(model, fitted.two_pass(model, make_tokenizer(), PROMPTS), strength=STRENGTH):
        two, _ = plain.generated(model, padded(PROMPTS))
    assert torch.allclose(one, two, atol=EXACT)


def test_strength_0_changes_nothing_and_1_interpolates_fully():
    model = model_of("llama")
    what = incline(model, make_tokenizer(), PAIRS, "deu_Latn", mode="interpolate", ridge=1.0)
    edits = what.edits(1.0)
    for site in MLPS:
        matrix, bias = edits[site].value
        assert bias is None
        assert torch.allclose(matrix, what.maps[site], atol=1e-6)
    with torch.no_grad():
        before = model(**padded(PROMPTS)).logits
        with steer(model, what, strength=0):
            assert torch.equal(model(**padded(PROMPTS)).logits, before)


def test_a_mode_of_ones_own():
    model = model_of("llama")
    half = incline(model, make_tokenizer(), PAIRS, "deu_Latn", mode=lambda fitted: fitted / 2, ridge=1.0)
    whole = incline(model, make_tokenizer(), PAIRS, "deu_Latn", ridge=1.0)
    for site in MLPS:
        assert torch.allclose(half.edits(1.0)[site].value[0], whole.edits(0.5)[site].value[0])


@pytest.mark.parametrize("two_pass", [False, True])
def test_the_control_moves_every_state_as_far(two_pass):
    model = model_of("llama")
    fitted = incline(model, make_tokenizer(), PAIRS, "deu_Latn", mode="interpolate", ridge=1.0)
    what = fitted.two_pass(model, make_tokenizer(), PROMPTS) if two_pass else fitted
    drawn = what.random(1)
    states = torch.randn(5, WIDTH)
    for site in MLPS:
        if two_pass:
            start = what.edits(0.0)[site].value
            moves = [one.edits(STRENGTH)[site].value - start for one in (what, drawn)]
        else:
            moves = [states @ one.edits(STRENGTH)[site].value[0] - states for one in (what, drawn)]
        assert torch.allclose(moves[0].norm(dim=1), moves[1].norm(dim=1), rtol=1e-4)
        assert (torch.cosine_similarity(*moves).abs() < 0.7).all()
    assert isinstance(drawn, Intervention)
    assert drawn.positions == what.positions == "last_prompt"


def test_in_bfloat16():
    require("it rounds products in bfloat16 more coarsely", torch="2.7")
    model = make_model("llama").to(torch.bfloat16)
    what = incline(model, make_tokenizer(), PAIRS, "deu_Latn", ridge=1.0)
    seen = {}
    with torch.no_grad(), steer(model, what, strength=STRENGTH):
        handle = model.model.layers[0].mlp.register_forward_hook(
            lambda m, a, out: seen.update(after=out[0, -1])
        )
        model(**padded(PROMPTS[:1]))
        handle.remove()
    clean = plain.run(model, "llama", ids_of(PROMPTS[0]), looks=[("mlp_out", 0)])[1]["mlp_out", 0][-1]
    expected = clean.double() + STRENGTH * clean.double() @ what.maps[MLPS[0]].double()
    assert seen["after"].dtype == torch.bfloat16
    assert torch.allclose(seen["after"].double(), expected, rtol=2**-7, atol=1e-3)


def test_what_is_refused(as_for_users):
    model, tokenizer = model_of("llama"), make_tokenizer()
    few = {code: list(texts[:9]) for code, texts in PAIRS.items()}
    with pytest.raises(
        ArgumentError, match="site 0.mlp_out has width 32 and there are 9 .* 23 more; or ridge="
    ):
        incline(model, tokenizer, few, "deu_Latn")
    assert incline(model, tokenizer, few, "deu_Latn", ridge=0).maps
    with pytest.raises(ArgumentError, match="texts has 64 sentences of deu_Latn and 9 of eng_Latn"):
        incline(model, tokenizer, {**PAIRS, "eng_Latn": few["eng_Latn"]}, "deu_Latn")
    with pytest.raises(ArgumentError, match="language='fra_Latn' is not in texts, which has"):
        incline(model, tokenizer, PAIRS, "fra_Latn")
    with pytest.raises(ArgumentError, match="language and pivot are both"):
        incline(model, tokenizer, PAIRS, "eng_Latn")
    with pytest.raises(ArgumentError, match="mode='multiply' must be one of add, interpolate"):
        incline(model, tokenizer, PAIRS, "deu_Latn", mode="multiply")
    with pytest.raises(ArgumentTypeError, match="must return a tensor"):
        incline(model, tokenizer, few, "deu_Latn", mode=lambda fitted: 3, ridge=1.0)
    with pytest.raises(ArgumentTypeError, match="has no option 'pol'"):
        incline(model, tokenizer, PAIRS, "deu_Latn", pol="max")
    fitted = incline(model, tokenizer, few, "deu_Latn", ridge=1.0)
    other = make_model("llama", num_hidden_layers=2)
    with pytest.raises(UnitsError, match="n_layers 3 there, 2 here"), steer(other, fitted):
        pass
    with pytest.raises(UnitsError, match="n_layers 3 there, 2 here"):
        fitted.two_pass(other, tokenizer, PROMPTS)
    with pytest.warns(UserWarning, match="weights"), steer(make_model("llama", seed=5), fitted):
        pass
