"""The loop around a real objective: measured, decided, obeyed, resumed; nothing that goes wrong ends it."""

import json
import re

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments, set_seed

from tests.monitor.training import COMMON
from tests.tiny import make_model, make_tokenizer
from xalign import (
    AlignmentCallback,
    AlignmentConfig,
    AlignmentObjective,
    ParallelPairs,
    load_pairs,
    with_alignment,
)
from xalign.control.decision import Decision, Schedule
from xalign.control.fixed import Fixed, Listed, Random
from xalign.control.loop import Loop
from xalign.control.record import load_decisions
from xalign.errors import ArgumentError, PairsError, ReportError, XAlignError
from xalign.results.history import History
from xalign.training.closed_loop import ClosedLoop
from xalign.views.decisions import decisions_of

ALL = load_pairs("bundled", ["deu", "rus", "spa"])


def part(first, last):
    return ParallelPairs.from_bitexts([bitext.rows(range(first, last)) for bitext in ALL.values()])


TRAINED, CONTROL = part(0, 60), part(60, 80)
REPLAYED = [*part(80, 120)["deu_Latn"].pivot_sentences]
OPTIONS = {"loss": "contrastive", "layer": 1, "batch_size": 12, "languages_per_batch": 3, "replay": REPLAYED}


def make_objective(**options):
    return AlignmentObjective(make_model("llama"), make_tokenizer(), TRAINED, **OPTIONS | options)


def steps_of(objective, first, last, loop=None):
    """Train a tiny model for some of 12 steps, under a loop if there is one; returns the losses."""
    optimizer = torch.optim.SGD(objective.model.parameters(), lr=0.1)
    losses = []
    for step in range(first, last):
        if loop is not None:
            loop.step(step, learning_rate=1 - step / loop.max_steps)
        loss = objective(step)
        if loop is not None:
            loop.count(objective.last)
        if loss.requires_grad:
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def train(controller="loop", steps=12, until=None, **options):
    """Train a tiny model under a controller; returns the loop and the losses."""
    options = {"max_steps": steps, "every": 3} | options
    loop = ClosedLoop(make_objective(), CONTROL, controller, **options)
    return loop, steps_of(loop.objective, 0, steps if until is None else until, loop)


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


@pytest.mark.thorough
def test_with_fixed_the_run_is_the_same_to_the_bit():
    objective = make_objective()
    losses = steps_of(objective, 0, 12)
    loop, mine = train(Fixed())
    assert mine == losses
    for one, other in zip(objective.model.parameters(), loop.objective.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.thorough
@pytest.mark.parametrize("controller", [Loop(0.9), Random(seed=3)], ids=lambda one: one.name)
def test_listed_repeats_it_to_the_bit(controller, tmp_path):
    loop, losses = train(controller, folder=tmp_path)
    assert len({one.duty for one in loop.decisions}) > 1 or controller.name == "loop"
    listed = load_decisions(tmp_path)
    assert listed == tuple(loop.decisions)
    again, repeated = train(Listed(listed))
    assert repeated == losses
    assert again.signals[-1].alignment == loop.signals[-1].alignment


@pytest.mark.thorough
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
    rest = steps_of(objective, at, 12, resumed)
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


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:.*no decision could be made")
def test_where_all_measurements_fail_the_run_trains_as_without_a_controller(tmp_path, monkeypatch):
    plain = make_trainer(tmp_path / "plain", None, control_pairs=None)
    failing = make_trainer(tmp_path / "failing", "random")
    monkeypatch.setattr(failing.closed_loop._measurement, "run", lambda step: 1 / 0)
    for trainer in (plain, failing):
        trainer.train()
    assert failing.state.global_step == 8 and failing.closed_loop.decisions == []
    for one, other in zip(plain.model.parameters(), failing.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("foreign", "message"),
    [
        ({"shares": {"fra_Latn": 1.0}}, "gives pairs to fra_Latn, and this run trains on deu_Latn, rus_Cyrl"),
        ({"layers": {77: 1.0}}, "aligns block 77, and this model has blocks 0 to 2"),
    ],
)
def test_decisions_of_another_run_are_refused(foreign, message):
    """They ended a run in its middle, with an IndexError or in a forward."""
    with pytest.raises(ArgumentError, match=message):
        train(Listed((Decision(0), Decision(9, **foreign))))
    later = lambda signals, decisions: Decision(signals[-1].step, **(foreign if len(signals) > 1 else {}))  # noqa: E731
    with pytest.warns(UserWarning, match=message):
        loop, losses = train(later)
    assert len(losses) == 12 and [one.step for one in loop.decisions] == [0]


@pytest.mark.thorough
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


def make_trainer(folder, control="random", report_to="none", **options):
    set_seed(0)
    tokenizer = make_tokenizer()
    texts = part(120, 160)["deu_Latn"].pivot_sentences
    data = [{"input_ids": tokenizer(text)["input_ids"]} for text in texts]
    arguments = {"max_steps": 8, "save_steps": 4, "save_strategy": "steps", "logging_steps": 2}
    arguments["report_to"] = report_to
    config = {"control": control, "control_pairs": CONTROL, "control_every": 2} | OPTIONS | options
    return with_alignment(Trainer)(
        model=make_model("llama").train(),
        args=TrainingArguments(str(folder), **COMMON | arguments),
        train_dataset=data,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        processing_class=tokenizer,
        alignment=AlignmentConfig(pairs=TRAINED, **config),
    )


@pytest.mark.filterwarnings("ignore")
def test_a_trainer_logs_every_decision_with_its_reason(tmp_path):
    trainer = make_trainer(tmp_path / "run", "loop", target=0.9, max_forgetting=0.01)
    trainer.train()
    loop = trainer.closed_loop
    assert loop.controller == Loop(0.9, 0.01)
    rows = [row for row in trainer.state.log_history if "align_duty" in row]
    assert [row["step"] for row in rows] == [0, 2, 4, 6] == [one.step for one in loop.decisions]
    assert [row["align_reason"] for row in rows] == [one.reason for one in loop.decisions]
    assert all(
        "forgetting is" in one.reason or "nothing is forgotten" in one.reason for one in loop.decisions
    )
    assert load_decisions(tmp_path / "run" / "alignment") == tuple(loop.decisions)
    assert loop.signals[-1].task_loss > 0 and loop.signals[-1].learning_rate < 1
    assert loop.signals[0].task_loss is None


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_trackers_and_the_page_show_what_was_decided_and_why(tmp_path):
    trainer = make_trainer(tmp_path / "run", "random", report_to="tensorboard")
    trainer.add_callback(AlignmentCallback(trainer, part(120, 140), every=2))
    trainer.train()
    decisions = trainer.closed_loop.decisions
    (events,) = (tmp_path / "run" / "runs").iterdir()
    written = EventAccumulator(str(events)).Reload()
    tables = written.Tensors("alignment/decisions/text_summary")
    assert [table.step for table in tables] == [0, 2, 4, 6]
    last = tables[-1].tensor_proto.string_val[0].decode()
    assert last.count("\n") == 1 + len(decisions) and "drawn at random" in last
    (tmp_path / "run" / "alignment").rename(
        tmp_path / "run" / "_alignment"
    )  # as a private run keeps its history
    (tmp_path / "run" / "alignment").mkdir()
    shown = decisions_of(History.load(tmp_path / "run" / "_alignment"))
    assert shown["steps"] == [0, 2, 4, 6] and shown["lines"]["duty"] == [one.duty for one in decisions]
    assert [row[-1] for row in shown["rows"]] == [one.reason for one in decisions]
    (tmp_path / "run" / "_alignment" / "decisions.jsonl").write_text("{")
    assert "line 1" in decisions_of(History.load(tmp_path / "run" / "_alignment"))["problem"]


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("control", ["random", "loop"])
def test_a_trainer_resumes_exactly(control, tmp_path):
    whole = make_trainer(tmp_path / "whole", control)
    whole.train()
    resumed = make_trainer(tmp_path / "resumed", control)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert without_times(resumed.closed_loop.records) == without_times(whole.closed_loop.records)
    assert {**whole.closed_loop.counts, "seconds": 0} == {**resumed.closed_loop.counts, "seconds": 0}


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_a_trainer_under_fixed_is_one_without_a_controller(tmp_path):
    plain = make_trainer(tmp_path / "plain", None, control_pairs=None)
    fixed = make_trainer(tmp_path / "fixed", "fixed")
    for trainer in (plain, fixed):
        trainer.train()
    for one, other in zip(plain.model.parameters(), fixed.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore")
def test_a_controller_may_stop_a_run(tmp_path):
    def until_four(signals, decisions):
        return Decision(signals[-1].step, stop=signals[-1].step >= 4, reason="enough")

    trainer = make_trainer(tmp_path, until_four)
    trainer.train()
    assert trainer.state.global_step == 4


@pytest.mark.filterwarnings("ignore")
def test_a_target_below_the_present_score_is_refused_before_the_first_step(tmp_path):
    """It was a warning, and the run went on without a controller."""
    trainer = make_trainer(tmp_path, "loop", target=0.001)
    with pytest.raises(
        ArgumentError, match=r"target=0.001 is below the scores before training \(deu_Latn 0\."
    ):
        trainer.train()
    assert trainer.state.global_step == 0 and trainer.closed_loop.decisions == []


@pytest.mark.filterwarnings("ignore")
def test_what_is_reported_decides_nothing(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.add_callback(AlignmentCallback(trainer, part(70, 100)))
    with pytest.raises(PairsError, match="the control pairs hold sentences that are measured too"):
        trainer.train()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"control": "loop"}, "control needs control_pairs"),
        ({"target": 0.8}, "target: of a controller; give control='loop'"),
        ({"control": "lop", "control_pairs": "x"}, "control='lop' must be one of loop, duty"),
        ({"control": "duty", "control_pairs": "x", "max_forgetting": 0.1}, "control='duty' has no option"),
        (
            {"control": Loop(), "control_pairs": "x", "target": 0.5},
            "target: give it to the controller itself",
        ),
        ({"control": "loop", "control_pairs": "x", "target": 1.5}, "target=1.5 must lie above 0 and below 1"),
        ({"control": "loop", "control_pairs": "x", "budget_pairs": 0}, "budget_pairs=0 must be at least 1"),
    ],
)
def test_a_config_says_what_is_missing(options, message):
    with pytest.raises(XAlignError, match=re.escape(message)):
        AlignmentConfig(pairs="bundled", **options)
