"""The loop around a real objective: measured, decided, obeyed, resumed, and never ended by what goes wrong."""

import json

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentObjective, ParallelPairs, load_pairs
from xalign.control.decision import Decision, Schedule
from xalign.control.fixed import Fixed, Listed, Random
from xalign.control.loop import Loop
from xalign.control.record import load_decisions
from xalign.errors import ArgumentError, PairsError, ReportError
from xalign.training.closed_loop import ClosedLoop

ALL = load_pairs("bundled", ["deu", "rus", "spa"])


def part(first, last):
    sides = {ALL.pivot: next(iter(ALL.values())).pivot_sentences[first:last]}
    return ParallelPairs(sides | {code: bitext.sentences[first:last] for code, bitext in ALL.items()})


TRAINED, CONTROL = part(0, 60), part(60, 80)
REPLAYED = [*part(80, 120)["deu_Latn"].pivot_sentences]
OPTIONS = {"loss": "contrastive", "layer": 1, "batch_size": 12, "languages_per_batch": 3, "replay": REPLAYED}


def make_objective(**options):
    return AlignmentObjective(make_model("llama"), make_tokenizer(), TRAINED, **OPTIONS | options)


def train(controller="loop", steps=12, loop=None, until=None, **options):
    """Train a tiny model under a controller; returns the loop and the losses."""
    objective = make_objective() if loop is None else loop.objective
    options = {"max_steps": steps, "every": 3} | options
    loop = ClosedLoop(objective, CONTROL, controller, **options) if loop is None else loop
    optimizer = torch.optim.SGD(objective.model.parameters(), lr=0.1)
    losses = []
    for step in range(steps if until is None else until):
        loop.step(step, learning_rate=1 - step / steps)
        loss = objective(step)
        loop.count(objective.last)
        if loss.requires_grad:
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    return loop, losses


def without_times(records):
    return [one | {"signals": one["signals"] | {"seconds": 0}} for one in records]


def test_it_measures_decides_and_obeys():
    def every_third(signals, decisions):
        seen.append(signals[-1])
        return Decision(signals[-1].step, duty=1 / 3, replay=0.5, weight=2.0, shares=SHARES, reason="a third")

    SHARES = {"deu_Latn": 0.5, "rus_Cyrl": 0.25, "spa_Latn": 0.25}  # noqa: N806
    seen = []
    loop, losses = train(every_third)
    assert [one.step for one in loop.decisions] == [0, 3, 6, 9]
    assert [step for step in range(12) if losses[step]] == [1, 2, 3, 5, 7, 8, 9, 11]
    assert seen[-1].all_pairs == 12 * 3 and seen[-1].replayed == 8 * 4
    assert set(seen[0].alignment) == {"deu_Latn", "rus_Cyrl", "spa_Latn"}
    assert all(one.low <= one.value <= one.high for one in seen[0].alignment.values())
    assert set(seen[0].by_layer["deu_Latn"]) == {0, 1}
    assert seen[0].guard["eng_Latn"] == pytest.approx(
        loss_by_hand(make_model("llama"), CONTROL["deu_Latn"].pivot_sentences), rel=1e-5
    )
    assert -1 <= seen[0].others_cosine <= 1 and seen[0].effective_rank >= 1


def loss_by_hand(model, texts):
    tokenizer, total, count = make_tokenizer(), 0.0, 0
    for text in dict.fromkeys(texts):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            logs = model(input_ids=ids).logits.log_softmax(-1)
        total -= float(logs[0, :-1].gather(1, ids[0, 1:, None]).sum())
        count += ids.shape[1] - 1
    return total / count


def test_with_fixed_the_run_is_the_same_to_the_bit():
    objective = make_objective()
    optimizer = torch.optim.SGD(objective.model.parameters(), lr=0.1)
    losses = []
    for step in range(12):
        loss = objective(step)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    loop, mine = train(Fixed())
    assert mine == losses
    for one, other in zip(objective.model.parameters(), loop.objective.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("controller", [Loop(0.9), Random(seed=3)], ids=lambda one: one.name)
def test_listed_repeats_it_to_the_bit(controller, tmp_path):
    loop, losses = train(controller, folder=tmp_path)
    assert len({one.duty for one in loop.decisions}) > 1 or controller.name == "loop"
    listed = load_decisions(tmp_path)
    assert listed == tuple(loop.decisions)
    again, repeated = train(Listed(listed))
    assert repeated == losses
    assert again.signals[-1].alignment == loop.signals[-1].alignment


@pytest.mark.parametrize("at", [4, 6, 7])
def test_it_resumes_exactly(at):
    whole, losses = train(Random(seed=1))
    broken, first = train(Random(seed=1), until=at)
    kept = json.loads(json.dumps(broken.records))
    weights = {name: values.clone() for name, values in broken.objective.model.state_dict().items()}
    counts = broken.counts
    objective = make_objective()
    objective.model.load_state_dict(weights)
    resumed = ClosedLoop(objective, CONTROL, Random(seed=1), max_steps=12, every=3)
    resumed.begin(at, kept, counts)
    optimizer = torch.optim.SGD(objective.model.parameters(), lr=0.1)
    rest = []
    for step in range(at, 12):
        resumed.step(step, learning_rate=1 - step / 12)
        loss = objective(step)
        resumed.count(objective.last)
        if loss.requires_grad:
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        rest.append(loss.item())
    assert first + rest == losses
    assert without_times(resumed.records) == without_times(whole.records)


def test_a_measurement_that_fails_leaves_the_last_decision(monkeypatch):
    loop, _ = train(Random(seed=1), until=4)
    last = loop.objective.schedule.at(4)
    monkeypatch.setattr(loop._measurement, "run", lambda step: 1 / 0)
    with pytest.warns(UserWarning, match="step 6: no decision could be made, and the last one stays"):
        assert loop.step(6) is None
    assert loop.objective.schedule.at(8) == last
    monkeypatch.undo()
    assert loop.step(9).step == 9


def test_a_budget_of_pairs_is_kept_and_spread():
    loop, losses = train(Fixed(), steps=24, budget_pairs=100)
    assert sum(loop._pairs.values()) <= 100
    assert loop.decisions[0].duty < 0.5 and loop.decisions[-1].duty > 0
    assert "left of the budget" in loop.decisions[0].reason
    clock = iter(range(0, 10_000, 10))
    loop, _ = train(Fixed(), budget_seconds=15, clock=lambda: next(clock))
    assert [one.duty for one in loop.decisions][-1] == 0


def test_shares_are_kept_on_average_exactly():
    objective = make_objective()
    shares = {"deu_Latn": 0.6, "rus_Cyrl": 0.3, "spa_Latn": 0.1}
    objective.schedule = Schedule([Decision(0, shares=shares)])
    drawn = [code for step in range(2000) for code, _ in objective.pairs_of(step)]
    for code, share in shares.items():
        assert abs(drawn.count(code) / len(drawn) - share) < 0.015
    assert objective.pairs_of(7) == objective.pairs_of(7)
    rows = [row for code, row in objective.pairs_of(7) if code == "deu_Latn"]
    assert len(set(rows)) == len(rows)


def test_bad_input(tmp_path):
    objective = make_objective()
    options = {"max_steps": 12}
    with pytest.raises(PairsError, match="sentences that are measured too"):
        ClosedLoop(objective, part(50, 70), **options)
    with pytest.raises(PairsError, match="control has no pairs of spa_Latn"):
        ClosedLoop(objective, CONTROL.only(["deu_Latn", "rus_Cyrl"]), **options)
    with pytest.raises(ArgumentError, match="budget_pairs=0 must be at least 1"):
        ClosedLoop(objective, CONTROL, budget_pairs=0, **options)
    with pytest.raises(ArgumentError, match=r"guard\['eng_Latn'\] holds 1 text"):
        ClosedLoop(objective, CONTROL, guard={"eng_Latn": ["One sentence."]}, **options)
    (tmp_path / "decisions.jsonl").write_text('{"step": 0}\n', encoding="utf-8")
    with pytest.raises(ReportError, match=r"decisions\.jsonl, line 1: this is no record of a decision"):
        load_decisions(tmp_path)
    loop, _ = train(Fixed(), until=4)
    other = ClosedLoop(
        make_objective(languages=["deu_Latn", "rus_Cyrl"], languages_per_batch=2), CONTROL, **options
    )
    with pytest.raises(ArgumentError, match="go on with the same languages"):
        other.begin(4, loop.records)
