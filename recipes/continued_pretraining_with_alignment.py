"""Goes on pre-training a language model on text, while it aligns its languages on parallel sentences.

    recipe=recipes/continued_pretraining_with_alignment.py
    python $recipe --config configs/continued_pretraining_smoke.yaml          # CPU, half a minute
    python $recipe --config configs/continued_pretraining_qwen3_0.6b.yaml     # one GPU

Needs `pip install 'xalign[train,wandb]'`. Text: UTF-8 files with a document per line, no JSON. All weights
are trained, by the plain `Trainer`; the text itself is what keeps the model speaking. Every option stands in
the YAML and can be given on the command line.
"""

from dataclasses import dataclass, field
from pathlib import Path

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


@dataclass
class Data:
    """What is learnt, and what is measured."""

    model_name_or_path: str = field(metadata={"help": "The model to go on from."})
    text: list[str] = field(metadata={"help": "Files with a document per line."})
    block: int = field(default=1024, metadata={"help": "Tokens of a training example."})
    measure_pairs: str = field(
        default="bundled", metadata={"help": "Held-out pairs; none of them is trained on."}
    )
    measure_languages: list[str] | None = field(default=None, metadata={"help": "Some of their languages."})
    measure_n: int | None = field(default=100, metadata={"help": "The first so many pairs."})
    measure_every: int = field(default=200, metadata={"help": "Measures every so many steps; 0 for never."})


def blocks_of(files, tokenizer, size):
    """All documents one after the other, cut into blocks; a last one that is not full is left out."""
    if tokenizer.eos_token_id is None:
        raise ArgumentError(
            "the tokenizer has no end-of-sequence token, which parts documents; set its eos_token"
        )
    ids = []
    for file in [files] if isinstance(files, str) else files:  # YAML may name one file without brackets
        for line in Path(file).read_text(encoding="utf-8").splitlines():
            if line.strip():
                ids += [*tokenizer(line)["input_ids"], tokenizer.eos_token_id]
    blocks = [ids[start : start + size] for start in range(0, len(ids) - size + 1, size)]
    if not blocks:
        raise ArgumentError(
            f"text holds {len(ids)} tokens, fewer than one block={size}; give more, or lower block"
        )
    return [{"input_ids": block, "labels": block} for block in blocks]


def make_trainer(data, training, alignment, model=None, tokenizer=None):
    """Puts it together; `model` and `tokenizer` are loaded unless they are given."""
    if tokenizer is None:
        tokenizer = AutoTokenizer.from_pretrained(data.model_name_or_path)
    if model is None:
        # Full precision for the optimizer, whatever the checkpoint is stored in.
        model = AutoModelForCausalLM.from_pretrained(data.model_name_or_path, dtype=torch.float32)
    context = model.config.max_position_embeddings
    if not 2 <= data.block <= context:
        raise ArgumentError(
            f"block={data.block} must lie between 2 and the model's context of {context} tokens"
        )
    trainer = with_alignment(Trainer)(
        model=model,
        args=training,
        train_dataset=blocks_of(data.text, tokenizer, data.block),
        processing_class=tokenizer,
        data_collator=default_data_collator,  # blocks are full: nothing is padded, and every end is learnt
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
