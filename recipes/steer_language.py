"""Find the units that carry each language, calibrate how to force them, and judge that beside controls.

    python recipes/steer_language.py --config configs/steer_language_smoke.yaml          # CPU, two minutes
    python recipes/steer_language.py --config configs/steer_language_qwen3_0.6b.yaml     # one GPU

Text is anything that `load_pairs` reads; one half is for finding, the other for judging. Writes units/,
table.txt and rows.json into the output folder.
"""

import argparse
import json
from pathlib import Path

import torch
import yaml
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from xalign import find_units, load_pairs
from xalign.judging import calibrate, evaluate

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--config", type=Path, required=True)
parser.add_argument("--output_dir", type=Path, help="replaces the file's")
arguments = parser.parse_args()
config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
out = arguments.output_dir or Path(config["output_dir"])
out.mkdir(parents=True, exist_ok=True)

device = "cuda" if torch.cuda.is_available() else "cpu"
name, dtype = config["model_name_or_path"], getattr(torch, config["dtype"])
model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype).to(device).eval()
tokenizer = AutoTokenizer.from_pretrained(name)
pairs = load_pairs(config["pairs"], config["languages"], n=config["n"])
finding, unseen = pairs.split(0.5, seed=config["seed"])
generation = config["generation"]
if config.get("stop"):
    generation["eos_token_id"] = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(config["stop"])]

# Find.
units = find_units(model, tokenizer, finding.texts, **config["find"])
units.save_pretrained(out / "units")
print(f"{units}; saved in {out / 'units'}")

# Find out how hard to steer, and at which tokens.
calibration = calibrate(model, tokenizer, units, unseen.texts, generation=generation, **config["calibrate"])
console = Console(record=True, width=150)
console.print(calibration.table())
usable = calibration.labels
print(f"raised within bounds: {', '.join(usable) or 'none, try other strengths'}")

# Judge forcing a language, and removing it.
rows = []
for what, how, labels in (("forced", calibration, usable), ("zeroed", {"operator": "zero"}, units.labels)):
    if not labels:
        continue
    console.print(f"\n{what}")
    result = evaluate(
        model,
        tokenizer,
        units,
        unseen.texts,
        how=how,
        labels=labels,
        pairs=unseen,
        generation=generation,
        **config["evaluate"],
    )
    console.print(result.table())
    rows += [{"what": what, **row} for row in result.to_rows()]
(out / "table.txt").write_text(console.export_text(), encoding="utf-8")
(out / "rows.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
print(f"wrote {out}")
