"""Fine-tune a translation model, and bring the tokens of sentences and of their translations together.

    python recipes/ot_align.py --config configs/ot_align_smoke.yaml        # CPU, half a minute
    python recipes/ot_align.py --config configs/ot_align_nllb_600m.yaml    # one GPU

Needs `pip install -e '.[train,wandb]'` in the checkout. For NLLB, M2M100, mBART and other encoder–decoders.
The loss is optimal transport between the encoder's states of both sentences (POTSA's, after Li et al. 2025).
Data: anything that `load_pairs` reads. The model learns to translate each language into English, or whatever
the pivot is. For causal models take recipes/sft_mid_align.py with configs/sft_ot_align_*.yaml, and for speech
recipes/ot_align_speech.py. Each option of the YAML file can also be given on the command line.
"""

from dataclasses import dataclass, field

import torch
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
)
from trl import TrlParser

from xalign import AlignmentArguments, AlignmentCallback, load_pairs, with_alignment
from xalign.model.language_marks import mark_of


@dataclass
class Data:
    """The model, what it learns to translate, and the sentences that it is measured on."""

    task_pairs: str = field(metadata={"help": "Sentences with their translations, to learn to translate."})
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "Path or Hub id of the model to start from."}
    )
    config_name: str | None = field(
        default=None, metadata={"help": "In its place, a config: start from random weights."}
    )
    tokenizer_name: str | None = field(
        default=None, metadata={"help": "Path or Hub id of the tokenizer; the model's if absent."}
    )
    max_length: int = field(default=256, metadata={"help": "Cut sentences to this many tokens."})
    measure_pairs: str = field(
        default="bundled",
        metadata={"help": "Held-out pairs to measure on. They must not be in the training data."},
    )
    measure_languages: list[str] | None = field(
        default=None, metadata={"help": "Languages to measure; all if absent."}
    )
    measure_n: int | None = field(default=100, metadata={"help": "Measure on the first n of them."})
    measure_every: int = field(default=200, metadata={"help": "Steps between measurements."})


def translations(pairs, tokenizer, max_length):
    """Return tokenized examples of the task: a sentence, and its translation into the pivot."""
    rows = []
    for language, bitext in pairs.items():
        source, target = mark_of(tokenizer, language), mark_of(tokenizer, pairs.pivot)
        if source is not None:  # NLLB, M2M100 and mBART mark each sentence with its language
            tokenizer.src_lang, tokenizer.tgt_lang = source.code, target.code
        columns = tokenizer(
            list(bitext.sentences),
            text_target=list(bitext.pivot_sentences),
            truncation=True,
            max_length=max_length,
        )
        names = ("input_ids", "attention_mask", "labels")
        rows += [dict(zip(names, row, strict=True)) for row in zip(*map(columns.get, names), strict=True)]
    return rows


def make_trainer(data, training, alignment, model=None, tokenizer=None):
    """Make the trainer. `model` and `tokenizer` are loaded unless they are given."""
    if tokenizer is None:
        tokenizer = AutoTokenizer.from_pretrained(data.tokenizer_name or data.model_name_or_path)
    if model is None and data.config_name:
        torch.manual_seed(training.seed)
        model = AutoModelForSeq2SeqLM.from_config(AutoConfig.from_pretrained(data.config_name))
    elif model is None:
        # The optimizer needs full precision, whatever the dtype of the checkpoint.
        model = AutoModelForSeq2SeqLM.from_pretrained(data.model_name_or_path, dtype=torch.float32)
    measured = load_pairs(data.measure_pairs, data.measure_languages, n=data.measure_n)
    trainer = with_alignment(Seq2SeqTrainer)(
        model=model,
        args=training,
        train_dataset=translations(load_pairs(data.task_pairs), tokenizer, data.max_length),
        eval_dataset=translations(measured, tokenizer, data.max_length),
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        alignment=alignment.config(),
    )
    trainer.add_callback(
        AlignmentCallback(trainer, measured, every=data.measure_every, metrics=("nasca", "mexa"))
    )
    return trainer


if __name__ == "__main__":
    parser = TrlParser((Data, Seq2SeqTrainingArguments, AlignmentArguments))
    trainer = make_trainer(*parser.parse_args_and_config())
    before = trainer.evaluate()
    trainer.train(resume_from_checkpoint=trainer.args.resume_from_checkpoint)
    trainer.save_model()
    after = trainer.evaluate()
    for key in ("eval_loss", "eval_nasca", "eval_nasca_worst", "eval_mexa", "eval_mexa_worst"):
        print(f"{key}: {before[key]:.3f} → {after[key]:.3f}")
