"""Lightning's own `Trainer.fit`, with and without the callback."""

import csv
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
from lightning.fabric.utilities import registry
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from tests.monitor.training import DROPOUT, SENTENCES
from tests.tiny import ROOT, make_model, make_tokenizer
from xalign import load_pairs, measure
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.integrations import lightning_entry
from xalign.integrations.lightning import LightningAlignment, model_in
from xalign.results.history import History

# Advice on workers, intervals and data loaders.
pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    # Lightning 2.6 asks torch 2.13 in a way that it will give up.
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec:FutureWarning"),
]


@pytest.fixture(scope="module")
def pairs():
    return load_pairs("bundled", ["deu_Latn"], n=20)


class Module(pl.LightningModule):
    """A causal language model, as people write it in Lightning."""

    def __init__(self):
        super().__init__()
        self.language_model, self.tokenizer = make_model("llama", **DROPOUT), make_tokenizer()
        self.losses = []

    def loss(self, texts):
        batch = self.tokenizer(texts, padding=True, return_tensors="pt")
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        return self.language_model(**batch, labels=labels).loss

    def training_step(self, texts, _):
        loss = self.loss(texts)
        self.losses.append(loss.item())
        self.log("train_loss", loss, batch_size=len(texts))
        return loss

    def validation_step(self, texts, _):
        self.log("val_loss", self.loss(texts), batch_size=len(texts))

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


class Wordless(Module):
    """One that holds its tokenizer under another name."""

    def __init__(self):
        super().__init__()
        self.tokenizer = None


def fit(*callbacks, validate=False, **options):
    pl.seed_everything(0, verbose=False)
    module = Module().train()
    trainer = pl.Trainer(
        **{"max_steps": 20, "accelerator": "cpu", "enable_progress_bar": False, "log_every_n_steps": 1}
        | {"enable_model_summary": False, "enable_checkpointing": False, "logger": CSVLogger("logs")}
        | {"callbacks": list(callbacks)}
        | options
    )
    loader = DataLoader(list(SENTENCES), batch_size=4)
    trainer.fit(module, loader, DataLoader(list(SENTENCES[:8]), batch_size=4) if validate else None)
    return trainer, module


def logged(trainer, key):
    with (Path(trainer.log_dir) / "metrics.csv").open() as file:
        return {int(row["step"]): float(row[key]) for row in csv.DictReader(file) if row.get(key)}


def test_twenty_steps(pairs, capsys):
    """Losses and weights are equal to the bit, and its loggers have the values."""
    _, without = fit()
    callback = LightningAlignment(pairs, every=10)
    trainer, module = fit(callback)
    assert module.losses == without.losses and len(set(module.losses)) == 20
    for (name, one), (_, other) in zip(module.named_parameters(), without.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    reports = callback.along.monitor.reports
    assert [report.step for report in reports] == [0, 10, 20]
    rows = logged(trainer, "nasca_deu_Latn")
    assert rows == {report.step: pytest.approx(report.score("nasca", "deu_Latn")) for report in reports}
    assert reports[-1].score("nasca") == measure(
        module.language_model, module.tokenizer, pairs, ["nasca"]
    ).score("nasca")
    assert [entry["step"] for entry in History.load(trainer.log_dir).entries] == [0, 10, 20]
    assert "one measurement is 1 languages × 20 pairs" in capsys.readouterr().out


def test_validations_are_measured_and_can_be_selected_by(pairs):
    callback = LightningAlignment(pairs, at_start=False, at_end=False)
    checkpoint = ModelCheckpoint("best", monitor="nasca", mode="max", filename="{step}-{nasca:.3f}")
    stopping = EarlyStopping(monitor="nasca_worst", mode="max", patience=1, check_on_train_epoch_end=False)
    trainer, _ = fit(
        callback, checkpoint, stopping, validate=True, val_check_interval=4, enable_checkpointing=True
    )
    reports = callback.along.monitor.reports
    assert [report.step for report in reports] == [*range(4, trainer.global_step + 1, 4)]
    assert float(checkpoint.best_model_score) == pytest.approx(max(one.score("nasca") for one in reports))
    assert trainer.global_step < 20 and stopping.stopped_epoch is not None


def test_micro_batches_are_not_steps(pairs):
    callback = LightningAlignment(pairs, every=2, at_start=False)
    fit(callback, max_steps=4, accumulate_grad_batches=2)
    assert [report.step for report in callback.along.monitor.reports] == [2, 4]


def test_it_measures_under_the_precision_of_the_run(pairs):
    callback = LightningAlignment(pairs, metrics=["margin"])
    _, module = fit(callback, max_steps=1, precision="bf16-mixed")
    in_full = measure(module.language_model, module.tokenizer, pairs, ["margin"]).score("margin")
    with torch.autocast("cpu", torch.bfloat16):
        expected = measure(module.language_model, module.tokenizer, pairs, ["margin"]).score("margin")
    assert callback.along.monitor.reports[-1].score("margin") == expected != in_full


def test_the_entry_point_adds_nothing_unless_asked(monkeypatch):
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    ((name, value),) = declared["lightning.pytorch.callbacks_factory"].items()
    point = EntryPoint(name, value, "lightning.pytorch.callbacks_factory")
    assert point.load() is lightning_entry.callbacks
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == point.group else [])
    monkeypatch.delenv(lightning_entry.VARIABLE, raising=False)
    plain = [type(one) for one in pl.Trainer(logger=False, accelerator="cpu").callbacks]
    assert LightningAlignment not in plain
    Path("xalign.yaml").write_text("xalign: {pairs: bundled, n: 20, languages: [deu], every: 2}")
    monkeypatch.setenv(lightning_entry.VARIABLE, "xalign.yaml")
    with_it = pl.Trainer(logger=False, accelerator="cpu").callbacks
    assert [type(one) for one in with_it if not isinstance(one, LightningAlignment)] == plain
    trainer, _ = fit(max_steps=2)
    assert set(logged(trainer, "nasca")) == {0, 2}


def test_what_it_refuses(pairs, monkeypatch):
    with pytest.raises(ArgumentTypeError, match=r"no option 'evry', did you mean every\?"):
        LightningAlignment(pairs, evry=3)
    with pytest.raises(ArgumentError, match="keep_best needs a trainer of transformers"):
        fit(LightningAlignment(pairs, keep_best="nasca"))
    with pytest.raises(ArgumentError, match="n choose from what is loaded"):
        fit(LightningAlignment(pairs, n=3))
    with pytest.raises(
        ArgumentError, match="model='model' is no transformers model of Module; it has language_model"
    ):
        fit(LightningAlignment(pairs, model="model"))
    monkeypatch.setattr(sys.modules[__name__], "Module", Wordless)
    with pytest.raises(ArgumentError, match="Wordless has no tokenizer; give tokenizer="):
        fit(LightningAlignment(pairs))


def test_which_model_it_takes():
    module = Module()
    assert model_in(module, None) is module.language_model
    module.teacher = make_model("llama")
    with pytest.raises(
        ArgumentError, match=r"holds 2 transformers models \(language_model, teacher\); name the one"
    ):
        model_in(module, None)
    assert model_in(module, "teacher") is module.teacher
    with pytest.raises(ArgumentError, match="holds 0 transformers models"):
        model_in(torch.nn.Linear(1, 1), None)
