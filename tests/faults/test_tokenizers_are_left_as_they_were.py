"""A tokenizer is the same after xalign has used it: a run's own collator may read every setting of it."""

import pytest
import torch
from transformers import Trainer, TrainingArguments, set_seed

from tests.model.test_inputs import nllb
from tests.monitor.training import COMMON
from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentCallback, ParallelPairs, load_pairs, measure
from xalign.judging.options import OutputOptions
from xalign.judging.probe import Probe
from xalign.judging.sample import prompt_ids
from xalign.model.inputs import Inputs, TextOptions
from xalign.training.replay import Replay

PAIRS = load_pairs("bundled", languages=["deu_Latn"], n=6)
SENTENCES = list(PAIRS["deu_Latn"].sentences)


def state_of(tokenizer):
    backend = tokenizer.backend_tokenizer
    settings = (backend.truncation, backend.padding, backend.encode_special_tokens)
    codes = backend.encode("a <s> b ab a a a a a a a a a a").ids
    return settings, codes, {name: str(value) for name, value in vars(tokenizer).items() if name[0] == "_"}


def truncate(tokenizer):
    tokenizer.backend_tokenizer.enable_truncation(9, stride=2, strategy="only_first", direction="left")


def pad(tokenizer):
    tokenizer.backend_tokenizer.enable_padding(length=7, direction="left", pad_to_multiple_of=2)


def split_special_tokens(tokenizer):
    tokenizer.backend_tokenizer.encode_special_tokens = True


def all_three(tokenizer):
    truncate(tokenizer)
    pad(tokenizer)
    split_special_tokens(tokenizer)


def plain(tokenizer):
    pass


def probe_output(model, tokenizer):
    options = OutputOptions(prompt="Es", samples=2, identify=lambda text: "deu_Latn")
    probe = Probe(model, tokenizer, {"deu_Latn": SENTENCES}, options)
    probe.unsteered_output(0)
    probe.losses()


USES = {
    "measure": lambda model, tokenizer: measure(model, tokenizer, PAIRS, template="say: {text}"),
    "prompt_ids": lambda model, tokenizer: prompt_ids(tokenizer, "Es war"),
    "evaluate": probe_output,
    "replay": lambda model, tokenizer: Replay(SENTENCES, Inputs(model, tokenizer), batch_size=2, seed=0),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("setting", [plain, truncate, pad, split_special_tokens, all_three])
def test_the_backend_keeps_its_settings(setting, use):
    """The backend had no truncation and no padding any more after a measurement."""
    tokenizer, model = make_tokenizer(), make_model("llama")
    setting(tokenizer)
    before = state_of(tokenizer)
    USES[use](model, tokenizer)
    assert state_of(tokenizer) == before


def failing(text, language):
    raise KeyboardInterrupt


@pytest.mark.parametrize("target", [False, True])
def test_after_an_exception_too(target):
    """What marks sentences with their language was set anew, also where it was set for targets."""
    model, tokenizer = make_model("llama"), nllb(src_lang="eng_Latn", tgt_lang="zho_Hans")
    all_three(tokenizer)
    if target:
        tokenizer._switch_to_target_mode()
    before = state_of(tokenizer)
    inputs = Inputs(model, tokenizer)
    inputs.encode(["ab"], "deu_Latn")
    assert state_of(tokenizer) == before
    with pytest.raises(KeyboardInterrupt):
        inputs.encode(["ab"], "deu_Latn", TextOptions(template=failing, template_pooled=True))
    assert state_of(tokenizer) == before


def losses(watched, folder):
    set_seed(0)
    tokenizer, model = make_tokenizer(), make_model("llama")
    tokenizer.backend_tokenizer.enable_truncation(12)
    tokenizer.backend_tokenizer.enable_padding()

    def collate(batch):
        coded = tokenizer.backend_tokenizer.encode_batch([row["text"] for row in batch])
        ids = torch.tensor([one.ids for one in coded])
        return {"input_ids": ids, "labels": ids}

    trainer = Trainer(
        model=model,
        args=TrainingArguments(str(folder), **COMMON | {"max_steps": 3}, remove_unused_columns=False),
        train_dataset=[{"text": sentence} for sentence in load_pairs("bundled")["deu_Latn"].sentences[:16]],
        processing_class=tokenizer,
        data_collator=collate,
    )
    if watched:
        pairs = ParallelPairs(texts={"eng_Latn": ["It rains.", "Yes."], "deu_Latn": ["Es regnet.", "Ja."]})
        trainer.add_callback(AlignmentCallback(trainer, pairs, every=1))
    trainer.train()
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


@pytest.mark.filterwarnings("ignore")
def test_a_collator_that_uses_the_backend_gets_the_same_batches(tmp_path):
    """A watched run had other losses, since its sentences were no longer truncated."""
    assert losses(True, tmp_path / "watched") == losses(False, tmp_path / "alone")
