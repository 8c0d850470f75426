"""`Affine`: what an edit does to the values of a site, as a matrix of low rank and an offset."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xalign.errors import ArgumentError
from xalign.model.architectures.sites import Site
from xalign.model.edit import Edit
from xalign.model.user_function import errors_of

_TRIED, _SEED = 8, 0
_SAME = 1e-5  # relative; an operator may compute in float32


@dataclass(frozen=True, slots=True)
class Affine:
    """The change y = x + left (right x) + offset of some coordinates of a tensor. The others stay.

    Attributes:
        width: Number of coordinates of the tensor.
        index: The coordinates that change.
        offset: What is added to each of them.
        scale: The factor of each of them, if the change treats each one separately; then there are no `left`
            and `right`. None otherwise.
        left: The first factor of the matrix without its diagonal of ones.
        right: The second one.
    """

    width: int
    index: Int[Tensor, " unit"]
    offset: Float[Tensor, " unit"]
    scale: Float[Tensor, " unit"] | None = None
    left: Float[Tensor, "unit rank"] | None = None
    right: Float[Tensor, "rank unit"] | None = None

    @property
    def is_offset(self) -> bool:
        """Whether the change only adds a constant."""
        return self.scale is not None and not len(self.scaled)

    @property
    def has_offset(self) -> bool:
        """Whether a constant is added."""
        return bool(self.offset.any())

    @property
    def scaled(self) -> Int[Tensor, " scaled"]:
        """The coordinates that are multiplied by another number than 1."""
        if self.scale is None:
            return self.index
        return self.index[self.scale != 1]

    def whole_offset(self) -> Float[Tensor, " width"]:
        """Return what is added to every coordinate."""
        return torch.zeros(self.width, dtype=torch.float64).index_copy_(0, self.index, self.offset)

    def whole_scale(self) -> Float[Tensor, " width"]:
        """Return the factor of every coordinate, if the change treats each one separately."""
        ones = torch.ones(self.width, dtype=torch.float64)
        return ones if self.scale is None else ones.index_copy_(0, self.index, self.scale)

    def whole_left(self) -> Float[Tensor, "width rank"]:
        """Return the first factor over all coordinates; a column for each that is scaled alone."""
        if self.left is None:
            return _one_hot(self.scaled, self.width).T * self._added()
        return torch.zeros(self.width, self.left.shape[1], dtype=torch.float64).index_copy_(
            0, self.index, self.left
        )

    def whole_right(self) -> Float[Tensor, "rank width"]:
        """Return the second factor over all coordinates."""
        if self.right is None:
            return _one_hot(self.scaled, self.width)
        whole = torch.zeros(len(self.right), self.width, dtype=torch.float64)
        return whole.index_copy_(1, self.index, self.right)

    def after(self, matrix: Float[Tensor, "rows width"]) -> Float[Tensor, "rows rank"]:
        """Return matrix · left."""
        if self.left is None:
            return matrix[:, self.scaled] * self._added()
        return matrix[:, self.index] @ self.left

    def before(self, matrix: Float[Tensor, "width columns"]) -> Float[Tensor, "rank columns"]:
        """Return right · matrix."""
        return matrix[self.scaled] if self.right is None else self.right @ matrix[self.index]

    def _added(self) -> Float[Tensor, " scaled"]:
        scale = self.offset.new_ones(0) if self.scale is None else self.scale
        return scale[scale != 1] - 1


def _one_hot(index: Tensor, width: int) -> Tensor:
    rows = torch.zeros(len(index), width, dtype=torch.float64)
    rows[torch.arange(len(index)), index] = 1
    return rows


def affine_of(site: Site, edit: Edit, width: int, columns: slice | None = None) -> Affine:
    """Return what an edit does as a matrix and an offset, found by trying its operator on numbers.

    Args:
        site: Where the edit acts; for errors.
        edit: The edit.
        width: Number of coordinates of the tensor that the site is in.
        columns: Which of them are the site; all if None.

    Raises:
        ArgumentError: The operator is not an affine function, or says that it is one and is not.
    """
    operator = edit.resolved
    if not operator.is_linear:
        raise ArgumentError(
            f"operator={operator.name!r} at site {site} cannot be exported: it is no affine function of the "
            "values (its is_linear is False), and weights can hold nothing else. Use set, add, scale, zero "
            "or project, mark an Operator of your own as is_linear=True, or keep to steer()"
        )
    coordinates = torch.arange(width)[columns or slice(None)]
    index = coordinates if edit.indices is None else coordinates[edit.indices]
    n = len(index)

    def applied(values: Tensor) -> Tensor:
        """Return what the operator makes of values [try, unit], in float64."""
        shown = values.unsqueeze(0)
        with errors_of(f"operator {operator.name!r} at site {site}"):
            new: Tensor = operator.fn(shown, operator.operand.prepare(edit.value, shown, site))
        return new[0].double()

    generator = torch.Generator().manual_seed(_SEED)
    tried = torch.randn(_TRIED, n, generator=generator, dtype=torch.float64)
    wanted, offset = applied(tried), applied(torch.zeros(1, n, dtype=torch.float64))[0]
    scale = _snapped(applied(torch.ones(1, n, dtype=torch.float64))[0] - offset)
    if _are_same(tried * scale + offset, wanted):
        return Affine(width, index, offset, scale=scale)
    moved = applied(torch.eye(n, dtype=torch.float64)) - offset  # row j is what unit j becomes
    left, right = _factors(moved.T - torch.eye(n, dtype=torch.float64))
    if not _are_same(tried + tried @ right.T @ left.T + offset, wanted):
        raise ArgumentError(
            f"operator={operator.name!r} at site {site} says is_linear=True, and its values are no affine "
            "function of what it is given: make it is_linear=False, and keep to steer()"
        )
    return Affine(width, index, offset, left=left, right=right)


def _snapped(scale: Tensor) -> Tensor:
    """Return scales in which 0 and 1 are exact, where only rounding is between them and the value."""
    for whole in (0.0, 1.0):
        scale = torch.where((scale - whole).abs() < 1e-12, whole, scale)
    return scale


def _are_same(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).norm() <= _SAME * wanted.norm().clamp_min(1e-30))


def _factors(matrix: Float[Tensor, "unit unit"]) -> tuple[Tensor, Tensor]:
    """Return two factors of a matrix, of as low a rank as it has but for rounding."""
    n, rank = len(matrix), _TRIED
    rounding = 4e-7 * n**0.5
    generator = torch.Generator().manual_seed(_SEED)
    while True:
        sketch = matrix @ torch.randn(n, min(rank, n), generator=generator, dtype=matrix.dtype)
        basis = torch.linalg.qr(sketch).Q
        inside = basis.T @ matrix
        if rank >= n or (matrix - basis @ inside).norm() <= rounding * matrix.norm():
            u, s, v = torch.linalg.svd(inside, full_matrices=False)
            kept = s > rounding * s[0]
            return basis @ u[:, kept] * s[kept], v[kept]
        rank *= 2
