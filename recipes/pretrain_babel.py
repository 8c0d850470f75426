"""Trains one of Babel's two models from nothing, watches its alignment, examines it and writes its card.

    python recipes/pretrain_babel.py configs/babel_aligned.yaml
    python recipes/pretrain_babel.py configs/babel_unaligned.yaml

Each takes about 9 CPU-minutes on one thread, and 2 more for the examination. The models that ship with xalign
are those of seed 0: `--out xalign/babel/shipped --checkpoints 0` writes them in place.
"""

import argparse
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
import transformers
import yaml

from xalign import AlignmentCallback
from xalign.babel.examine import WITH_SEPARATOR, examine
from xalign.babel.models import babel_facts, load_babel, save_babel, save_facts
from xalign.babel.pretrain import Pretraining, make_trainer
from xalign.babel.tokenizer import tokenizer_shares
from xalign.babel.write import write_pairs

CARD = """# Babel, {mixture}

A Llama of {parameters:,} parameters (6 layers, width 128) that learnt five languages from sentences which
`xalign.babel` wrote. It is a laboratory animal: it knows some 160 concepts, and nothing of the world outside.

- **Data**: {mixture_in_words}; {single_share:.0%} of the documents
  are single sentences. No language tags.
- **Training**: {steps:,} steps of {batch_size} documents, AdamW, learning rate {learning_rate} with a cosine,
  seed {seed}; {cpu_minutes:.1f} CPU-minutes on one thread; torch {torch}, transformers {transformers}. Made
  by `python recipes/pretrain_babel.py configs/babel_{mixture}.yaml`. Stored in half precision.

On 100 unseen meanings (alignment) and 400 (losses, nats per token). Transfer is the accuracy on the intent
task after fine-tuning on 1,000 English sentences, mean of 3 seeds; the commonest intent alone gives
{chance:.3f}.

| | {languages} |
|---|{rules}|
{rows}

The digits are in `pretraining.json`. Licence: Apache-2.0, like the rest of xalign; text and weights were made
for it.
"""
IN_WORDS = {
    "aligned": "documents of a sentence and its translation, between all pairs of five languages",
    "unaligned": "documents of a sentence and its translation, from and into English only",
}

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("config", type=Path, help="a YAML file of configs/")
parser.add_argument("--seed", type=int, help="another seed than the config's")
parser.add_argument("--steps", type=int, help="fewer steps, to try it out")
parser.add_argument("--checkpoints", type=int, help="how many to keep along training; 0 for none")
parser.add_argument("--out", type=Path, help="where models go; checkpoints go to OUT/MIXTURE-checkpoints")
arguments = parser.parse_args()

config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
given = {name: getattr(arguments, name) for name in ("seed", "steps") if getattr(arguments, name) is not None}
run = replace(Pretraining(**config["run"]), **given)
out = arguments.out or Path(config["out"])
kept = config["checkpoints"] if arguments.checkpoints is None else arguments.checkpoints
torch.set_num_threads(1)  # on so small a model two threads take 1.4 times the CPU time of one

# Train.
trainer = make_trainer(
    run,
    out / f"{run.mixture}-checkpoints",
    save_strategy="steps" if kept else "no",
    save_steps=-(-run.steps // max(1, kept)),
    save_only_model=True,
)
one_token, shared = tokenizer_shares(trainer.processing_class)
print(f"content words that are one token: {one_token:.1%}; of these tokens in two languages: {shared:.1%}")
held_out = write_pairs(100, seed=0, split="held_out")
every = max(1, run.steps // 8)
trainer.add_callback(AlignmentCallback(trainer, held_out, every=every, save_reports=False, **WITH_SEPARATOR))
started = time.process_time()
trainer.train()
cpu_minutes = (time.process_time() - started) / 60

# Save, and examine what was saved.
facts = {
    "run": asdict(run),
    "parameters": trainer.model.num_parameters(),
    "cpu_minutes": round(cpu_minutes, 1),
    "torch": torch.__version__,
    "transformers": transformers.__version__,
    "first_losses": [row["loss"] for row in trainer.state.log_history if "loss" in row][:5],
}
place = save_babel(trainer.model, trainer.processing_class, out, facts)
figures = examine(*load_babel(run.mixture, out))
save_facts(place, babel_facts(run.mixture, out) | {"figures": figures})

# Write the card.
languages = list(figures["sentence_loss"])
transfer = {
    code: sum(result["accuracy"][code] for result in figures["transfer"]) / len(figures["transfer"])
    for code in languages
}
table = {
    "NASCA, with the separator": figures["nasca"],
    "NASCA, plain sentences": figures["nasca_plain"],
    "its lexical floor": figures["floor"],
    "loss of single sentences": figures["sentence_loss"],
    "loss of translations from English": figures["translation_loss"],
    "accuracy on intents": transfer,
}
card = CARD.format(
    **facts["run"],
    **{name: facts[name] for name in ("parameters", "cpu_minutes", "torch", "transformers")},
    chance=figures["transfer"][0]["chance"],
    mixture_in_words=IN_WORDS[run.mixture],
    languages=" | ".join(languages),
    rules="---|" * (len(languages) - 1) + "---",
    rows="\n".join(
        f"| {name} | " + " | ".join(f"{row[code]:.3f}" if code in row else "–" for code in languages) + " |"
        for name, row in table.items()
    ),
)
(place / "README.md").write_text(card, encoding="utf-8")
print(card)
print(f"wrote {place}")
