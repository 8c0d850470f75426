"""Additive-margin loss: each sentence must pick its translation out of the batch by a clear margin."""

from jaxtyping import Float, Int
from torch import Tensor

from xalign.losses.candidates import Direction
from xalign.losses.contrastive import contrastive
from xalign.losses.loss import Loss


def additive_margin(
    language: Float[Tensor, "pair width"],
    pivot: Float[Tensor, "pair width"],
    *,
    temperature: float = 0.05,
    margin: float = 0.3,
    direction: Direction = "both",
    languages: Int[Tensor, " pair"] | None = None,
    same: Int[Tensor, "pair *mark"] | None = None,
    detach_pivot: bool = False,
    gather: bool = False,
) -> Float[Tensor, ""]:
    """Compute the contrastive loss with a margin subtracted from the cosine of each translation.

    A translation counts as picked only where it is nearer than every other candidate by the margin, so pairs
    that are only just told apart still count. A margin of 0 is `contrastive`. `both` is the mean of the two
    directions, where the paper uses their sum.

    Bounds: those of `xalign.losses.contrastive`.

    Collapse: as in `contrastive`, a single point is not a minimum; it costs more here, by margin /
    temperature. The guards are the same: `detach_pivot` and replayed text.

    Args:
        language: A vector per sentence.
        pivot: A vector per pivot sentence; row i translates row i.
        temperature: τ; where a paper gives a scale s, it is 1 / s.
        margin: What is subtracted from a cosine, 0 or above.
        direction: Which side picks, as in `contrastive`, like all arguments below.
        languages: A number per pair, equal within a language, for centring.
        same: A number per pair, or several, equal for pairs with the same meaning.
        detach_pivot: Give the pivot side no gradient.
        gather: Take candidates from all processes.

    Raises:
        ArgumentError: As in `contrastive`, or a negative margin.

    Reference:
        Feng et al. (2022), LaBSE, with the margin .3. Its scale differs between ports; 1 / τ = 20 is common.

    Example:
        >>> aligned = torch.eye(4)
        >>> additive_margin(aligned, aligned) > additive_margin(aligned, aligned, margin=0.0)
        tensor(True)
    """
    return contrastive(
        language,
        pivot,
        temperature=temperature,
        margin=margin,
        direction=direction,
        languages=languages,
        same=same,
        detach_pivot=detach_pivot,
        gather=gather,
    )


ADDITIVE_MARGIN = Loss("additive_margin", additive_margin, needs_negatives=True)
