"""Recordings in place of texts: units are found, steered and aligned in a speech encoder."""

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from tests.tiny_speech import make_audio_pairs, make_speech_model
from xalign import AlignmentObjective, UnitSet, find_units, measure, steer
from xalign.errors import ArgumentError, ArgumentTypeError, ModelError
from xalign.model.audio_inputs import AudioInputs

PAIRS = make_audio_pairs(8)
TEXTS = PAIRS.texts


@pytest.fixture(scope="module")
def found():
    model, extractor = make_speech_model("wav2vec2")
    return model, extractor, find_units(model, extractor, TEXTS, share=0.05)


def test_units_are_found_saved_and_loaded(found, tmp_path):
    model, extractor, units = found
    assert units.labels == list(TEXTS) and len(units["deu_Latn"]) == 7
    assert max(unit.score for unit in units["deu_Latn"]) > 0.6, "chance is a third"
    units.save_pretrained(tmp_path / "units")
    again = UnitSet.from_pretrained(tmp_path / "units")
    assert list(again) == list(units) and again.provenance["texts"]["deu_Latn"] == 8
    lape = find_units(model, extractor, TEXTS, method="lape", share=0.1)
    assert set(lape.labels) <= set(TEXTS)


def test_steering_reaches_real_frames_and_no_padding(found):
    model, extractor, units = found
    inputs = AudioInputs(model, extractor)
    recordings = [TEXTS["fra_Latn"][0], TEXTS["eng_Latn"][1]]  # the second is shorter
    (batch,) = inputs.batches(inputs.encode(recordings).lines)
    given = dict(batch.inputs.items())
    with torch.no_grad():
        before = model(**given).last_hidden_state
        with steer(model, units["deu_Latn"], operator="zero") as steered:
            after = model(**given).last_hidden_state
        again = model(**given).last_hidden_state
    assert torch.equal(before, again)
    changed = (before != after).any(-1)
    assert changed[batch.real].all()
    assert steered is not None


def test_a_speech_model_is_measured_while_steered(found):
    model, extractor, units = found
    plain = measure(model, extractor, PAIRS, ["margin"], pool="mean")
    steered = measure(
        model, extractor, PAIRS, ["margin"], pool="mean", steered=lambda code: steer(model, units["deu_Latn"])
    )
    assert plain.score("margin") != steered.score("margin")


def test_features_without_a_mask_are_not_steered():
    model, extractor = make_speech_model("whisper")
    units = find_units(model, extractor, TEXTS, k=2)
    features = extractor(
        TEXTS["eng_Latn"][0].samples, sampling_rate=16_000, return_tensors="pt"
    ).input_features
    with pytest.raises(ArgumentError, match="without an attention_mask"), steer(model, units["deu_Latn"]):
        model(features)


def test_alignment_moves_a_speech_encoder():
    model, extractor = make_speech_model("wav2vec2")
    objective = AlignmentObjective(model, extractor, PAIRS, layer=[1], batch_size=8, pool="mean")
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for step in range(6):
        loss = objective(step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1, losses


def test_spoken_and_written_labels_are_not_mixed(found):
    model, extractor, _ = found
    with pytest.raises(ArgumentError, match="labels that are spoken and labels that are written"):
        find_units(model, extractor, {"eng_Latn": TEXTS["eng_Latn"], "deu_Latn": ["Guten Tag."]})
    with pytest.raises(ModelError, match="LlamaForCausalLM reads text"):
        find_units(make_model("llama"), make_tokenizer(), TEXTS)
    with pytest.raises(ArgumentTypeError, match="need the model's feature extractor"):
        find_units(model, make_tokenizer(), TEXTS)
