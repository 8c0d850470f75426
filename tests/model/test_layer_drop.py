"""Models that leave out blocks while they train: an alignment loss reads every block all the same."""

import pytest
import torch

from tests.pairs_of_stacks import make_pair
from tests.tiny import make_tokenizer
from tests.tiny_speech import make_audio_pairs, make_speech_model
from tests.training.runs import training_pairs
from xalign.model.layer_drop import without_layer_drop
from xalign.training.objective import AlignmentObjective

NO_DROPOUT = dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), 0.0)


def of_text(chance):
    model = make_pair("m2m_100", encoder_layerdrop=chance, **NO_DROPOUT)
    return model, make_tokenizer(), training_pairs(), model.model.encoder


def of_speech(chance):
    model, extractor = make_speech_model("wav2vec2")
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.config.layerdrop, model.config.apply_spec_augment = chance, False
    for name in ("attention_dropout", "activation_dropout", "hidden_dropout"):
        setattr(model.config, name, 0.0)
    for layer in model.encoder.layers:
        layer.attention.dropout = 0.0
    return model, extractor, make_audio_pairs(6), model.config


@pytest.mark.parametrize("make", [of_text, of_speech])
def test_pairs_run_through_every_block_and_the_task_does_not(make):
    model, processing, pairs, holder = make(0.97)
    objective = AlignmentObjective(model, processing, pairs, loss="contrastive", batch_size=4, chunk_size=2)
    expected = objective(0).item()
    model.train()
    for attempt in range(3):
        torch.manual_seed(attempt)
        loss = objective(0)
        loss.backward()
        assert loss.item() == pytest.approx(expected, abs=1e-6)
    assert holder.layerdrop == 0.97
    ran, block = [], (model.model.encoder if make is of_text else model.encoder).layers[0]
    block.register_forward_hook(lambda *_: ran.append(1))
    batch = objective.inputs.batches(objective._stream.draw(0).pivot_lines)[0].to("cpu")
    torch.manual_seed(0)
    (model.model.encoder if make is of_text else model)(**batch)
    assert not ran  # the model's own forward still drops


def test_what_was_set_is_put_back_after_an_error():
    model, _, _, holder = of_text(0.5)
    with pytest.raises(KeyError), without_layer_drop(model):
        assert holder.layerdrop == model.config.encoder_layerdrop == 0.0
        raise KeyError
    assert holder.layerdrop == model.config.encoder_layerdrop == 0.5
