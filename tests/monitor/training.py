"""Tiny training runs, each from the same start."""

from types import SimpleNamespace

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments, set_seed
from trl import SFTConfig, SFTTrainer

from tests.tiny import make_model, make_tokenizer
from xalign import load_pairs

SENTENCES = load_pairs("bundled")["deu_Latn"].sentences[100:164]
DROPOUT = {"attention_dropout": 0.2}
COMMON = {
    "max_steps": 6,
    "per_device_train_batch_size": 4,
    "learning_rate": 3e-3,
    "logging_steps": 1,
    "report_to": "none",
    "use_cpu": True,
    "disable_tqdm": True,
    "seed": 3,
    "save_strategy": "no",
}


def make_trainer(
    kind="trainer", lora=False, evaluate=True, folder="run", model=None, callbacks=None, **changes
):
    """A trainer of a tiny Llama with dropout in its attention, or in its adapter."""
    set_seed(0)
    tokenizer = make_tokenizer()
    model = make_model("llama", **DROPOUT) if model is None else model
    set_seed(0)
    arguments = COMMON | ({"eval_strategy": "steps", "eval_steps": 3} if evaluate else {}) | changes
    adapter = LoraConfig(r=4, lora_dropout=0.3, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    if kind == "sft":
        text = Dataset.from_dict({"text": list(SENTENCES)})
        return SFTTrainer(
            model=model,
            args=SFTConfig(folder, max_length=48, bf16=False, **arguments),
            train_dataset=text,
            eval_dataset=text.select(range(8)) if evaluate else None,
            processing_class=tokenizer,
            peft_config=adapter if lora else None,
            callbacks=callbacks,
        )
    if lora:
        from peft import get_peft_model

        model = get_peft_model(model, adapter)
    data = [{"input_ids": tokenizer(sentence)["input_ids"]} for sentence in SENTENCES]
    return Trainer(
        model=model,
        args=TrainingArguments(folder, **arguments),
        train_dataset=data,
        eval_dataset=data[:8] if evaluate else None,
        processing_class=tokenizer,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        callbacks=callbacks,
    )


def whole(parameter):
    """A parameter's values, gathered where it is sharded."""
    values = parameter.detach()
    return (values.full_tensor() if hasattr(values, "full_tensor") else values).clone()


def result_of(trainer):
    """Final weights and the log without times and without alignment."""
    times = ("runtime", "per_second", "step_time", "alignment", "nasca", "margin")
    rows = [
        {key: value for key, value in row.items() if not any(part in key for part in times)}
        for row in trainer.state.log_history
    ]
    weights = {name: whole(p) for name, p in trainer.model.named_parameters()}
    return SimpleNamespace(rows=[row for row in rows if set(row) - {"epoch", "step"}], weights=weights)


def equal_to_the_bit(first, second):
    assert first.rows == second.rows
    assert first.weights.keys() == second.weights.keys()
    return all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def dropout_is_active(trainer):
    """Whether two forwards of the model in training differ."""
    model = trainer.model
    model.train()
    ids = torch.arange(4, 14).unsqueeze(0).to(next(model.parameters()).device)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        return not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
