"""Word-level adjustment: words that translate each other come together, and the pivot stays as it began.

`links` tells training which words those are, and `start` where the pivot was.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xalign.checks import positive
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.losses.loss import Loss
from xalign.losses.tokens import check_mask, checked_tokens


def word_level(
    language: Float[Tensor, "pair word width"],
    pivot: Float[Tensor, "pair pivot_word width"],
    links: Int[Tensor, "link 3"],
    *,
    start: Float[Tensor, "pair pivot_word width"],
    language_mask: Bool[Tensor, "pair word"],
    pivot_mask: Bool[Tensor, "pair pivot_word"],
    weight: float = 1.0,
) -> Float[Tensor, ""]:
    """Compute the mean squared distance of linked words, plus that of all pivot words from their start.

    Both sides get a gradient. Means are over all coordinates, as in `mse`, and so are the bounds.

    Collapse: all words being one vector is a perfect score of the first term. The second guards against it: a
    pivot that stays near its start stays spread out. With a weight of 0 nothing does.

    Args:
        language: A vector per word of each sentence; `word_means` makes them of tokens.
        pivot: The same for each pivot sentence; row i translates row i.
        links: A row per link: the pair, the word of the sentence, and the word of the pivot sentence, counted
            from 0.
        start: `pivot`, as the model gave it before training; it gets no gradient.
        language_mask: True at words that count.
        pivot_mask: The same for the pivot.
        weight: Factor of the second term, 0 or above.

    Raises:
        ArgumentError: Shapes that do not fit, no link, or one to a pair or word that does not exist.

    Reference:
        Cao, Kitaev and Klein (2020); Efimov et al. (2023), whose code has the weight 1.

    Example:
        >>> words, mask = torch.eye(3).unsqueeze(0), torch.ones(1, 3, dtype=torch.bool)
        >>> links = torch.tensor([[0, 0, 2], [0, 2, 0]])
        >>> masks = {"language_mask": mask, "pivot_mask": mask}
        >>> word_level(words, words.flip(1), links, start=words.flip(1), **masks).item()
        0.0
    """
    weight = positive("weight", weight, zero=True)
    distance = linked_distance(language, pivot, links, language_mask=language_mask, pivot_mask=pivot_mask)
    return distance + weight * drift(pivot, start, pivot_mask)


WORD_LEVEL = Loss("word_level", word_level, level="word")


def linked_distance(
    language: Float[Tensor, "pair word width"],
    pivot: Float[Tensor, "pair pivot_word width"],
    links: Int[Tensor, "link 3"],
    *,
    language_mask: Bool[Tensor, "pair word"],
    pivot_mask: Bool[Tensor, "pair pivot_word"],
) -> Float[Tensor, ""]:
    """Compute the first term of `word_level`: the mean over links and coordinates of squared differences.

    The arguments and errors are those of `word_level`.
    """
    language, pivot = checked_tokens(language, pivot, language_mask, pivot_mask)
    _check_links(links, language_mask, pivot_mask)
    pairs, words, others = links.to(language.device).unbind(1)
    return (language[pairs, words] - pivot[pairs, others]).square().mean()


def drift(
    states: Float[Tensor, "pair word width"],
    start: Float[Tensor, "pair word width"],
    mask: Bool[Tensor, "pair word"],
) -> Float[Tensor, ""]:
    """Compute the second term of `word_level`: the mean squared difference from a start without a gradient.

    Args:
        states: A vector per word, or per token.
        start: The same, as the model gave it before training.
        mask: True at words that count.

    Raises:
        ArgumentError: Shapes that do not fit, or a sentence without a word that counts.
    """
    states, start = checked_tokens(states, start, mask, mask)
    return (states - start.detach())[mask].square().mean()


def word_means(
    tokens: Float[Tensor, "pair token width"], words: Int[Tensor, "pair token"]
) -> tuple[Float[Tensor, "pair word width"], Bool[Tensor, "pair word"]]:
    """Compute the mean of each word's tokens, and which words there are.

    Args:
        tokens: A vector per token.
        words: The number of each token's word, from 0 without gaps; −1 at tokens of no word, as padding.

    Raises:
        ArgumentError: Numbers of another shape, or a sentence without a word or with a gap.
        ArgumentTypeError: Numbers that are not whole.

    Example:
        >>> means, mask = word_means(torch.tensor([[[1.0], [3.0], [5.0]]]), torch.tensor([[0, 0, 1]]))
        >>> means.flatten().tolist(), mask.tolist()
        ([2.0, 5.0], [[True, True]])
    """
    _check_whole("words", words)
    if words.shape != tokens.shape[:2]:
        raise ArgumentError(f"words has shape {tuple(words.shape)}; it needs {tuple(tokens.shape[:2])}")
    counted = words.unsqueeze(2) == torch.arange(int(words.max()) + 1, device=words.device)
    sizes = counted.sum(dim=1)
    mask = sizes > 0
    check_mask("words", mask, tuple(mask.shape))
    if bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise ArgumentError("words must number the words of each sentence from 0 without gaps")
    dtype = torch.promote_types(tokens.dtype, torch.float32)
    sums = counted.to(dtype).transpose(1, 2) @ tokens.to(dtype)
    return sums / sizes.clamp(min=1).unsqueeze(2), mask


def _check_whole(name: str, numbers: object) -> None:
    if not isinstance(numbers, Tensor) or numbers.is_floating_point() or numbers.dtype == torch.bool:
        raise ArgumentTypeError(f"{name} must be a tensor of whole numbers, not {numbers!r:.60}")


def _check_links(links: Int[Tensor, "link 3"], *masks: Bool[Tensor, "pair word"]) -> None:
    """Raise an error where a link is to a pair or to a word that is not there."""
    _check_whole("links", links)
    if links.dim() != 2 or links.shape[1] != 3 or not len(links):
        raise ArgumentError(
            f"links has shape {tuple(links.shape)}; it needs a row (pair, word, pivot word) per link, and at "
            "least one link"
        )
    pairs = links[:, 0].to(masks[0].device)
    for column, (side, mask) in enumerate(zip(("language", "pivot"), masks, strict=True), start=1):
        words = links[:, column].to(mask.device)
        there = (pairs >= 0) & (pairs < len(mask)) & (words >= 0) & (words < mask.shape[1])
        there &= mask[pairs.where(there, 0), words.where(there, 0)]
        if not bool(there.all()):
            bad = links[int((~there).nonzero()[0])].tolist()
            raise ArgumentError(
                f"links holds {tuple(bad)}, and there is no pair {bad[0]} with a word {bad[column]} that "
                f"counts on the {side} side; are the links of other sentences, or of tokens?"
            )
