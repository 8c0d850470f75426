"""Fine-tune a language model on a task in one language, and align other languages with it in a middle layer.

    python recipes/sft_mid_align.py --config configs/sft_mid_align_smoke.yaml           # CPU, half a minute
    python recipes/sft_mid_align.py --config configs/sft_mid_align_qwen3_0.6b.yaml      # one GPU
    torchrun --nproc_per_node 8 recipes/sft_mid_align.py --config … --measure_every 0   # eight GPUs

Needs `pip install -e '.[train,wandb]'` in the checkout.
Task data: JSONL with `prompt` and `completion`, `messages` or
`text`. Parallel data: anything that `load_pairs` reads. Each option of the YAML file can also be given on the
command line. The method follows Liu and Niehues (2025); their alternating training is
`--align_mode alternate`.
"""

from dataclasses import dataclass, field

from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import ModelConfig, SFTConfig, SFTTrainer, TrlParser, get_peft_config, get_quantization_config

from xalign import AlignmentArguments, AlignmentCallback, load_pairs, with_alignment


@dataclass
class Data:
    """The task, and the sentences that the model is measured on."""

    task_data: str = field(metadata={"help": "JSONL file of the task, or a dataset on the Hub."})
    measure_pairs: str = field(
        default="bundled",
        metadata={"help": "Held-out pairs to measure on. They must not be in the training data."},
    )
    measure_languages: list[str] | None = field(
        default=None, metadata={"help": "Languages to measure; all if absent."}
    )
    measure_n: int | None = field(
        default=100, metadata={"help": "Number of pairs to measure on: the first n."}
    )
    measure_every: int = field(
        default=200, metadata={"help": "Steps between measurements; 0 never measures."}
    )


def make_trainer(data, training, model_arguments, alignment, model=None, tokenizer=None):
    """Make the trainer. `model` and `tokenizer` are loaded unless they are given."""
    name = model_arguments.model_name_or_path
    if tokenizer is None:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=model_arguments.model_revision)
    if model is None:
        model = AutoModelForCausalLM.from_pretrained(
            name,
            revision=model_arguments.model_revision,
            dtype=model_arguments.dtype or "auto",
            attn_implementation=model_arguments.attn_implementation,
            quantization_config=get_quantization_config(model_arguments),
        )
    is_file = data.task_data.endswith((".jsonl", ".json"))
    task = load_dataset("json", data_files=data.task_data) if is_file else load_dataset(data.task_data)
    trainer = with_alignment(SFTTrainer)(
        model=model,
        args=training,
        train_dataset=task["train"],
        processing_class=tokenizer,
        peft_config=get_peft_config(model_arguments),
        alignment=alignment.config(),
    )
    if data.measure_every:
        measured = load_pairs(data.measure_pairs, data.measure_languages, n=data.measure_n)
        trainer.add_callback(
            AlignmentCallback(trainer, measured, every=data.measure_every, metrics=("nasca", "mexa"))
        )
    return trainer


if __name__ == "__main__":
    arguments = TrlParser((Data, SFTConfig, ModelConfig, AlignmentArguments)).parse_args_and_config()
    trainer = make_trainer(*arguments)
    trainer.train(resume_from_checkpoint=trainer.args.resume_from_checkpoint)
    trainer.save_model()
    measured = [row for row in trainer.state.log_history if "eval_nasca" in row]
    for key in (key for row in measured[:1] for key in row if key.startswith(("eval_nasca", "eval_mexa"))):
        print(f"{key}: {measured[0][key]:.3f} → {measured[-1][key]:.3f}")
