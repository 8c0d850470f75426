"""Sharing groups of a model: against hooks of torch, one prompt at a time; their scores; what is refused."""

import pytest
import torch

from tests.mixtures import make_mixture
from tests.tiny import LAYERS, make_model, make_tokenizer
from xalign import ParallelPairs
from xalign.errors import ArgumentError, ReportError
from xalign.metrics.sharing_groups import GROUPS
from xalign.probing import Overlaps, Sharing, neuron_sharing

PROMPTS = {
    "eng_Latn": ["It rains today.", "Good night to you all.", "Where is the dog?"],
    "deu_Latn": ["Es regnet heute.", "Gute Nacht euch allen.", "Wo ist der Hund?"],
    "spa_Latn": ["Hoy llueve mucho.", "Buenas noches a todos.", "¿Dónde está el perro?"],
}
ANSWERS = {code: [" yes", " no", " here"] for code in PROMPTS}


def neurons(model, text):
    """The input of every down projection at the last token, without padding."""
    seen = []
    handles = [
        block.mlp.down_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0][0, -1]))
        for block in model.model.layers
    ]
    with torch.no_grad():
        model(**make_tokenizer()(text, return_tensors="pt"))
    for handle in handles:
        handle.remove()
    return seen


@pytest.fixture(scope="module")
def model():
    return make_model("llama")


@pytest.fixture(scope="module")
def found(model):
    return neuron_sharing(model, make_tokenizer(), PROMPTS, answers=ANSWERS, top=0.1)


def test_groups_and_scores_are_those_of_single_forwards(model, found):
    """All columns from loops over prompts and neurons, within 1e-5."""
    tokenizer = make_tokenizer()
    by_text = {code: [neurons(model, text) for text in own] for code, own in PROMPTS.items()}
    for layer in range(LAYERS):
        weight = model.model.layers[layer].mlp.down_proj.weight.detach()
        totals = {name: dict.fromkeys(GROUPS, 0.0) for name in ("share", "contribution", "top", "effective")}
        always = {name: set(range(80)) for name in GROUPS}
        for item in range(3):
            values = torch.stack([by_text[code][item][layer] for code in PROMPTS])
            reach = (values > 0).sum(dim=0).tolist()
            names = [{0: GROUPS[0], 1: GROUPS[1], 3: GROUPS[3]}.get(count, GROUPS[2]) for count in reach]
            for name in GROUPS:
                own = [unit for unit in range(80) if names[unit] == name]
                always[name] &= set(own)
                totals["share"][name] += len(own) / 80 / 3
                for number, code in enumerate(PROMPTS):
                    scores = values[number].abs() * weight.norm(dim=0)
                    best = sorted(range(80), key=lambda unit: -scores[unit])[:8]
                    answer = tokenizer(ANSWERS[code][item], add_special_tokens=False)["input_ids"][0]
                    towards = model.model.embed_tokens.weight[answer].detach() @ weight
                    totals["contribution"][name] += float(scores[own].sum() / scores.sum()) / 9
                    totals["top"][name] += len(set(best) & set(own)) / 8 / 9
                    totals["effective"][name] += float((values[number] * towards)[own].sum()) / 9
        for name in GROUPS:
            (row,) = found.where(layer=layer, group=name)
            for column, own in totals.items():
                assert row[column] == pytest.approx(own[name], abs=1e-5), (layer, name, column)
            assert row["always"] == pytest.approx(len(always[name]) / 80)
            assert row["low"] <= row["share"] <= row["high"] and row["least"] <= row["share"] <= row["most"]


def test_the_corpus_counts_languages_that_activate_a_neuron_for_most_items(model, found):
    rates = torch.stack(
        [
            torch.stack([(neurons(model, text)[0] > 0).double() for text in own]).mean(dim=0)
            for own in PROMPTS.values()
        ]
    )
    share = ((rates > 0.5).sum(dim=0) == 3).double().mean().item()
    assert found.where(layer=0, group="all_shared")[0]["corpus"] == pytest.approx(share)


def test_other_items_are_those_of_mispaired_prompts(model, found):
    rolled = {
        code: [own[(at - shift) % 3] for at in range(3)] for shift, (code, own) in enumerate(PROMPTS.items())
    }
    assert all(len({rolled[code][at] for code in rolled}) == 3 for at in range(3))
    mispaired = neuron_sharing(model, make_tokenizer(), rolled)
    for group in GROUPS:
        assert found.other_items(group) == pytest.approx(mispaired.share(group))
    assert found.other_items("all_shared") != found.share("all_shared")
    many = neuron_sharing(model, make_tokenizer(), {code: own[:2] for code, own in PROMPTS.items()})
    assert many.other_items("all_shared") >= 0  # more languages than items


def test_what_leaves_it_as_it_is(model, found):
    again = neuron_sharing(model, make_tokenizer(), dict(reversed(PROMPTS.items())), top=0.1)
    for one, other in zip(found.rows, again.rows, strict=True):
        for column in ("share", "expected", "corpus", "always", "contribution", "top"):
            assert one[column] == pytest.approx(other[column], abs=1e-6)
        assert other["effective"] is None
    small = neuron_sharing(model, make_tokenizer(), PROMPTS, answers=ANSWERS, top=0.1, site_bytes=1)
    assert small.rows == found.rows  # one layer at a time


def test_shares_of_a_layer_add_up(found):
    for layer in range(LAYERS):
        for column in ("share", "expected", "other_items", "corpus", "contribution", "top"):
            total = sum(row[column] for row in found.where(layer=layer))
            assert total == pytest.approx(1, abs=1e-6), column
    assert found.share("all_shared") == pytest.approx(
        sum(row["share"] for row in found.where(group="all_shared")) / LAYERS
    )
    assert 0 < found.expected("all_shared") < found.expected("partial_shared")


def test_one_text_in_all_languages_is_shared_or_idle(model):
    same = dict.fromkeys(PROMPTS, PROMPTS["eng_Latn"])
    found = neuron_sharing(model, make_tokenizer(), same)
    assert found.share("all_shared") + found.share("non_activated") == pytest.approx(1)
    higher = neuron_sharing(model, make_tokenizer(), same, threshold=0.5)
    assert higher.share("all_shared") < found.share("all_shared")


def test_parallel_pairs_and_mixtures(model):
    pairs = ParallelPairs(PROMPTS)
    assert neuron_sharing(model, make_tokenizer(), pairs).rows[0]["group"] == "all_shared"
    mixture = neuron_sharing(make_mixture("qwen3_moe"), make_tokenizer(), PROMPTS)
    routed = [row for row in mixture.where(group="non_activated") if row["contribution"] is None]
    assert routed  # the columns of single experts are not known
    assert all(row["share"] > 0.5 for row in routed)  # most experts are not chosen


def test_it_is_saved_and_loaded(found, tmp_path):
    file = found.save(tmp_path / "sharing.json")
    again = Sharing.load(file)
    assert again.rows == found.rows and dict(again.about) == dict(found.about)
    assert len(again.table().rows) == 4 * LAYERS
    with pytest.raises(ReportError, match="is no file of xalign.Overlaps that this version can read"):
        Overlaps.load(file)
    file.write_text(file.read_text().replace('"share"', '"part"'))
    with pytest.raises(ReportError, match="rows"):
        Sharing.load(file)
    with pytest.raises(ReportError, match="no file of xalign.Sharing"):
        Sharing.load(tmp_path / "nothing.json")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"prompts": {"eng_Latn": ["Hi."]}}, "at least 2 languages"),
        ({"prompts": PROMPTS | {"deu_Latn": ["Hallo."]}}, "the same items in every language.*deu_Latn 1"),
        ({"top": 1.5}, "top=1.5 must be at most 1"),
        ({"answers": {"eng_Latn": [" a", " b", " c"]}}, "answers of deu_Latn: none, for 3 prompts"),
        (
            {"answers": ANSWERS | {"spa_Latn": ["", " b", " c"]}},
            "answers of spa_Latn, entries 0: they add no",
        ),
    ],
)
def test_what_is_refused(model, change, match):
    given = {"prompts": PROMPTS} | change
    with pytest.raises(ArgumentError, match=match):
        neuron_sharing(model, make_tokenizer(), given.pop("prompts"), **given)


def test_unknown_groups_and_columns(found):
    with pytest.raises(ArgumentError, match="group='shared' must be one of non_activated"):
        found.share("shared")
    with pytest.raises(ArgumentError, match="'size' is no column of xalign.Sharing"):
        found.where(size=3)
