"""Fine-tune and align a language model by a few of its neurons alone; everything else stays as it is.

    python recipes/neuron_only.py --config configs/neuron_only_smoke.yaml         # CPU, half a minute
    python recipes/neuron_only.py --config configs/neuron_only_qwen3_0.6b.yaml    # one GPU
    python recipes/neuron_only.py --config … --random true                        # the control: other neurons

Needs `pip install -e '.[train,wandb]'` in the checkout.
Task data: JSONL with `prompt` and `completion`, `messages` or `text`. Parallel data: anything that
`load_pairs` reads. The neurons are found in the training pairs, by any method of `find_units`: `lape`,
`activation_gradient`, `expert_ap` and others. Run it again with `--random true`: if as many random neurons
of the same blocks reach as much, it is not these neurons that matter. Writes units/ and the merged model, an
ordinary one.
"""

from dataclasses import dataclass, field

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import ModelConfig, SFTConfig, SFTTrainer, TrlParser

from xalign import AlignmentArguments, AlignmentCallback, find_units, load_pairs, with_alignment
from xalign.judging import random_units
from xalign.training.adapters import train_units


@dataclass
class Data:
    """The task, the neurons that are trained, and what is measured."""

    task_data: str = field(metadata={"help": "JSONL file of the task, or a dataset on the Hub."})
    method: str = field(default="lape", metadata={"help": "How the neurons are found."})
    find: dict | None = field(
        default=None, metadata={"help": "Options of the method, such as {share: 0.02}; in YAML only."}
    )
    find_n: int | None = field(
        default=None, metadata={"help": "Find them in the first n pairs; all if absent."}
    )
    of_languages: list[str] | None = field(
        default=None, metadata={"help": "Train the neurons of these languages; those of all if absent."}
    )
    weights: list[str] = field(
        default_factory=lambda: ["gate", "up", "down"], metadata={"help": "Which of their weights."}
    )
    rank: int | None = field(
        default=None,
        metadata={"help": "Train low-rank updates of this rank; the weights themselves if absent."},
    )
    random: bool = field(default=False, metadata={"help": "Train random neurons of the same blocks instead."})
    measure_pairs: str = field(
        default="bundled",
        metadata={"help": "Held-out pairs to measure on. They must not be in the training data."},
    )
    measure_n: int | None = field(default=100, metadata={"help": "Measure on the first n of them."})
    measure_every: int = field(default=200, metadata={"help": "Steps between measurements."})


def find(data, alignment, model, tokenizer, seed):
    """Find the neurons to train."""
    config = alignment.config()
    pairs = load_pairs(config.pairs, config.languages, pivot=config.pivot, n=data.find_n)
    units = find_units(model, tokenizer, pairs.texts, data.method, **(data.find or {}))
    wanted = data.of_languages or units.labels
    chosen = units[wanted[0]]
    for label in wanted[1:]:
        chosen = chosen | units[label]
    return random_units(model, chosen, seed=seed) if data.random else chosen


def make_trainer(data, training, model_arguments, alignment, model=None, tokenizer=None):
    """Make the trainer, and what it trains. `model` and `tokenizer` are loaded unless they are given."""
    name = model_arguments.model_name_or_path
    if tokenizer is None:
        tokenizer = AutoTokenizer.from_pretrained(name)
    if model is None:
        # The optimizer needs full precision, whatever the dtype of the checkpoint.
        model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
    units = find(data, alignment, model.to(training.device), tokenizer, training.seed)
    trained = train_units(model, units, weights=data.weights, rank=data.rank)
    is_file = data.task_data.endswith((".jsonl", ".json"))
    task = load_dataset("json", data_files=data.task_data) if is_file else load_dataset(data.task_data)
    trainer = with_alignment(SFTTrainer)(
        model=model,
        args=training,
        train_dataset=task["train"],
        processing_class=tokenizer,
        alignment=alignment.config(),
    )
    measured = load_pairs(data.measure_pairs, n=data.measure_n)
    trainer.add_callback(
        AlignmentCallback(trainer, measured, every=data.measure_every, metrics=("nasca", "mexa"))
    )
    return trainer, trained, units


if __name__ == "__main__":
    parser = TrlParser((Data, SFTConfig, ModelConfig, AlignmentArguments))
    data, training, model_arguments, alignment = parser.parse_args_and_config()
    trainer, trained, units = make_trainer(data, training, model_arguments, alignment)
    units.save_pretrained(f"{training.output_dir}/units")
    share = sum(one.numel() for one in trained.parameters) / trainer.model.num_parameters()
    print(f"{len(units.places)} neurons, {share:.2%} of the parameters, are trained: {units}")

    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    trained.merge()  # an ordinary model again
    trainer.save_model()
    measured = [row for row in trainer.state.log_history if "eval_nasca" in row]
    for key in ("eval_nasca", "eval_nasca_worst", "eval_mexa", "eval_mexa_worst"):
        print(f"{key}: {measured[0][key]:.3f} → {measured[-1][key]:.3f}")
