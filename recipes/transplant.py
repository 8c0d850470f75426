"""Ask whether what a model makes of a question in English helps it with the question in another language.

    python recipes/transplant.py --config configs/transplant_smoke.yaml          # CPU, one minute
    python recipes/transplant.py --config configs/transplant_qwen3_0.6b.yaml     # one GPU

Items are lines of JSON with a `prompt`, its `source` (the same in English), `options` that may follow, and
the `answer`, the number of the right option. One half chooses the pair of blocks, the other judges it, beside
transplants from the English of other items. Writes table.txt and rows.json into the output folder.
"""

import argparse
import json
from pathlib import Path

import torch
import yaml
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from xalign.steering import LikeliestOption, transplant_upper_bound

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
lines = Path(config["items"]).read_text(encoding="utf-8").splitlines()
items = [json.loads(line) for line in lines if line.strip()]


def tried(chosen, pairs=None, controls=0):
    """Transplant the English of some items into their prompts, from block to block."""
    answers = LikeliestOption([one["options"] for one in chosen], [one["answer"] for one in chosen])
    prompts, sources = [one["prompt"] for one in chosen], [one["source"] for one in chosen]
    kind = config["sub_layer"]
    return transplant_upper_bound(
        model,
        tokenizer,
        prompts,
        sources,
        answers,
        sub_layer=kind,
        pairs=pairs,
        controls=controls,
        seed=config["seed"],
    )


# Choose on every other item, and judge on the others.
choosing, judged = items[::2], items[1::2]
(source, target), share = tried(choosing).best_pair
print(f"chosen on {len(choosing)} items: from block {source} to block {target}, which solves {share:.3f}")
console, rows = Console(record=True, width=100), []
for what, pairs in (("the chosen pair", [(source, target)]), ("any pair of blocks", None)):
    bound = tried(judged, pairs, controls=config["controls"])
    console.print(f"\n{what}, {len(judged)} other items")
    console.print(bound.table())
    rows += [{"tried": what, **row} for row in bound.to_rows()]
(out / "table.txt").write_text(console.export_text(), encoding="utf-8")
(out / "rows.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
print(f"wrote {out}")
