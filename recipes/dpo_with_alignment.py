"""Train a language model on preferences with DPO, and align its languages on parallel sentences meanwhile.

    python recipes/dpo_with_alignment.py --config configs/dpo_with_alignment_smoke.yaml
    python recipes/dpo_with_alignment.py --config configs/dpo_with_alignment_qwen3_0.6b.yaml

The first is a CPU twin of half a minute, the second needs one GPU. Needs `pip install -e '.[train,wandb]'` in
the checkout. Preferences: JSONL with `prompt`, `chosen` and `rejected`. Parallel data: anything that
`load_pairs` reads. With adapters, the reference of DPO is the model with its adapters off. The settings of
DPO are those of She et al. (2024), MAPO, who prefer answers that translate well into English ones.
Each option of the YAML file can also be given on the command line.
"""

from dataclasses import dataclass, field

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, ModelConfig, TrlParser, get_peft_config

from xalign import AlignmentArguments, AlignmentCallback, load_pairs, with_alignment


@dataclass
class Data:
    """The preferences, and the sentences that the model is measured on."""

    preferences: str = field(metadata={"help": "JSONL file with preferences, or a dataset on the Hub."})
    measure_pairs: str = field(
        default="bundled",
        metadata={"help": "Held-out pairs to measure on. They must not be in the training data."},
    )
    measure_languages: list[str] | None = field(
        default=None, metadata={"help": "Languages to measure; all if absent."}
    )
    measure_n: int | None = field(default=100, metadata={"help": "Measure on the first n of them."})
    measure_every: int = field(default=200, metadata={"help": "Steps between measurements."})


def make_trainer(data, training, model_arguments, alignment, model=None, tokenizer=None):
    """Make the trainer. `model` and `tokenizer` are loaded unless they are given."""
    name = model_arguments.model_name_or_path
    if tokenizer is None:
        tokenizer = AutoTokenizer.from_pretrained(name)
    if model is None:
        model = AutoModelForCausalLM.from_pretrained(name, dtype=model_arguments.dtype or "auto")
    is_file = data.preferences.endswith((".jsonl", ".json"))
    given = load_dataset("json", data_files=data.preferences) if is_file else load_dataset(data.preferences)
    trainer = with_alignment(DPOTrainer)(
        model=model,
        args=training,
        train_dataset=given["train"],
        processing_class=tokenizer,
        peft_config=get_peft_config(model_arguments),
        alignment=alignment.config(),
    )
    measured = load_pairs(data.measure_pairs, data.measure_languages, n=data.measure_n)
    trainer.add_callback(
        AlignmentCallback(trainer, measured, every=data.measure_every, metrics=("nasca", "mexa"))
    )
    return trainer


if __name__ == "__main__":
    arguments = TrlParser((Data, DPOConfig, ModelConfig, AlignmentArguments)).parse_args_and_config()
    trainer = make_trainer(*arguments)
    trainer.train(resume_from_checkpoint=trainer.args.resume_from_checkpoint)
    trainer.save_model()
    log = trainer.state.log_history
    preferred = [row["rewards/accuracies"] for row in log if "rewards/accuracies" in row]
    print(f"the chosen answer is preferred: {preferred[0]:.2f} → {preferred[-1]:.2f}")
    measured = [row for row in log if "eval_nasca" in row]
    for key in ("eval_nasca", "eval_nasca_worst", "eval_mexa", "eval_mexa_worst"):
        print(f"{key}: {measured[0][key]:.3f} → {measured[-1][key]:.3f}")
