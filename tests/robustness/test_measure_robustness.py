"""Bits that survive, against plain loops over the hidden states that transformers gives."""

import json

import numpy as np
import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign import ParallelPairs, load_pairs, measure
from xalign.errors import ArgumentError, PairsError
from xalign.robustness import Perturbation, load_look_alikes, measure_robustness, perturb

N = 24


@pytest.fixture(scope="module")
def model():
    return make_model("llama"), make_tokenizer()


@pytest.fixture(scope="module")
def pairs():
    return load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=N)


@pytest.fixture(scope="module")
def found(model, pairs):
    return measure_robustness(*model, pairs, seed=3)


def states_of(model, tokenizer, sentences):
    """The position-weighted hidden states of MEXA, [layer][sentence], one sentence at a time."""
    per_sentence = []
    for sentence in sentences:
        ids = torch.tensor([tokenizer(sentence)["input_ids"]])
        with torch.no_grad():
            hidden = model(ids, output_hidden_states=True).hidden_states
        weights = torch.arange(1, ids.shape[1] + 1, dtype=torch.float64)
        weights /= weights.sum()
        per_sentence.append([(weights[:, None] * layer[0].double()).sum(dim=0).numpy() for layer in hidden])
    return [np.array(layer) for layer in zip(*per_sentence, strict=True)]


def cosine(one, other):
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


@pytest.mark.parametrize(
    ("kind", "side"), [("negation", "languages"), ("numbers", "pivot"), ("typos", "languages")]
)
def test_against_plain_loops(model, kind, side):
    """A sentence keeps its bit if its translation is nearer than all others, changed ones too."""
    text = {
        "en": [
            "It is 5 o'clock.",
            "The cat was hungry.",
            "There are 7 days.",
            "He saw 31 birds at sea.",
            "No.",
        ],
        "de": [
            "Es ist 5 Uhr.",
            "Die Katze war hungrig.",
            "Es gibt 7 Tage.",
            "Er sah 31 Vögel am Meer.",
            "Nein.",
        ],
    }
    pairs = ParallelPairs(text)
    changed = perturb(pairs, kind, side=side, seed=2)
    bitext, new = pairs["de"], changed.pairs["de"]
    pivot, own = (states_of(*model, one) for one in (bitext.pivot_sentences, bitext.sentences))
    new_pivot, new_own = (states_of(*model, one) for one in (new.pivot_sentences, new.sentences))
    rows = [row for row, is_changed in enumerate(changed.changed["deu_Latn"]) if is_changed]
    assert 1 < len(rows) < 6

    def bit(layer, i, pivots, others, more_pivots=(), more_others=()):
        true = cosine(pivots[layer][i], others[layer][i])
        rivals = [cosine(pivots[layer][i], others[layer][j]) for j in range(5) if j != i]
        rivals += [cosine(pivots[layer][j], others[layer][i]) for j in range(5) if j != i]
        rivals += [cosine(pivots[layer][i], other) for other in more_others]
        rivals += [cosine(other, others[layer][i]) for other in more_pivots]
        return true > max(rivals) + 1e-12

    before = [[bit(layer, i, pivot, own) for i in rows] for layer in range(len(pivot))]
    if kind == "typos":
        after = [[bit(layer, i, new_pivot, new_own) for i in rows] for layer in range(len(pivot))]
    else:
        more = [
            {"more_pivots": new_pivot[layer][rows]}
            if side == "pivot"
            else {"more_others": new_own[layer][rows]}
            for layer in range(len(pivot))
        ]
        after = [[bit(layer, i, pivot, own, **more[layer]) for i in rows] for layer in range(len(pivot))]
    found = measure_robustness(*model, pairs, [kind], ["mexa"], side=side, seed=2)
    bits = found.survival(kind, "mexa", "de")
    assert bits.before.tolist() == before
    assert bits.after.tolist() == after
    kept = np.sum(np.array(before) & np.array(after)) / np.sum(before)
    assert bits.survived == pytest.approx(kept)
    (row,) = found.to_rows()
    assert (row["changed"], row["n"], row["survived"]) == (len(rows), 5, pytest.approx(kept))
    assert row["difference"] == pytest.approx(np.mean(after) - np.mean(before))
    assert row["competes"] == (kind != "typos")


def test_it_starts_from_what_measure_gives(model, pairs, found):
    report = measure(*model, pairs, ["nasca", "mexa"])
    for kind in ("negation", "typos"):
        rows = np.flatnonzero(perturb(pairs, kind, seed=3).changed["deu_Latn"])
        for metric in ("nasca", "mexa"):
            values = report.metrics[metric].values["deu_Latn"].numpy()
            assert (found.survival(kind, metric, "de").before == values[:, rows]).all()
            assert found.layers[metric] == list(report.metrics[metric].layers)


def test_what_takes_the_place_is_measured_as_any_pairs_are(model, pairs, found):
    changed = perturb(pairs, "typos", seed=3)
    report = measure(*model, changed.pairs, ["nasca"])
    rows = np.flatnonzero(changed.changed["spa_Latn"])
    after = report.metrics["nasca"].values["spa_Latn"].numpy()[:, rows]
    assert (found.survival("typos", "nasca", "es").after == after).all()


def test_a_rival_takes_bits_and_gives_none(found):
    rows = [row for row in found.to_rows() if row["changed"]]
    assert {row["kind"] for row in rows} >= {"negation", "word_order", "typos"}
    for row in rows:
        if row["competes"]:
            assert row["chance"] == 0.5
            bits = found.survival(row["kind"], row["metric"], row["language"])
            assert not (bits.after & ~bits.before).any()
            assert row["after"] <= row["before"]
            if row["floor_survived"] is not None:
                assert 0 <= row["floor_survived"] <= 1


def test_rows_table_and_layers(found):
    rows = found.to_rows()
    assert len(rows) == 5 * 2 * 2
    json.dumps(rows)
    assert found.table().row_count == len(rows)
    for row in (row for row in rows if row["changed"]):
        if row["survived"] is not None:
            assert row["survived_low"] <= row["survived"] <= row["survived_high"]
        layers = found.by_layer(row["kind"], row["metric"], row["language"])
        assert np.mean([one["before"] for one in layers]) == pytest.approx(row["before"])
        assert np.mean([one["after"] for one in layers]) == pytest.approx(row["after"])
    assert "typos" in repr(found)


def test_the_order_of_pairs_does_not_matter(model, pairs):
    order = list(np.random.default_rng(0).permutation(N))
    there, back = (
        measure_robustness(*model, one, ["negation"], ["mexa"]).to_rows()
        for one in (pairs, pairs.rows(order))
    )
    for row, other in zip(there, back, strict=True):
        assert (row["before"], row["after"], row["survived"]) == pytest.approx(
            (other["before"], other["after"], other["survived"])
        )


def test_changes_that_a_model_cannot_see_take_every_bit(model, pairs):
    """A rival with the same tokens has the same states: it ties, and ties lose."""
    tokenizer = model[1]
    blind = Perturbation("blind", lambda given: given.sentence + "\u200b", keeps_meaning=False)

    class Deaf(type(tokenizer)):
        def __call__(self, text, *args, **options):
            strip = lambda one: one.replace("\u200b", "")  # noqa: E731
            return super().__call__(
                strip(text) if isinstance(text, str) else [*map(strip, text)], *args, **options
            )

    deaf = Deaf(tokenizer_object=tokenizer.backend_tokenizer, pad_token="<pad>", bos_token="<s>")
    (row, _) = measure_robustness(model[0], deaf, pairs, [blind], ["mexa"]).to_rows()
    assert row["before"] > 0
    assert (row["after"], row["survived"], row["floor_survived"]) == (0, 0, 0)


def test_documents_are_resampled(model, pairs):
    texts = {code: list(text) for code, text in pairs.texts.items()}
    named = ParallelPairs(texts, documents=[str(row // 3) for row in range(N)])
    plain, grouped = (
        measure_robustness(*model, one, ["typos"], ["mexa"]).to_rows()[0] for one in (pairs, named)
    )
    assert (plain["documents"], grouped["documents"]) == (None, 8)
    assert plain["survived"] == grouped["survived"]
    assert np.ptp([grouped["survived_low"], grouped["survived_high"]]) > np.ptp(
        [plain["survived_low"], plain["survived_high"]]
    )


def test_what_cannot_be_changed_has_no_numbers(model):
    text = {"en": ["Go!", "Come in."], "de": ["Geh!", "Komm herein."]}
    found = measure_robustness(*model, ParallelPairs(text), ["numbers"], ["mexa"])
    (row,) = found.to_rows()
    assert row["changed"] == 0
    assert row["survived"] is None
    assert row["p"] is None
    assert found.table().row_count == 1
    with pytest.raises(ArgumentError, match="no sentence could be changed"):
        found.survival("numbers", "mexa", "de")


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((["typos"], ["margin"]), {}, "'margin'.* are no shares"),
        ((["typos"], ["cka"]), {}, "are no shares"),
        ((["spelling"],), {}, "must be of entities"),
        (([],), {}, "must be of entities"),
        ((["typos", "typos"],), {}, "names a kind twice"),
        ((["typos"],), {"side": "both"}, "must be 'languages' or 'pivot'"),
    ],
)
def test_what_is_refused(model, pairs, arguments, options, message):
    with pytest.raises(ArgumentError, match=message):
        measure_robustness(*model, pairs, *arguments, **options)


# Look-alikes.


def write_paws(folder, changes=None):
    names = [("Rom", "Bonn"), ("Oslo", "Bern"), ("Rom", "Bonn"), ("Wien", "Prag")]
    for code, words in (("eng_Latn", "Flights from {} to {}."), ("deu_Latn", "Flüge von {} nach {}.")):
        lines = [
            {
                "id": row,
                "sentence1": words.format(*two),
                "sentence2": words.format(*two[::-1]),
                "label": row % 2,
            }
            for row, two in enumerate(names)
        ]
        for row, fields in (changes or {}).get(code, {}).items():
            lines[row] |= fields
        (folder / f"{code}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (folder / "README.md").write_text("not a language", encoding="utf-8")
    return folder


def test_look_alikes_compete_and_paraphrases_replace(model, tmp_path):
    found = load_look_alikes(write_paws(tmp_path))
    assert [one.split()[2] for one in found.pairs["de"].sentences] == ["Rom", "Oslo", "Wien"]
    assert found.pairs["de"].ids == ("0", "1", "3")
    alike, same = (perturb(found.pairs, kind) for kind in (found.look_alikes, found.paraphrases))
    assert alike.changed["deu_Latn"] == (True, False, False)
    assert same.changed["deu_Latn"] == (False, True, True)
    assert alike.pairs["de"].sentences[0] == "Flüge von Bonn nach Rom."
    rows = measure_robustness(*model, found.pairs, [found.look_alikes, found.paraphrases], ["mexa"]).to_rows()
    assert [(row["kind"], row["competes"], row["changed"]) for row in rows] == [
        ("look_alikes", True, 1),
        ("paraphrases", False, 2),
    ]
    assert len(load_look_alikes(tmp_path, n=2).pairs["de"]) == 2


def test_the_files_as_published(tmp_path):
    for code, words in (("en", "The cat"), ("de", "Die Katze")):
        (tmp_path / code).mkdir()
        rows = [("id", "sentence1", "sentence2", "label")]
        rows += [("1", f'"{words} 1', f"{words} 2", "0"), ("2", f"{words} 3", f"{words} 4", "1")]
        text = "\n".join(map("\t".join, rows))
        (tmp_path / code / "test_2k.tsv").write_text(text, encoding="utf-8")
    found = load_look_alikes(tmp_path, ["de"])
    assert found.pairs["de"].sentences == ('"Die Katze 1', "Die Katze 3")
    assert perturb(found.pairs, found.look_alikes).counts == {"deu_Latn": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deu_Latn": {1: {"label": 0}}}, "are not those of eng_Latn"),
        ({"deu_Latn": {1: {"id": 7}}}, "are not those of eng_Latn"),
        ({"deu_Latn": {1: {"label": 2}}}, "pair 2: it must have"),
        ({"deu_Latn": {0: {"sentence2": ""}}}, "pair 1: it must have"),
    ],
)
def test_files_that_do_not_fit(tmp_path, changes, message):
    with pytest.raises(PairsError, match=message):
        load_look_alikes(write_paws(tmp_path, changes))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ArgumentError, match="holds no file like"):
        load_look_alikes(tmp_path / "none")
    write_paws(tmp_path)
    with pytest.raises(ArgumentError, match="not among the files"):
        load_look_alikes(tmp_path, ["fr"])
    with pytest.raises(ArgumentError, match="pivot=fra_Latn is not among"):
        load_look_alikes(tmp_path, ["de"], pivot="fr")
