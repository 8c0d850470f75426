"""Measure a bias in several languages, take it out of the states, and say what that did and what it cost.

    python recipes/debias_latent.py --config configs/debias_latent_smoke.yaml          # CPU, one minute
    python recipes/debias_latent.py --config configs/debias_latent_qwen3_0.6b.yaml     # one GPU

The attribute is taken out twice, with pairs of the languages in `fit_on`: in a joint latent space, which an
autoencoder learns from parallel text, and in the model's own space. Half of the pairs of each language are
for fitting, the other half for judging. Writes space/, table.txt and rows.json into the output folder.

This is not `debias_minilm.py`, which subtracts language means from an encoder.
"""

import argparse
import json
from pathlib import Path

import torch
import yaml
from rich.console import Console
from transformers import AutoModelForCausalLM, AutoTokenizer

from xalign import load_pairs
from xalign.bias import judge_debiasing, load_bias_list, seat
from xalign.steering import AutoencoderOptions, fit_latent_space, latent_projection, subspace_projection

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
parallel, task = load_pairs(config["pairs"], config["languages"], n=config["n"]).split(
    1 - config["task_share"], seed=config["seed"]
)
bias, site = load_bias_list(config["bias"]), f"{config['layer']}.hidden"
fitting = {code: bias.pairs[code][::2] for code in config["fit_on"]}
judging = {code: pairs[1::2] for code, pairs in bias.pairs.items()}
console = Console(record=True, width=150)

# How biased is the model, as it is?
console.print(f"{bias.about}: {', '.join(bias.sets.values())}")
for one in seat(model, tokenizer, bias, site, by="word"):
    console.print(f"{one.language} at {one.site}: effect {one.effect:+.2f}, p = {one.p_value:.3f}")

# A joint space of the languages, from parallel text.
options = AutoencoderOptions(**config["autoencoder"], seed=config["seed"])
space = fit_latent_space(model, tokenizer, parallel.texts, site, options=options)
space.save_pretrained(out / "space")
found, raw = (sum(one.values()) / len(one) for one in (space.retrieved, space.raw_retrieved))
console.print(f"{space}; retrieval {found:.3f}, of the states themselves {raw:.3f}")

# Take the attribute out, in the latent space and in the model's, and judge both.
rank, rows = config["rank"], []
for what in (
    latent_projection(model, tokenizer, space, fitting, rank=rank),
    subspace_projection(model, tokenizer, fitting, site, rank=rank),
):
    result = judge_debiasing(
        model,
        tokenizer,
        what,
        fitted_on=list(fitting),
        pairs=judging,
        words=bias,
        sites=site,
        texts=task.texts,
        strength=config["strength"],
        random_sets=config["random_sets"],
    )
    console.print(result.table())
    for measure in ("gap", f"effect {site}"):
        here, elsewhere = (result.removed(measure, fitted=fitted) for fitted in (True, False))
        said = [f"{share:+.0%}" if share is not None else "unknown" for share in (here, elsewhere)]
        console.print(f"{what.name}: {measure} removed, where fitted {said[0]}, elsewhere {said[1]}")
    console.print(f"{what.name}: the loss rose by {result.cost():+.4f} nats per token")
    rows += [{"what": what.name, **row} for row in result.to_rows()]
(out / "table.txt").write_text(console.export_text(), encoding="utf-8")
(out / "rows.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
print(f"wrote {out}")
