"""What the callback costs: nothing between measurements, and what it says it does at them."""

import itertools
import statistics
import time

import pytest
import torch

from tests.monitor.training import make_trainer
from xalign import AlignmentCallback, load_pairs
from xalign.monitor.cadence import Cadence


@pytest.mark.parametrize("every", [100_000, "auto", None])
def test_a_step_without_a_measurement_is_free(every):
    """At most 50 µs of CPU time, and no forward."""
    trainer = make_trainer(evaluate=False)
    callback = AlignmentCallback(trainer, load_pairs("bundled", ["deu_Latn"], n=8), every=every)
    trainer.add_callback(callback)
    forwards = []
    trainer.model.register_forward_pre_hook(lambda *args: forwards.append(1))
    state, control = trainer.state, trainer.control
    state.max_steps, state.epoch = 10**6, 0.5
    if every == "auto":  # a measurement of an hour, so that it waits long
        clock = itertools.count(1_000_000, 0.001)
        callback._monitor.cadence = Cadence("auto", clock=lambda: next(clock) + 3600 * bool(forwards))
        forwards.append("at the start")
        callback._monitor.cadence.measured(0, 3600.0)
    costs = []
    for state.global_step in range(1, 20):  # its decision falls here
        callback.on_step_end(trainer.args, state, control)
    for state.global_step in range(2001, 3001):
        before = time.process_time_ns()
        callback.on_step_end(trainer.args, state, control)
        costs.append(time.process_time_ns() - before)
    assert forwards.count(1) == 0
    assert statistics.median(costs) <= 50_000


@pytest.mark.slow
def test_it_costs_what_it_says():
    """CPU time of runs with it and without it, where measuring is at least half: within 20 %, five times."""
    torch.set_num_threads(1)
    pairs = load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=100)

    def run(folder, watched):
        trainer = make_trainer(evaluate=False, folder=folder, max_steps=12)
        callback = None
        if watched:
            callback = AlignmentCallback(trainer, pairs, every=1, save_reports=False, on_regression="ignore")
            trainer.add_callback(callback)
        started = time.process_time()
        trainer.train()
        spent = time.process_time() - started
        return spent, sum(report.cost.cpu_seconds for report in callback.reports) if callback else 0.0

    run("warm", True)
    ratios = []
    for number in range(5):
        plain, _ = run(f"plain-{number}", False)
        watched, said = run(f"watched-{number}", True)
        assert said >= 0.5 * watched
        ratios.append(said / (watched - plain))
    assert 0.8 <= statistics.median(ratios) <= 1.2, ratios
