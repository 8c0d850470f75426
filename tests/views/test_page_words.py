"""What a page says in words: a verdict, definitions, and the loss of the run. Without a browser."""

import json
import re

import pytest

from tests.reports import own_metrics, two_stacks
from xalign.metrics import METRICS, definition_of
from xalign.results.history import History
from xalign.views.losses import MOST, losses_of
from xalign.views.page import write_page
from xalign.views.verdict import verdict, verdict_of


def data_of(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_the_page_opens_with_a_verdict(tmp_path):
    report = two_stacks()
    found = data_of(write_page(report, tmp_path / "page.html"))
    assert found["verdict"] == verdict(report)
    assert found["verdict"][0].startswith("NASCA: ")
    assert found["labels"] == {"deu_Latn": "German (deu_Latn)", "rus_Cyrl": "Russian (rus_Cyrl)"}
    assert found["metrics"]["nasca"]["definition"] == definition_of("nasca") != ""
    own = data_of(write_page(own_metrics(), tmp_path / "own.html"))
    assert own["metrics"]["distance"]["definition"] == ""  # nothing is known of a metric of one's own
    assert [one.split(":")[0] for one in own["verdict"]] == [
        "Misses"
    ]  # a distance without a bar says nothing


@pytest.mark.parametrize(
    ("standings", "bar", "said"),
    [
        ("wo", "floor", "N: no language is above its floor."),
        ("b", "floor", "N: German is above its floor."),
        ("bb", "floor", "N: all 2 languages are above their floors."),
        ("bo", "floor", "N: 1 of 2 languages is above its floor: German."),
        ("bbo", "floor", "N: 2 of 3 languages are above their floors: German, Russian."),
        ("ou", "chance", "N: no language is above chance."),
        ("bbu", "chance", "N: 2 of 3 languages are above chance: German, Russian."),
        ("nn", "floor", None),
    ],
)
def test_verdicts(standings, bar, said):
    meant = {"b": "better", "w": "worse", "o": "open", "u": "unknown", "n": None}
    codes = ["deu_Latn", "rus_Cyrl", "spa_Latn"]
    given = {code: meant[one] for code, one in zip(codes, standings, strict=False)}
    assert verdict_of("N", given, bar) == said


def test_the_verdict_of_a_metric_where_lower_is_better():
    assert verdict_of("Misses", {"deu_Latn": "better"}, "floor", higher_is_better=False) == (
        "Misses: German is below its floor."
    )


def test_every_metric_has_a_definition():
    for name in METRICS:
        told = definition_of(name)
        assert told.endswith(".") and len(told) > 40 and "`" not in told and told[0].isupper()


def history_in(folder, steps=(0, 10, 20)):
    folder.mkdir(parents=True)
    history = History(folder / "history.jsonl")
    for step in steps:
        history.append(own_metrics(step))
    return history


def state(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"log_history": rows}), encoding="utf-8")


def test_the_training_loss_of_the_same_run(tmp_path):
    history = history_in(tmp_path / "run" / "alignment")
    assert losses_of(history) == []
    old = [{"step": 5, "loss": 3.0}]
    new = [*old, {"step": 10, "eval_loss": 9.0}, {"step": 15, "loss": 2.0}, {"step": 25, "loss": 1.0}]
    state(tmp_path / "run" / "checkpoint-5" / "trainer_state.json", old)
    state(tmp_path / "run" / "checkpoint-15" / "trainer_state.json", new)
    assert losses_of(history) == [(5, 3.0), (15, 2.0)]  # up to the last measurement
    assert data_of(write_page(history, tmp_path / "page.html"))["losses"] == [[5, 3.0], [15, 2.0]]
    named = history_in(tmp_path / "run" / "alignment" / "news")
    assert losses_of(named) == [(5, 3.0), (15, 2.0)]
    # A damaged file, or a loss that is no number, is left out.
    (tmp_path / "run" / "checkpoint-15" / "trainer_state.json").write_text("{")
    assert losses_of(history) == [(5, 3.0)]
    state(
        tmp_path / "run" / "trainer_state.json", [{"step": 6, "loss": float("nan")}, {"step": 7, "loss": 1}]
    )
    assert losses_of(history) == [(7, 1.0)]
    many = [{"step": one, "loss": 1.0} for one in range(3 * MOST)]
    state(tmp_path / "run" / "trainer_state.json", many)
    long = history_in(tmp_path / "run" / "alignment" / "long", steps=(0, 3 * MOST))
    assert len(losses_of(long)) == MOST
    assert losses_of(History()) == []
