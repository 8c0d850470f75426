r"""Compare `measure` with a plain re-creation of how published programs do it (reference_program.py).

    python benchmarks/against_reference.py --threads 1 --runs 5      # 135M shape: about 35 CPU-minutes
    python benchmarks/against_reference.py --device cuda --runs 1    # 1B shape in bfloat16: about 80 seconds
    python benchmarks/against_reference.py --smoke                   # seconds

Both measure the same 5 × 100 sentences with the same random weights: MEXA alone, and NASCA, NAVCA, MEXA and
retrieval together. The two programs alternate. Printed are how many times as fast `measure` is (CPU time on
the CPU, wall time until the GPU is done on a GPU), and the peak of memory over the weights of both.

Scores are compared. In float32 all must be equal, but for one in a hundred that may differ by one pair, where
rounding decides. In bfloat16 a sentence alone and the same sentence in a batch round differently; there the
scores may differ by .03 on average.
On a GPU with `--runs 1`, the run in which memory is measured is also the one that is timed. On a CPU, memory
is measured in processes of their own, whose allocators have kept nothing of another program.
"""

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import reference_program
import torch
from clock import alternate, machine, parser_of, peak_bytes, ratio, seconds, write
from models import make_model
from texts import byte_level_tokenizer, longer_sentences, parallel_sentences

from xalign.measurement import Measurement

ARMS = {"MEXA alone": ("mexa",), "four metrics": ("nasca", "navca", "mexa", "retrieval")}


def compare_scores(report, expected, n, dtype):
    """Check a report's scores against the reference's, and say how many are equal."""
    gaps = []
    for (row, code), values in expected.items():
        own = report.metrics[row].values[code].double().mean(dim=1).tolist()
        gaps += [abs(one - two) for one, two in zip(own, values, strict=True)]
    differ = sum(gap > 1e-9 for gap in gaps)
    if dtype == torch.float32:
        fine = differ <= 0.01 * len(gaps) and max(gaps) <= 1 / n + 1e-9
    else:
        fine = sum(gaps) / len(gaps) <= 0.03
    found = {"scores": len(gaps), "differ": differ, "largest": max(gaps), "mean": sum(gaps) / len(gaps)}
    if not fine:
        raise SystemExit(f"the scores of the two programs differ: {found}")
    return found


def programs(metrics, model, tokenizer, pairs, folder, expected):
    """Return the two programs by name; the reference's scores go into `expected`."""
    texts = dict(pairs.texts)

    def theirs():
        found = reference_program.scores(model, tokenizer, texts, folder, neurons="nasca" in metrics)
        expected.update(found)

    def ours():
        return Measurement(model, tokenizer, pairs, metrics).run()

    return {"ours": ours, "theirs": theirs}


def _first_run(call, device):
    """Return the time of a run, and its peak of memory."""
    taken = []
    peak = peak_bytes(lambda: taken.append(seconds(call, device)), device)
    return taken, peak


def print_peak(whose, metrics, model, tokenizer, pairs, folder):
    """Print the peak of one program's memory, in a process that has run nothing else but a few sentences."""
    for given in (longer_sentences(4), pairs):
        call = programs(metrics, model, tokenizer, given, folder, {})[whose]
        peak = peak_bytes(call, torch.device("cpu"))
    print(peak)


def peak_apart(whose, name):
    """Return the peak of one program's memory on a CPU, whose allocator keeps what a process once took."""
    command = [sys.executable, __file__, *sys.argv[1:], "--peak", whose, "--arms", name]
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return int(ran.stdout.splitlines()[-1])


def arm(name, model, tokenizer, pairs, options, folder):
    """Compare the two programs on one set of metrics."""
    expected = {}
    calls = programs(ARMS[name], model, tokenizer, pairs, folder, expected)
    ours = calls["ours"]
    if options.runs == 1:
        ours()
    first, peak = {}, {}
    for whose, call in calls.items():  # the warm-up too
        first[whose], peak[whose] = _first_run(call, options.device)
        if options.device.type == "cpu" and not options.smoke:
            peak[whose] = peak_apart(whose, name)
    taken = first if options.runs == 1 else alternate(calls, options.runs, options.device, warm=False)
    same = compare_scores(ours(), expected, len(next(iter(pairs.values())).sentences), options.dtype)
    return {
        "seconds": taken,
        "times_as_fast": ratio(taken, "theirs", "ours"),
        "peak_bytes": peak,
        "scores": same,
    }


def line_of(name, found):
    """Return an arm's numbers in a line."""
    speed, same = found["times_as_fast"], found["scores"]
    ours, theirs = (found["peak_bytes"][whose] / 2**20 for whose in ("ours", "theirs"))
    return (
        f"{name:14s} {speed['median']:.2f} times as fast ({speed['min']:.2f} to {speed['max']:.2f}); peak "
        f"over the weights {ours:.0f} MiB, theirs {theirs:.0f}; {same['scores'] - same['differ']} of "
        f"{same['scores']} scores equal, largest difference {same['largest']:.3g}"
    )


def main() -> None:
    """Run both arms, and write what they found."""
    parser = parser_of(__doc__)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="bfloat16 on a GPU, else float32")
    parser.add_argument("--shape", help="a name of models.SHAPES; 1B on a GPU, else 135M")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--peak", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    on_gpu = options.device.type == "cuda"
    options.dtype = getattr(torch, options.dtype or ("bfloat16" if on_gpu else "float32"))
    shape = "smoke" if options.smoke else options.shape or ("1B" if on_gpu else "135M")
    options.runs = 1 if options.smoke else options.runs
    torch.set_num_threads(options.threads)

    pairs = longer_sentences(10) if options.smoke else parallel_sentences()
    model = make_model(shape, options.device, options.dtype)
    tokenizer = byte_level_tokenizer(pairs)
    if options.peak:
        with tempfile.TemporaryDirectory() as folder:
            print_peak(options.peak, ARMS[options.arms[0]], model, tokenizer, pairs, Path(folder) / "states")
        return
    result = {"machine": machine(options.device), "shape": shape, "dtype": str(options.dtype), "arms": {}}
    run = partial(arm, model=model, tokenizer=tokenizer, pairs=pairs, options=options)
    for number, name in enumerate(options.arms):
        with tempfile.TemporaryDirectory() as folder:
            result["arms"][name] = run(name, folder=Path(folder) / str(number))
        print(line_of(name, result["arms"][name]), flush=True)
        write(options.out, result)


if __name__ == "__main__":
    main()
