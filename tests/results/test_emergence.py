"""When a language emerged, by hand."""

import pytest

from tests.tiny import make_model, make_tokenizer
from xalign import load_pairs, measure
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.results.emergence import emergence
from xalign.results.history import History


def history_of(series, floor=0.2, chance=0.1, half=0.05):
    """Of one language and two layers; the score is their mean."""
    history = History()
    for number, layers in enumerate(series):
        values = [*layers, sum(layers) / len(layers)]
        history.entries.append(
            {
                "step": 10 * number,
                "metrics": {
                    "nasca": {
                        "layers": [0, 1, "mean"],
                        "readings": ["0", "1"],
                        "languages": {
                            "deu_Latn": {
                                "n": 50,
                                "floor": floor,
                                "chance": chance,
                                "value": values,
                                "low": [value - half for value in values],
                                "high": [value + half for value in values],
                            }
                        },
                    }
                },
            }
        )
    return history


def found(series, **options):
    return {row["layer"]: row for row in emergence(history_of(series, **options))}


def test_from_the_step_after_which_it_stays_above():
    rows = found([(0.0, 0.1), (0.3, 0.1), (0.1, 0.3), (0.3, 0.5), (0.4, 0.6)])
    assert rows[0]["emerged_at"] == 30  # at step 10 it was above once, and fell back
    assert rows[1]["emerged_at"] == 20
    assert rows["mean"]["emerged_at"] == 30  # .2 − .05 is not above .2
    assert (rows["mean"]["peak"], rows["mean"]["peak_step"], rows["mean"]["last"]) == (0.5, 40, 0.5)
    assert rows["mean"]["best_layer"] == 1
    assert not any(row["regressed"] for row in rows.values())


def test_floor_and_chance_both_count():
    series = [(0.3, 0.3), (0.5, 0.5)]
    assert found(series)["mean"]["emerged_at"] == 0
    assert found(series, floor=0.4)["mean"]["emerged_at"] == 10
    assert found(series, chance=0.4)["mean"]["emerged_at"] == 10
    assert found(series, floor=0.45)["mean"]["emerged_at"] is None  # the bound, not the value
    assert found(series, chance=None)["mean"]["emerged_at"] == 0  # the margin has none


def test_what_is_lost_again():
    rows = found([(0.6, 0.6), (0.8, 0.5), (0.1, 0.55)])
    assert rows[0]["regressed"] and rows[0]["emerged_at"] is None
    assert not rows[1]["regressed"] and rows[1]["emerged_at"] == 0
    assert rows["mean"]["regressed"] and rows["mean"]["peak_step"] == 10


def test_bad_input():
    with pytest.raises(ArgumentError, match="the history is empty"):
        emergence(History())
    with pytest.raises(ArgumentError, match="metric='mexa' is not in this history; it has nasca"):
        emergence(history_of([(0.1, 0.2)]), "mexa")
    with pytest.raises(ArgumentTypeError, match=r"history must be one, .* not 'run'"):
        emergence("run")


def test_all_metrics_unless_one_is_named():
    history = History()
    history.append(
        measure(make_model("llama"), make_tokenizer(), load_pairs("bundled", n=8), ["nasca", "mexa"], step=0)
    )
    assert emergence(history) == [*emergence(history, "nasca"), *emergence(history, "mexa")]
