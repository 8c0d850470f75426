"""A score counts as a finding only where its whole interval is above both the lexical floor and chance."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.reports import report_of, result
from xalign import ParallelPairs
from xalign.metrics.scale import Scale
from xalign.model.architectures.sites import Site
from xalign.results.emergence import emergence
from xalign.results.history import History
from xalign.statistics.intervals import share_interval
from xalign.views.heatmap import heatmap
from xalign.views.table import report_table

SHARE = Scale("Hits", bounds=(0.0, 1.0))
N = 100
PAIRS = ParallelPairs(
    {code: [f"{code} {row}" for row in range(N)] for code in ("eng_Latn", "deu_Latn", "rus_Cyrl")}
)


def report_with(hits, *, floor, chance, layers=3):
    """Return a report in which the first `hits` sentences of N are hits in every layer."""
    bits = np.zeros((layers, N), dtype=bool)
    bits[:, :hits] = True
    one = result(
        "hits",
        SHARE,
        [Site("hidden", layer) for layer in range(layers)],
        bits,
        floor=torch.arange(N) < floor,
        chance=chance,
    )
    return replace(report_of(hits=one), pairs=PAIRS)


def marked_in_table(report):
    console = Console(width=120)
    with console.capture() as caught:
        console.print(report_table(report))
    return set(re.findall(r"\] *([<>~]) ", caught.get()))


def bold_cells(report):
    return [text for text in heatmap(report, "hits").axes[0].texts if text.get_weight() == "bold"]


def emerged(report):
    history = History()
    history.append(replace(report, step=0))
    return [row["emerged_at"] for row in emergence(history)]


@pytest.mark.parametrize(
    ("hits", "floor", "chance", "is_finding"),
    [
        (1, 0, 0.005, False),  # one sentence of 100 was bold
        (7, 0, 0.05, False),
        (30, 25, 0.005, False),  # above the floor as a number, but its interval is not
        (30, 0, 0.005, True),
        (30, 5, None, True),
        (60, 30, 0.005, True),
    ],
)
def test_every_view_uses_the_same_rule(hits, floor, chance, is_finding):
    """Heatmaps compared numbers with the floor alone, tables intervals; only emergence knew chance."""
    report = report_with(hits, floor=floor, chance=chance)
    assert marked_in_table(report) == ({">"} if is_finding else {"~"})
    assert bool(bold_cells(report)) == is_finding
    assert all((step == 0) == is_finding for step in emerged(report))


shares = st.lists(st.integers(0, 12).map(lambda hits: hits / 12), min_size=2, max_size=60).map(np.array)


@given(values=shares, row=st.integers(0, 59), up=st.booleans())
def test_intervals_do_not_jump(values, row, up):
    """The ends were [.00, .04] for a score of .000 and [.00, .01] for .002."""
    row %= len(values)
    nearby = values.copy()
    nearby[row] = np.clip(values[row] + (1e-6 if up else -1e-6), 0, 1)
    for end, other in zip(share_interval(values), share_interval(nearby), strict=True):
        assert abs(end - other) < 1e-4


@given(values=shares)
def test_intervals_have_a_width_and_hold_their_mean(values):
    """Equal values gave an interval without width."""
    low, high = share_interval(values)
    assert 0 <= low <= float(values.mean(dtype=np.float64)) <= high <= 1
    assert high - low > 1 / (len(values) + 40)
    assert share_interval(np.zeros(len(values)))[0] == 0  # rounding gave 1.4e-17
    assert share_interval(1 - values) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_the_best_layer_of_zeros_has_a_width():
    """The interval of a best layer was [0, 0] where no sentence was a hit."""
    low, high = report_with(0, floor=0, chance=0.005).interval("hits", "deu_Latn", "max")
    assert low == 0
    assert high > 0.03


@pytest.mark.parametrize("layers", [1, 6, 30])
@pytest.mark.parametrize("mean", [0.002, 0.05, 0.3])
def test_intervals_of_shares_cover(layers, mean):
    """Resampling covered a mean of .002 in 84 of 100 draws."""
    generator = np.random.default_rng(0)
    of_sentences = 0.3  # how much of a sentence's bits its layers share
    alpha, beta = (share * (1 - of_sentences) / of_sentences for share in (mean, 1 - mean))
    covered = 0
    for _ in range(300):
        low, high = share_interval(generator.binomial(layers, generator.beta(alpha, beta, 100)) / layers)
        covered += low <= mean <= high
    assert covered / 300 >= 0.92
