"""Measure alignment in a training loop under accelerate, with one process or several.

    torchrun --nproc_per_node 2 recipes/monitor_accelerate.py --output_dir runs/accelerate

All processes must call `monitor.step`. They share the forward passes, all get the report, and rank 0
writes it. Each measurement also saves a checkpoint, from which the same command resumes. A run that was
killed and resumed ends with the same weights and the same history as one that was not.
"""

import argparse
import os
import shutil
from pathlib import Path

import torch
from accelerate import Accelerator, DataLoaderConfiguration
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
accelerator = Accelerator(
    cpu=arguments.cpu,
    # The order of an epoch depends on its number alone, so that a resumed run goes on in it.
    dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True),
)
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
# Resume from the last checkpoint if there is one: model, optimizer, random numbers and step.
checkpoints = {int(path.name[11:]): path for path in arguments.output_dir.glob("checkpoint-*[0-9]")}
step = max(checkpoints, default=0)
if step in checkpoints:
    accelerator.load_state(checkpoints[step])
    accelerator.print(f"resuming from {checkpoints[step]}")
monitor.step(step)
while step < arguments.steps:
    epoch, seen = divmod(step, len(loader))
    loader.set_epoch(epoch)
    for batch in accelerator.skip_first_batches(loader, seen) if seen else loader:
        accelerator.backward(model(**batch).loss)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        report = monitor.step(step)
        if report is not None:
            accelerator.print(step, report)
            # Save it whole or not at all: under another name first, and renamed when all is on the disk.
            unfinished = arguments.output_dir / "checkpoint-unfinished"
            if accelerator.is_main_process:
                shutil.rmtree(unfinished, ignore_errors=True)  # what a killed run left
            accelerator.wait_for_everyone()
            accelerator.save_state(unfinished)
            accelerator.wait_for_everyone()
            earlier, checkpoints = checkpoints, {step: arguments.output_dir / f"checkpoint-{step}"}
            if accelerator.is_main_process:
                for file in unfinished.iterdir():
                    with open(file, "rb") as written:
                        os.fsync(written.fileno())
                unfinished.rename(checkpoints[step])
                for path in earlier.values():
                    shutil.rmtree(path)
        if step == arguments.steps:
            break
accelerator.print("processes:", accelerator.num_processes, "rank 0 wrote", monitor.history)
# DDP's wrapper keeps the process group alive, and Gloo's threads can abort a process that exits with one.
model, optimizer, loader = accelerator.free_memory(model, optimizer, loader)
accelerator.end_training()
