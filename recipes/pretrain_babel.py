"""Train one of Babel's models from scratch, measure its alignment, and write its model card.

    python recipes/pretrain_babel.py configs/babel_aligned.yaml
    python recipes/pretrain_babel.py configs/babel_unaligned.yaml
    python recipes/pretrain_babel.py configs/babel_unequal.yaml

Training takes about 9 CPU-minutes on one thread, and the final measurements 2 more. The aligned and the
unaligned model ship with xalign, with seed 0: `--out xalign/babel/shipped --checkpoints 0` writes them there.
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

A Llama of {parameters:,} parameters (6 layers, width 128), trained on sentences in five languages that
`xalign.babel` wrote. It is made for experiments: it knows about 160 concepts and nothing else.

- **Data**: {mixture_in_words}; {single_share:.0%} of the documents
  are single sentences. There are no language tags.
- **Training**: {steps:,} steps of {batch_size} documents, AdamW, learning rate {learning_rate} with a
  cosine schedule, seed {seed}; {cpu_minutes:.1f} CPU-minutes on one thread; torch {torch}, transformers
  {transformers}. The command was `python recipes/pretrain_babel.py configs/babel_{mixture}.yaml`. Stored in
  half precision.

Alignment is measured on 100 unseen meanings, losses (nats per token) on 400. The accuracy on intents is that
after fine-tuning on 1,000 English sentences, mean of 3 seeds; always answering the most frequent intent
gives {chance:.3f}.

| | {languages} |
|---|{rules}|
{rows}

`pretraining.json` has all digits. Licence: Apache-2.0, like the rest of xalign. Text and weights were made
for xalign.
"""
IN_WORDS = {
    "aligned": "documents of a sentence and its translation, between all pairs of five languages",
    "unaligned": "documents of a sentence and its translation, from and into English only",
    "unequal": "documents of a sentence and its translation, from and into English only: half of them\n"
    "  with Spanish, 30 % with German, 15 % with Russian and 5 % with Chinese",
}

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("config", type=Path, help="such as configs/babel_aligned.yaml")
parser.add_argument("--seed", type=int, help="seed, in place of the config's")
parser.add_argument("--steps", type=int, help="number of steps, in place of the config's")
parser.add_argument("--checkpoints", type=int, help="number of checkpoints to keep; 0 keeps none")
parser.add_argument("--out", type=Path, help="folder for models; checkpoints go to OUT/MIXTURE-checkpoints")
arguments = parser.parse_args()

config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
given = {name: getattr(arguments, name) for name in ("seed", "steps") if getattr(arguments, name) is not None}
run = replace(Pretraining(**config["run"]), **given)
out = arguments.out or Path(config["out"])
kept = config["checkpoints"] if arguments.checkpoints is None else arguments.checkpoints
torch.set_num_threads(1)  # for such a small model two threads take 1.4 times the CPU time of one

# Train.
trainer = make_trainer(
    run,
    out / f"{run.mixture}-checkpoints",
    save_strategy="steps" if kept else "no",
    save_steps=-(-run.steps // max(1, kept)),
    save_only_model=True,
)
one_token, shared = tokenizer_shares(trainer.processing_class)
print(f"content words that are one token: {one_token:.1%}; these tokens shared by languages: {shared:.1%}")
held_out = write_pairs(100, seed=0, split="held_out")
every = max(1, run.steps // 8)
trainer.add_callback(AlignmentCallback(trainer, held_out, every=every, save_reports=False, **WITH_SEPARATOR))
started = time.process_time()
trainer.train()
cpu_minutes = (time.process_time() - started) / 60

# Save the model, and measure what was saved.
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

# Write the model card.
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
