"""Measure alignment in a training loop under accelerate, with one process or several.

    torchrun --nproc_per_node 2 recipes/monitor_accelerate.py --output_dir runs/accelerate

All processes must call `monitor.step`. They share the forward passes, all get the report, and rank 0
writes it.
"""

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForLanguageModeling

from xalign import AlignmentMonitor, load_pairs

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--output_dir", type=Path, required=True, help="folder for the history and the reports")
parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M", help="path or Hub id")
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--every", type=int, default=50)
parser.add_argument("--cpu", action="store_true", help="use the CPU even if there is a GPU")
arguments = parser.parse_args()

torch.manual_seed(0)
tokenizer = AutoTokenizer.from_pretrained(arguments.model)
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
model = AutoModelForCausalLM.from_pretrained(arguments.model)
# The model comes first: modules that torch imports for it would keep references to a process group
# that existed before.
accelerator = Accelerator(cpu=arguments.cpu)
held_out, rest = load_pairs("bundled").split(0.5, seed=0)
data = [{"input_ids": tokenizer(line)["input_ids"]} for code in rest.texts for line in rest.texts[code]]
loader = DataLoader(
    data, batch_size=4, shuffle=True, collate_fn=DataCollatorForLanguageModeling(tokenizer, mlm=False)
)
optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)

# The monitor takes the model inside DDP's wrapper; both share their weights.
monitor = AlignmentMonitor(
    accelerator.unwrap_model(model),
    tokenizer,
    held_out,
    every=arguments.every,
    save_dir=arguments.output_dir / "alignment",
)
monitor.step(0)
step = 0
while step < arguments.steps:
    for batch in loader:
        accelerator.backward(model(**batch).loss)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        report = monitor.step(step)
        if report is not None:
            accelerator.print(step, report)
        if step == arguments.steps:
            break
accelerator.print("processes:", accelerator.num_processes, "rank 0 wrote", monitor.history)
# DDP's wrapper keeps the process group alive, and Gloo's threads can abort a process that exits with one.
model, optimizer, loader = accelerator.free_memory(model, optimizer, loader)
accelerator.end_training()
