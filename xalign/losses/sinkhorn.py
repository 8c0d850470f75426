"""Entropic optimal transport between the rows of two sides, in the log domain, for many pairs at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xalign.checks import positive, whole_number
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.losses.direction import checked_temperature
from xalign.losses.tokens import check_mask

TOLERANCE = 0.01
ITERATIONS = 10_000
CHECK_EVERY = 10
"""Iterations between two checks of the error; each check waits for the device."""
NOTHING = -1e30
"""Stands for log 0: finite, so that the difference of two such values is not NaN."""


Sides = tuple[Tensor, Tensor]
Update = Callable[[Sides, Tensor, Sides], Sides]


@dataclass(frozen=True, slots=True)
class Plan:
    """A coupling of the tokens of each pair, and how far it is from an exact one.

    Attributes:
        plan: Per pair, how much of each row's mass goes to each column; sums to 1, and 0 at padding.
        error: Per pair, the sum over its rows of how far their mass is from what it should be, in [0, 2].
            Columns have their mass up to rounding; in a symmetric plan, they are off like the rows.
        iterations: How many updates of both sides were made; a pair that had converged took part in all.
    """

    plan: Float[Tensor, "pair row column"]
    error: Float[Tensor, " pair"]
    iterations: int


@torch.no_grad()
def sinkhorn(
    cost: Float[Tensor, "pair row column"],
    rows: Bool[Tensor, "pair row"] | None = None,
    columns: Bool[Tensor, "pair column"] | None = None,
    *,
    temperature: float = 0.1,
    tolerance: float = TOLERANCE,
    iterations: int = ITERATIONS,
    symmetric: bool = False,
) -> Plan:
    """Compute the plan that carries even mass from rows to columns at least cost, softened by its entropy.

    It minimises ⟨P, C⟩ + ε Σ P (log P − 1) over the plans P with marginals 1 / rows and 1 / columns, by
    Sinkhorn's updates of the logarithms, until every pair's marginal error is at most `tolerance`. For costs
    up to c, 1 + 2 (c / ε + log n) / tolerance iterations are always enough, with n tokens of the longer side
    (Dvurechensky et al. 2018, theorem 1): 5,300 at the defaults, for cosine costs and 512 tokens. Usually,
    few are needed. It has no gradient.

    Args:
        cost: What it costs to carry mass from a row to a column.
        rows: True at the rows that count; all if None.
        columns: True at the columns that count; all if None.
        temperature: ε, in the unit of the costs, at least 1e-4. As it falls, the plan approaches the exact
            one, and convergence slows down.
        tolerance: The largest marginal error, above 0. Some exact coupling is then within twice it of the
            plan, summed over all entries (Altschuler et al. 2017, lemma 7).
        iterations: The most updates of both sides.
        symmetric: The costs are those of carrying a side to itself, row i and column i being one token. The
            plan is then symmetric, and found by updates that are averaged, which need far fewer iterations.

    Raises:
        ArgumentError: A pair without a row or a column that counts, or a plan that has not converged; its
            error is named. Costs that are not finite give a plan of NaN instead.

    Reference:
        Cuturi (2013); Peyré and Cuturi (2019), Computational Optimal Transport, §4.4, for the log domain.

    Example:
        >>> sinkhorn(1 - torch.eye(2).unsqueeze(0)).plan.round(decimals=3).tolist()
        [[[0.5, 0.0], [0.0, 0.5]]]
    """
    temperature, tolerance = checked_temperature(temperature), positive("tolerance", tolerance)
    iterations = whole_number("iterations", iterations, least=1)
    scaled, masses = _prepared(cost, rows, columns, temperature)
    update = _symmetric_update if symmetric else _update
    found = _solve(update, scaled, masses, tolerance, iterations)
    worst = found.error.max().item() if len(found.error) else 0.0
    if worst > tolerance:
        bad = (found.error > tolerance).nonzero().flatten().tolist()
        raise ArgumentError(
            f"the transport plan of {len(bad)} of {len(cost)} pairs (first: {bad[0]}) has not converged: "
            f"after {iterations} iterations the masses of the rows are off by {worst:.3g} of 1 in all, and "
            f"tolerance={tolerance:g}. Raise temperature={temperature:g}, tolerance or iterations"
        )
    return found


def _prepared(
    cost: Tensor, rows: Tensor | None, columns: Tensor | None, temperature: float
) -> tuple[Tensor, Sides]:
    """Check what is given, and return the costs over the temperature and the logarithms of both masses."""
    if not isinstance(cost, Tensor) or not cost.is_floating_point() or cost.dim() != 3:
        raise ArgumentTypeError(f"cost must be a tensor [pair, row, column] of numbers, not {cost!r:.60}")
    pairs, *tokens = cost.shape
    rows = cost.new_ones(pairs, tokens[0], dtype=torch.bool) if rows is None else rows
    columns = cost.new_ones(pairs, tokens[1], dtype=torch.bool) if columns is None else columns
    check_mask("rows", rows, (pairs, tokens[0]))
    check_mask("columns", columns, (pairs, tokens[1]))
    dtype = torch.promote_types(cost.dtype, torch.float32)
    padding = ~(rows.unsqueeze(2) & columns.unsqueeze(1))
    scaled = cost.to(dtype).masked_fill(padding, 0.0) / temperature
    return scaled, (_log_mass(rows, dtype).unsqueeze(2), _log_mass(columns, dtype).unsqueeze(1))


def _solve(
    update: Update,
    scaled: Float[Tensor, "pair row column"],
    masses: tuple[Float[Tensor, "pair row 1"], Float[Tensor, "pair 1 column"]],
    tolerance: float,
    iterations: int,
) -> Plan:
    """Update the potentials until they fit; an error of NaN, which is above nothing, ends it."""
    potentials, done = masses, 0
    while True:
        for _ in range(min(CHECK_EVERY, iterations - done)):
            potentials = update(potentials, scaled, masses)
        done = min(done + CHECK_EVERY, iterations)
        plan = (potentials[0] + potentials[1] - scaled).exp()
        error = (plan.sum(2, keepdim=True) - masses[0].exp()).abs().sum((1, 2))
        if done == iterations or not bool((error > tolerance).any()):
            return Plan(plan, error, done)


def _update(potentials: Sides, scaled: Tensor, masses: Sides) -> Sides:
    """Give the rows their mass, and then the columns."""
    of_rows = masses[0] - (potentials[1] - scaled).logsumexp(2, keepdim=True)
    return of_rows, masses[1] - (of_rows - scaled).logsumexp(1, keepdim=True)


def _symmetric_update(potentials: Sides, scaled: Tensor, masses: Sides) -> Sides:
    """Go half of the way to the rows' mass; the columns are the same tokens."""
    of_rows = (potentials[0] + masses[0] - (potentials[1] - scaled).logsumexp(2, keepdim=True)) / 2
    return of_rows, of_rows.transpose(1, 2)


def _log_mass(counted: Bool[Tensor, "pair token"], dtype: torch.dtype) -> Float[Tensor, "pair token"]:
    """Return the logarithm of 1 / tokens at each token that counts, and that of nothing elsewhere."""
    even = -counted.sum(1, keepdim=True).to(dtype).log()
    return even.expand(counted.shape).masked_fill(~counted, NOTHING)
