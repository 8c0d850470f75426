"""Measure which alignment bits survive changed sentences, and look-alikes: two real models on real text.

    python benchmarks/robustness.py runs/robustness        # about 15 CPU-minutes; from the checkout

all-MiniLM-L6-v2, an encoder of English, and multilingual-e5-small, on the first 100 pairs of FLORES in five
languages, and on the first 200 pairs of PAWS-X in three. Bits are those of MEXA. Writes robustness.json to
the folder and prints its tables. Needs XALIGN_DATA and the packages of both models.
"""

import argparse
import json
import os
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

from tests.minilm import minilm_folder
from tests.realmodels.e5 import load_e5
from xalign import load_pairs, measure_robustness
from xalign.robustness import load_look_alikes

LANGUAGES = ["deu_Latn", "fra_Latn", "rus_Cyrl", "swh_Latn", "zho_Hans"]

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("out", type=Path, help="folder for the results")
out = parser.parse_args().out
out.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(1)
data = Path(os.environ["XALIGN_DATA"])
flores = load_pairs(data / "flores200", LANGUAGES, n=100)
paws = load_look_alikes(data / "pawsx", ["de", "fr", "zho_Hans"], n=200)


def load_minilm():
    """Return all-MiniLM-L6-v2 and its tokenizer."""
    return AutoModel.from_pretrained(minilm_folder()), AutoTokenizer.from_pretrained(minilm_folder())


MODELS = {"MiniLM": (load_minilm, None), "e5-small": (load_e5, "query: {text}")}
kept = out / "robustness.json"
found = json.loads(kept.read_text()) if kept.exists() else {}
for name, (load, template) in MODELS.items():
    if name in found:
        continue
    model, tokenizer = load()
    options = {"metrics": ["mexa"], "template": template}
    changed = measure_robustness(model, tokenizer, flores, **options)
    alike = measure_robustness(model, tokenizer, paws.pairs, [paws.look_alikes, paws.paraphrases], **options)
    found[name] = {"rows": changed.to_rows() + alike.to_rows()}
    found[name]["final"] = {
        f"{row['kind']}, {row['language']}": one.by_layer(row["kind"], "mexa", row["language"])[-1]
        for one in (changed, alike)
        for row in one.to_rows()
        if row["changed"]
    }
    kept.write_text(json.dumps(found, indent=1))
    print(f"{name}: measured", flush=True)


def shown(value):
    """Format a share."""
    return "" if value is None else f"{value:.2f}".replace("0.", ".", 1)


print("\n| | changed | bits before | survived, all layers | of token counts | survived, final |")
print("|---|---|---|---|---|---|")
for name, results in found.items():
    for row in results["rows"]:
        if not row["changed"]:
            continue
        ends = f" [{shown(row['survived_low'])}, {shown(row['survived_high'])}]"
        final = results["final"][f"{row['kind']}, {row['language']}"]
        cells = [f"{name}, {row['kind']}, {row['language']}", f"{row['changed']} of {row['n']}"]
        cells += [shown(row["before"]), shown(row["survived"]) + ends, shown(row["floor_survived"])]
        print(f"| {' | '.join(cells)} | {shown(final['survived'])} |")
