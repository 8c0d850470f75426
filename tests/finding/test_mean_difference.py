"""Language vectors: the means by hand, steering with them, on disk, and the control."""

import pytest
import torch

from tests.tiny import WIDTH, make_model, make_tokenizer
from xalign import Site, load_pairs, visit
from xalign.errors import ArgumentError, ArgumentTypeError, UnitsError
from xalign.finding.mean_difference import mean_difference
from xalign.steering.steer import steer
from xalign.units.language_vector import LanguageVector
from xalign.units.unit_set import UnitSet

BUNDLED = load_pairs("bundled", n=8)
TEXTS = {
    "eng_Latn": list(BUNDLED["deu_Latn"].pivot_sentences),
    "deu_Latn": list(BUNDLED["deu_Latn"].sentences),
    "rus_Cyrl": list(BUNDLED["rus_Cyrl"].sentences[:5]),
}
SITE = Site("hidden", 1)
BATCH = {"input_ids": torch.tensor([[1, 20, 30], [1, 40, 50]])}


def find(sites="1.hidden", **options):
    return mean_difference(make_model("llama"), make_tokenizer(), TEXTS, sites, **options)


def means_by_hand():
    model, tokenizer, means = make_model("llama"), make_tokenizer(), {}
    for label, sentences in TEXTS.items():
        states = []
        for text in sentences:
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            with torch.no_grad():
                hidden = model(input_ids=ids, output_hidden_states=True).hidden_states[2][0]
            weights = torch.arange(1.0, len(hidden) + 1)
            states.append(weights / weights.sum() @ hidden)
        means[label] = torch.stack(states).mean(dim=0)
    return means


def test_the_means_by_hand():
    means = means_by_hand()
    own = find(from_others=False)
    for label, vector in find().items():
        others = torch.stack([mean for other, mean in means.items() if other != label]).mean(dim=0)
        assert (vector.vectors[SITE] - (means[label] - others)).abs().max() < 1e-5
        assert (own[label].vectors[SITE] - means[label]).abs().max() < 1e-5
    assert len(find("hidden")["deu_Latn"].vectors) == 5


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, lambda x, v: x + v),
        ({"strength": -2.0}, lambda x, v: x - 2 * v),
        ({"operator": "project"}, lambda x, v: x - (x @ v).unsqueeze(-1) * v / (v @ v)),
    ],
)
def test_steering_with_a_vector(options, expected):
    model, seen = make_model("llama"), []
    vector = find()["deu_Latn"]
    look = {SITE: lambda values: seen.append(values.clone())}
    with torch.no_grad():
        with steer(model, vector, **options), visit(model, look):
            model(**BATCH)
        with visit(model, look):
            model(**BATCH)
    assert torch.allclose(seen[0], expected(seen[1], vector.vectors[SITE]), atol=1e-5)


def test_the_control_has_the_same_norms():
    vector = find("hidden")["rus_Cyrl"]
    control = vector.random(3)
    for site, values in vector.vectors.items():
        assert control.vectors[site].norm() == pytest.approx(values.norm().item(), rel=1e-5)
        assert torch.cosine_similarity(values, control.vectors[site], dim=0).abs() < 0.7
    assert torch.equal(vector.random(3).vectors[SITE], control.vectors[SITE])
    assert not torch.equal(vector.random(4).vectors[SITE], control.vectors[SITE])


def test_on_disk(tmp_path):
    vector = find("hidden")["deu_Latn"]
    vector.save_pretrained(tmp_path)
    loaded = LanguageVector.from_pretrained(tmp_path)
    assert loaded.label == "deu_Latn"
    assert loaded.provenance == vector.provenance
    assert list(loaded.vectors) == list(vector.vectors)
    assert all(torch.equal(loaded.vectors[site], values) for site, values in vector.vectors.items())
    assert "# A vector for deu_Latn" in (tmp_path / "README.md").read_text(encoding="utf-8")
    with pytest.raises(UnitsError, match="is xalign.LanguageVector of schema 1"):
        UnitSet.from_pretrained(tmp_path)
    smaller = make_model("llama", num_hidden_layers=2)
    with pytest.raises(UnitsError, match="n_layers 3 there, 2 here"), steer(smaller, loaded):
        pass


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: LanguageVector("", {SITE: torch.ones(3)}), ArgumentTypeError, "label='' must be text"),
        (lambda: LanguageVector("x", {}), ArgumentError, "vectors is empty"),
        (lambda: LanguageVector("x", [1]), ArgumentTypeError, "vectors must map sites"),
        (lambda: LanguageVector("x", {SITE: torch.ones(2, 3)}), ArgumentTypeError, "vectors must map sites"),
        (lambda: LanguageVector("x", {"1.hidden": torch.ones(3)}), ArgumentTypeError, "vectors must map"),
        (lambda: LanguageVector("x", {SITE: torch.tensor([torch.nan])}), ArgumentError, "is not finite"),
        (
            lambda: mean_difference(make_model("llama"), make_tokenizer(), {"eng_Latn": ["It rains."]}),
            ArgumentError,
            r"texts has 1 label\(s\) \(eng_Latn\), and at least 2",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_what_a_vector_cannot_do():
    model, vector = make_model("llama"), LanguageVector("x", {SITE: torch.ones(WIDTH + 1)})
    with pytest.raises(ArgumentError, match=r"shape \(33,\)"), steer(model, vector):
        pass
    german = find()["deu_Latn"]
    with (
        pytest.raises(ArgumentError, match="must be one of add, project"),
        steer(model, german, operator="set"),
    ):
        pass


def test_random_directions_differ_between_languages():
    vectors = find("1.hidden")
    one, other = (vectors[code].random(0).vectors[SITE] for code in ("deu_Latn", "rus_Cyrl"))
    assert torch.cosine_similarity(one, other, dim=0).abs() < 0.7
    assert torch.equal(vectors["deu_Latn"].random(0).vectors[SITE], one)


def test_block_by_block_goes_through_the_model_in_its_order():
    options = {"from_others": False, "block_by_block": True}
    in_order = find(["0.hidden", "1.hidden"], **options)["deu_Latn"]
    given = find(["1.hidden", "0.hidden"], **options)["deu_Latn"]
    for site, vector in in_order.vectors.items():
        assert torch.equal(vector, given.vectors[site])
    with pytest.raises(ArgumentError, match="block_by_block=True takes sites of blocks"):
        find(["linear:model.layers.0.mlp.up_proj"], **options)


def test_block_by_block_is_the_mean_under_steering_with_the_vectors_before():
    model, tokenizer = make_model("llama"), make_tokenizer()
    options = {"from_others": False, "block_by_block": True}
    first, second = (find(sites, **options) for sites in ("0.hidden", ["0.hidden", "1.hidden"]))
    for label in TEXTS:
        with steer(model, first[label], strength=-1):
            own = mean_difference(model, tokenizer, {label: TEXTS[label]}, "1.hidden", from_others=False)
        assert torch.equal(second[label].vectors[SITE], own[label].vectors[SITE])
        assert not torch.equal(second[label].vectors[SITE], find(from_others=False)[label].vectors[SITE])


@pytest.mark.parametrize("size", [60.0, 2e-5])
def test_a_direction_is_projected_away_in_half_precision(size):
    model = make_model("llama").to(torch.float16)
    vector = LanguageVector("x", {SITE: torch.full((WIDTH,), size)})
    seen = []
    look = {SITE: lambda values: seen.append(values.float())}
    with torch.no_grad(), steer(model, vector, operator="project"), visit(model, look):
        model(**BATCH)
    along = seen[0] @ torch.ones(WIDTH) / WIDTH**0.5
    assert along.abs().max() < 0.01 * seen[0].norm(dim=-1).max()
