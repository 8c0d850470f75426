"""Find where a model slips into English, choose an edit that brings its answers back, and judge it.

    python recipes/reduce_language_confusion.py --config configs/reduce_language_confusion_smoke.yaml
    python recipes/reduce_language_confusion.py --config configs/reduce_language_confusion_qwen3_0.6b.yaml

The first is a CPU twin of a minute, the second needs a GPU. Prompts are JSONL, with `prompt` and `language`
on each line; those that want English are left out. A third is to find with, a third to choose with, a third
to judge. `reference` is the model before fine-tuning, if there is one: it allows two more kinds of edits.
Writes the edit, rows.json, table.txt and confusion.html into the output folder.
"""

import argparse
import json
from pathlib import Path

import torch
import yaml
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from xalign import steer
from xalign.confusion import (
    TrialOptions,
    answer_prompts,
    answer_shifts,
    compare_answers,
    read_prompts,
    try_answers,
)
from xalign.confusion.shown import shown_answers, shown_rates
from xalign.finding.attribution import attribution
from xalign.judging import ManyLanguages
from xalign.steering.interventions.confusion_neurons import edit_confusion_neurons
from xalign.steering.interventions.contrastive_addition import from_last_prompt
from xalign.views.confusion_page import write_confusion_page

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--config", type=Path, required=True)
parser.add_argument("--output_dir", type=Path, help="replaces the file's")
arguments = parser.parse_args()
config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
out = arguments.output_dir or Path(config["output_dir"])
out.mkdir(parents=True, exist_ok=True)

device = "cuda" if torch.cuda.is_available() else "cpu"
name, dtype = config["model_name_or_path"], getattr(torch, config["dtype"])
tokenizer = AutoTokenizer.from_pretrained(name)


def load(source):
    """Return a model ready to answer; a folder of a LoRA is loaded with its base model."""
    return AutoModelForCausalLM.from_pretrained(source, dtype=dtype).to(device).eval()


model = load(name)
reference = load(config["reference"]) if config["reference"] else None
prompts = [one for one in read_prompts(config["prompts"]) if one.language != "eng_Latn"]
languages = sorted({one.language for one in prompts})
of_language = {code: [one for one in prompts if one.language == code] for code in languages}
finding, choosing, judged = (
    [one for own in of_language.values() for one in own[part::3]] for part in range(3)
)
stop = (tokenizer.convert_tokens_to_ids(config["stop"]),) if config["stop"] else ()
among = config["among"]
options = TrialOptions(
    ManyLanguages(among),
    ManyLanguages(sorted({*languages, "eng_Latn"}), confidence=0),
    **{"least": config["least"], "chat": config["chat"], "max_new_tokens": config["max_new_tokens"]},
    **{"stop": stop, "batch_size": config["batch_size"]},
)

# Where does it slip?
first = try_answers(model, tokenizer, finding, options)
points = [one for one in first.points if one is not None]
console = Console(record=True, width=150)
console.print(first.before.table())
print(f"{len(points)} of {len(finding)} answers slip into English")

# What could be done: each edit is language -> (what, how), for `steer`.
edits = {}
if points:
    texts, targets = {"eng_Latn": [one.text for one in points]}, {"eng_Latn": [one.target for one in points]}
    how = {"targets": targets, "reference": reference, "k": max(config["neurons"])}
    neurons = attribution(model, tokenizer, texts, **how)
    for k in config["neurons"]:
        chosen = neurons.top(k)
        silenced = edit_confusion_neurons(model, chosen)
        edits[f"{k} neurons silenced"] = (chosen, dict.fromkeys(languages, silenced), {})
        if reference is not None:
            copied = edit_confusion_neurons(model, chosen, mode="copy", reference=reference)
            edits[f"{k} neurons copied"] = (chosen, dict.fromkeys(languages, copied), {})
if reference is not None:
    shared = {"stop": stop, "chat": config["chat"], "batch_size": config["batch_size"]}
    for site in config["sites"]:
        shifts = answer_shifts(model, reference, tokenizer, finding, site, **shared)
        for strength in config["strengths"]:
            how = {"strength": strength, "positions": from_last_prompt}
            edits[f"shift at {site} × {strength}"] = (shifts, shifts, how)


def answered(edit, asked):
    """Return the answers to prompts, with an edit or without."""
    generation = {"do_sample": False, "max_new_tokens": config["max_new_tokens"]}
    if stop:
        generation["eos_token_id"] = [tokenizer.eos_token_id, *stop]
    shared = {"chat": config["chat"], "generation": generation, "batch_size": config["batch_size"]}
    if edit is None:
        return [one.text for one in answer_prompts(model, tokenizer, asked, **shared)]
    _, what, how = edit
    texts = []
    for code in languages:  # the prompts are in this order
        with steer(model, what[code], **how):
            own = [one for one in asked if one.language == code]
            texts += [one.text for one in answer_prompts(model, tokenizer, own, **shared)]
    return texts


# Which edit does best on other prompts? Answers that it silences count as wrong.
before, rows = answered(None, choosing), []
for title, edit in edits.items():
    after = answered(edit, choosing)
    compared = compare_answers(choosing, before, after, options.identify, least=config["least"])
    change = compared.change(silent_fails=True)
    rows.append({"edit": title, "before": change.before, "after": change.after})
    print(f"{title}: {change.before:.2f} → {change.after:.2f}")
if not rows:
    raise SystemExit("no answer slips into English, and there is no reference: nothing to edit")
best = max(rows, key=lambda row: row["after"])["edit"]
found, what, how = edits[best]

# Judge it on the rest, beside a random edit of the same size.
trial = try_answers(model, tokenizer, judged, options, lambda code: steer(model, what[code], **how))
console.print(f"\n{best}, chosen on other prompts", trial.table())
control = answered((None, {code: one.random(0) for code, one in what.items()}, how), judged)
random = compare_answers(judged, trial.answers, control, options.identify, least=config["least"]).change()
console.print(f"a random edit of the same size: {random.before:.3f} → {random.after:.3f}")

found_by = (
    {"edit": found} if not isinstance(found, dict) else {f"edit-{code}": one for code, one in found.items()}
)
for folder, one in found_by.items():
    one.save_pretrained(out / folder)
result = {"chosen": best, "tried": rows, "judged": trial.comparison.to_rows(), "random": random.difference}
(out / "rows.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
(out / "table.txt").write_text(console.export_text(), encoding="utf-8")
about = {"model": str(name), "edit": best} | trial.about
rates, answers = shown_rates(trial.before, trial.comparison), shown_answers(trial.before, trial)
write_confusion_page(out / "confusion.html", f"Language confusion: {name}", rates, answers, about)
print(f"wrote {out}")
