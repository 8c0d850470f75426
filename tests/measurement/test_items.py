"""`measure_items`: the bits of every item and layer by hand, what is read, and what is refused."""

import pytest
import torch

import xalign
from tests.metrics.test_dali import by_hand
from tests.tiny import LAYERS, make_model, make_tokenizer
from xalign.errors import ArgumentError, PairsError
from xalign.judging.answers import agreement, answer_items
from xalign.measurement.items import measure_items
from xalign.metrics.weak_alignment import weak_alignment
from xalign.pairs.item import Choice, MinimalPair
from xalign.pairs.items import ParallelItems

ENDINGS = {"eng_Latn": ("now", "never"), "deu_Latn": ("jetzt", "nie"), "spa_Latn": ("ahora", "nunca")}


@pytest.fixture(scope="module")
def items():
    """Twelve choices; some end in tokens that differ, so that their embeddings do not tie."""
    pairs = xalign.load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=12)
    return ParallelItems(
        {code: [Choice(one, ENDINGS[code], 0) for one in side] for code, side in pairs.texts.items()},
        source="mine",
    )


@pytest.fixture(scope="module")
def model():
    return make_model("llama")


def last_states(model, texts):
    """[hidden state, text, width] at the last position, one text at a time, without xalign."""
    tokenizer, found = make_tokenizer(), []
    with torch.no_grad():
        for text in texts:
            states = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states
            found.append(torch.stack([one[0, -1] for one in states]))
    return torch.stack(found, dim=1)


@pytest.fixture(scope="module")
def report(model, items):
    return measure_items(model, make_tokenizer(), items)


def test_the_bits_by_hand(model, items, report):
    states = {
        code: last_states(model, [text for item in items[code] for text in item.texts]).unflatten(1, (12, 2))
        for code in items
    }
    layers = report.metrics["dali"].layers
    assert layers == ("embed", *range(LAYERS - 1))  # the final state is left out
    for language in items.languages:
        for number, layer in enumerate(layers):
            sides = states["eng_Latn"][number], states[language][number]
            for row, strong in (("dali", False), ("dali_strong", True)):
                expected = by_hand(*sides, strong)
                assert report.per_sentence(row, language, layer).tolist() == expected
    bits = report.metrics["dali"].values["deu_Latn"]
    assert 0 < bits.sum() < bits.numel()
    assert report.score("dali", "deu_Latn") == pytest.approx(bits.double().mean().item())
    assert report.score("dali", "deu_Latn", over="max") == bits.double().mean(dim=1).max().item()


def test_contexts_by_hand(model, items, report):
    states = {code: last_states(model, [item.context for item in items[code]]) for code in items}
    for number, layer in enumerate(report.metrics["mexa_t"].layers):
        sides = [
            torch.nn.functional.normalize(states[code][number].double()) for code in ("eng_Latn", "spa_Latn")
        ]
        expected = weak_alignment(torch.round(sides[0] @ sides[1].T, decimals=9))
        assert report.per_sentence("mexa_t", "spa_Latn", layer).tolist() == expected.tolist()
    assert report.floor("mexa_t", "spa_Latn") is not None and report.floor("dali", "spa_Latn") is None


def test_chance_and_provenance(items, report, tmp_path):
    assert report.chance("dali", "deu_Latn") == pytest.approx(1 / 6)
    assert report.chance("dali_strong", "deu_Latn") == pytest.approx(1 / 15)
    assert report.provenance["items"] == {
        "fingerprint": items.fingerprint,
        "options": 2,
        "include_final": False,
    }
    assert report.provenance["pool"] == "last" and report.pairs["deu_Latn"].sentences[0].endswith(
        "jetzt\nnie"
    )
    report.save(tmp_path / "report")
    again = xalign.AlignmentReport.load(tmp_path / "report")
    assert again.score("dali") == report.score("dali") and again.compare(report)


def test_what_is_read_can_be_chosen(model, items):
    with_final = measure_items(
        model, make_tokenizer(), items, ["dali"], include_final=True, include_embedding=False
    )
    assert with_final.metrics["dali"].layers == (*range(LAYERS - 1), "final")
    alone = measure_items(model, make_tokenizer(), items.only(["de"]), ["dali"], token_budget=40)
    whole = measure_items(model, make_tokenizer(), items, ["dali"])
    assert torch.equal(alone.metrics["dali"].values["deu_Latn"], whole.metrics["dali"].values["deu_Latn"])
    assert alone.cost.peak_bytes == whole.cost.peak_bytes  # flat in languages


def test_four_options(model):
    sides = {
        code: [Choice(f"{code} {k}", ("a", "b", "c", "d")) for k in range(3)]
        for code in ("eng_Latn", "deu_Latn")
    }
    report = measure_items(model, make_tokenizer(), ParallelItems(sides), ["dali"])
    assert report.chance("dali", "deu_Latn") == pytest.approx(5.5e-4, abs=5e-6)


def test_what_is_refused(model, items, as_for_users):
    tokenizer = make_tokenizer()
    with pytest.raises(
        ArgumentError, match=r"metrics=\['mexa'\] are of pairs of sentences: use measure; .* dali"
    ):
        measure_items(model, tokenizer, items, ["mexa"])
    with pytest.raises(PairsError, match="the items must be the same in the pivot and"):
        measure_items(model, tokenizer, items.only([]))
    with pytest.raises(PairsError, match="these are minimal pairs; only choices"):
        pair = MinimalPair("he laughs", "he laugh")
        measure_items(model, tokenizer, ParallelItems({"en": [pair, pair], "de": [pair, pair]}))
    mixed = [Choice("It rains.", ("a", "b")), Choice("It snows.", ("a", "b", "c"))]
    with pytest.raises(PairsError, match="items have 2 to 3 options"):
        measure_items(model, tokenizer, ParallelItems({"en": mixed, "de": mixed}))
    twice = [Choice("It rains.", ("a", "b")), Choice("It rains.", ("c", "d"))]
    with pytest.raises(ArgumentError, match=r"1 context\(s\) in eng_Latn repeat"):
        measure_items(model, tokenizer, ParallelItems({"en": twice, "de": twice}))
    assert (
        measure_items(model, tokenizer, ParallelItems({"en": twice, "de": twice}), ["dali"]).score("dali")
        >= 0
    )


@pytest.mark.realdata
@pytest.mark.filterwarnings("ignore:the pairs hold repeated sentences:UserWarning")
def test_story_cloze_end_to_end(real_text, model):
    items = xalign.load_items(real_text / "xstorycloze", ["es", "id"], n=10)
    report, answers = (
        measure_items(model, make_tokenizer(), items),
        answer_items(model, make_tokenizer(), items),
    )
    rows = agreement(report, answers)
    assert {row["language"] for row in rows} == {"ind_Latn", "spa_Latn"}
    assert all(row["n"] == 10 and 0 <= row["chance"] <= 1 for row in rows)
    copa = xalign.load_items(real_text / "xcopa" / "test", ["id", "zh_Hans"], pivot="it", n=10)
    assert 0 <= measure_items(model, make_tokenizer(), copa, ["dali"]).score("dali", "zho_Hans") <= 1
