import numpy as np
import pytest

from xalign.errors import ArgumentError
from xalign.statistics.draws import draw_rows

NAMES = [f"document {row // 5}" for row in range(60)]


@pytest.mark.parametrize("by", ["sentences", "documents", "blocks"])
def test_every_draw_has_n_rows_once_each_in_order(by):
    drawn = draw_rows(60, 23, 40, by=by, documents=NAMES, seed=3)
    assert len(drawn) == 40
    for rows in drawn:
        assert len(rows) == 23
        assert (np.diff(rows) > 0).all()
        assert rows[0] >= 0
        assert rows[-1] < 60
    again = draw_rows(60, 23, 40, by=by, documents=NAMES, seed=3)
    assert all((one == other).all() for one, other in zip(drawn, again, strict=True))


def test_documents_stay_whole_but_for_the_last():
    for rows in draw_rows(60, 23, 50, by="documents", documents=NAMES, seed=0):
        _, sizes = np.unique(rows // 5, return_counts=True)
        assert sorted(sizes) == [3, 5, 5, 5, 5]


def test_rows_and_documents_are_drawn_equally_often():
    for by, documents in (("sentences", None), ("documents", NAMES)):
        drawn = np.concatenate(draw_rows(60, 20, 3000, by=by, documents=documents))
        counts = np.bincount(drawn, minlength=60) / 1000
        assert counts == pytest.approx(np.ones(60), abs=0.15)


def test_blocks_follow_one_another_and_are_disjoint_where_they_can_be():
    blocks = draw_rows(500, 100, 5, by="blocks")
    assert [rows[0] for rows in blocks] == [0, 100, 200, 300, 400]
    many = draw_rows(500, 100, 41, by="blocks")
    assert [rows[0] for rows in many] == list(range(0, 401, 10))
    assert draw_rows(7, 3, 1, by="blocks")[0].tolist() == [0, 1, 2]
    assert draw_rows(10, 3, 2, by="blocks")[1].tolist() == [7, 8, 9]


def test_what_cannot_be_drawn():
    with pytest.raises(ArgumentError, match="n=7 is more than the 6"):
        draw_rows(6, 7, 1, by="sentences")
    with pytest.raises(ArgumentError, match="by='lines' must be one of"):
        draw_rows(6, 2, 1, by="lines")
    with pytest.raises(ArgumentError, match="name the document"):
        draw_rows(6, 2, 1, by="documents")
