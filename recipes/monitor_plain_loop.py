"""Measure alignment in your own training loop, without a Trainer. The loop can be stopped and resumed.

    python recipes/monitor_plain_loop.py --output_dir runs/loop --model HuggingFaceTB/SmolLM2-135M --steps 200

Trains on the lines of a text file, or on half of the bundled sentences. Measures on the other half of the
bundled sentences. Writes alignment/history.jsonl, a report per measurement, and a checkpoint to resume from.
A run that was killed and resumed ends with the same weights and the same history as one that was not.
"""

import argparse
import os
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from xalign import AlignmentMonitor, load_pairs

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument(
    "--output_dir", type=Path, required=True, help="folder for the history and the checkpoint"
)
parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M", help="path or Hub id")
parser.add_argument("--text", type=Path, help="file with one sentence or document per line")
parser.add_argument("--steps", type=int, default=200)
parser.add_argument(
    "--every", type=int, default=50, help="steps between measurements, at which it also saves"
)
parser.add_argument("--batch_size", type=int, default=8)
arguments = parser.parse_args()

held_out, rest = load_pairs("bundled").split(0.5, seed=0)
lines = [line for code in rest.texts for line in rest.texts[code]]
if arguments.text is not None:
    lines = arguments.text.read_text(encoding="utf-8").splitlines()

# Resume from the last checkpoint if there is one: model, optimizer and step.
checkpoints = {int(path.name[11:]): path for path in arguments.output_dir.glob("checkpoint-*[0-9]")}
done = max(checkpoints, default=0)
source = checkpoints.get(done, arguments.model)
tokenizer = AutoTokenizer.from_pretrained(source)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
model = AutoModelForCausalLM.from_pretrained(source).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
if done in checkpoints:
    optimizer.load_state_dict(torch.load(source / "optimizer.pt"))
    print(f"resuming from {source}, step {done}")

monitor = AlignmentMonitor(
    model, tokenizer, held_out, every=arguments.every, save_dir=arguments.output_dir / "alignment"
)
print(monitor.cost_line)
for step in range(done, arguments.steps + 1):
    if step > done:
        torch.manual_seed(step)  # a step that is repeated draws the same batch and the same dropout
        drawn = torch.randint(len(lines), (arguments.batch_size,))
        batch = tokenizer([lines[row] for row in drawn], return_tensors="pt", padding=True)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    report = monitor.step(step) if step < arguments.steps else monitor.measure(step)
    if report is not None:
        print(step, {key: round(value, 3) for key, value in monitor.scalars.items()})
    if report is not None and step not in checkpoints:
        # Save it whole or not at all: under another name first, and renamed when all is on the disk.
        unfinished = arguments.output_dir / "checkpoint-unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)  # what a killed run left
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        torch.save(optimizer.state_dict(), unfinished / "optimizer.pt")
        for file in unfinished.iterdir():
            with open(file, "rb") as written:
                os.fsync(written.fileno())
        earlier, checkpoints = checkpoints, {step: arguments.output_dir / f"checkpoint-{step}"}
        unfinished.rename(checkpoints[step])
        for path in earlier.values():
            shutil.rmtree(path)
print(monitor.history)
