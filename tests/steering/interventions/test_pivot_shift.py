"""The shift into English and back: what is added where, the subspace of Lens, and which blocks to take."""

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles

from tests.steering.interventions import plain
from tests.steering.interventions.plain import FAMILIES, PROMPTS, TEXTS, ids_of, model_of, padded
from tests.tiny import LAYERS, WIDTH, make_model, make_tokenizer
from xalign import Site, load_pairs, steer
from xalign.errors import ArgumentError, ArgumentTypeError, UnitsError
from xalign.metrics.subspace_distance import subspace_distance
from xalign.steering import language_subspace, pivot_shift, shift_layers

STRENGTH, EXACT = 1.5, 1e-5


# The subspace of languages.


def normal(seed, *shape):
    return np.random.RandomState(seed).randn(*shape)


STATES = {"en": normal(20, 8, 5), "zh": normal(21, 8, 5) + 0.5, "sw": normal(22, 8, 5) - 0.5}


def subspace(states, rank=None):
    return language_subspace({code: torch.tensor(values) for code, values in states.items()}, rank)


def test_the_figures_of_the_reference():
    """§7.11 of the specification; six decimals, and the norm to nine digits."""
    found = subspace(STATES, rank=2)
    shared = [0.188729, -0.052837, 0.326361, -0.139012, -0.203143]
    assert np.allclose(found.shared, shared, atol=1e-6)
    assert float(found.shared.norm()) == pytest.approx(0.45333578264041485, rel=1e-9)
    diagonal = (found.basis @ found.basis.T).diagonal()
    assert np.allclose(diagonal, [0.175454, 0.395814, 0.354415, 0.597388, 0.476929], atol=1e-6)
    zh = [0.492797, 1.163373, 0.553213, -0.532929, 1.408694]
    sw = [0.203325, -0.546581, -0.644785, -0.560946, -0.320964]
    assert np.allclose(found.direction("zh", "en"), zh, atol=1e-6)
    assert np.allclose(found.direction("sw", "en"), sw, atol=1e-6)


def test_what_holds_of_every_subspace():
    found = subspace(STATES, rank=1)
    assert torch.allclose(found.basis.T @ found.basis, torch.eye(1, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(found.basis.T @ found.shared, torch.zeros(1, dtype=torch.float64), atol=1e-12)
    whole = subspace(STATES)
    assert whole.basis.shape == (5, 2)
    means = {code: values.mean(axis=0) for code, values in STATES.items()}
    assert np.allclose(whole.direction("zh", "en"), means["zh"] - means["en"], atol=1e-12)
    differences = np.stack([means["zh"] - means["en"], means["sw"] - means["en"]], axis=1)
    assert np.allclose(subspace_angles(whole.basis.numpy(), differences), 0, atol=1e-7)
    order = {code: STATES[code] for code in ("sw", "en", "zh")}
    assert np.allclose(subspace(order, 1).direction("zh", "en"), found.direction("zh", "en"), atol=1e-12)
    doubled = subspace({code: 2 * values for code, values in STATES.items()}, rank=1)
    assert np.allclose(doubled.direction("zh", "en"), 2 * found.direction("zh", "en"), atol=1e-12)


def test_what_a_subspace_refuses():
    with pytest.raises(ArgumentError, match="at least two languages"):
        subspace({"en": STATES["en"]})
    with pytest.raises(ArgumentError, match="rank=3 must be at most 2: the means of 3 languages"):
        subspace(STATES, rank=3)
    with pytest.raises(ArgumentError, match="rank=1 must be at most 0: .* differ in 0 directions"):
        subspace({"en": STATES["en"], "zh": STATES["en"]})
    with pytest.raises(ArgumentError, match="NaN or infinity"):
        subspace({**STATES, "zh": STATES["zh"] * np.nan})
    with pytest.raises(ArgumentError, match="language='de' is not among en, zh, sw"):
        subspace(STATES).direction("de", "en")


# The shift.


def means(model, family, block, normalised=False):
    """Per language the mean of its sentences' mean states at the input of a block, by plain hooks."""
    place, found = ("output", LAYERS - 1) if block == LAYERS else ("input", block), {}
    for code, texts in TEXTS.items():
        seen = [plain.run(model, family, ids_of(text), looks=[place])[1][place] for text in texts]
        states = torch.stack([one.double().mean(dim=0) for one in seen])
        found[code] = (states / states.norm(dim=1, keepdim=True) if normalised else states).mean(dim=0)
    return found


def shift(model, **options):
    return pivot_shift(model, make_tokenizer(), TEXTS, "deu", **options)


def adding(vector):
    return lambda values: values + vector.float()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("to", "back"), [(0, 2), (1, 2), (1, LAYERS), (1, None)])
@pytest.mark.parametrize("normalised", [False, True])
def test_it_is_shifted_at_the_input_of_one_block_and_back_before_another(family, to, back, normalised):
    """Batched, padded, with a cache; against single sequences without any of these."""
    model, edits = model_of(family), {}
    for block, sign in ((to, 1), (back, -1)):
        if block is not None:
            mean = means(model, family, block, normalised)
            place = ("output", LAYERS - 1) if block == LAYERS else ("input", block)
            edits[place] = adding(sign * STRENGTH * (mean["eng_Latn"] - mean["deu_Latn"]))
    with steer(model, shift(model, to=to, back=back, normalised=normalised), strength=STRENGTH):
        logits, tokens = plain.generated(model, padded(PROMPTS))
    for row, prompt in enumerate(PROMPTS):
        expected = plain.continued(model, family, ids_of(prompt), tokens[row], edits)
        assert torch.allclose(logits[row], expected, atol=5 * EXACT)


def test_within_the_subspace_of_languages():
    model = model_of("llama")
    whole, low = (shift(model, to=1, back=2, rank=rank).edits() for rank in (None, 1))
    same = shift(model, to=1, back=2, rank=2).edits()
    for block, site in ((1, Site("hidden", 0)), (2, Site("hidden", 1))):
        assert torch.allclose(same[site].value, whole[site].value, atol=EXACT)
        mean = means(model, "llama", block)
        columns = torch.stack(list(mean.values()), dim=1).numpy()
        basis = basis_by_numpy(columns, 1)
        sign = 1 if block == 1 else -1
        expected = sign * basis @ basis.T @ (mean["eng_Latn"] - mean["deu_Latn"]).numpy()
        assert np.allclose(low[site].value, expected, atol=EXACT)
        assert low[site].value.norm() < whole[site].value.norm()


def basis_by_numpy(columns, rank):
    """M_s of Lens as its page gives it."""
    centre = columns.mean(axis=1, keepdims=True)
    left, sizes, right = np.linalg.svd(columns - centre, full_matrices=False)
    best = centre + (left[:, :rank] * sizes[:rank]) @ right[:rank]
    shared = np.linalg.pinv(best).T @ np.ones(columns.shape[1])
    shared /= shared @ shared
    return np.linalg.svd(best - shared[:, None])[0][:, :rank]


def test_the_control_keeps_lengths_and_the_angle_between_both_shifts():
    what = shift(model_of("llama"), to=1, back=3)
    given, drawn = ([edit.value for edit in one.edits().values()] for one in (what, what.random(5)))
    for one, other in zip(given, drawn, strict=True):
        assert torch.allclose(one.norm(), other.norm(), rtol=1e-5)
        assert torch.cosine_similarity(one, other, dim=0).abs() < 0.7
    assert torch.allclose(*(torch.cosine_similarity(a, b, dim=0) for a, b in (given, drawn)), atol=1e-5)
    other_language = pivot_shift(model_of("llama"), make_tokenizer(), TEXTS, "spa", to=1, back=3)
    elsewhere = other_language.random(5).edits()[Site("hidden", 0)].value
    assert torch.cosine_similarity(elsewhere, drawn[0], dim=0).abs() < 0.9


def test_in_bfloat16():
    model = make_model("llama").to(torch.bfloat16)
    with torch.no_grad(), steer(model, shift(model, to=1, back=2)) as done:
        assert model(**padded(PROMPTS)).logits.isfinite().all()
    assert done.tokens


# Which blocks.


def test_the_blocks_are_those_where_languages_are_nearest():
    model, texts = model_of("llama"), load_pairs("bundled", ["deu_Latn"], n=2 * WIDTH).texts
    found = shift_layers(model, make_tokenizer(), texts, "deu_Latn", share=0.5)
    assert list(found.distances) == list(range(LAYERS))
    for block, distance in found.distances.items():
        looks = [("input", block)]
        one, other = (
            torch.stack(
                [
                    plain.run(model, "llama", ids_of(text), looks=looks)[1][looks[0]].mean(dim=0)
                    for text in texts[code]
                ]
            )
            for code in ("deu_Latn", "eng_Latn")
        )
        assert distance == pytest.approx(subspace_distance(one, other), rel=1e-3)
    ranked = sorted(found.distances, key=found.distances.get)
    assert found.nearest == tuple(sorted(ranked[:2]))
    assert (found.to, found.back) == (min(ranked[:2]), max(ranked[:2]) + 1)
    in_english = shift(model, to=found.to, back=found.back)
    with torch.no_grad(), steer(model, in_english) as done:
        model(**padded(PROMPTS))
    assert done.tokens


def test_what_is_refused():
    model, tokenizer = model_of("llama"), make_tokenizer()
    with pytest.raises(ArgumentError, match="to=3 must be a block, from 0 to 2"):
        shift(model, to=3, back=None)
    with pytest.raises(ArgumentError, match="back=1 must be above to=1, and at most 3"):
        shift(model, to=1, back=1)
    with pytest.raises(ArgumentError, match="back=4 must be above to=1, and at most 3"):
        shift(model, to=1, back=4)
    with pytest.raises(ArgumentError, match="to=-1 must be at least 0"):
        shift(model, to=-1, back=2)
    with pytest.raises(ArgumentError, match="rank=3 must be at most 2"):
        shift(model, to=1, back=2, rank=3)
    with pytest.raises(ArgumentError, match="language='fra' is not in texts"):
        pivot_shift(model, tokenizer, TEXTS, "fra", to=1, back=2)
    with pytest.raises(ArgumentError, match="language and pivot are both"):
        pivot_shift(model, tokenizer, TEXTS, "eng", to=1, back=2)
    with pytest.raises(ArgumentTypeError, match="normalised='yes' must be True or False"):
        shift(model, to=1, back=2, normalised="yes")
    with pytest.raises(ArgumentTypeError, match="pivot_shift has no option 'sites'"):
        shift(model, to=1, back=2, sites="inner")
    with pytest.raises(UnitsError, match="do not fit"), steer(make_model("gpt2"), shift(model, to=1, back=2)):
        pass
    with pytest.raises(
        ArgumentError, match="there are 4 states of width 32.* at least 33 of each, or ridge="
    ):
        shift_layers(model, tokenizer, TEXTS, "deu_Latn")
    with pytest.raises(ArgumentError, match="share=2 must be above 0 and at most 1"):
        shift_layers(model, tokenizer, TEXTS, "deu_Latn", share=2)
