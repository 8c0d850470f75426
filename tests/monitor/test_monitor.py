import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests.model.test_visit import count_hooks
from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentMonitor, AlignmentReport, ParallelPairs, load_pairs, measure
from xalign.errors import ArgumentError, ReportError, XAlignError
from xalign.results.history import History


@pytest.fixture
def pairs():
    return load_pairs("bundled", ["deu_Latn"], n=8)


def test_in_a_plain_loop(pairs, tmp_path):
    model = make_model("gpt2").train()
    monitor = AlignmentMonitor(model, make_tokenizer(), pairs, every=2, save_dir=tmp_path / "alignment")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    returned = [monitor.step(0)]
    for step in range(1, 6):
        ids = torch.randint(4, 400, (2, 9))
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        returned.append(monitor.step(step))
        assert model.training
        assert count_hooks(model) == 0
    assert [report.step if report else None for report in returned] == [0, None, 2, None, 4, None]
    assert [report.step for report in monitor.reports] == [0, 2, 4]
    assert [row["step"] for row in monitor.to_rows()] == [0] * 4 + [2] * 4 + [4] * 4
    assert (
        AlignmentReport.load(tmp_path / "alignment" / "step-00000004").to_rows()
        == monitor.reports[-1].to_rows()
    )


def test_never_twice_at_one_step(pairs):
    monitor = AlignmentMonitor(make_model("gpt2"), make_tokenizer(), pairs)
    assert monitor.step(3) is not None
    assert monitor.step(3) is None
    assert monitor.step(4) is not None


def test_a_loop_that_resumes(pairs, tmp_path):
    """Goes on in the same history, replaces what was done twice, and refuses other pairs before the work."""
    model, tokenizer = make_model("gpt2"), make_tokenizer()

    def monitor(of=pairs, **options):
        return AlignmentMonitor(model, tokenizer, of, every=2, save_dir=tmp_path / "alignment", **options)

    first = monitor()
    for step in range(7):
        first.step(step)
    assert first.history.steps == [0, 2, 4, 6]
    second = monitor()
    for step in range(4, 9):
        second.step(step)
    assert History.load(tmp_path).steps == [0, 2, 4, 6, 8]
    for other, message in [
        (monitor(load_pairs("bundled", ["deu_Latn"], n=9)), "was measured on other sentences than these"),
        (monitor(pool_special_tokens=False), "pool_special_tokens was True at step 8 and is False now"),
        (monitor(metrics=["mexa"]), "nasca there, mexa now"),
        (monitor(state_site="inner"), "the metrics or their places are not those of step 8"),
    ]:
        other.measurement.model = None  # no forward comes first
        with pytest.raises(ReportError, match=message):
            other.step(10)
    assert History.load(tmp_path).steps == [0, 2, 4, 6, 8]
    with pytest.warns(UserWarning, match="held the measurements of an earlier run"):
        monitor().step(0)
    assert History.load(tmp_path).steps == [0]
    assert History.load(tmp_path / "alignment" / "earlier-1").steps == [0, 2, 4, 6, 8]


def test_steps_do_not_go_back(pairs):
    monitor = AlignmentMonitor(make_model("gpt2"), make_tokenizer(), pairs)
    for step in range(3):
        monitor.step(step)
    with pytest.raises(ArgumentError, match="n=0 is before step 2, the last one measured"):
        monitor.step(0)  # as where a loop counts anew in each epoch
    assert monitor.history.steps == [0, 1, 2]


def test_the_adapter_learns_as_before(pairs):
    """Comparing with the base model leaves what is frozen frozen."""
    adapter = LoraConfig(r=4, target_modules=["down_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    model = get_peft_model(make_model("llama"), adapter)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_B" in name)
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    monitor = AlignmentMonitor(model, make_tokenizer(), pairs, metrics=("margin",))
    monitor.step(0)
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == before
    assert monitor.base.score("margin") == measure(
        make_model("llama"), make_tokenizer(), pairs, ["margin"]
    ).score("margin")
    difference = monitor.reports[0].score("margin") - monitor.base.score("margin")
    assert monitor.all_scalars["margin_over_base"] == difference != 0


def test_a_full_disk_does_not_end_a_run(pairs, tmp_path, monkeypatch):
    monitor = AlignmentMonitor(make_model("gpt2"), make_tokenizer(), pairs, save_dir=tmp_path / "alignment")
    monitor.step(0)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(History, "_write", full)
    monkeypatch.setattr("xalign.storage._write", full)
    with pytest.warns(UserWarning, match="cannot be written .*No space left.*training goes on") as said:
        monitor.step(1)
        monitor.step(2)
    assert len(said) == 1
    assert [report.step for report in monitor.reports] == [0, 1, 2]
    monkeypatch.undo()
    monitor.step(3)
    assert History.load(tmp_path).steps == [0, 1, 2, 3]


def test_a_regression_is_told_of_once(pairs):
    told = []
    monitor = AlignmentMonitor(
        make_model("gpt2"),
        make_tokenizer(),
        load_pairs("bundled", ["deu_Latn", "rus_Cyrl"], n=60),
        on_regression=lambda *found: told.append(found),
    )
    run = monitor.measurement.run

    def scripted(step):
        """Russian scores 1 for five steps and 0 afterwards, until it is well again at step 9."""
        report = run(step)
        report.metrics["nasca"].values["rus_Cyrl"][:] = step < 5 or step >= 9
        return report

    monitor.measurement.run = scripted
    for step in range(12):
        monitor.step(step)
    assert [(metric, language) for metric, language, _ in told] == [("nasca", "rus_Cyrl")]
    assert [(step, language) for step, _, language, _ in monitor.regressions] == [(5, "rus_Cyrl")]
    regression = told[0][2]
    assert (regression.best, regression.now, regression.window) == (1.0, 0.0, 1) and regression.p < 1e-6


def test_the_names_of_0_1_0(pairs):
    import importlib

    monitor = AlignmentMonitor(make_model("gpt2"), make_tokenizer(), pairs)
    with pytest.warns(DeprecationWarning, match="AlignmentMonitor.falls .* use regressions"):
        assert monitor.falls is monitor.regressions
    for old, new in [
        ("xalign.monitor.selection.KeepBest", "xalign.monitor.keep_best.KeepBest"),
        (
            "xalign.monitor.trackers.go_offline_without_login",
            "xalign.trackers.wandb.go_offline_without_login",
        ),
        ("xalign.cli.demo.what_one_sees", "xalign.demo.emergence.what_one_sees"),
        ("xalign.cli.improvement.improve", "xalign.demo.improvement.improve"),
        ("xalign.cli.live.LiveTable", "xalign.demo.live.LiveTable"),
    ]:
        (home, name), (new_home, new_name) = (path.rsplit(".", 1) for path in (old, new))
        vars(importlib.import_module(home)).pop(name, None)  # kept after the first use
        with pytest.warns(DeprecationWarning, match=f"use {new}"):
            found = getattr(importlib.import_module(home), name)
        assert found is getattr(importlib.import_module(new_home), new_name)
    for name in ("checked_name", "OnRegression", "Cadence", "AlignmentMonitor"):
        assert hasattr(importlib.import_module("xalign.monitor.monitor"), name)


def test_a_regression_is_warned_about(pairs):
    monitor = AlignmentMonitor(
        make_model("gpt2"), make_tokenizer(), load_pairs("bundled", ["deu_Latn"], n=60)
    )
    run = monitor.measurement.run

    def scripted(step):
        report = run(step)
        report.metrics["nasca"].values["deu_Latn"][:] = step < 2
        return report

    monitor.measurement.run = scripted
    monitor.step(0)
    monitor.step(1)
    with pytest.warns(
        UserWarning, match=r"nasca of deu_Latn fell from 1.000, its best so far, to 0.000 at step 2"
    ):
        monitor.step(2)
    quiet = AlignmentMonitor(
        make_model("gpt2"),
        make_tokenizer(),
        load_pairs("bundled", ["deu_Latn"], n=60),
        on_regression="ignore",
    )
    quiet.measurement.run = scripted
    for step in range(4):
        quiet.step(step)


def test_bad_input(pairs, tmp_path):
    model, tokenizer = make_model("gpt2"), make_tokenizer()
    with pytest.raises(ArgumentError, match="every=-1"):
        AlignmentMonitor(model, tokenizer, pairs, every=-1)
    monitor = AlignmentMonitor(model, tokenizer, pairs)
    for n in (-1, 1.0, True, None):
        with pytest.raises(XAlignError, match=r"n=.* must be (at least 0|a whole number)"):
            monitor.step(n)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ReportError, match="cannot be written"):
        AlignmentMonitor(model, tokenizer, pairs, save_dir=tmp_path / "file")


def test_a_language_that_the_tokenizer_does_not_know_is_warned_about():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(
        models.WordLevel({"<pad>": 0, "<unk>": 4, "good": 1, "morning": 2, "night": 3}, unk_token="<unk>")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", pad_token="<pad>")
    texts = {"eng_Latn": ["good morning", "good night"], "deu_Latn": ["guten Morgen", "gute Nacht good"]}
    with pytest.warns(
        UserWarning, match="unknown to this tokenizer: deu_Latn 80%; their curves say"
    ) as warned:
        AlignmentMonitor(make_model("llama"), tokenizer, ParallelPairs(texts=texts))
    assert not any("eng_Latn" in str(one.message) for one in warned)
