"""How published programs measure alignment, written plainly: slow, and easy to check.

MEXA's program runs one sentence a forward, asks for every hidden state, runs the head too, pools each layer
in numpy, keeps a pickle per sentence, and compares one pair of vectors at a time. The neuron metrics are done
in the same way here, with a hook on each down projection and on each gate. Nothing of xalign is used.
"""

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

Vectors = dict[str, list[np.ndarray]]  # source -> a vector per layer


def weighted_mean(values: torch.Tensor) -> np.ndarray:
    """Return the mean over tokens of [token, width], where token t of T counts t / (1 + … + T)."""
    array = values.float().cpu().numpy()
    weights = np.arange(1, len(array) + 1, dtype=np.float32)
    return (array * (weights / weights.sum())[:, None]).sum(axis=0)


@torch.no_grad()
def embed(model, tokenizer, sentences: Sequence[str], folder: Path, *, neurons: bool) -> None:
    """Run sentences one by one, and write a pickle of each one's vectors.

    Args:
        model: A causal language model with gated feed-forward networks, as Llama has.
        tokenizer: Its tokenizer.
        sentences: The sentences.
        folder: Where the pickles go.
        neurons: Whether to keep the neurons too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = next(model.parameters()).device
    kept: dict[str, list[torch.Tensor]] = {"states": [], "values": []}
    handles = []
    for layer in model.model.layers if neurons else ():
        mlp = layer.mlp
        handles.append(mlp.gate_proj.register_forward_hook(lambda *given: kept["states"].append(given[2])))
        handles.append(
            mlp.down_proj.register_forward_pre_hook(lambda *given: kept["values"].append(given[1][0]))
        )
    try:
        for number, sentence in enumerate(sentences):
            kept["states"].clear()
            kept["values"].clear()
            ids = torch.tensor([tokenizer(sentence)["input_ids"]], device=device)
            output = model(input_ids=ids, output_hidden_states=True, use_cache=False)
            vectors = {"hidden": [weighted_mean(one[0]) for one in output.hidden_states]}
            if neurons:
                vectors["states"] = [weighted_mean(one[0] > 0) for one in kept["states"]]
                vectors["values"] = [weighted_mean(one[0].abs()) for one in kept["values"]]
            (folder / f"{number}.pkl").write_bytes(pickle.dumps(vectors))
    finally:
        for handle in handles:
            handle.remove()


def load(folder: Path, n: int) -> list[Vectors]:
    """Read the pickles of a language."""
    return [pickle.loads((folder / f"{number}.pkl").read_bytes()) for number in range(n)]


def cosines(pivot: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> np.ndarray:
    """Return the matrix of cosines, computed one at a time."""
    found = np.empty((len(pivot), len(other)))
    for row, one in enumerate(pivot):
        for column, two in enumerate(other):
            found[row, column] = np.dot(one, two) / (np.linalg.norm(one) * np.linalg.norm(two))
    return found


def weak_alignment(matrix: np.ndarray) -> float:
    """Return the share of pairs that beat every other entry of their row and of their column."""
    n, hits = len(matrix), 0
    for i in range(n):
        others = [matrix[i, j] for j in range(n) if j != i] + [matrix[j, i] for j in range(n) if j != i]
        hits += all(matrix[i, i] > one for one in others)
    return hits / n


def retrieval(matrix: np.ndarray) -> tuple[float, float]:
    """Return top-1 accuracy from the pivot, and to it."""
    own = np.arange(len(matrix))
    return float((matrix.argmax(axis=1) == own).mean()), float((matrix.argmax(axis=0) == own).mean())


def scores(model, tokenizer, texts: dict[str, Sequence[str]], folder: Path, *, neurons: bool) -> dict:
    """Measure, and return (row, language) -> a score per layer. The first of `texts` is the pivot."""
    for code, sentences in texts.items():
        embed(model, tokenizer, sentences, folder / code, neurons=neurons)
    pivot, *others = texts
    first = load(folder / pivot, len(texts[pivot]))
    found: dict[tuple[str, str], list[float]] = {}
    for code in others:
        second = load(folder / code, len(texts[code]))
        for row, values in _rows(first, second, neurons=neurons):
            found.setdefault((row, code), []).append(values)
    return found


def _rows(first: list[Vectors], second: list[Vectors], *, neurons: bool) -> Iterator[tuple[str, float]]:
    """Yield the scores of one language, layer after layer."""
    for layer in range(len(first[0]["hidden"])):
        matrix = cosines([one["hidden"][layer] for one in first], [one["hidden"][layer] for one in second])
        yield "mexa", weak_alignment(matrix)
        if neurons:
            from_pivot, to_pivot = retrieval(matrix)
            yield "retrieval_from_pivot", from_pivot
            yield "retrieval_to_pivot", to_pivot
    for source, row in (("states", "nasca"), ("values", "navca")) if neurons else ():
        for layer in range(len(first[0][source])):
            matrix = cosines([one[source][layer] for one in first], [one[source][layer] for one in second])
            yield row, weak_alignment(matrix)
