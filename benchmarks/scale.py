r"""Compute what measuring big models in many languages takes, from what was measured on one GPU.

    python benchmarks/scale.py                   # prints the tables of docs/scale.md
    python benchmarks/scale.py --write           # and puts them into the page

Nothing is run. What was measured is in `results/gpu_h100.json`: the operations per second of the forwards of
the 8B shape, the share of padding, and a measurement ÷ its bare forwards. The rest is arithmetic.
"""

import argparse
import json
from pathlib import Path

from models import SHAPES, forward_flops
from page_part import with_part
from transformers import AutoConfig

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "scale.md"
MEASURED = json.loads((ROOT / "benchmarks/results/gpu_h100.json").read_text())["parts"]["measure 8B"]
LANGUAGES, PAIRS, BUDGET = 200, 1000, 4096
# From the data sheets of an H100 and of its usual node. Not measured.
NVLINK, NETWORK, PCIE, MEMORY = 450e9, 50e9, 55e9, 80e9  # bytes per second and GPU; bytes
SENTENCES_TIMED = 600  # 5 languages and the pivot, 100 each
METRICS = {"the four default metrics": ("gate", "activation", "hidden"), "`mexa` alone": ("hidden",)}


def operations_per_second():
    """Return what the bare forwards of the 8B shape reached, padding counted."""
    return MEASURED["teraflops_per_second"]["padded"] * 1e12


def tokens_per_sentence():
    """Return the tokens that a sentence takes in a padded batch."""
    return MEASURED["tokens"]["padded"] / SENTENCES_TIMED


def config_of(shape):
    """Return the config of a shape."""
    family, sizes = SHAPES[shape]
    return AutoConfig.for_model(family, **sizes)


def parameters(config):
    """Count the weights of a Llama: blocks, embeddings and head, norms."""
    d, heads = config.hidden_size, config.num_attention_heads
    attention = 2 * d * (d // heads) * (heads + config.num_key_value_heads)
    block = attention + 3 * d * config.intermediate_size + 2 * d
    return config.num_hidden_layers * block + 2 * config.vocab_size * d + d


def numbers_of_sentence(config, sites):
    """Count the pooled numbers that are kept of a sentence."""
    widths = {"gate": config.intermediate_size, "activation": config.intermediate_size}
    blocks = sum(widths.get(site, config.hidden_size) for site in sites)
    return config.num_hidden_layers * blocks + config.hidden_size  # hidden states have one place more


def cost(shape, sites, gpus):
    """Return what a measurement takes on a number of GPUs, of which enough hold one copy of the weights."""
    config = config_of(shape)
    weights = 2 * parameters(config)
    of_copy = -(-int(weights * 1.05) // int(MEMORY))
    sentences = (LANGUAGES + 1) * PAIRS
    flops = forward_flops(config, [tokens_per_sentence()]) * sentences
    states = 2 * PAIRS * numbers_of_sentence(config, sites) * 4
    copies = max(1, gpus // of_copy)
    measured = MEASURED["measured_by_bare"]["median"]
    return {
        "weights": weights,
        "states": states,
        "fits": weights / of_copy + states + MEASURED["peak_bytes"]["bare"] < MEMORY,
        "seconds": flops / operations_per_second() * measured / copies if gpus >= of_copy else None,
        # Half of the states are a language's, and an all-reduce moves each number twice.
        "gathered": LANGUAGES * states * (copies - 1) / copies,
    }


def said(seconds):
    """Return a time in words."""
    if seconds is None:
        return "does not fit"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def tables():
    """Return the tables of the page."""
    lines = ["| model | metrics | weights | states | 1 GPU | 8 GPUs | 64 GPUs |", "|---" * 7 + "|"]
    traffic = [
        "| model | metrics | exchanged per GPU, 8 | over NVLink | exchanged per GPU, 64 | over the network |",
        "|---" * 6 + "|",
    ]
    for shape in ("8B", "70B"):
        for name, sites in METRICS.items():
            one, eight, many = (cost(shape, sites, gpus) for gpus in (1, 8, 64))
            where = "" if one["fits"] else ", in main memory"
            lines.append(
                f"| {shape} | {name} | {one['weights'] / 1e9:.0f} GB | {one['states'] / 1e9:.1f} GB{where} | "
                + " | ".join(said(found["seconds"]) for found in (one, eight, many))
                + " |"
            )
            within, across = eight["gathered"], many["gathered"]
            traffic.append(
                f"| {shape} | {name} | {within / 1e9:,.0f} GB | {said(within / NVLINK)} | "
                f"{across / 1e9:,.0f} GB | {said(across / NETWORK)} |"
            )
    return "\n".join(lines) + "\n\n" + "\n".join(traffic) + "\n"


def updated(page):
    """Return the page with the tables in their place."""
    return with_part(page, "scale", tables())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the tables into docs/scale.md")
    print(tables())
    if parser.parse_args().write:
        PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
