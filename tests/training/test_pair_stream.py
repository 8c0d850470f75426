"""Which pairs are drawn: as ever by default, by the size of languages, in epochs, with any partner."""

import random
from collections import Counter
from math import sqrt

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.tiny import make_model, make_tokenizer
from tests.training.runs import BUNDLED
from xalign import ParallelPairs
from xalign.errors import PairsError
from xalign.model.inputs import Inputs
from xalign.training.calls import Calls
from xalign.training.draw import shares_of
from xalign.training.epochs import Epochs
from xalign.training.pair_stream import PairStream

ROWS = BUNDLED.first(30)
UNEVEN = ParallelPairs.from_bitexts(
    [ROWS["deu_Latn"], ROWS["spa_Latn"].first(11), ROWS["rus_Cyrl"].first(7)], pivot=ROWS.pivot
)


@pytest.fixture(scope="module")
def inputs():
    return Inputs(make_model("llama"), make_tokenizer())


def drawn_before(pairs, seed, step, micro_step, rank, batch_size, count):
    """The draw as it was before there was any other."""
    order = random.Random(f"{seed} {step} {micro_step} {rank}")
    chosen = order.sample(list(pairs), count)
    few, more = divmod(batch_size, count)
    sizes = {code: few + (place < more) for place, code in enumerate(chosen)}
    return [
        (code, row) for code, size in sizes.items() for row in order.sample(range(len(pairs[code])), size)
    ]


def test_by_default_pairs_are_drawn_as_ever(inputs):
    stream = PairStream(ROWS, inputs, batch_size=10, languages_per_batch=3, seed=4)
    for place in ((0, 0, 0), (7, 0, 0), (7, 2, 1)):
        assert stream.rows(*place) == drawn_before(ROWS, 4, *place, batch_size=10, count=3)
    assert stream.partner(3) == "eng_Latn"
    assert not stream.has_ended(10**6)
    batch = stream.draw(7)
    bitexts = [ROWS[code] for code, _ in batch.names]
    assert [name for _, name in batch.names] == [str(row) for _, row in stream.rows(7)]
    for side, lines in (("sentences", batch.language_lines), ("pivot_sentences", batch.pivot_lines)):
        texts = [getattr(one, side)[int(name)] for one, (_, name) in zip(bitexts, batch.names, strict=True)]
        assert [list(ids) for ids, _ in lines] == make_tokenizer()(texts)["input_ids"]


# By the size of languages.


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("count", [1, 3])
def test_languages_are_drawn_by_the_formula(inputs, temperature, count):
    """The counts of 4,000 draws lie within five standard errors of n^(1/T) / Σ n^(1/T)."""
    stream = PairStream(
        UNEVEN,
        inputs,
        batch_size=count,
        languages_per_batch=count,
        language_temperature=temperature,
        seed=1,
    )
    counts = Counter(code for step in range(4000) for code, _ in stream.rows(step))
    raised = {code: n ** (1 / temperature) for code, n in UNEVEN.counts.items()}
    for code, one in raised.items():
        share = one / sum(raised.values())
        error = sqrt(share * (1 - share) / (4000 * count))
        assert abs(counts[code] / (4000 * count) - share) < 5 * error
    assert len(set(counts.values())) == 3  # not even


def test_shares_go_from_the_sizes_to_even():
    counts = {"deu_Latn": 10**9, "swh_Latn": 1}
    assert shares_of(counts, 1.0)["swh_Latn"] == pytest.approx(1e-9)
    assert shares_of(counts, 1e6)["swh_Latn"] == pytest.approx(0.5, abs=1e-4)
    assert shares_of(counts, 0.01)["swh_Latn"] == 0.0  # and no overflow


def test_a_controllers_shares_come_before_those_of_the_sizes(inputs):
    stream = PairStream(UNEVEN, inputs, batch_size=6, languages_per_batch=1, language_temperature=1.0)
    assert {code for code, _ in stream.rows(0, shares={"rus_Cyrl": 1.0})} == {"rus_Cyrl"}


def test_a_batch_that_may_take_more_than_there_is_of_a_language_is_refused(inputs):
    fewer = ParallelPairs.from_bitexts([ROWS["deu_Latn"].first(20), *list(UNEVEN.values())[1:]])
    PairStream(fewer, inputs, batch_size=21, languages_per_batch=3)
    with pytest.raises(PairsError, match=r"too few pairs in deu_Latn \(20\): a batch takes up to 21 of a"):
        PairStream(fewer, inputs, batch_size=21, languages_per_batch=3, language_temperature=0.1)


# Epochs.


@example([5, 4], 2, 0)
@settings(max_examples=60)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=4), st.integers(1, 9), st.integers(0, 3))
def test_each_pair_comes_once_per_epoch(counts, size, seed):
    counts = {f"l{number}": count for number, count in enumerate(counts)}
    epochs = Epochs(counts, size, seed)
    orders = []
    for epoch in range(2):
        parts = epochs.parts(epoch * epochs.n_parts, epochs.n_parts)
        drawn = Counter((code, row) for code, rows in parts for row in rows)
        assert drawn == {(code, row): 1 for code, count in counts.items() for row in range(count)}
        assert all(len(rows) <= size + (size == 2) for _, rows in parts)
        assert size == 1 or all(len(rows) >= 2 for _, rows in parts)  # one alone would leave nothing centred
        orders.append(parts)
    assert orders[0] != orders[1] or max(counts.values()) < 4
    across = epochs.parts(epochs.n_parts - 1, 2)
    assert across == [orders[0][-1], orders[1][0]]
    assert Epochs(counts, size, seed).parts(0, epochs.n_parts) == orders[0]


def test_languages_are_spread_evenly_over_an_epoch():
    epochs = Epochs({"deu_Latn": 320, "swh_Latn": 80}, size=8, seed=0)
    parts = epochs.parts(0, epochs.n_parts)
    for first in range(0, 50, 10):
        codes = [code for code, _ in parts[first : first + 10]]
        assert 1 <= codes.count("swh_Latn") <= 3  # of 2 on average


@pytest.mark.parametrize("processes", [1, 2])
def test_processes_share_an_epoch_and_the_stream_ends(inputs, processes):
    stream = PairStream(UNEVEN, inputs, batch_size=8, languages_per_batch=2, epochs=2, seed=3)
    stream.calls, stream.processes = Calls(per_step=3, per_epoch=7), processes
    places = [(step, micro) for step in range(30) for micro in range(1 if step % 3 == 2 else 3)]
    asked = [place for place in places if not stream.has_ended(*place)]
    assert len(asked) == stream.n_calls
    assert asked == places[: len(asked)]
    drawn = [row for place in asked for rank in range(processes) for row in stream.rows(*place, rank)]
    counts = Counter(drawn)
    pairs = {(code, row) for code, count in UNEVEN.counts.items() for row in range(count)}
    assert set(counts) == pairs
    # The last micro-batches are filled up.
    assert set(counts.values()) <= {2, 3}
    assert sum(counts.values()) - 2 * len(pairs) < 8 * processes
    assert all(len(stream.rows(*place)) <= 8 for place in asked)
    endless = PairStream(UNEVEN, inputs, batch_size=8, languages_per_batch=2, epochs=0, seed=3)
    assert endless.n_calls is None
    assert not endless.has_ended(10**6)
    assert endless.rows(5) == PairStream(
        UNEVEN, inputs, batch_size=8, languages_per_batch=2, epochs=1, seed=3
    ).rows(5)


# Any partner.


def test_any_two_languages_are_drawn_alike(inputs):
    """All 20 ordered pairs of five languages, and their sentences, numbers and marks."""
    stream = PairStream(ROWS, inputs, batch_size=2, languages_per_batch=1, any_partner=True, seed=2)
    counts = Counter()
    for step in range(2000):
        rows, partner = stream.rows(step), stream.partner(step)
        counts[rows[0][0], partner] += 1
        assert all(code != partner for code, _ in rows)
    assert len(counts) == 20
    assert all(abs(count / 2000 - 1 / 20) < 5 * sqrt(0.05 * 0.95 / 2000) for count in counts.values())
    assert len({stream.partner(0, micro) for micro in range(40)}) == 5


def test_sentences_of_any_partner_stand_beside_their_translations(inputs):
    stream = PairStream(ROWS, inputs, batch_size=4, languages_per_batch=2, any_partner=True, seed=2)
    texts = ROWS.texts
    partners = set()
    for step in range(12):
        batch, partner = stream.draw(step), stream.partner(step)
        partners.add(partner)
        for (code, row), (name, of_row), language, other, number, same in zip(
            stream.rows(step),
            batch.names,
            batch.language_lines,
            batch.pivot_lines,
            batch.languages.tolist(),
            batch.same.tolist(),
            strict=True,
        ):
            assert (name, of_row) == (code, str(row))
            assert list(language[0]) == make_tokenizer()(texts[code][row])["input_ids"]
            assert list(other[0]) == make_tokenizer()(texts[partner][row])["input_ids"]
            assert number == [*ROWS, "eng_Latn"].index(code)
            assert len(set(same)) == 2
    assert len(partners) > 2
    meanings = {tuple(mark) for step in range(12) for mark in stream.draw(step).same.tolist()}
    assert len({mark for pair in meanings for mark in pair}) <= 5 * 30


def test_languages_with_their_own_pivots_have_no_other_partner(inputs):
    with pytest.raises(PairsError, match="partners='any' pairs all languages .* give n-way text, or partn"):
        PairStream(UNEVEN, inputs, batch_size=4, any_partner=True)
