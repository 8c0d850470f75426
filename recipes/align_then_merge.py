"""Learn a task in one language and align languages apart from it, as two LoRA adapters; then add them up.

    python recipes/align_then_merge.py --config configs/align_then_merge_smoke.yaml       # CPU, half a minute
    python recipes/align_then_merge.py --config configs/align_then_merge_qwen3_0.6b.yaml  # one GPU

Needs `pip install -e '.[train,wandb]'` in the checkout.
Task data: JSONL with `prompt` and `completion`, in one language. `other_data` has examples of the same task
in other languages, with `language` too: half of each language chooses the weights of the two adapters, and
the other half says what came of it. Nobody trains on them. Parallel data: anything that `load_pairs` reads.
Writes the merged adapter, the two it was made of, and align_then_merge.json into the output folder.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from datasets import load_dataset
from peft import get_peft_model
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer, get_scheduler
from trl import ModelConfig, SFTConfig, SFTTrainer, TrlParser, get_peft_config

from xalign import AlignmentArguments, AlignmentObjective, load_pairs, measure
from xalign.training.adapters import combine_adapters, search_weights


@dataclass
class Data:
    """The task, how the alignment adapter is trained, and what is measured."""

    task_data: str = field(metadata={"help": "JSONL file of the task in one language."})
    other_data: str = field(metadata={"help": "JSONL file of the task in other languages, for choosing."})
    align_steps: int = field(default=1000, metadata={"help": "Steps of the alignment adapter."})
    align_learning_rate: float = field(default=5e-4, metadata={"help": "Its peak learning rate."})
    grid: list[float] = field(
        default_factory=lambda: [0.3, 0.5, 0.7, 1.0], metadata={"help": "The weights to try for each."}
    )
    how: str = field(default="sum", metadata={"help": "'sum', 'svd' or 'linear', as in combine_adapters."})
    measure_pairs: str = field(
        default="bundled",
        metadata={"help": "Held-out pairs to measure on. They must not be in the training data."},
    )
    measure_n: int | None = field(default=100, metadata={"help": "Measure on the first n of them."})


def make_trainer(data, training, model_arguments, model=None, tokenizer=None):
    """Make the task's trainer, on a model with both adapters; `task` is the one that is active."""
    name = model_arguments.model_name_or_path
    if tokenizer is None:
        tokenizer = AutoTokenizer.from_pretrained(name)
    if model is None:
        model = AutoModelForCausalLM.from_pretrained(name, dtype=model_arguments.dtype or "auto")
    config = get_peft_config(model_arguments)
    model = get_peft_model(model, config, adapter_name="task")
    model.add_adapter("alignment", config)
    model.set_adapter("task")
    others = load_dataset("json", data_files=data.other_data)["train"]
    halves = {}
    for language in sorted(set(others["language"])):
        own = others.filter(lambda row, code=language: row["language"] == code)
        half = len(own) // 2
        halves[f"choose_{language}"] = own.select(range(half))
        halves[f"report_{language}"] = own.select(range(half, len(own)))
    return SFTTrainer(
        model=model,
        args=training,
        train_dataset=load_dataset("json", data_files=data.task_data)["train"],
        eval_dataset=halves,
        processing_class=tokenizer,
    )


def make_objective(trainer, alignment):
    """Make the loss on parallel text alone; the `alignment` adapter must be the active one."""
    return AlignmentObjective(trainer.model, trainer.processing_class, config=alignment.config())


def align(trainer, objective, data):
    """Train the alignment adapter: a plain loop, because there is no task beside it."""
    trainable = [one for one in trainer.model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=data.align_learning_rate)
    warm_up = max(1, data.align_steps // 20)
    schedule = get_scheduler("inverse_sqrt", optimizer, warm_up, data.align_steps)
    trainer.model.train()
    for step in range(data.align_steps):
        with trainer.accelerator.autocast():
            loss = objective(step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % max(1, data.align_steps // 10) == 0:
            accuracy = objective.last.in_batch.accuracy.mean()
            print(f"step {step}: align_loss {loss.item():.3f}, in-batch accuracy {accuracy:.2f}")


def losses(trainer, half):
    """Return the task's loss in each other language, on the half that chooses or the half that reports."""
    names = [name for name in trainer.eval_dataset if name.startswith(half)]
    found = {name: trainer.evaluate(name, metric_key_prefix=f"eval_{name}") for name in names}
    return {name.removeprefix(f"{half}_"): found[name][f"eval_{name}_loss"] for name in names}


if __name__ == "__main__":
    parser = TrlParser((Data, SFTConfig, ModelConfig, AlignmentArguments))
    data, training, model_arguments, alignment = parser.parse_args_and_config()
    out = Path(training.output_dir)
    trainer = make_trainer(data, training, model_arguments)
    model, tokenizer = trainer.model, trainer.processing_class
    measured = load_pairs(data.measure_pairs, n=data.measure_n)

    # The task, without alignment.
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    task_alone = losses(trainer, "report")

    # Alignment, without the task: while this adapter is active, the task's does not act.
    model.set_adapter("alignment")
    before = measure(model, tokenizer, measured, ["nasca"])  # an adapter that has learnt nothing: the base
    objective = make_objective(trainer, alignment)
    objective.hold_out(measured)
    align(trainer, objective, data)
    aligned = measure(model, tokenizer, measured, ["nasca"])

    # How much of each? Chosen on one half of the other languages' examples, judged on the other.
    def score(_):
        """Return the mean loss of the task over the other languages, with the sign turned."""
        found = losses(trainer, "choose")
        return -sum(found.values()) / len(found)

    found = search_weights(model, ["task", "alignment"], score, grid=data.grid, how=data.how)
    Console().print(found.table())
    combine_adapters(model, found.weights, "merged", how=data.how)
    merged, after = losses(trainer, "report"), measure(model, tokenizer, measured, ["nasca"])
    model.save_pretrained(out, selected_adapters=["task", "alignment", "merged"])
    tokenizer.save_pretrained(out / "merged")
    rows = {
        "weights": found.weights,
        "task_loss": {"task alone": task_alone, "merged": merged},
        "nasca": {
            "base": before.score("nasca"),
            "aligned": aligned.score("nasca"),
            "merged": after.score("nasca"),
        },
    }
    (out / "align_then_merge.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    for language, value in merged.items():
        print(f"{language}: loss of the task {task_alone[language]:.3f} → {value:.3f}")
    print(
        "NASCA: base {base:.3f}, alignment adapter {aligned:.3f}, merged {merged:.3f}".format(**rows["nasca"])
    )
