"""`with_alignment(Seq2SeqTrainer)` on translation models that mark languages, and on Whisper: transport."""

from dataclasses import replace
from functools import partial

import ot
import pytest
import torch
from transformers import (
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    WhisperConfig,
    WhisperForConditionalGeneration,
    set_seed,
)

from tests.marking_tokenizers import make_m2m100, make_mbart, make_nllb
from tests.pairs_of_stacks import make_pair
from tests.tiny_speech import FAMILIES, make_audio_pairs, noise
from tests.training.runs import COMMON, first_gradients, gradients_of, minus, relative_difference, rows_of
from xalign import AlignmentCallback, ParallelPairs, load_pairs
from xalign.losses.transport import TRANSPORT, transport
from xalign.training.config import AlignmentConfig
from xalign.training.trainer import with_alignment

PAIRS = load_pairs("bundled", ["deu_Latn", "zho_Hans"]).first(60)
MEASURED = rows_of(load_pairs("bundled", ["deu_Latn", "zho_Hans"]), 70, 80)
EXACT = replace(TRANSPORT, fn=partial(transport, tolerance=1e-5))
# The task's gradient must be the same in two runs.
STILL = dict.fromkeys(
    ("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop"), 0.0
)
SPOKEN = ("eng_Latn", "deu_Latn")
# Family -> its tokenizer, and how that names the two languages and English.
TEXT = {
    "nllb": ("m2m_100", make_nllb, {"deu_Latn": "deu_Latn", "zho_Hans": "zho_Hans", "eng_Latn": "eng_Latn"}),
    "m2m100": ("m2m_100", make_m2m100, {"deu_Latn": "de", "zho_Hans": "zh", "eng_Latn": "en"}),
    "mbart": ("mbart", make_mbart, {"deu_Latn": "de_DE", "zho_Hans": "zh_CN", "eng_Latn": "en_XX"}),
}


def translation_model(name):
    family, make, codes = TEXT[name]
    tokenizer = make()
    model = make_pair(family, **STILL, vocab_size=1100)
    rows = []
    for language in PAIRS:
        bitext = PAIRS[language].rows(range(30, 38))
        tokenizer.src_lang, tokenizer.tgt_lang = codes[language], codes["eng_Latn"]
        for source, target in zip(bitext.sentences, bitext.pivot_sentences, strict=True):
            rows.append(dict(tokenizer(source, text_target=target)))
    tokenizer.src_lang = codes["zho_Hans"]  # as a user's data preparation leaves it
    return model, tokenizer, rows, DataCollatorForSeq2Seq(tokenizer, model=model)


def speech_model():
    found = FAMILIES["whisper"]
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(WhisperConfig(**found.config))
    sounds = make_audio_pairs(8)["deu_Latn"].sentences
    features = [found.extractor(one.at(16_000), sampling_rate=16_000).input_features[0] for one in sounds]
    rows = [{"input_features": one, "labels": [5 + row, 6, 2]} for row, one in enumerate(features)]

    def collate(rows):
        return {
            "input_features": torch.stack([torch.as_tensor(row["input_features"]) for row in rows]),
            "labels": torch.tensor([row["labels"] for row in rows]),
        }

    return model, found.extractor, rows, collate


def noises(n):
    """Recordings that are in no training pair."""
    return ParallelPairs(
        {
            code: [noise(0.4 + side / 10, seed=100 * side + row) for row in range(n)]
            for side, code in enumerate(SPOKEN)
        }
    )


def make_trainer(name, alignment=None, **changes):
    set_seed(0)
    model, processing, rows, collate = speech_model() if name == "whisper" else translation_model(name)
    extra = {}
    if alignment is not None:
        pairs = make_audio_pairs(12) if name == "whisper" else PAIRS
        options = {"loss": "transport", "layer": "all", "batch_size": 4, "languages_per_batch": 2} | alignment
        extra["alignment"] = AlignmentConfig(pairs=pairs, **options)
    made = Seq2SeqTrainer if alignment is None else with_alignment(Seq2SeqTrainer)
    return made(
        model=model,
        args=Seq2SeqTrainingArguments("run", **COMMON | changes),
        train_dataset=rows,
        eval_dataset=rows[:4],
        processing_class=processing,
        data_collator=collate,
        **extra,
    )


def encoder_states(model, tokenizer, code, sentences):
    """Transformers' own states after each block, and which tokens count: all but padding and the mark."""
    tokenizer.src_lang = code
    batch = tokenizer(sentences, padding=True, return_tensors="pt")
    mark = tokenizer.convert_tokens_to_ids(f"__{code}__" if len(code) == 2 else code)
    assert (batch["input_ids"] == mark).sum() == len(sentences)
    states = []
    for block in model.get_encoder().layers:
        block.register_forward_hook(
            lambda _, __, output: states.append(output[0] if isinstance(output, tuple) else output)
        )
    model.get_encoder()(**batch)
    return states, batch["attention_mask"].bool() & (batch["input_ids"] != mark)


@pytest.mark.parametrize("name", TEXT)
def test_the_loss_is_that_of_the_encoders_states_under_each_sides_own_mark(name):
    trainer = make_trainer(name, {"loss": EXACT, "languages_per_batch": 1})
    model, tokenizer = trainer.model.eval(), trainer.processing_class
    mine = trainer.objective(3).item()
    rows = trainer.objective.pairs_of(3)
    (language,) = {code for code, _ in rows}
    bitext = PAIRS[language]
    codes, costs = TEXT[name][2], []
    with torch.no_grad():
        sides = [
            encoder_states(model, tokenizer, codes[code], [lines[row] for _, row in rows])
            for code, lines in ((language, bitext.sentences), ("eng_Latn", bitext.pivot_sentences))
        ]
    for layer in range(2):
        for pair in range(len(rows)):
            one, other = (
                torch.nn.functional.normalize(states[layer][pair][mask[pair]], dim=-1).double()
                for states, mask in sides
            )
            cost = (1 - one @ other.T).numpy()
            plan = ot.sinkhorn([], [], cost, 0.1, method="sinkhorn_log", stopThr=1e-9, numItermax=20_000)
            costs.append((plan * cost).sum())
    assert mine == pytest.approx(sum(costs) / len(costs), abs=1e-4)


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "transform"), [("nllb", None), ("whisper", "subtract_means")])
def test_the_gradient_is_the_tasks_plus_the_encoders(name, transform):
    alignment = {"transform": transform, "weight": 50.0}
    changes = {"gradient_accumulation_steps": 2}
    trainer = make_trainer(name, alignment, **changes)
    model = trainer.model.train()
    for micro_step in range(2):
        (trainer.objective(0, micro_step) / 2).backward()
    pull = gradients_of(model)
    model.zero_grad()
    assert any(".encoder.layers.1." in key and bool(grad.any()) for key, grad in pull.items())
    assert not any(".decoder.layers." in key and bool(grad.any()) for key, grad in pull.items())
    aligned, plain = first_gradients(trainer), first_gradients(make_trainer(name, **changes))
    assert relative_difference(aligned, plain) > 0.01  # not vacuous
    assert relative_difference(minus(aligned, plain), pull) < 1e-4


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", ["nllb", "whisper", *(pytest.param(name, marks=pytest.mark.slow) for name in ("m2m100", "mbart"))]
)
def test_a_run_brings_the_encoders_tokens_closer(name):
    trainer = make_trainer(name, {"batch_size": 8}, max_steps=4, learning_rate=2e-3)
    measured = noises(6) if name == "whisper" else MEASURED
    trainer.add_callback(AlignmentCallback(trainer, measured, every=4, metrics=("nasca", "mexa")))
    trainer.train()
    losses = [row["align_loss"] for row in trainer.state.log_history if "align_loss" in row]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert len([row for row in trainer.state.log_history if "eval_nasca" in row]) == 2
