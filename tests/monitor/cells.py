"""The matrix of trainers, weights, settings and launches that the callback is tested in.

A cell is one level of each factor, and its id their names, so that a table can be made from test results.
"""

import itertools
import random
from functools import cache
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    BitsAndBytesConfig,
    DataCollatorForLanguageModeling,
    LlamaForSequenceClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.distributed import DistributedConfig
from trl import (
    DPOConfig,
    DPOTrainer,
    GRPOConfig,
    GRPOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)

from tests.monitor.training import COMMON, DROPOUT, SENTENCES, dropout_is_active, result_of, whole
from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentCallback, load_pairs

FACTORS = {
    "trainer": ["Trainer", "SFT", "SFT-packing", "SFT-padding-free", "SFT-assistant-only", "DPO", "GRPO"],
    "weights": ["full", "LoRA", "QLoRA"],
    "checkpointing": ["stored", "non-reentrant", "reentrant"],
    "accumulation": ["1-step", "2-steps"],
    "precision": ["float32", "bf16"],
    "compiled": ["eager"],
    "launch": ["one", "DDP", "FSDP2"],
}
SLOW = {"trainer": ["Reward"]}
# Compiling takes half a minute, and is the same whatever computes the loss: cells of their own.
COMPILED = ["Trainer full stored 1-step float32 aot_eager one", "SFT LoRA stored 1-step bf16 aot_eager one"]
SLOWLY_COMPILED = [
    "Trainer LoRA non-reentrant 2-steps bf16 aot_eager one",
    "DPO full stored 1-step float32 aot_eager one",
    "GRPO full stored 1-step float32 aot_eager one",
    "Trainer full stored 1-step float32 aot_eager DDP",
    "Trainer full stored 1-step float32 inductor one",
    "SFT LoRA stored 1-step float32 inductor one",
]
# Levels that do not stand together, and why.
NOT_RUN = {
    ("QLoRA", "FSDP2"): "not tried: transformers does not shard 4-bit weights",
    ("Reward", "FSDP2"): "not tried: its head is made after the weights are sharded",
    ("LoRA", "reentrant", "DDP"): "DDP itself fails, callback or not: weights are marked ready twice",
    ("QLoRA", "reentrant", "DDP"): "DDP itself fails, callback or not: weights are marked ready twice",
}
# bitsandbytes packs 4-bit weights in blocks of 64 inputs and 32 outputs, on some processors only in such.
FOUR_BIT = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
SHUFFLE = 2  # of many tried, one that gives the fewest cells
PAIRS = load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=8)
ENGLISH = load_pairs("bundled")["deu_Latn"].pivot_sentences


def is_run(cell):
    return not any(set(levels) <= set(cell) for levels in NOT_RUN)


def _pairs(cell):
    return {pair for pair in itertools.combinations(enumerate(cell), 2)}


@cache
@cache
def all_pairs():
    """Few cells in which every two levels that can stand together do: at most 24."""
    cells = [cell for cell in itertools.product(*FACTORS.values()) if is_run(cell)]
    random.Random(SHUFFLE).shuffle(cells)
    missing = set().union(*map(_pairs, cells))
    chosen = []
    while missing:
        best = max(cells, key=lambda cell: len(_pairs(cell) & missing))
        chosen.append(best)
        missing -= _pairs(best)
    return chosen + [tuple(name.split()) for name in COMPILED]


def is_quick(cell):
    """Whether each run of the tests has it.

    Of two processes, test_distributed.py always runs two others; compiled models are measured and trained in
    tests/faults/test_compiled.py and tests/training/test_trainer.py.
    """
    return cell in all_pairs() and cell[-2:] == ("eager", "one")


@cache
def whole_matrix():
    """Every trainer × weights × launch; in each, the other levels that have met the fewest times."""
    levels = {name: given + SLOW.get(name, []) for name, given in FACTORS.items()}
    seen: dict[tuple, int] = {}
    chosen = []
    for trainer, weights, launch in itertools.product(*(levels[n] for n in ("trainer", "weights", "launch"))):
        others = itertools.product(
            *(levels[n] for n in ("checkpointing", "accumulation", "precision", "compiled"))
        )
        possible = [(trainer, weights, *other, launch) for other in others]
        possible = [cell for cell in possible if is_run(cell)]
        if possible:
            best = min(possible, key=lambda cell: sum(seen.get(pair, 0) for pair in _pairs(cell)))
            chosen.append(best)
            for pair in _pairs(best):
                seen[pair] = seen.get(pair, 0) + 1
    slow = chosen + [tuple(name.split()) for name in SLOWLY_COMPILED]
    return [cell for cell in slow if cell not in all_pairs()]


def name_of(cell):
    return " ".join(cell)


def _model(cell, folder):
    trainer, weights, *_, launch = cell
    if trainer == "Reward":
        source = make_model("llama", **DROPOUT)
        source.config.num_labels = 1
        set_seed(1)
        model = LlamaForSequenceClassification(source.config)
        model.load_state_dict(source.state_dict(), strict=False)
        return model
    if weights == "full" and launch != "FSDP2":
        return make_model("llama", **DROPOUT)
    saved = Path(folder) / "model"
    if weights == "QLoRA":
        saved = Path(folder) / "four-bit"
        four_bit = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
        return AutoModelForCausalLM.from_pretrained(saved, quantization_config=four_bit, dtype=torch.float32)
    sharded = {"distributed_config": DistributedConfig(fsdp_size=2)} if launch == "FSDP2" else {}
    return AutoModelForCausalLM.from_pretrained(saved, dtype=torch.float32, **sharded)


def _chat_tokenizer():
    tokenizer = make_tokenizer.__wrapped__()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}</s>"
        "{% endgeneration %}{% else %}<s>{{ m.content }}{% endif %}{% endfor %}"
    )
    return tokenizer


def build(cell, folder, name):
    """A trainer of a cell, from the same start each time."""
    kind, weights, checkpointing, accumulation, precision, compiled, launch = cell
    set_seed(0)
    tokenizer = make_tokenizer()
    model = _model(cell, folder)
    set_seed(0)
    adapter = None
    if weights != "full":
        adapter = LoraConfig(
            r=4,
            lora_dropout=0.3,
            target_modules=["q_proj", "down_proj"],
            task_type="SEQ_CLS" if kind == "Reward" else "CAUSAL_LM",
        )
    arguments = COMMON | {
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": int(accumulation[0]),
        "gradient_checkpointing": checkpointing != "stored",
        "bf16": precision == "bf16",
    }
    if checkpointing != "stored":
        arguments["gradient_checkpointing_kwargs"] = {"use_reentrant": checkpointing == "reentrant"}
    if compiled != "eager":
        arguments |= {"torch_compile": True, "torch_compile_backend": compiled}
    # Compiled, all batches have one length: each other one is compiled anew.
    lengths = {} if compiled == "eager" else {"pad_to_multiple_of": 64}
    if launch != "one":
        arguments["ddp_backend"] = "gloo"
    folder = str(Path(folder) / name)
    if kind == "Trainer":
        if adapter is not None:
            model = get_peft_model(model, adapter)
        return Trainer(
            model=model,
            args=TrainingArguments(folder, **arguments),
            train_dataset=[{"input_ids": tokenizer(sentence)["input_ids"]} for sentence in SENTENCES],
            processing_class=tokenizer,
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False, **lengths),
        )
    common = {"model": model, "peft_config": adapter, "processing_class": tokenizer}
    texts = zip(ENGLISH[100:164], SENTENCES, reversed(SENTENCES), strict=True)
    if kind.startswith("SFT"):
        data, options = Dataset.from_dict({"text": list(SENTENCES)}), {"max_length": 48, **lengths}
        if kind == "SFT-packing":
            options |= {"packing": True}
        elif kind == "SFT-padding-free":
            options = {"max_length": None, "padding_free": True}
        elif kind == "SFT-assistant-only":
            options |= {"assistant_only_loss": True}
            common["processing_class"] = _chat_tokenizer()
            turns = [
                [{"role": "user", "content": one}, {"role": "assistant", "content": two}]
                for one, two, _ in texts
            ]
            data = Dataset.from_dict({"messages": turns})
        return SFTTrainer(args=SFTConfig(folder, **options, **arguments), train_dataset=data, **common)
    if kind == "DPO":
        rows = [{"prompt": one, "chosen": two, "rejected": three} for one, two, three in texts]
        config = DPOConfig(folder, max_length=64, disable_dropout=False, **arguments)
        common["ref_model"] = make_model("llama", seed=1) if weights == "full" else None
        return DPOTrainer(args=config, train_dataset=Dataset.from_list(rows), **common)
    if kind == "Reward":
        rows = [{"chosen": f"{one} {two}", "rejected": f"{one} {three}"} for one, two, three in texts]
        config = RewardConfig(folder, max_length=64, disable_dropout=False, **arguments)
        return RewardTrainer(args=config, train_dataset=Dataset.from_list(rows), **common)
    config = GRPOConfig(folder, num_generations=2, max_completion_length=4, **arguments)
    data = Dataset.from_list([{"prompt": one} for one in ENGLISH[100:164]])
    return GRPOTrainer(args=config, train_dataset=data, reward_funcs=_reward, **common)


def _reward(completions, **kwargs):
    return [float(len(str(completion)) % 5) for completion in completions]


def prepare(folder):
    """Saves the models that some cells load; one process does it, before any runs."""
    make_model("llama", **DROPOUT).save_pretrained(Path(folder) / "model")
    make_model("llama", **DROPOUT, **FOUR_BIT).save_pretrained(Path(folder) / "four-bit")
    return folder


def run_cell(cell, folder):
    """What a cell gave: both runs' results, what was measured, and whether the comparison says anything."""
    plain = build(cell, folder, "plain")
    start = {name: whole(p) for name, p in plain.model.named_parameters() if p.requires_grad}
    plain.train()
    watched = build(cell, folder, "watched")
    callback = AlignmentCallback(watched, PAIRS, every=1, metrics=("nasca", "margin"), save_reports=False)
    watched.add_callback(callback)
    watched.train()
    # Not before training: FSDP2 would keep whole weights, and the optimizer would be made of them.
    draws = dropout_is_active(plain)
    end = {name: whole(p) for name, p in plain.model.named_parameters() if p.requires_grad}
    return {
        "plain": result_of(plain),
        "watched": result_of(watched),
        "steps": [report.step for report in callback.reports],
        "margins": [report.score("margin") for report in callback.reports],
        "has_base": callback._monitor.base is not None,
        "moved": any(not torch.equal(start[name], end[name]) for name in start),
        "random": draws,
        "world": watched.args.world_size,
        "sharded": any(hasattr(p, "full_tensor") for p in watched.model.parameters()),
        "compiled": hasattr(watched.model_wrapped, "_orig_mod") or hasattr(watched.model, "_orig_mod"),
    }
