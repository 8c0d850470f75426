"""Tiny trainers with and without an alignment loss, and the gradients of their steps."""

import itertools

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import (
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

from tests.monitor.training import COMMON as MONITORED
from tests.monitor.training import SENTENCES
from tests.tiny import make_model, make_tokenizer
from xalign import ParallelPairs, load_pairs
from xalign.training.config import AlignmentConfig
from xalign.training.trainer import with_alignment

BUNDLED = load_pairs("bundled")
ENGLISH = BUNDLED["deu_Latn"].pivot_sentences
COMMON = MONITORED | {
    "gradient_checkpointing_kwargs": {"use_reentrant": False},  # transformers 4 is reentrant unless told
    "max_steps": 1,
    "per_device_train_batch_size": 2,
    "learning_rate": 1e-3,
    "max_grad_norm": 0.0,
}


def training_pairs():
    """The first hundred rows of the bundled sentences: training text is of other rows."""
    return BUNDLED.first(100)


class KeepGradients(TrainerCallback):
    """The gradients of every step, before the optimizer uses them."""

    def __init__(self):
        self.steps = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.steps.append(gradients_of(model))


def gradients_of(model):
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            grad = parameter.grad
            grad = grad.full_tensor() if hasattr(grad, "full_tensor") else grad
            found[name] = grad.detach().clone().float()
    return found


def flat(gradients):
    return torch.cat([gradients[name].flatten() for name in sorted(gradients)])


def relative_difference(one, other):
    """‖one − other‖ / ‖other‖ over all parameters of either."""
    names = one.keys() | other.keys()
    shape = one | other
    sides = [
        flat({name: side.get(name, torch.zeros_like(shape[name])) for name in names}) for side in (one, other)
    ]
    return ((sides[0] - sides[1]).norm() / sides[1].norm()).item()


def minus(one, other):
    return {name: one[name] - other.get(name, torch.zeros_like(one[name])) for name in one}


def moved(model, seed=1, size=0.05):
    """The same model after a step in a random direction: at its start, guards are 0 and have no gradient."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                step = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
                parameter += size * step
    return model


def reward(completions, **kwargs):
    return [float(len(str(completion)) % 5) for completion in completions]


def make_trainer(kind="trainer", alignment=None, lora=False, model=None, folder="run", **changes):
    """A trainer of a tiny Llama; with `alignment`, fields of an AlignmentConfig, its aligned subclass."""
    set_seed(0)
    tokenizer = make_tokenizer()
    model = make_model("llama") if model is None else model
    adapter = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM") if lora else None
    arguments = COMMON | changes
    classes = {"trainer": Trainer, "sft": SFTTrainer, "dpo": DPOTrainer, "grpo": GRPOTrainer}
    made = classes[kind]
    extra = {}
    if alignment is not None:
        made = with_alignment(made)
        config = alignment if isinstance(alignment, AlignmentConfig) else None
        extra["alignment"] = config or AlignmentConfig(
            **{"pairs": training_pairs(), "loss": "contrastive", "batch_size": 8, "layer": 1} | alignment
        )
    if kind == "trainer":
        if lora:
            model = get_peft_model(model, adapter)
        return made(
            model=model,
            args=TrainingArguments(folder, **arguments),
            train_dataset=[{"input_ids": tokenizer(text)["input_ids"]} for text in SENTENCES],
            eval_dataset=[{"input_ids": tokenizer(text)["input_ids"]} for text in SENTENCES[:8]],
            processing_class=tokenizer,
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
            **extra,
        )
    arguments = {"bf16": False, "gradient_checkpointing": False} | arguments
    if kind == "sft":
        data, args = {"text": list(SENTENCES)}, SFTConfig(folder, **{"max_length": 48} | arguments)
    elif kind == "dpo":
        columns = zip(ENGLISH[100:164], SENTENCES, reversed(SENTENCES), strict=True)
        rows = [{"prompt": one, "chosen": two, "rejected": three} for one, two, three in columns]
        data, args = rows, DPOConfig(folder, max_length=64, **arguments)
        extra["ref_model"] = None if lora else make_model("llama", seed=1)
    else:
        data = [{"prompt": text} for text in ENGLISH[100:164]]
        args = GRPOConfig(folder, num_generations=2, max_completion_length=6, **arguments)
        extra["reward_funcs"] = reward
    return made(
        model=model,
        args=args,
        train_dataset=Dataset.from_dict(data) if isinstance(data, dict) else Dataset.from_list(data),
        processing_class=tokenizer,
        peft_config=adapter,
        **extra,
    )


def first_gradients(trainer):
    """The gradients of a trainer's first step."""
    keeper = KeepGradients()
    trainer.add_callback(keeper)
    trainer.train()
    return keeper.steps[0]


def gradients_by_hand(trainer, micro_steps):
    """The mean over a step's micro-batches of the objective's own gradients, at the trainer's weights."""
    objective, model = trainer.objective, trainer.model
    model.train()
    model.zero_grad()
    for micro_step in range(micro_steps):
        (objective(0, micro_step) / micro_steps).backward()
    found = gradients_of(model)
    model.zero_grad()
    return found


def task_gradients_without(turns, is_moved=False, **changes):
    """The gradients of a plain trainer's first step that leaves out some of its micro-batches."""
    trainer = make_trainer("trainer", **changes)
    if is_moved:
        moved(trainer.model)
    parent, count = type(trainer).compute_loss, itertools.count()

    def skipping(model, inputs, **kwargs):
        loss = parent(trainer, model, inputs, **kwargs)
        return loss * 0 if next(count) in turns else loss

    trainer.compute_loss = skipping
    return first_gradients(trainer)


def rows_of(pairs, start, end):
    """The pairs of some rows."""
    return ParallelPairs.from_bitexts(
        [bitext.rows(range(start, end)) for bitext in pairs.values()], pivot=pairs.pivot
    )
