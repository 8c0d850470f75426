r"""Measure on one GPU what measuring, aligning, steering and finding cost, beside the model's own work.

    python benchmarks/gpu.py --out benchmarks/results/gpu.json       # one H100: about 4 minutes
    python benchmarks/gpu.py --device cpu --smoke                    # a check without a GPU: seconds
    python benchmarks/gpu.py --device cpu --parts generate --shape 135M --out generate.json

Models have the shapes of Llama 3.2 1B, of Llama 3.1 8B and of eight blocks of Qwen3 30B-A3B, with random
weights in bfloat16. Every ratio is the median of runs that alternate. Part by part:

- `measure`: four metrics in one pass ÷ bare forwards of the same batches, with the peak of memory over the
  weights and the floating-point operations per second that the bare forwards reach.
- `align`: forward, loss and backward of the pairs up to the middle block ÷ the same through all blocks.
- `generate`: tokens per second steered ÷ not steered.
- `ap`: the average precision of 20,000 units on 2,000 sentences, with the scores on either device.
- `waits`: how often the program waits for the device, and where in xalign.

A part that fails is noted with its error, and the others run.
"""

import statistics
import time
import traceback
import warnings
from collections import Counter
from contextlib import nullcontext
from functools import partial

import torch
from clock import alternate, machine, parser_of, peak_bytes, ratio, write
from models import SHAPES, forward_flops, make_model
from texts import byte_level_tokenizer, longer_sentences

from xalign import AlignmentObjective, UnitSet, steer
from xalign.measurement import Measurement
from xalign.metrics.average_precision import average_precision
from xalign.metrics.cosine import cosine_matrix
from xalign.model.read import read_states
from xalign.model.run import run

PARTS = ("measure", "align", "generate", "ap", "waits")


def measure_part(shape, options):
    """Compare a measurement with the bare forwards of its batches, and with reading the states alone."""
    began = time.perf_counter()
    model = make_model(shape, options.device, options.dtype)
    made = time.perf_counter() - began
    # The states of all experts are wide: fewer sentences give the same ratio sooner.
    pairs = longer_sentences(options.n // 2 if "MoE" in shape else options.n)
    tokenizer = byte_level_tokenizer(pairs)
    began = time.perf_counter()
    measurement = Measurement(model, tokenizer, pairs)
    prepared = time.perf_counter() - began
    sides = measurement._prepared.runs()
    batches = [batch for side in sides for batch in side.batches]

    @torch.no_grad()
    def bare():
        for batch in batches:
            run(model, batch)

    def read():
        for side in sides:
            read_states(model, side.batches, measurement._users)

    taken = alternate({"bare": bare, "read": read, "measured": measurement.run}, options.runs, options.device)
    scoring = score_times(model, sides, measurement, options)
    bare_seconds = statistics.median(taken["bare"])
    lengths = [length for batch in batches for length in batch.real.sum(dim=1).tolist()]
    padded = [batch.shape[1] for batch in batches for _ in range(batch.shape[0])]
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds_to_make": made,
        "seconds_to_prepare": prepared,
        "forwards": len(batches),
        "tokens": {"real": sum(lengths), "padded": sum(padded)},
        "seconds": taken,
        "measured_by_bare": ratio(taken, "measured", "bare"),
        "read_by_bare": ratio(taken, "read", "bare"),
        "cosines": scoring,
        "teraflops_per_second": {
            "real": forward_flops(model.config, lengths) / bare_seconds / 1e12,
            "padded": forward_flops(model.config, padded) / bare_seconds / 1e12,
        },
        "peak_bytes": {
            "bare": peak_bytes(bare, options.device),
            "measured": peak_bytes(measurement.run, options.device),
        },
        "states_bytes": measurement.run().cost.peak_bytes,
    }


def score_times(model, sides, measurement, options):
    """Time the cosines of all readings of one language, on the CPU, and on the device with the way there."""
    pivot, states = (read_states(model, side.batches, measurement._users) for side in sides[:2])

    def on(device):
        for reading, values in pivot.items():
            cosine_matrix(values.to(device), states[reading].to(device)).cpu()

    calls = {"cpu": partial(on, torch.device("cpu")), "device": partial(on, options.device)}
    return {
        name: statistics.median(found)
        for name, found in alternate(calls, min(options.runs, 3), options.device).items()
    }


def align_part(shape, options):
    """Compare the step of an alignment loss that ends at the middle block with one through all blocks."""
    model = make_model(shape, options.device, options.dtype).train()
    pairs = longer_sentences(options.n)
    tokenizer = byte_level_tokenizer(pairs)
    common = {"batch_size": 16, "loss": "contrastive"}
    objectives = {
        "middle": AlignmentObjective(model, tokenizer, pairs, layer=0.5, **common),
        "whole": AlignmentObjective(model, tokenizer, pairs, layer=1.0, **common),
    }

    def step(objective):
        model.zero_grad()
        objective(0).backward()

    calls = {name: partial(step, objective) for name, objective in objectives.items()}
    taken = alternate(calls, options.runs, options.device)
    return {
        "seconds": taken,
        "middle_by_whole": ratio(taken, "middle", "whole"),
        "peak_bytes": {name: peak_bytes(call, options.device) for name, call in calls.items()},
    }


def some_units(config, share=0.01):
    """Return a set of units spread over all blocks."""
    width = config.intermediate_size
    rows = [
        ("deu_Latn", f"{layer}.inner", index, 1.0, 0.01)
        for layer in range(config.num_hidden_layers)
        for index in range(layer, width, round(1 / share))
    ]
    return UnitSet.from_rows(rows)


def generating(shape, options):
    """Return a function that generates, steered or not, and the number of tokens it makes."""
    model = make_model(shape, options.device, options.dtype)
    pairs = longer_sentences(16)
    tokenizer = byte_level_tokenizer(pairs)
    ids = [tokenizer(text)["input_ids"] for text in pairs["deu_Latn"].sentences]
    length, new = min(map(len, ids)), 8 if options.smoke else 48
    prompt = torch.tensor([one[:length] for one in ids], device=options.device)
    how = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": False, "pad_token_id": 0}
    units = some_units(model.config)

    def generate(operator, trace=nullcontext):
        context = nullcontext() if operator is None else steer(model, units, operator=operator)
        with context, trace():
            model.generate(prompt, attention_mask=torch.ones_like(prompt), **how)

    return generate, len(ids) * new, units


def generate_part(shape, options):
    """Compare generation with and without steering."""
    generate, tokens, units = generating(shape, options)
    arms = {"plain": None, "set": "set", "zero": "zero"}
    taken = alternate(
        {name: partial(generate, operator) for name, operator in arms.items()}, options.runs, options.device
    )
    return {
        "units": len(units),
        "seconds": taken,
        "tokens_per_second": {name: tokens / statistics.median(found) for name, found in taken.items()},
        "steered_by_plain": {name: ratio(taken, "plain", name) for name in ("set", "zero")},
    }


def ap_part(options):
    """Time average precision with the scores on the CPU and on the device."""
    units, sentences = (500, 200) if options.smoke else (20_000, 2_000)
    torch.manual_seed(0)
    scores, positive = torch.randn(sentences, units), torch.rand(sentences) < 0.2
    there = scores.to(options.device), positive.to(options.device)
    taken = alternate(
        {
            "cpu": lambda: average_precision(scores, positive),
            "device": lambda: average_precision(*there),
        },
        options.runs,
        options.device,
    )
    gap = (average_precision(*there).cpu() - average_precision(scores, positive)).abs().max().item()
    return {"seconds": taken, "cpu_by_device": ratio(taken, "cpu", "device"), "largest_difference": gap}


def waits_of(call):
    """Count how often a call waits for the device, by the line of xalign or of the model, as torch warns."""
    places = Counter()

    def note(message, *_given, **_named):
        if "synchroniz" not in str(message):
            return
        frames = [
            frame
            for frame in traceback.extract_stack()
            if "xalign/" in frame.filename or "transformers/" in frame.filename
        ]
        last = frames[-1] if frames else None
        places[
            "elsewhere" if last is None else f"{'/'.join(last.filename.split('/')[-2:])}:{last.lineno}"
        ] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            call()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return dict(places.most_common())


def waits_part(shape, options):
    """Count where a measurement, and generation, wait for the device."""
    if options.device.type != "cuda":
        return {"skipped": "needs CUDA"}
    model = make_model(shape, options.device, options.dtype)
    pairs = longer_sentences(options.n)
    measurement = Measurement(model, byte_level_tokenizer(pairs), pairs)
    measurement.run()
    found = {"forwards": measurement.forwards, "measuring": waits_of(measurement.run)}
    generate, _, _ = generating(shape, options)
    for operator in (None, "set"):
        generate(operator)
        found[f"generate {operator or 'plain'}"] = waits_of(partial(generate, operator))
    return found


def parts_of(options):
    """Return the parts by name, each a function without arguments; the longest come last."""
    small, large = ("smoke", ["smoke MoE"]) if options.smoke else (options.shape, ["8B", "MoE"])
    found = {
        ("measure", small): partial(measure_part, small, options),
        ("align", small): partial(align_part, small, options),
        ("generate", small): partial(generate_part, small, options),
        ("ap", ""): partial(ap_part, options),
        ("waits", small): partial(waits_part, small, options),
    }
    found |= {("measure", shape): partial(measure_part, shape, options) for shape in large}
    return {f"{part} {shape}".strip(): call for (part, shape), call in found.items() if part in options.parts}


def lines_of(found):
    """Return a part's ratios and rates, one a line."""
    for key, value in found.items():
        if isinstance(value, dict) and "median" in value:
            yield f"{key:24s} {value['median']:8.3f}  ({value['min']:.3f} to {value['max']:.3f})"
        elif isinstance(value, dict) and key == "seconds":
            yield f"{key:24s} " + ", ".join(f"{k} {statistics.median(v):.4g}" for k, v in value.items())
        elif isinstance(value, dict):
            yield f"{key:24s} " + ", ".join(
                f"{k} {v['median']:.3f}" if isinstance(v, dict) else f"{k} {v:.4g}" for k, v in value.items()
            )
        else:
            yield f"{key:24s} {value:.4g}" if isinstance(value, float) else f"{key:24s} {value}"


def main() -> None:
    """Run the parts, and write what they found after each of them."""
    parser = parser_of(__doc__)
    parser.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--shape", choices=SHAPES, default="1B", help="the smaller shape, for every part")
    options = parser.parse_args()
    options.n = 10 if options.smoke else 100
    options.dtype = torch.float32 if options.smoke or options.device.type == "cpu" else torch.bfloat16
    options.runs = 1 if options.smoke else options.runs

    result = {"machine": machine(options.device), "smoke": options.smoke, "parts": {}}
    for name, part in parts_of(options).items():
        began = time.perf_counter()
        try:
            found = part()
        except Exception:  # the other parts are still worth their time
            found = {"error": traceback.format_exc()}
        found["seconds_of_part"] = time.perf_counter() - began
        result["parts"][name] = found
        print(f"\n== {name}", *lines_of(found), sep="\n", flush=True)
        write(options.out, result)
        if options.device.type == "cuda":
            torch.cuda.empty_cache()
    if any("error" in found for found in result["parts"].values()):
        raise SystemExit("some parts failed")


if __name__ == "__main__":
    main()
