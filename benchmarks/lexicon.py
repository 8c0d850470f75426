r"""Compare related words with control pairs inside two encoders: Swadesh lists, and Greek beside English.

    XALIGN_DATA=... python benchmarks/lexicon.py        # about 3 CPU-minutes; from the checkout

XALIGN_DATA names a folder with `swadesh` and `wordalign`. The models are all-MiniLM-L6-v2 and
multilingual-e5-small of the `dev` extra. Greek words are those that gold links join with one English word at
least twice; they are read alone, and in the sentences where they are linked.
"""

import json
import os
from collections import Counter, defaultdict
from pathlib import Path

from transformers import AutoModel, AutoTokenizer

from tests.minilm import minilm_folder
from tests.realmodels.e5 import load_e5
from xalign import load_items
from xalign.judging.lexicon import compare_words
from xalign.pairs.lexicon import Word, find_word, sense_pairs, single_words

DATA = Path(os.environ["XALIGN_DATA"])
LANGUAGES = ["deu", "fra", "fin", "swh", "rus", "ell", "hin", "arb", "cmn", "jpn"]
MODELS = {
    "MiniLM": (
        AutoModel.from_pretrained(minilm_folder()).eval(),
        AutoTokenizer.from_pretrained(minilm_folder()),
    ),
    "e5-small": load_e5(),
}


def greek_pairs():
    """Return related pairs of words alone, and of the same in the sentences where they are linked."""
    rows = [json.loads(line) for line in (DATA / "wordalign/grc_Grek-eng_Latn.jsonl").open(encoding="utf-8")]
    found = defaultdict(list)
    for row in rows:
        ones, others = Counter(i for i, _ in row["sure"]), Counter(j for _, j in row["sure"])
        for i, j in row["sure"]:
            greek, english = row["src"][i], row["tgt"][j]
            if ones[i] == others[j] == 1 and len(greek) >= 5 and len(english) >= 4:
                found[greek, english.lower()].append((" ".join(row["src"]), " ".join(row["tgt"])))
    best = {}
    for (greek, english), texts in sorted(found.items(), key=lambda one: -len(one[1])):
        if len(texts) >= 2 and greek not in best and english not in {word for word, _ in best.values()}:
            best[greek] = (english, texts)
    alone, inside = [], []
    for greek, (english, texts) in best.items():
        alone.append((Word("grc_Grek", greek), Word("eng_Latn", english)))
        kept = [
            (a, b) for a, b in texts if find_word(a, greek, "grc_Grek") and find_word(b, english, "eng_Latn")
        ]
        sides = [list(dict.fromkeys(side)) for side in zip(*kept, strict=True)]
        inside.append((Word("grc_Grek", greek, sides[0]), Word("eng_Latn", english, sides[1])))
    return alone, inside


def turned(pairs):
    """Pair each word with the partner of the next pair."""
    partners = [other for _, other in pairs]
    return list(zip([one for one, _ in pairs], partners[1:] + partners[:1], strict=True))


alone, inside = greek_pairs()
print(
    "| model | words | pairs | where | related | control | difference [95 %] | p (Welch) | p (permutation) |"
)
print("|" + "---|" * 9)
for name, (model, tokenizer) in MODELS.items():
    cases = {}
    for code in LANGUAGES:
        items = single_words(load_items(DATA / "swadesh/swadesh207.jsonl", [code], unusable="drop"))
        cases[items.languages[0]] = sense_pairs(items, code)
    cases |= {"Greek, alone": (alone, turned(alone)), "Greek, in context": (inside, turned(inside))}
    last = model.config.num_hidden_layers
    for words, (related, control) in cases.items():
        for site in ("embed.hidden", f"{last // 2 - 1}.hidden", "final.hidden"):
            (found,) = compare_words(model, tokenizer, related, control, site)
            row = found.to_dict()
            interval = f"[{row['low']:+.3f}, {row['high']:+.3f}]"
            print(
                f"| {name} | {words} | {row['pairs']} | {site} | {row['related']:.3f} | {row['control']:.3f} "
                f"| {row['difference']:+.3f} {interval} | {row['p_welch']:.1e} | "
                f"{row['p_permutation']:.1e} |",
                flush=True,
            )
