"""IBM Model 1 with positions: against loops over dicts, against a published example, and its limits."""

import random
from collections import defaultdict
from itertools import product
from math import exp, log

import numpy as np
import pytest

from xalign.errors import ArgumentError, ArgumentTypeError, PairsError
from xalign.links.cells import Cells
from xalign.links.em import learn, positions
from xalign.links.ibm1 import ibm1, ibm1_both

WORDS = ["das", "Haus", "ist", "klein", "Buch", "alt", "ein", "Mann", "geht"]


def corpus(pairs=12, seed=0, shuffled=True):
    """Sentences of 1 to 6 words, and a translation with extra words now and then, shuffled or not."""
    draw = random.Random(seed)
    sources = [draw.choices(WORDS, k=draw.randint(1, 6)) for _ in range(pairs)]
    targets = []
    for source in sources:
        target = [word.upper() for word in source] + draw.choices(["X", "Y"], k=draw.randint(0, 2))
        if shuffled:
            draw.shuffle(target)
        targets.append(target)
    return sources, targets


def distance(i, j, source, target):
    return abs((i + 0.5) / len(source) - (j + 0.5) / len(target))


def d_of(i, j, source, target, tension):
    weights = [exp(-tension * distance(at, j, source, target)) for at in range(len(source))]
    return weights[i] / sum(weights)


def expected(sources, targets, table, nothing, null, tension):
    """The posterior of each (pair, i, j), and of (pair, j) for nothing."""
    cells, empty = {}, {}
    for n, (source, target) in enumerate(zip(sources, targets, strict=True)):
        for j, t in enumerate(target):
            joint = [
                (1 - null) * d_of(i, j, source, target, tension) * table[s, t] for i, s in enumerate(source)
            ]
            total = sum(joint) + null * nothing[t]
            empty[n, j] = null * nothing[t] / total
            cells |= {(n, i, j): value / total for i, value in enumerate(joint)}
    return cells, empty


def best_tension(sources, targets, cells):
    """The tension of the largest likelihood of the positions, by golden section."""
    mass = defaultdict(float)
    for (n, i, j), value in cells.items():
        mass[n, j, i] += value

    def loss(tension):
        return -sum(
            value * log(d_of(i, j, sources[n], targets[n], tension)) for (n, j, i), value in mass.items()
        )

    low, high = 0.0, 100.0
    for _ in range(80):
        third = (high - low) / 3
        if loss(low + third) < loss(high - third):
            high -= third
        else:
            low += third
    return (low + high) / 2


def em(sources, targets, iterations, null, smoothing, tensions=None):
    """Model 1 in loops; the tension of each iteration is given, or 0."""
    types = sorted({t for target in targets for t in target})
    words = sorted({s for source in sources for s in source})
    table = dict.fromkeys(product(words, types), 1 / len(types))
    nothing = dict.fromkeys(types, 1 / len(types))
    for step in range(iterations):
        tension = 0.0 if tensions is None else tensions[step]
        cells, empty = expected(sources, targets, table, nothing, null, tension)
        counts, of_nothing = defaultdict(float), defaultdict(float)
        for (n, i, j), value in cells.items():
            counts[sources[n][i], targets[n][j]] += value
        for (n, j), value in empty.items():
            of_nothing[targets[n][j]] += value
        table = {
            (s, t): (counts[s, t] + smoothing)
            / (sum(counts[s, other] for other in types) + smoothing * len(types))
            for s, t in table
        }
        total = sum(of_nothing.values())
        nothing = {t: (of_nothing[t] + smoothing) / (total + smoothing * len(types)) for t in types}
    return table, nothing, cells, empty


def links_of(sources, targets, table, nothing, null, tension):
    found = []
    for source, target in zip(sources, targets, strict=True):
        links = []
        for j, t in enumerate(target):
            values = [
                (1 - null) * d_of(i, j, source, target, tension) * table(s, t, len(found))
                for i, s in enumerate(source)
            ]
            best = max(values)
            ties = [i for i, value in enumerate(values) if value >= best * (1 - 1e-9)]
            i = min(ties, key=lambda i: (round(distance(i, j, source, target), 9), i))
            if best > null * nothing(t, len(found)):
                links.append((i, j))
        found.append(sorted(links))
    return found


def test_the_published_example():
    """Koehn (2010), figure 4.4: das Haus, das Buch, ein Buch, without an empty word."""
    sources = [["das", "Haus"], ["das", "Buch"], ["ein", "Buch"]]
    targets = [["the", "house"], ["the", "book"], ["a", "book"]]
    cells = Cells.of(sources, targets)
    names = [(("das", "Haus", "Buch", "ein")[s], ("the", "house", "book", "a")[t])
             for s, t in zip(cells.source_of, cells.target_of, strict=True)]  # fmt: skip
    for iterations, das, buch in ((1, 0.5, 0.5), (2, 0.6364, 0.6364), (3, 0.7479, 0.7479)):
        table = learn(cells, iterations, null=1e-12, smoothing=1e-12, diagonal=False)
        found = dict(zip(names, table.of_type, strict=True))
        assert found["das", "the"] == pytest.approx(das, abs=5e-5)
        assert found["Buch", "book"] == pytest.approx(buch, abs=5e-5)


@pytest.mark.parametrize("iterations", [1, 3, 5])
def test_links_are_those_of_loops_over_dicts(iterations):
    sources, targets = corpus()
    table, nothing, _, _ = em(sources, targets, iterations, 0.2, 0.01)
    expected_links = links_of(
        sources, targets, lambda s, t, n: table[s, t], lambda t, n: nothing[t], 0.2, 0.0
    )
    found = ibm1(sources, targets, iterations=iterations, null=0.2, smoothing=0.01, diagonal=False)
    assert found.links == expected_links
    scores = [
        -np.mean([log(max(table[s, t] for s in source)) for t in target])
        for source, target in zip(sources, targets, strict=True)
    ]
    assert found.scores == pytest.approx(scores, abs=1e-12)
    if iterations > 1:  # some words are linked, and some are not
        assert 0 < sum(map(len, found.links)) < sum(map(len, targets))


def test_the_tension_is_the_best_of_each_iteration():
    sources, targets = corpus(30, shuffled=False)
    cells = Cells.of(sources, targets)
    tensions = [0.0]
    for step in range(1, 4):
        _, _, posterior, _ = em(sources, targets, step, 0.1, 0.01, tensions)
        tensions.append(best_tension(sources, targets, posterior))
        found = learn(cells, step, 0.1, 0.01, True).tension
        # A few steps of Newton's method an iteration: the next one goes on from there.
        assert found == pytest.approx(tensions[-1], abs=0.02)
    assert tensions[-1] > 0.05


def test_leaving_a_pair_out_subtracts_its_expected_counts():
    sources, targets = corpus()
    _, _, cells, empty = em(sources, targets, 4, 0.2, 0.01)
    types = sorted({t for target in targets for t in target})

    def table(s, t, pair):
        counts = defaultdict(float)
        for (n, i, j), value in cells.items():
            if n != pair and sources[n][i] == s:
                counts[targets[n][j]] += value
        return (counts[t] + 0.01) / (sum(counts.values()) + 0.01 * len(types))

    def nothing(t, pair):
        rest = {key: value for key, value in empty.items() if key[0] != pair}
        own = sum(value for (n, j), value in rest.items() if targets[n][j] == t)
        return (own + 0.01) / (sum(rest.values()) + 0.01 * len(types))

    options = {"iterations": 4, "null": 0.2, "smoothing": 0.01, "diagonal": False}
    with_own = ibm1(sources, targets, **options).links
    without = ibm1(sources, targets, **options, leave_one_out=True).links
    assert without == links_of(sources, targets, table, nothing, 0.2, 0.0)
    assert without != with_own


def test_positions_add_up_to_1():
    cells = Cells.of(*corpus())
    assert cells.sum(positions(cells, 7.0)) == pytest.approx(1)
    assert positions(cells, 0.0) == pytest.approx(1 / np.repeat(cells.sizes, cells.sizes))


def test_identical_text_is_linked_on_its_diagonal():
    sources, _ = corpus(40)
    found = ibm1(sources, sources)
    assert found.links == [[(at, at) for at in range(len(source))] for source in sources]
    assert max(found.scores) < 0.5


def test_equal_words_are_linked_by_position():
    links = ibm1([["a", "b", "a"]] * 2, [["A", "B", "A"]] * 2, diagonal=False).links
    assert links[0] == [(0, 0), (1, 1), (2, 2)]


def test_neither_names_nor_order_of_pairs_matter():
    sources, targets = corpus()
    found = ibm1(sources, targets)
    renamed = ibm1([[hash(one) for one in row] for row in sources], targets)
    assert renamed == found
    turned = ibm1(sources[::-1], targets[::-1])
    assert turned.links == found.links[::-1]
    assert turned.scores == pytest.approx(found.scores[::-1])


def test_both_ways_give_positions_of_the_language_first():
    language, pivot = [["a", "b", "c"]] * 3 + [["a"]], [["A", "B"]] * 3 + [["A"]]
    forward, backward = ibm1_both(language, pivot)
    assert all(one < 3 and other < 2 for links in (*forward.links, *backward.links) for one, other in links)
    assert len({other for _, other in forward.links[0]}) == len(forward.links[0])
    assert len({one for one, _ in backward.links[0]}) == len(backward.links[0]) == 3


def test_one_pair_of_one_word():
    assert ibm1([["a"]], [["b"]]).links == [[(0, 0)]]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"iterations": 0}, ArgumentError, "at least 1"),
        ({"null": 1.0}, ArgumentError, "below 1"),
        ({"null": 0}, ArgumentError, "above 0"),
        ({"smoothing": 0}, ArgumentError, "above 0"),
        ({"diagonal": 1}, ArgumentTypeError, "True or False"),
        ({"leave_one_out": "yes"}, ArgumentTypeError, "True or False"),
    ],
)
def test_options_out_of_range(options, error, said):
    with pytest.raises(error, match=said):
        ibm1([["a"]], [["b"]], **options)


@pytest.mark.parametrize(
    ("sides", "said"),
    [
        (([["a"]], []), "1 sentences and the other 0"),
        (([], []), "no pairs"),
        (([["a"], []], [["b"], ["c"]]), r"pair\(s\) 1 have a side without tokens"),
    ],
)
def test_sides_that_cannot_be_linked(sides, said):
    with pytest.raises(PairsError, match=said):
        ibm1(*sides)
