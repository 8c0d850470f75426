"""`language_subspace`: the directions in which languages differ, and what they share (Lens)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xalign.checks import whole_number
from xalign.errors import ArgumentError


@dataclass(frozen=True, eq=False)
class LanguageSubspace:
    """The subspace of languages at one place.

    Attributes:
        basis: M_s, orthonormal directions in which the languages' means differ.
        shared: w_c, what all languages have in common; it is orthogonal to the basis.
        means: Language -> the mean of its states.
    """

    basis: Float[Tensor, "width rank"]
    shared: Float[Tensor, " width"]
    means: Mapping[str, Float[Tensor, " width"]]

    def project(self, states: Float[Tensor, "*_ width"]) -> Float[Tensor, "*_ width"]:
        """Return the part of states that lies in the subspace of languages."""
        return (states @ self.basis) @ self.basis.T

    def direction(self, language: str, pivot: str) -> Float[Tensor, " width"]:
        """Return the mean of a language's states minus that of the pivot's, both projected.

        With one direction fewer than there are languages, that is the difference of the means itself.
        """
        for name, label in (("language", language), ("pivot", pivot)):
            if label not in self.means:
                raise ArgumentError(f"{name}={label!r:.60} is not among {', '.join(self.means)}")
        return self.project(self.means[language]) - self.project(self.means[pivot])


def language_subspace(
    states: Mapping[str, Float[Tensor, "_ width"]], rank: int | None = None
) -> LanguageSubspace:
    """Find the subspace in which the means of languages differ, and the vector that they share.

    With the matrix M of the means as columns, and c the mean of the columns, the best approximation of rank r
    of M − c 1ᵀ gives M̂. The shared vector is w_c = M̂⁺ᵀ 1 / ‖M̂⁺ᵀ 1‖², and the basis M_s holds the first r left
    singular vectors of M̂ − w_c 1ᵀ.

    Args:
        states: Language -> states, a row per sentence; at least two languages.
        rank: r, the number of directions, at most the number of languages minus 1, which is the default.

    Returns:
        The subspace, in float64. The signs of the basis are arbitrary.

    Raises:
        ArgumentError: Fewer than two languages, widths that differ, values that are not finite, a rank out of
            range, or means that span fewer dimensions.

    Reference:
        Zhao et al. (2024), Lens: Rethinking Multilingual Enhancement for Large Language Models, §3.1,
        arXiv 2410.04407.

    Example:
        >>> german, english = torch.tensor([[1.0, 3.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]])
        >>> found = language_subspace({"deu_Latn": german, "eng_Latn": english})
        >>> found.direction("deu_Latn", "eng_Latn").round(decimals=6).abs()
        tensor([0., 2., 0.], dtype=torch.float64)
    """
    if len(states) < 2 or len({values.shape[1] for values in states.values()}) > 1:
        raise ArgumentError("states must be of at least two languages, all of the same width")
    means = {label: values.double().mean(dim=0) for label, values in states.items()}
    columns = torch.stack(list(means.values()), dim=1)
    if not bool(columns.isfinite().all()):
        raise ArgumentError("states hold NaN or infinity, or a language has none")
    most = len(means) - 1
    rank = most if rank is None else whole_number("rank", rank, least=1)
    centred = columns - columns.mean(dim=1, keepdim=True)
    there = int(torch.linalg.matrix_rank(centred))
    if rank > min(most, there):
        raise ArgumentError(
            f"rank={rank} must be at most {min(most, there)}: the means of {len(means)} languages differ in "
            f"{there} directions"
        )
    left, sizes, right = torch.linalg.svd(centred, full_matrices=False)
    best = columns.mean(dim=1, keepdim=True) + left[:, :rank] * sizes[:rank] @ right[:rank]
    shared = torch.linalg.pinv(best).T.sum(dim=1)
    shared = shared / shared.square().sum()
    basis = torch.linalg.svd(best - shared.unsqueeze(1), full_matrices=False).U[:, :rank]
    return LanguageSubspace(basis, shared, means)
