"""One adapter per language: the pivot and every other language stay what they are."""

import copy

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file

from tests.tiny import make_model, make_tokenizer
from tests.training.runs import BUNDLED, rows_of, training_pairs
from xalign import AlignmentObjective, measure
from xalign.errors import ArgumentError, ModelError
from xalign.judging import identify_language
from xalign.training.adapters import LanguageAdapters

CONFIG = LoraConfig(r=4, target_modules=["q_proj", "down_proj"])
IDS = torch.arange(5, 29).reshape(2, 12)


def adapters_of(*languages, seed=0):
    torch.manual_seed(seed)
    return LanguageAdapters(make_model("llama"), CONFIG, languages=languages)


def logits(adapters, language):
    with adapters.use(language), torch.no_grad():
        return adapters.model(IDS).logits


def train(adapters, language, steps=3, **options):
    """A few steps on the pairs of one language; returns the losses."""
    pairs = training_pairs().only([language])
    losses = []
    with adapters.use(language):
        objective = AlignmentObjective(
            adapters.model, make_tokenizer(), pairs, loss="cosine", layer=1, frozen_pivot=True, **options
        )
        trained = [one for one in adapters.model.parameters() if one.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-2)
        for step in range(steps):
            loss = objective(step)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    return losses


@pytest.mark.thorough
def test_english_and_other_languages_stay_equal_to_the_bit():
    plain = make_model("llama")(IDS).logits
    adapters = adapters_of("deu_Latn", "spa_Latn")
    train(adapters, "deu_Latn")
    german = logits(adapters, "deu_Latn")
    assert torch.equal(logits(adapters, "eng_Latn"), plain)
    assert torch.equal(logits(adapters, "spa_Latn"), plain)  # not trained yet
    assert not torch.equal(german, plain)
    adapters.add("rus_Cyrl", CONFIG)  # later
    train(adapters, "spa_Latn")
    assert torch.equal(logits(adapters, "deu_Latn"), german)
    assert torch.equal(logits(adapters, "eng_Latn"), plain)
    assert adapters.languages == ["deu_Latn", "spa_Latn", "rus_Cyrl"]


def test_the_pivot_is_the_untrained_model(monkeypatch):
    """The loss is that between sentences with the adapter and pivot sentences of the base."""
    adapters = adapters_of("deu_Latn")
    losses = train(adapters, "deu_Latn", steps=6, batch_size=8)
    base, tokenizer = make_model("llama"), make_tokenizer()
    objective = AlignmentObjective(
        base, tokenizer, training_pairs().only(["deu_Latn"]), loss="cosine", layer=1, batch_size=8
    )
    first, last = objective(0).item(), objective(5).item()
    assert losses[0] == pytest.approx(first, rel=1e-5)  # B is zero at first, so that the adapter does nothing
    assert losses[5] < last
    with adapters.use("deu_Latn"):
        pair = objective.pairs_of(5)
        states = {}
        for side, model in (("sentences", adapters.model), ("pivot_sentences", base)):
            found = []
            for _, row in pair:
                text = getattr(objective.pairs["deu_Latn"], side)[row]
                ids = torch.tensor([tokenizer(text)["input_ids"]])
                found.append(model(ids, output_hidden_states=True).hidden_states[2][0].mean(0))
            states[side] = torch.stack(found)
    by_hand = 1 - torch.cosine_similarity(*states.values()).mean().item()
    assert by_hand < last  # after the step it is lower still than what was measured before
    assert by_hand == pytest.approx(losses[5], abs=0.05)


def test_token_losses_take_two_forwards_of_unlike_length():
    adapters = adapters_of("deu_Latn")

    def first_tokens(language, pivot, language_mask, pivot_mask):
        assert language.shape == pivot.shape and language_mask.shape == language.shape[:2]
        assert (language[~language_mask] == 0).all() and (pivot[~pivot_mask] == 0).all()
        assert language_mask.any(1).all() and pivot_mask.any(1).all()
        return (language[:, 0] - pivot[:, 0]).square().mean()

    with adapters.use("deu_Latn"):
        objective = AlignmentObjective(
            adapters.model, make_tokenizer(), training_pairs(), loss=first_tokens, layer=1, frozen_pivot=True
        )
        assert objective(0).requires_grad


def test_saved_they_are_ordinary_adapters(tmp_path):
    adapters = adapters_of("deu_Latn", "spa_Latn")
    train(adapters, "deu_Latn")
    adapters.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["deu_Latn", "spa_Latn"]
    alone = PeftModel.from_pretrained(make_model("llama"), tmp_path / "deu_Latn").eval()
    assert torch.equal(alone(IDS).logits, logits(adapters, "deu_Latn"))
    loaded = LanguageAdapters.from_pretrained(make_model("llama"), tmp_path)
    assert repr(loaded) == "LanguageAdapters(deu_Latn, spa_Latn; pivot eng_Latn)"
    for language in ("deu_Latn", "spa_Latn", "eng_Latn"):
        assert torch.equal(logits(loaded, language), logits(adapters, language))
    assert load_file(tmp_path / "deu_Latn" / "adapter_model.safetensors")


@pytest.mark.thorough
def test_a_batch_of_several_languages():
    adapters = adapters_of("deu_Latn", "spa_Latn")
    for language in adapters.languages:
        train(adapters, language)
    texts = ["Good morning, dear people", "Guten Morgen, liebe Leute"]
    rows = adapters.rows([identify_language(text) for text in texts])
    assert rows == ["__base__", "deu_Latn"]
    with torch.no_grad():
        mixed = adapters.model.eval()(IDS, adapter_names=rows).logits
    assert torch.allclose(mixed[0], logits(adapters, "eng_Latn")[0], atol=1e-6)
    assert torch.allclose(mixed[1], logits(adapters, "deu_Latn")[1], atol=1e-6)


@pytest.mark.thorough
def test_measured_each_language_runs_with_its_adapter():
    adapters = adapters_of("deu_Latn", "spa_Latn")
    pairs = rows_of(BUNDLED, 100, 110).only(["deu_Latn", "spa_Latn"])
    before = measure(adapters.model, make_tokenizer(), pairs, ["mexa"], steered=adapters.use)
    train(adapters, "deu_Latn")
    after = measure(adapters.model, make_tokenizer(), pairs, ["mexa"], steered=adapters.use)
    assert after.score("mexa", "spa_Latn") == before.score("mexa", "spa_Latn")


def test_what_is_active_and_trainable_comes_back():
    adapters = adapters_of("deu_Latn", "spa_Latn")
    adapters.model.set_adapter("spa_Latn")
    before = {name: one.requires_grad for name, one in adapters.model.named_parameters()}
    weights = copy.deepcopy(adapters.model.state_dict())
    for language in ("deu_Latn", "eng_Latn"):
        with pytest.raises(RuntimeError, match="stop"), adapters.use(language):
            raise RuntimeError("stop")
        assert adapters.model.active_adapter == "spa_Latn"
        assert {name: one.requires_grad for name, one in adapters.model.named_parameters()} == before
    assert all(torch.equal(weights[name], one) for name, one in adapters.model.state_dict().items())


def test_bad_input(tmp_path):
    adapters = adapters_of("deu_Latn")
    with pytest.raises(ArgumentError, match="language='spa' has no adapter; there is deu_Latn"):
        adapters.use("spa").__enter__()
    with pytest.raises(ArgumentError, match="'und' is unknown.* Of adapters there is deu_Latn, and eng_Latn"):
        adapters.rows(["de", "und"])  # what an identifier says of a text whose language it does not know
    with pytest.raises(ArgumentError, match="has no adapter"):
        adapters.rows(["eng_Latn", "rus_Cyrl"])
    with pytest.raises(ArgumentError, match="eng_Latn, the pivot"):
        adapters.add("eng", CONFIG)
    with pytest.raises(ArgumentError, match="has an adapter already"):
        adapters.add("de", CONFIG)
    with pytest.raises(ArgumentError, match="config is needed"):
        adapters.add("es", None)
    with pytest.raises(ArgumentError, match="languages is empty"):
        LanguageAdapters(make_model("llama"), CONFIG)
    with pytest.raises(ArgumentError, match="holds no adapters"):
        LanguageAdapters.from_pretrained(make_model("llama"), tmp_path)
    adapters.model.add_adapter("default", CONFIG)
    with pytest.raises(ArgumentError, match="'default' is not named by a language's code"):
        LanguageAdapters(adapters.model)
    with pytest.raises(ModelError, match="frozen_pivot=True runs pivot sentences with the adapters off"):
        AlignmentObjective(make_model("llama"), make_tokenizer(), training_pairs(), frozen_pivot=True)
