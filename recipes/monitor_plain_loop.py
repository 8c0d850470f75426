"""Measure alignment in your own training loop, without a Trainer. The loop can be stopped and resumed.

    python recipes/monitor_plain_loop.py --output_dir runs/loop --model HuggingFaceTB/SmolLM2-135M --steps 200

Trains on the lines of a text file, or on half of the bundled sentences. Measures on the other half of the
bundled sentences. Writes alignment/history.jsonl, a report per measurement, and a checkpoint to resume from.
"""

import argparse
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

# Resume from the checkpoint if there is one: model, optimizer and step.
saved = arguments.output_dir / "checkpoint"
source = saved if saved.exists() else arguments.model
tokenizer = AutoTokenizer.from_pretrained(source)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
model = AutoModelForCausalLM.from_pretrained(source).train()
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
done = 0
if saved.exists():
    state = torch.load(saved / "state.pt")
    optimizer.load_state_dict(state["optimizer"])
    done = state["step"]
    print(f"resuming from {saved}, step {done}")

monitor = AlignmentMonitor(
    model, tokenizer, held_out, every=arguments.every, save_dir=arguments.output_dir / "alignment"
)
print(monitor.cost_line)
for step in range(done, arguments.steps + 1):
    if step > done:
        drawn = torch.randint(
            len(lines), (arguments.batch_size,), generator=torch.Generator().manual_seed(step)
        )
        batch = tokenizer([lines[row] for row in drawn], return_tensors="pt", padding=True)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    report = monitor.step(step) if step < arguments.steps else monitor.measure(step)
    if report is not None:
        print(step, {key: round(value, 3) for key, value in monitor.scalars.items()})
        model.save_pretrained(saved)
        tokenizer.save_pretrained(saved)
        torch.save({"optimizer": optimizer.state_dict(), "step": step}, saved / "state.pt")
print(monitor.history)
