"""Latent spaces: a planted one is found; what is fitted, saved and refused; projections by hand."""

import json

import numpy as np
import pytest
import torch
from scipy.special import erf

from tests.steering.interventions import plain
from tests.steering.interventions.plain import FAMILIES, PROMPTS, ids_of, model_of, padded
from tests.tiny import WIDTH, make_model, make_tokenizer
from xalign import load_pairs, steer
from xalign.errors import ArgumentError, ArgumentTypeError, UnitsError
from xalign.finding.activations import activations
from xalign.model.architectures.sites import Site
from xalign.steering import AutoencoderOptions, LatentSpace, fit_latent_space, latent_projection
from xalign.steering.interventions.fit_autoencoder import fit_autoencoder
from xalign.steering.interventions.latent_projection import Form

TEXTS = load_pairs("bundled", ["deu_Latn"], n=60).texts
SIDES = {
    "eng_Latn": [("He reads a book.", "She reads a book."), ("The man runs.", "The woman runs.")],
    "deu_Latn": [("Er liest ein Buch.", "Sie liest ein Buch.")],
}
FEW = AutoencoderOptions(latent=8, steps=60)
SHORT = AutoencoderOptions(latent=4, steps=60)


@pytest.fixture(scope="module")
def spaces():
    """A space of each family, fitted once."""
    return {
        family: fit_latent_space(model_of(family), make_tokenizer(), TEXTS, "1.hidden", options=FEW)
        for family in FAMILIES
    }


def planted(n, seed=0, noise=0.02):
    """Two languages that see the same four numbers through the same matrix, each with noise of its own."""
    random = np.random.RandomState(seed)
    shared, mix = random.randn(n, 4), random.randn(4, 10)
    sides = [shared @ mix + noise * random.randn(n, 10) for _ in range(2)]
    return shared, {"eng_Latn": torch.tensor(sides[0]).float(), "deu_Latn": torch.tensor(sides[1]).float()}


def test_a_planted_joint_space_is_found():
    shared, states = planted(400)
    found = fit_autoencoder(states, AutoencoderOptions(latent=4, hidden=64, steps=600, batch_size=64))
    _, unseen = planted(400)
    assert found.explained_variance(torch.cat(list(unseen.values()))) > 0.97
    latents = [found.encode(one).double().numpy() for one in states.values()]
    # The latents are a linear image of the planted numbers, the same in both languages.
    for latent in latents:
        design = np.c_[shared, np.ones(len(shared))]
        rest = latent - design @ np.linalg.lstsq(design, latent, rcond=None)[0]
        assert rest.var() < 0.01 * latent.var()
    assert ((latents[0] - latents[1]) ** 2).mean() < 0.01 * latents[0].var()


@pytest.mark.thorough
def test_the_joint_term_brings_translations_together():
    shared, states = planted(300, noise=0.8)
    apart = []
    for joint in (0.0, 3.0):
        options = AutoencoderOptions(latent=6, hidden=40, steps=300, batch_size=64, joint=joint)
        one, other = (fit_autoencoder(states, options).encode(values) for values in states.values())
        apart.append(float((one - other).square().mean() / torch.cat([one, other]).var()))
    assert apart[1] < 0.5 * apart[0]


def test_cross_reconstruction_gives_the_translation():
    """A language that is the other one turned: only with the cross term does the decoder average the two."""
    shared, states = planted(300, noise=0.0)
    states["deu_Latn"] = states["deu_Latn"] + 2.0
    errors = []
    for cross in (0.0, 1.0):
        options = AutoencoderOptions(latent=5, hidden=40, steps=300, batch_size=64, joint=0.0, cross=cross)
        found = fit_autoencoder(states, options)
        crossed = found.decode(found.encode(states["eng_Latn"])) - states["deu_Latn"]
        errors.append(float(crossed.square().mean()))
    assert errors[1] < 0.6 * errors[0]


def test_seeds_decide():
    _, states = planted(100)
    one, again = fit_autoencoder(states, SHORT), fit_autoencoder(states, SHORT)
    other = fit_autoencoder(states, AutoencoderOptions(latent=4, steps=60, seed=1))
    assert torch.equal(one.encoder, again.encoder) and torch.equal(one.second, again.second)
    assert not torch.equal(one.second, other.second)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    fit_autoencoder(states, SHORT)
    assert torch.equal(state, torch.get_rng_state())


def by_hand(space, basis, form, strength):
    """The edit, in numpy."""
    a = {name: getattr(space.autoencoder, name).double().numpy() for name in space.autoencoder.__slots__}

    def decode(z):
        inner = z @ a["first"].T + a["first_bias"]
        inner = inner * (1 + erf(inner / np.sqrt(2))) / 2
        return a["mean"] + a["spread"] * (inner @ a["second"].T + a["second_bias"])

    def edit(values):
        x = values.double().numpy()
        z = (x - a["mean"]) / a["spread"] @ a["encoder"].T + a["bias"]
        free = decode(z - z @ basis @ basis.T)
        new = x + strength * (free - (decode(z) if form == "difference" else x))
        return torch.tensor(new).float()

    return edit


def directions(model, family, space, rank):
    """Principal directions of the latents of both sides, each pair centred by its mean."""
    look, a = ("output", 1), space.autoencoder

    def latent(text):
        state = plain.run(model, family, ids_of(text), looks=[look])[1][look].double().mean(0)
        return ((state - a.mean) / a.spread @ a.encoder.double().T).numpy()

    pairs = np.array([[latent(text) for text in pair] for one in SIDES.values() for pair in one])
    centred = (pairs - pairs.mean(1, keepdims=True)).reshape(-1, pairs.shape[2])
    values, vectors = np.linalg.eigh(centred.T @ centred)
    return vectors[:, np.argsort(values)[::-1][:rank]]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("form", "rank", "strength"), [("difference", 1, 1.0), ("decoded", 2, 0.7)])
def test_what_it_does_is_what_hooks_do_by_hand(family, form, rank, strength, spaces):
    model, space = model_of(family), spaces[family]
    what = latent_projection(model, make_tokenizer(), space, SIDES, form=form, rank=rank)
    basis = directions(model, family, space, rank)
    assert np.allclose(what.basis.numpy() @ what.basis.numpy().T, basis @ basis.T, atol=1e-3)
    with steer(model, what, strength=strength) as done, torch.no_grad():
        steered = model(**padded(PROMPTS, "right")).logits
    assert done.tokens == sum(len(ids_of(prompt)) for prompt in PROMPTS)
    edit = by_hand(space, what.basis.double().numpy(), form, strength)
    for row, prompt in enumerate(PROMPTS):
        expected, _ = plain.run(model, family, ids_of(prompt), {("output", 1): edit})
        untouched, _ = plain.run(model, family, ids_of(prompt))
        assert torch.allclose(steered[row, : len(expected)], expected, atol=1e-3)
        assert not torch.allclose(untouched, expected, atol=5e-3)


def test_latents_lose_the_attribute_and_strength_0_changes_nothing(spaces):
    model, space = model_of("llama"), spaces["llama"]
    what = latent_projection(model, make_tokenizer(), space, SIDES)
    batch = padded(PROMPTS)
    with torch.no_grad():
        before = model(**batch).logits
        with steer(model, what, strength=0.0):
            assert torch.allclose(model(**batch).logits, before, atol=1e-6)
    own = latent_projection(model, make_tokenizer(), space, SIDES, form=lambda states, back, without: -states)
    look = ("output", 2)
    with steer(model, own), torch.no_grad():
        zeroed = model(**batch).logits
    edits = {("output", 1): torch.zeros_like}
    expected, _ = plain.run(model, "llama", ids_of(PROMPTS[0]), edits, [look])
    assert torch.allclose(zeroed[0, -len(expected) :], expected, atol=1e-4)


def test_what_is_reported_is_of_sentences_that_were_kept_out(spaces):
    space = spaces["llama"]
    assert space.autoencoder.latent == 8 and space.autoencoder.width == WIDTH
    assert set(space.retrieved) == set(space.raw_retrieved) == {"deu_Latn"}
    assert space.explained < 1
    model, look = model_of("llama"), ("output", 1)
    judged = np.linspace(0, 59, 12).round().astype(int)
    states = {
        code: np.array(
            [
                plain.run(model, "llama", ids_of(lines[row]), looks=[look])[1][look].double().mean(0).numpy()
                for row in judged
            ]
        )
        for code, lines in TEXTS.items()
    }
    (read,) = activations(model, make_tokenizer(), TEXTS, "1.hidden", pool="mean")
    others = ~np.isin(np.arange(60), judged)
    fitted = fit_autoencoder({code: read.values[read.of(at)][others] for at, code in enumerate(TEXTS)}, FEW)
    assert torch.allclose(fitted.encoder, space.autoencoder.encoder, atol=1e-3)
    everything = np.concatenate(list(states.values()))
    back = space.autoencoder.decode(space.autoencoder.encode(torch.tensor(everything).float())).numpy()
    left = ((back - everything) ** 2).sum() / ((everything - everything.mean(0)) ** 2).sum()
    assert space.explained == pytest.approx(1 - left, abs=1e-4)
    one, other = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in states.values())
    cosines = one @ other.T
    right = [np.mean(side.argmax(1) == np.arange(12)) for side in (cosines, cosines.T)]
    assert space.raw_retrieved["deu_Latn"] == pytest.approx(np.mean(right))


def test_a_space_is_saved_and_loaded(spaces, tmp_path):
    space = spaces["llama"]
    loaded = LatentSpace.from_pretrained(space.save_pretrained(tmp_path / "space"))
    assert (loaded.site, loaded.pool, loaded.explained) == (space.site, space.pool, space.explained)
    assert loaded.provenance == json.loads(json.dumps(dict(space.provenance)))
    values = torch.randn(5, WIDTH)
    for name in space.autoencoder.__slots__:
        assert torch.equal(getattr(loaded.autoencoder, name), getattr(space.autoencoder, name))
    assert torch.allclose(loaded.autoencoder.encode(values), space.autoencoder.encode(values), atol=1e-5)
    assert sorted(path.suffix for path in (tmp_path / "space").iterdir()) == [".json", ".md", ".safetensors"]
    (values_file,) = (tmp_path / "space").glob("*.safetensors")
    values_file.write_bytes(values_file.read_bytes()[:-4] + b"abcd")
    with pytest.raises(UnitsError, match="sha256"):
        LatentSpace.from_pretrained(tmp_path / "space")


def test_controls_are_of_the_rank_in_the_latent_space(spaces):
    what = latent_projection(model_of("llama"), make_tokenizer(), spaces["llama"], SIDES, rank=2)
    control = what.random(0)
    assert torch.allclose(control.basis.T @ control.basis, torch.eye(2), atol=1e-5)
    assert torch.equal(control.basis, what.random(0).basis)
    assert not torch.allclose(control.basis, what.random(1).basis)


def test_another_models_map_is_refused(spaces):
    tokenizer, space = make_tokenizer(), spaces["llama"]
    other = make_model("llama", num_hidden_layers=2)
    with pytest.raises(UnitsError, match="do not fit this one: n_layers 3 there, 2 here"):
        latent_projection(other, tokenizer, space, SIDES)
    what = latent_projection(model_of("llama"), tokenizer, space, SIDES)
    with pytest.raises(UnitsError, match="n_layers 3 there, 2 here"), steer(other, what):
        pass
    with pytest.warns(UserWarning, match="has other weights than this model"):
        latent_projection(make_model("llama", seed=1), tokenizer, space, SIDES)


def test_too_few_sentences_are_refused_with_their_number():
    model, tokenizer = model_of("llama"), make_tokenizer()
    texts = {code: lines[:15] for code, lines in TEXTS.items()}  # 12 are left to fit on
    with pytest.raises(ArgumentError, match="width 20 and there are 12 translated .* at least 8 more"):
        fit_latent_space(model, tokenizer, texts, "1.hidden", options=AutoencoderOptions(latent=20))
    with pytest.raises(
        ArgumentError, match=r"width 32 and there are 24 of them .* at least 4 more sentences"
    ):
        fit_latent_space(model, tokenizer, texts, "1.hidden", options=AutoencoderOptions(latent=4))
    with pytest.raises(ArgumentError, match="latent=33 must be at most 32"):
        fit_latent_space(model, tokenizer, TEXTS, "1.hidden", options=AutoencoderOptions(latent=33))


def test_a_fit_that_diverges_is_refused():
    _, states = planted(100)
    with pytest.raises(ArgumentError, match=r"diverged: its loss .*lower learning_rate=1e\+20"):
        fit_autoencoder(states, AutoencoderOptions(latent=4, steps=120, learning_rate=1e20))
    with pytest.raises(ArgumentError, match="diverged: it explains .* less than a constant"):
        fit_autoencoder(states, AutoencoderOptions(latent=4, steps=3, learning_rate=5.0))


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"latent": 0}, "latent=0 must be at least 1"),
        ({"steps": 0}, "steps=0 must be at least 1"),
        ({"joint": -1.0}, "joint=-1.0 must be 0 or above 0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be above 0"),
    ],
)
def test_options_that_are_refused(changed, error):
    with pytest.raises(ArgumentError, match=error):
        AutoencoderOptions(**changed)


def test_other_arguments_that_are_refused(spaces):
    model, tokenizer, space = model_of("llama"), make_tokenizer(), spaces["llama"]
    _, states = planted(100)
    with pytest.raises(ArgumentError, match="at least two languages"):
        fit_autoencoder({"eng_Latn": states["eng_Latn"]})
    with pytest.raises(ArgumentError, match="one row per translation"):
        fit_autoencoder({**states, "deu_Latn": states["deu_Latn"][:50]})
    with pytest.raises(ArgumentError, match="states hold NaN"):
        fit_autoencoder({**states, "deu_Latn": states["deu_Latn"] * torch.nan})
    with pytest.raises(ArgumentError, match="states are all equal"):
        fit_autoencoder({code: torch.ones(20, 5) for code in states})
    with pytest.raises(ArgumentTypeError, match="must be one site"):
        fit_latent_space(model, tokenizer, TEXTS, "hidden", options=FEW)
    with pytest.raises(ArgumentError, match="give translations, line by line"):
        fit_latent_space(model, tokenizer, {**TEXTS, "deu_Latn": TEXTS["deu_Latn"][:5]}, "1.hidden")
    with pytest.raises(ArgumentError, match="held_out=0.99 of 60 lines is 59|held_out=1"):
        fit_latent_space(model, tokenizer, TEXTS, "1.hidden", options=FEW, held_out=1.0)
    with pytest.raises(ArgumentTypeError, match="space must be a LatentSpace"):
        latent_projection(model, tokenizer, space.autoencoder, SIDES)
    with pytest.raises(ArgumentError, match="form='both' must be one of difference, decoded"):
        latent_projection(model, tokenizer, space, SIDES, form="both")
    narrow = Form("narrow", lambda states, back, without: states[..., :3])
    with (
        steer(model, latent_projection(model, tokenizer, space, SIDES, form=narrow)),
        pytest.raises(ArgumentTypeError, match="form 'narrow' must return a tensor"),
    ):
        model(**padded(PROMPTS))
    assert Site.parse("1.hidden") == space.site
