"""Lexical similarity: the similarity that shared tokens alone give, without any model."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import csr_matrix
from torch import Tensor

from xalign.metrics.cosine import cosine_matrix


def lexical_similarity(
    pivot: Sequence[Sequence[int]], other: Sequence[Sequence[int]]
) -> Float[Tensor, "pair pair"]:
    """Return the cosines of position-weighted token-count vectors.

    A sentence of T tokens is the vector Σ_t w_t · onehot(token_t) with w_t = t / (1 + … + T), the weights
    that states are pooled with. A metric of this matrix is that metric's lexical floor: the score that names,
    numbers and shared words give under this tokenizer. A score below its floor says nothing about meaning.

    Args:
        pivot: Token ids of each pivot sentence.
        other: Token ids of each translation, under the same tokenizer.

    Returns:
        The matrix C as in `cosine_matrix`, with entries in [0, 1].

    Example:
        >>> lexical_similarity([[1, 2], [3, 4]], [[1, 5], [6, 4]])
        tensor([[0.2000, 0.0000],
                [0.0000, 0.8000]], dtype=torch.float64)
    """
    columns = {
        token: column for column, token in enumerate(sorted({t for ids in (*pivot, *other) for t in ids}))
    }
    return cosine_matrix(_vectors(pivot, columns), _vectors(other, columns))


def _vectors(sentences: Sequence[Sequence[int]], columns: dict[int, int]) -> Float[Tensor, "sentence token"]:
    """Return a weight of every token for each sentence; the weights of a sentence add up to 1."""
    rows = np.repeat(np.arange(len(sentences)), [len(ids) for ids in sentences])
    tokens = [columns[token] for ids in sentences for token in ids]
    weights = np.concatenate(
        [np.arange(1, len(ids) + 1) / (len(ids) * (len(ids) + 1) / 2) for ids in sentences]
    )
    # csr_matrix sums the weights of repeated tokens.
    return torch.from_numpy(csr_matrix((weights, (rows, tokens)), (len(sentences), len(columns))).toarray())
