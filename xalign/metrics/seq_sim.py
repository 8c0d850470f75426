"""SeqSim: how alike two sequences of states are, frame by frame, without pooling."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from xalign.errors import ArgumentError


def seq_sim(
    x: Float[Tensor, "frame width"], y: Float[Tensor, "other width"], *, f_measure: bool = False
) -> float:
    """Return the mean cosine of each frame with its best match on the other side, averaged over both sides.

    Args:
        x: The states of one sentence, one per frame or token.
        y: The states of another one.
        f_measure: Take the harmonic mean of both directions, as BERTScore does.

    Returns:
        A number in [-1, 1].

    Raises:
        ArgumentError: A sentence without frames.

    Reference:
        Shim et al. (2025), arXiv 2505.19606; Zhang et al. (2020), BERTScore, for the harmonic mean.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> seq_sim(x, x[:1]), round(seq_sim(x, x[:1], f_measure=True), 3)
        (0.75, 0.667)
    """
    return float(seq_sim_matrix([x], [y], f_measure=f_measure)[0, 0])


def seq_sim_matrix(
    xs: Sequence[Float[Tensor, "_ width"]], ys: Sequence[Float[Tensor, "_ width"]], *, f_measure: bool = False
) -> Float[Tensor, "pair other"]:
    """Return SeqSim of every sentence of one side with every sentence of the other.

    A frame of zeros has no direction: its cosines are 0.

    Args:
        xs: Per sentence its states, one per frame or token.
        ys: The same for the other side.
        f_measure: As in `seq_sim`.

    Returns:
        The matrix, rounded to 12 decimals so that equal sentences tie.

    Raises:
        ArgumentError: A sentence without frames, or a harmonic mean of directions that are not above 0.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> seq_sim_matrix([x, x[:1]], [x[:1], x[1:]]).tolist()
        [[0.75, 0.75], [1.0, 0.0]]
    """
    if not all(len(one) for one in (*xs, *ys)):
        raise ArgumentError("a sentence has no frame; leave it out")
    units = [[torch.nn.functional.normalize(one.float(), dim=1) for one in side] for side in (xs, ys)]
    lengths = torch.tensor([len(one) for one in units[1]])
    ends = lengths.cumsum(0)
    together = torch.cat(units[1])
    owner = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    rows = []
    for one in units[0]:
        cosines = one @ together.T  # [frame, all frames of the other side]
        parts = cosines.tensor_split(ends[:-1], dim=1)
        there = torch.stack([part.amax(dim=1).double().mean() for part in parts])
        best = cosines.amax(dim=0).double()
        back = torch.zeros(len(lengths), dtype=torch.float64).index_add_(0, owner, best) / lengths
        rows.append(_joined(there, back, f_measure))
    return torch.stack(rows).round(decimals=12)


def _joined(there: Tensor, back: Tensor, f_measure: bool) -> Tensor:
    if not f_measure:
        return (there + back) / 2
    if not bool(((there > 0) & (back > 0)).all()):
        raise ArgumentError("f_measure=True needs means above 0 both ways; take f_measure=False")
    return 2 * there * back / (there + back)
