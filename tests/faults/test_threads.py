"""A visit acts in the thread that opened it, and observing does not change what other threads run."""

import sys
import threading
import time
from contextlib import contextmanager

import pytest
import torch

from tests.tiny import make_model, make_tokenizer
from xalign import Site, UnitSet, load_pairs, measure, steer, visit
from xalign.errors import ModelError
from xalign.model.observe import observing
from xalign.model.turns import _OBSERVERS

pytestmark = pytest.mark.filterwarnings("ignore")
PAIRS = load_pairs("bundled", ["deu_Latn"], n=4)
IDS = torch.arange(4, 24).reshape(2, 10)
UNITS = UnitSet.from_rows([("deu_Latn", f"{n}.inner", 7, 0.9, 9.0) for n in range(3)])


class Running:
    """Another thread, which does something again and again until the `with` ends; its errors are raised."""

    def __init__(self, fn):
        self.fn, self.found, self.error, self.stopped = fn, [], None, threading.Event()
        self.thread = threading.Thread(target=self._run, name="other", daemon=True)

    def _run(self):
        try:
            while not self.stopped.is_set():
                self.found.append(self.fn())
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        while not self.found and self.error is None:
            time.sleep(0.001)
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join(30)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error


@contextmanager
def switching_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("count", [25, pytest.param(300, marks=pytest.mark.slow)])
def test_steering_does_not_reach_another_thread(count):
    """The other thread's forward was steered too, or failed while hooks were added."""
    model = make_model("llama")

    def logits():
        with torch.no_grad():
            return model(input_ids=IDS).logits

    plain = logits()
    with steer(model, UNITS):
        steered = logits()
    assert not torch.equal(steered, plain)
    with switching_often(), Running(logits) as other:
        for _ in range(count):
            with steer(model, UNITS):
                assert torch.equal(logits(), steered)
    assert len(other.found) > 5
    assert all(torch.equal(one, plain) for one in other.found)


@pytest.mark.parametrize("count", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_measuring_does_not_change_another_threads_forward(count):
    """Dropout of another thread's forward was off while one measured."""
    model = make_model("llama", attention_dropout=0.5).train()
    expected = None
    modes = []
    model.model.norm.register_forward_hook(
        lambda module, args, output: modes.append((threading.current_thread().name, module.training))
    )

    def forward():
        with torch.no_grad():
            model(input_ids=IDS)
        time.sleep(0.002)
        return 1

    worked = refused = 0
    with switching_often(), Running(forward) as other:
        while worked < count:
            try:
                score = measure(model, make_tokenizer(), PAIRS, ["margin"]).score("margin")
            except ModelError as error:
                assert "thread 'other' is within a forward of this model" in str(error)
                refused += 1
                assert refused < 100 * count
                continue
            worked += 1
            expected = score if expected is None else expected
            assert score == expected
    others = [training for name, training in modes if name == "other"]
    assert len(others) > 5
    assert all(others)
    assert not any(training for name, training in modes if name != "other")
    assert len(other.found) > 5
    assert not _OBSERVERS


def test_a_forward_in_progress_is_refused_at_once():
    """Modes were changed in the middle of it."""
    model = make_model("llama").train()
    inside, go_on = threading.Event(), threading.Event()

    def stop(*_):
        inside.set()
        go_on.wait(30)

    model.model.layers[1].register_forward_hook(stop)
    with torch.no_grad():
        thread = threading.Thread(target=lambda: model(input_ids=IDS), name="other")
        thread.start()
        assert inside.wait(30)
        with pytest.raises(ModelError, match="thread 'other' is within a forward of this model"):
            measure(model, make_tokenizer(), PAIRS, ["margin"])
        assert all(module.training for module in model.modules())
        go_on.set()
        thread.join(30)
    assert not _OBSERVERS
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_two_threads_measure_one_after_the_other():
    """The second took the first one's modes for the model's own, or waited for ever after an interrupt."""
    model = make_model("llama").train()
    expected = measure(model, make_tokenizer(), PAIRS, ["margin"]).score("margin")
    found = []

    def run():
        for _ in range(5):
            found.append(measure(model, make_tokenizer(), PAIRS, ["margin"]).score("margin"))

    threads = [threading.Thread(target=run, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [expected] * 15
    assert all(module.training for module in model.modules())


def test_an_observer_whose_thread_ended_holds_nobody_up():
    """A lock that was never given back stopped every later measurement."""
    model = make_model("llama")

    def leave():
        left = observing(model)
        left.__enter__()
        kept.append(left)

    kept = []
    thread = threading.Thread(target=leave)
    thread.start()
    thread.join()
    assert _OBSERVERS
    measure(model, make_tokenizer(), PAIRS, ["margin"])
    assert not _OBSERVERS


def test_a_visit_that_only_another_thread_ran_through_says_so():
    """`generate_batch` runs the model in a thread of its own; a visit saw nothing of it, and said nothing."""
    model = make_model("llama")
    with (
        pytest.raises(ModelError, match=r"ran 1 time\(s\) in other threads"),
        visit(model, {Site("inner", 0): torch.zeros_like}),
    ):
        thread = threading.Thread(target=lambda: model(input_ids=IDS))
        thread.start()
        thread.join()
