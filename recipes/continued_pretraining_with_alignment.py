"""Continue to pre-train a language model on text, and align its languages on parallel sentences meanwhile.

    recipe=recipes/continued_pretraining_with_alignment.py
    python $recipe --config configs/continued_pretraining_smoke.yaml          # CPU, half a minute
    python $recipe --config configs/continued_pretraining_qwen3_0.6b.yaml     # one GPU

Needs `pip install -e '.[train,wandb]'` in the checkout.
The text is in UTF-8 files with one document per line (not JSON).
The plain `Trainer` trains all weights. Training on text preserves the model's ability to write it. Each
option of the YAML file can also be given on the command line.
"""

from dataclasses import dataclass, field

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
    default_data_collator,
)
from trl import TrlParser

from xalign import AlignmentArguments, AlignmentCallback, load_pairs, with_alignment
from xalign.errors import ArgumentError
from xalign.training.documents import cut_into_blocks


@dataclass
class Data:
    """The model, the text it learns from, and the sentences it is measured on."""

    model_name_or_path: str = field(metadata={"help": "Path or Hub id of the model to start from."})
    text: list[str] = field(metadata={"help": "Files with one document per line."})
    block: int = field(default=1024, metadata={"help": "Tokens per training example."})
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


def make_trainer(data, training, alignment, model=None, tokenizer=None):
    """Make the trainer. `model` and `tokenizer` are loaded unless they are given."""
    if tokenizer is None:
        tokenizer = AutoTokenizer.from_pretrained(data.model_name_or_path)
    if model is None:
        # The optimizer needs full precision, whatever the dtype of the checkpoint.
        model = AutoModelForCausalLM.from_pretrained(data.model_name_or_path, dtype=torch.float32)
    context = model.config.max_position_embeddings
    if not 2 <= data.block <= context:
        raise ArgumentError(
            f"block={data.block} must lie between 2 and the model's context of {context} tokens"
        )
    trainer = with_alignment(Trainer)(
        model=model,
        args=training,
        train_dataset=cut_into_blocks(data.text, tokenizer, data.block),
        processing_class=tokenizer,
        data_collator=default_data_collator,  # blocks are full: no padding, and every eos counts in the loss
        alignment=alignment.config(),
    )
    if data.measure_every:
        measured = load_pairs(data.measure_pairs, data.measure_languages, n=data.measure_n)
        trainer.add_callback(AlignmentCallback(trainer, measured, every=data.measure_every))
    return trainer


if __name__ == "__main__":
    arguments = TrlParser((Data, TrainingArguments, AlignmentArguments)).parse_args_and_config()
    trainer = make_trainer(*arguments)
    trainer.train(resume_from_checkpoint=trainer.args.resume_from_checkpoint)
    trainer.save_model()
    measured = [row for row in trainer.state.log_history if "eval_nasca" in row]
    for key in (key for row in measured[:1] for key in row if key.startswith("eval_nasca")):
        print(f"{key}: {measured[0][key]:.3f} → {measured[-1][key]:.3f}")
