"""Kinds of neurons: counted token by token, the published norm, prompts subtracted, and stages."""

import pytest
import torch

from tests.tiny import FFN, LAYERS, make_model, make_tokenizer
from xalign.errors import ArgumentError
from xalign.metrics.lape import _entropy, lape
from xalign.probing import NeuronKinds, neuron_kinds

TEXTS = {
    "eng_Latn": ["It rains today. Yes, it does.", "Where is the dog? It sleeps."],
    "deu_Latn": ["Regnet es heute? Ja, sehr.", "Wo ist der Hund? Er schläft."],
    "spa_Latn": ["¿Llueve hoy? Sí, mucho.", "¿Dónde está el perro? Duerme."],
}
PROMPTS = {code: [text[: text.index(" ", 8)] for text in own] for code, own in TEXTS.items()}


def fired(model, text):
    """How often each neuron's gate is above 0 over the tokens of a text, and how many tokens there are."""
    seen = []
    handles = [
        block.mlp.gate_proj.register_forward_hook(
            lambda _, given, made: seen.append((made[0] > 0).sum(dim=0))
        )
        for block in model.model.layers
    ]
    ids = make_tokenizer()(text, return_tensors="pt")
    with torch.no_grad():
        model(**ids)
    for handle in handles:
        handle.remove()
    return torch.cat(seen).double(), ids["input_ids"].shape[1]


def probabilities(model, texts, prompts=None):
    rows = []
    for code, own in texts.items():
        counts, tokens = map(sum, zip(*(fired(model, text) for text in own), strict=True))
        if prompts:
            less, fewer = map(sum, zip(*(fired(model, text) for text in prompts[code]), strict=True))
            counts, tokens = (counts - less).clamp_min(0), max(1, tokens - fewer)
        rows.append((counts / tokens).clamp_max(1))
    return torch.stack(rows)


@pytest.fixture(scope="module")
def model():
    return make_model("llama")


@pytest.mark.parametrize("prompts", [None, PROMPTS], ids=["all tokens", "answers"])
def test_it_counts_what_fires(model, prompts):
    found = neuron_kinds(model, make_tokenizer(), TEXTS, prompts=prompts, share=0.1)
    expected = probabilities(model, TEXTS, prompts)
    selected = lape(expected, share=0.1, penalty="auto")
    bar = sorted(expected.flatten().tolist())[round(0.95 * expected.numel()) - 1]
    assert found.about["threshold"] == pytest.approx(bar)
    assert found.about["settings"]["penalty"] == pytest.approx(selected.penalty)
    for layer in range(LAYERS):
        units = range(layer * FFN, (layer + 1) * FFN)
        reach = {unit: int((expected[:, unit] > bar).sum()) for unit in units}
        chosen = set(selected.chosen.tolist()) & set(units)
        (row,) = found.where(layer=layer)
        assert row["neurons"] == FFN
        assert row["specific"] == sum(reach[unit] == 1 for unit in chosen)
        assert row["related"] == sum(reach[unit] == 2 for unit in chosen)
        assert row["general"] == sum(count == 3 for count in reach.values())
    assert sum(row["specific"] for row in found.rows) == sum(
        own["specific"] for own in found.about["languages"].values()
    )


def test_the_norm_and_the_penalty_of_the_paper():
    """§7.2: .2929 for ten languages, to four decimals; at most λ = .2, to .001."""
    assert sum(1 / m for m in range(1, 11)) / 10 == pytest.approx(0.2929, abs=5e-5)
    sure = torch.zeros(10, 1)
    sure[0] = 1.0
    one = _entropy(sure, 0.1).item()
    assert one == pytest.approx(-0.1 / 0.2929, abs=1e-3)  # no entropy, and all of the penalty
    assert _entropy(torch.full((10, 1), 0.5), 0.0).item() == pytest.approx(1)  # H / ln K of equal ones
    drawn = torch.rand(10, 400, generator=torch.Generator().manual_seed(0)) ** 4
    drawn[:, :40] = 0.99
    auto = lape(drawn, share=0.01, penalty="auto")
    assert 0 <= auto.penalty <= 0.2
    assert not (auto.reach[auto.chosen] == 10).any()
    above = lape(drawn, share=0.01, penalty=auto.penalty + 0.002)
    assert (above.reach[above.chosen] == 10).any() or auto.penalty == 0.2


def test_what_leaves_it_as_it_is(model):
    one = neuron_kinds(model, make_tokenizer(), TEXTS, share=0.1)
    other = neuron_kinds(model, make_tokenizer(), dict(reversed(TEXTS.items())), share=0.1, site_bytes=1)
    assert one.rows == other.rows
    assert one.about["languages"] == {code: other.about["languages"][code] for code in TEXTS}


def rows(of_languages, general):
    return [
        {"layer": at, "neurons": 9, "specific": one, "related": 0, "general": other, "stage": ""}
        for at, (one, other) in enumerate(zip(of_languages, general, strict=True))
    ]


def test_stages_are_told_where_they_can_be(tmp_path):
    found = NeuronKinds(rows([9, 7, 1, 0, 0, 5, 8, 6], [2, 3, 8, 9, 9, 4, 1, 5]))
    assert [len(layers) for layers in found.stages().values()] == [2, 3, 2, 1]
    assert NeuronKinds(rows([1, 2], [0, 0])).stages() is None
    assert NeuronKinds(rows([1, 9, 1], [9, 1, 9])).stages() is None
    assert NeuronKinds.load(found.save(tmp_path / "kinds.json")).rows == found.rows


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"texts": {"eng_Latn": ["Hi."]}}, "at least 2 are needed"),
        ({"prompts": {"eng_Latn": ["It"], "deu_Latn": ["Re"], "spa_Latn": ["¿"]}}, "holds 1, for 2 texts"),
        ({"prompts": {code: ["No", "No"] for code in TEXTS}}, "entry 0, is no prompt with an answer behind"),
        ({"prompts": {"eng_Latn": ["It", "Where"]}}, "prompts has eng_Latn, and texts has"),
        ({"share": 0.0001}, "rounds to 0 neurons"),
    ],
)
def test_what_is_refused(model, change, match):
    given = {"texts": TEXTS} | change
    with pytest.raises(ArgumentError, match=match):
        neuron_kinds(model, make_tokenizer(), **given)
