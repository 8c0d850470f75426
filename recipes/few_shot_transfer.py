"""Label words in languages of which there are few labelled sentences or none, with and without alignment.

    recipe=recipes/few_shot_transfer.py
    python $recipe --config configs/few_shot_transfer_smoke.yaml           # CPU, half a minute
    python $recipe --config configs/few_shot_transfer_qwen3_0.6b.yaml      # one GPU

Needs `pip install -e '.[train]'` in the checkout. The question: names are to be found in Turkish documents,
and nobody has labelled more than twenty of these. How much do they help, and how much do parallel sentences?
`tagged` is a folder with a file per language, in columns, with an empty line after each sentence: CoNLL-U or
another CoNLL. The first `learnt` sentences of a file are to learn from, of the other languages only k of
them; the rest tests. So files may be parallel. Trains once for each k, without alignment and with it.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)
from trl import TrlParser

from xalign import AlignmentArguments, with_alignment


@dataclass
class Data:
    """The model, the labelled sentences, and how many of them there are."""

    model_name_or_path: str = field(metadata={"help": "Path or Hub id of the model to start from."})
    tagged: str = field(metadata={"help": "Folder of labelled sentences, LANGUAGE.conllu or LANGUAGE.tsv."})
    languages: list[str] = field(metadata={"help": "The languages to transfer to."})
    source: str = field(default="eng_Latn", metadata={"help": "The language with many labelled sentences."})
    word_column: int = field(default=1, metadata={"help": "The column of the word, from 0; CoNLL-U: 1."})
    tag_column: int = field(default=3, metadata={"help": "The column of the label; CoNLL-U: 3, or 4."})
    learnt: int = field(default=250, metadata={"help": "Sentences to learn from; those after them test."})
    k: list[int] = field(
        default_factory=lambda: [0, 20], metadata={"help": "Labelled sentences of each other language."}
    )
    max_length: int = field(default=256, metadata={"help": "Cut sentences to this many tokens."})


def read_tagged(data, language):
    """Return the sentences of a file: lists of (word, label)."""
    (path,) = [one for one in Path(data.tagged).iterdir() if one.stem == language]
    sentences = [[]]
    for line in path.read_text(encoding="utf-8").splitlines():
        columns = line.split("\t")
        if not line:
            sentences.append([])
        elif not line.startswith("# ") and columns[data.tag_column] != "_":  # `_`: words that are split below
            sentences[-1].append((columns[data.word_column], columns[data.tag_column]))
    return [one for one in sentences if one]


def encode(sentences, tokenizer, labels, max_length):
    """Tokenize sentences; the label of a word stands at its last token, where a causal model has read it."""
    rows = []
    for sentence in sentences:
        text = " ".join(word for word, _ in sentence)
        word_of = []  # per character of the text
        for number, (word, _) in enumerate(sentence):
            word_of += [number] * len(word) + [None]
        given = tokenizer(text, truncation=True, max_length=max_length, return_offsets_mapping=True)
        ends = [word_of[end - 1] if end > start else None for start, end in given["offset_mapping"]]
        last = {word: token for token, word in enumerate(ends) if word is not None}
        tags = [-100] * len(ends)
        for word, token in last.items():
            tags[token] = labels.index(sentence[word][1])
        rows.append({"input_ids": given["input_ids"], "labels": tags})
    return rows


def make_trainer(data, training, alignment, rows, labels, is_aligned, model=None, tokenizer=None):
    """Make the trainer. `model` and `tokenizer` are loaded unless they are given."""
    if tokenizer is None:
        tokenizer = AutoTokenizer.from_pretrained(data.model_name_or_path)
    if model is None:
        # The optimizer needs full precision, whatever the dtype of the checkpoint.
        model = AutoModelForTokenClassification.from_pretrained(
            data.model_name_or_path, num_labels=len(labels), dtype=torch.float32
        )
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: number for number, label in enumerate(labels)}
    made = with_alignment(Trainer) if is_aligned else Trainer
    extra = {"alignment": alignment.config()} if is_aligned else {}
    return made(
        model=model,
        args=training,
        train_dataset=rows,
        processing_class=tokenizer,
        data_collator=DataCollatorForTokenClassification(tokenizer),
        **extra,
    )


def accuracy(trainer, rows):
    """Return the share of words that get their label."""
    found = trainer.predict(rows)
    counted = found.label_ids != -100
    return float((found.predictions.argmax(-1) == found.label_ids)[counted].mean())


if __name__ == "__main__":
    parser = TrlParser((Data, TrainingArguments, AlignmentArguments))
    data, training, alignment = parser.parse_args_and_config()
    tokenizer = AutoTokenizer.from_pretrained(data.model_name_or_path)
    tagged = {code: read_tagged(data, code) for code in (data.source, *data.languages)}
    labels = sorted({tag for sentences in tagged.values() for one in sentences for _, tag in one})
    encoded = {
        code: encode(sentences, tokenizer, labels, data.max_length) for code, sentences in tagged.items()
    }
    found = {}
    for k in data.k:
        few = [row for code in data.languages for row in encoded[code][:k]]
        for is_aligned in (False, True):
            set_seed(training.seed)  # the same head and the same order
            rows = [*encoded[data.source][: data.learnt], *few]
            trainer = make_trainer(data, training, alignment, rows, labels, is_aligned, tokenizer=tokenizer)
            trainer.train()
            tests = {code: accuracy(trainer, rows[data.learnt :]) for code, rows in encoded.items()}
            found[f"k = {k}, {'aligned' if is_aligned else 'plain'}"] = tests
    trainer.save_model()  # the last: aligned, with the largest k

    table = Table("words that get their label", *found, box=None)
    for code in encoded:
        table.add_row(code, *(f"{tests[code]:.3f}" for tests in found.values()))
    Console(width=110).print(table)
    out = Path(training.output_dir) / "few_shot_transfer.json"
    out.write_text(json.dumps(found, indent=1), encoding="utf-8")
