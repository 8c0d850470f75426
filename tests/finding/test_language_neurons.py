"""Language neurons: probabilities against a count by hand, and what silences them."""

import pytest
import torch

from tests.tiny import FFN, LAYERS, make_model, make_tokenizer
from xalign import Site, load_pairs, visit
from xalign.errors import ArgumentError
from xalign.finding import label_sums as module
from xalign.finding.label_sums import label_sums
from xalign.finding.language_neurons import language_neurons
from xalign.metrics.lape import lape
from xalign.model.read import read_states
from xalign.steering.steer import steer

BUNDLED = load_pairs("bundled", n=10)
TEXTS = {code: list(BUNDLED[code].sentences) for code in ("deu_Latn", "spa_Latn", "zho_Hans")}


def gates_by_hand():
    """Per language [token, layer · neuron], sentence by sentence."""
    model, tokenizer, found = make_model("llama"), make_tokenizer(), {}
    for label, sentences in TEXTS.items():
        kept = [[] for _ in range(LAYERS)]
        handles = [
            block.mlp.gate_proj.register_forward_hook(lambda *args, kept=kept[layer]: kept.append(args[2][0]))
            for layer, block in enumerate(model.model.layers)
        ]
        with torch.no_grad():
            for text in sentences:
                model(input_ids=torch.tensor([tokenizer(text)["input_ids"]]))
        for handle in handles:
            handle.remove()
        found[label] = torch.cat([torch.cat(layer) for layer in kept], dim=1)
    return found


@pytest.mark.parametrize("penalty", [None, 0.05])
def test_what_is_counted_stored_and_chosen(penalty):
    gates = gates_by_hand()
    probability = torch.stack([(values > 0).double().mean(0) for values in gates.values()])
    expected = lape(probability, share=0.1, penalty=penalty)
    units = language_neurons(make_model("llama"), make_tokenizer(), TEXTS, share=0.1, penalty=penalty)
    for number, (label, values) in enumerate(gates.items()):
        own = expected.neurons_of(number).tolist()
        rows = [row for row in units if row.label == label]
        assert {row.site.layer * FFN + row.index for row in rows} == set(own)
        for row in rows:
            at = row.site.layer * FFN + row.index
            assert row.site == Site("gate", row.site.layer)
            assert row.score == pytest.approx(-expected.score[at].item(), abs=1e-5)
            assert row.value == pytest.approx(values[:, at].mean().item(), abs=1e-5)
    assert units.provenance["method"] == "lape"
    assert units.provenance["settings"]["penalty"] == penalty


def test_zero_at_the_gate_silences_the_neuron():
    model, seen = make_model("llama"), []
    units = language_neurons(model, make_tokenizer(), TEXTS, share=0.1)
    label = max(TEXTS, key=lambda label: sum(row.label == label for row in units))
    row = units[label].rows[0]
    look = {Site("inner", row.site.layer): lambda values: seen.append(values[..., row.index])}
    with torch.no_grad(), steer(model, units[label], operator="zero"), visit(model, look):
        model(input_ids=torch.tensor([[1, 20, 30]]))
    assert seen[0].abs().max() == 0


def test_one_label_is_refused():
    with pytest.raises(ArgumentError, match=r"texts has 1 label\(s\) \(eng_Latn\)"):
        language_neurons(make_model("llama"), make_tokenizer(), {"eng_Latn": ["It rains."]})


def test_texts_run_once_and_in_parts_give_the_same(monkeypatch):
    """They ran twice, once for each state, and an answer per sentence was kept."""
    model, tokenizer, read = make_model("llama"), make_tokenizer(), []
    texts = TEXTS | {"again": TEXTS["deu_Latn"]}  # sentences that two labels share

    def counting(model, batches, readings):
        read.append(sum(len(rows) for batch in batches for rows in batch.rows))
        return read_states(model, batches, readings)

    monkeypatch.setattr(module, "read_states", counting)
    whole = label_sums(model, tokenizer, texts)
    assert read == [40]
    for site_bytes, parts in ((5 * 2 * 4 * LAYERS * FFN, 6), (1, 30)):
        read.clear()
        found = label_sums(model, tokenizer, texts, site_bytes=site_bytes)
        assert len(read) >= parts
        assert sum(read) == 40
        for one, other in zip(whole, found, strict=True):
            assert torch.equal(one.fires, other.fires)
            assert torch.equal(one.tokens, other.tokens)
            torch.testing.assert_close(one.totals, other.totals, rtol=1e-5, atol=1e-4)
    assert torch.equal(whole[0].fires[0], whole[0].fires[3])
