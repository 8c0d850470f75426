"""A strategy of each kind is added in this file alone, and works wherever strategies of its kind work.

docs/contributing.md has a row for each of these tests.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.cli.typed import xalign
from tests.monitor.training import make_trainer
from tests.tiny import make_model, make_tokenizer
from tests.training.runs import first_gradients, relative_difference
from tests.training.runs import make_trainer as make_aligned
from xalign import (
    AlignmentCallback,
    AlignmentObjective,
    AlignmentReport,
    Layout,
    Site,
    UnitSet,
    find_units,
    load_pairs,
    map_model,
    measure,
    steer,
    visit,
)
from xalign.finding import METHODS
from xalign.finding.method import Method
from xalign.judging import evaluate
from xalign.links import ALIGNERS, Aligner, OneWay
from xalign.links.link import link_pairs
from xalign.losses import LOSSES, TRANSFORMS
from xalign.losses.loss import Loss
from xalign.losses.transform import Transform
from xalign.measurement.alignability import alignability
from xalign.metrics import METRICS
from xalign.metrics.metric import Metric
from xalign.model.operators import OPERATORS, Operator
from xalign.results.history import History
from xalign.trackers import TRACKERS
from xalign.trackers.tracker import Tracker
from xalign.views.page import write_page
from xalign.views.stages import stages_figure, stages_table

PAIRS = load_pairs("bundled", ["deu_Latn", "rus_Cyrl"], n=12)
TEXTS = load_pairs("bundled", ["deu_Latn", "spa_Latn"], n=12).texts


# Metrics


def nearest_third(similarity):
    """Whether a sentence's translation is among the nearest third."""
    rank = (similarity > similarity.diagonal()[:, None]).sum(dim=1)
    return rank < len(similarity) / 3


def log_odds(similarity):
    """How much more similar a translation is than the others, without bounds."""
    n = len(similarity)
    others = (similarity.sum(dim=1) - similarity.diagonal()) / (n - 1)
    return 100 * (similarity.diagonal() - others)


def distance(pivot, other):
    """How far the two states are apart: computed over states, and the less the better."""
    return (pivot - other).norm(dim=1)


BOUNDED = Metric("nearest_third", "Nearest third", "neuron_values", nearest_third, chance=lambda n: 1 / 3)
UNBOUNDED = Metric("log_odds", "Log odds", "hidden", log_odds, bounds=None, has_floor=False, unit="points")
LOWER = Metric(
    "distance", "Distance", "hidden", distance, over="states", bounds=None, has_floor=False,
    higher_is_better=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def reports():
    return [
        measure(
            make_model("llama", seed=seed), make_tokenizer(), PAIRS, ["nasca", *METRIC_OBJECTS], step=step
        )
        for seed, step in ((0, 0), (1, 100))
    ]


METRIC_OBJECTS = [BOUNDED, UNBOUNDED, LOWER]


@pytest.mark.thorough
@pytest.mark.parametrize("metric", METRIC_OBJECTS, ids=lambda metric: metric.name)
def test_a_metric(metric, reports, tmp_path, model_folder, monkeypatch):
    name = metric.name
    report, later = reports

    # Report: values, chance and floor are the metric's own.
    values = report.per_sentence(name, "deu_Latn", report.metrics[name].layers[0])
    assert values.shape == (12,)
    assert report.score(name, "deu_Latn") == pytest.approx(float(report.per_pair(name, "deu_Latn").mean()))
    assert report.chance(name, "deu_Latn") == (None if metric.chance is None else metric.chance(12))
    assert (report.floor(name, "deu_Latn") is None) == (not metric.has_floor)
    worst = max if not metric.higher_is_better else min
    assert report.worst(name)[1] == worst(report.score(name, code) for code in report.languages)
    again = AlignmentReport.load(report.save(tmp_path / "report"))
    assert again.to_rows() == report.to_rows()
    assert again.scale(name) == metric.scale

    # Table, figures and page.
    assert any(name in str(cell) for cell in report.table().columns[1]._cells)
    figure = report.figure(name)
    assert metric.title in figure.axes[0].get_title(loc="left")
    low, high = figure.axes[0].images[0].get_clim()
    drawn = np.ma.compressed(np.ma.masked_invalid(figure.axes[0].images[0].get_array()))
    assert (low, high) == (drawn.min(), drawn.max())  # colours run over the values shown
    stages_table({"before": report, "after": later})
    panel = stages_figure({"before": report, "after": later}, name).axes[0]
    assert (panel.get_ylim()[1] < 1.1) == metric.scale.is_share
    assert ("floor" in [line.get_label() for line in panel.get_lines()]) == metric.has_floor
    rows = [row for row in later.compare(report) if row["metric"] == name]
    assert rows[-1]["difference"] == pytest.approx(
        later.score(name, "rus_Cyrl") - report.score(name, "rus_Cyrl")
    )

    # History, also through its file.
    history = History(tmp_path / "history.jsonl")
    for one in reports:
        history.append(one)
    read = History.load(tmp_path / "history.jsonl")
    assert read.to_rows() == history.to_rows()
    assert metric.title in write_page(read, tmp_path / "page.html").read_text()

    # By name on the command line, where it is known.
    monkeypatch.setitem(METRICS, name, metric)
    ran = xalign(
        *("measure", model_folder, "--languages", "deu_Latn", "--n", 8, "--metrics", f"nasca,{name}"),
        *("--out", tmp_path / "cli"),
    )
    assert ran.exit_code == 0, ran.stderr
    assert name in ran.stdout
    assert (tmp_path / "cli" / f"{name}.png").exists()


def test_a_metric_in_a_trainer():
    """Every metric has its keys, and the best model is selected in its own direction."""
    trainer = make_trainer(
        save_strategy="steps",
        save_steps=3,
        load_best_model_at_end=True,
        metric_for_best_model="distance",
        greater_is_better=False,
    )
    callback = AlignmentCallback(
        trainer, PAIRS, metrics=["nasca", *METRIC_OBJECTS, nearest_third_too], log_scalars="all"
    )
    trainer.add_callback(callback)
    trainer.train()
    rows = [row for row in trainer.state.log_history if "eval_distance" in row and "eval_loss" in row]
    for key in (
        "nearest_third",
        "log_odds_deu_Latn",
        "distance_worst",
        "nearest_third_too",
        "nearest_third_gap",
    ):
        assert f"eval_{key}" in rows[0]
    assert not any("log_odds_gap" in key for key in rows[0])
    assert trainer.state.best_metric == min(row["eval_distance"] for row in rows)
    assert {"nearest_third", "log_odds", "distance"} <= set(callback.history.metrics)


def nearest_third_too(similarity):
    return nearest_third(similarity)


# Losses


def squared_distance(language, pivot):
    """A pair loss: the squared distance of pooled states."""
    return (language - pivot).square().sum(dim=1).mean()


def token_mean_distance(language, pivot, *, language_mask, pivot_mask):
    """A token loss: it pools by itself."""

    def mean(states, mask):
        weights = mask.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(dim=1) / weights.sum(dim=1)

    return (mean(language, language_mask) - mean(pivot, pivot_mask)).square().sum(dim=1).mean()


PAIR_LOSS = Loss(
    name="squared_distance", fn=squared_distance, kinds=("hidden", "inner"), state=torch.Tensor.float,
    pool="mean", temperature=None, needs_negatives=False, level="pair",
)  # fmt: skip
TOKEN_LOSS = replace(PAIR_LOSS, name="token_mean_distance", fn=token_mean_distance, level="token")


@pytest.mark.thorough
@pytest.mark.parametrize("loss", [PAIR_LOSS, squared_distance, TOKEN_LOSS], ids=["pair", "callable", "token"])
def test_a_loss(loss):
    pairs = load_pairs("bundled", ["deu_Latn"], n=40)
    objective = AlignmentObjective(
        make_model("llama"), make_tokenizer(), pairs, loss=loss, layer=1, batch_size=4
    )
    value = objective(0)
    value.backward()
    assert value.item() > 0
    first = objective.last.loss.item()
    plain = make_aligned("trainer")
    aligned = make_aligned("trainer", {"loss": loss, "layer": 1})
    assert relative_difference(first_gradients(aligned), first_gradients(plain)) > 1e-3
    assert first == pytest.approx(value.item())


def test_a_pair_loss_and_a_token_loss_that_pools_like_it_are_equal():
    pairs = load_pairs("bundled", ["deu_Latn"], n=40)
    found = []
    for loss in (PAIR_LOSS, TOKEN_LOSS):
        model = make_model("llama")
        AlignmentObjective(model, make_tokenizer(), pairs, loss=loss, layer=1, batch_size=4)(0).backward()
        found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert found[0].norm() > 0
    assert (found[0] - found[1]).norm() < 1e-6 * found[0].norm()


def test_a_loss_by_name(monkeypatch):
    monkeypatch.setitem(LOSSES, "squared_distance", PAIR_LOSS)
    pairs = load_pairs("bundled", ["deu_Latn"], n=40)
    model, tokenizer = make_model("llama"), make_tokenizer()
    objective = AlignmentObjective(model, tokenizer, pairs, loss="squared_distance", layer=1, batch_size=4)
    assert objective(0).item() > 0


# Transforms of the states before a loss


def doubled(language, pivot, **options):
    """Both sides, twice as long."""
    return 2 * language, 2 * pivot


def test_a_transform(monkeypatch):
    monkeypatch.setitem(TRANSFORMS, "doubled", Transform("doubled", doubled))
    pairs = load_pairs("bundled", ["deu_Latn"], n=40)
    model, tokenizer = make_model("llama"), make_tokenizer()
    found = {}
    for transform in (None, doubled, Transform("own", doubled), "doubled"):
        objective = AlignmentObjective(
            model, tokenizer, pairs, loss=PAIR_LOSS, transform=transform, layer=1, batch_size=4
        )
        found[transform] = objective(0).item()
    plain = found.pop(None)
    assert plain > 0
    assert list(found.values()) == [pytest.approx(4 * plain)] * 3


# Finding units


def first_units(model, tokenizer, texts, *, k=2, **options):
    """The first units of the first block, whatever the texts are."""
    return UnitSet.from_rows(
        [(label, Site("inner", 0), index, 1.0, 2.0) for label in texts for index in range(k)]
    )


def test_a_method(tmp_path, model_folder, monkeypatch):
    model, tokenizer = make_model("llama"), make_tokenizer()
    method = Method(name="first_units", fn=first_units, summary="the first units")
    for given in (first_units, method):
        units = find_units(model, tokenizer, TEXTS, given, k=3)
        assert {label: len(units[label]) for label in units.labels} == dict.fromkeys(TEXTS, 3)
    with steer(model, units["deu_Latn"]) as done:
        model(**tokenizer("It rains.", return_tensors="pt"))
    assert done.tokens > 0
    unseen = {code: [f"{text} {text}" for text in texts] for code, texts in TEXTS.items()}
    row = evaluate(model, tokenizer, units, unseen, how={"operator": "zero"}).effect("deu_Latn", "loss")
    assert row["low"] <= row["difference"] <= row["high"]
    units.save_pretrained(tmp_path / "units")
    assert UnitSet.from_pretrained(tmp_path / "units") == units

    monkeypatch.setitem(METHODS, "first_units", method)
    assert find_units(model, tokenizer, TEXTS, "first_units").labels == list(TEXTS)
    ran = xalign("experts", model_folder, "--out", tmp_path / "cli", "--method", "first_units", "--n", 8)
    assert ran.exit_code == 0, ran.stderr
    assert UnitSet.from_pretrained(tmp_path / "cli").labels


# Operators


def negate(values, operand):
    """Flip the sign, and add the operand."""
    return -values + operand


def test_an_operator(monkeypatch):
    model, tokenizer = make_model("llama"), make_tokenizer()
    batch = tokenizer("It rains.", return_tensors="pt")
    units = UnitSet.from_rows([("deu_Latn", "1.inner", 7, 0.9, 2.5)])
    seen = []

    def look(values):
        seen.append(values[..., 7].clone())

    with visit(model, {Site("inner", 1): look}):
        model(**batch)
    operator = Operator(name="negate", fn=negate, of_units=lambda values, strength: strength * values)
    monkeypatch.setitem(OPERATORS, "negate", operator)
    for given in (negate, operator, "negate"):
        with steer(model, units, operator=given, strength=2.0), visit(model, {Site("inner", 1): look}):
            model(**batch)
        assert torch.allclose(seen[-1], -seen[0] + 5.0)


# Trackers


def by_position(language, pivot):
    """Link tokens at the same position."""
    links = [
        [(at, at) for at in range(min(len(one), len(two)))] for one, two in zip(language, pivot, strict=True)
    ]
    return OneWay(links, (0.0,) * len(links)), OneWay(links, (0.0,) * len(links))


def test_an_aligner(monkeypatch, model_folder):
    own, tokenizer = Aligner("by_position", by_position), make_tokenizer()
    links = link_pairs(PAIRS, tokenizer, aligner=own)
    assert links["deu_Latn"][0][:2] == [(0, 0), (1, 1)]
    found = alignability(tokenizer, PAIRS, aligner=own)
    assert [one.metric for one in found] == ["alignability_by_position"] * 2
    monkeypatch.setitem(ALIGNERS, "by_position", own)
    assert link_pairs(PAIRS, tokenizer, aligner="by_position") == links
    done = xalign("tokens", model_folder, "--languages", "deu", "--n", "12", "--aligner", "by_position")
    assert done.exit_code == 0, done.stderr
    assert "alignability_by_position" in done.stdout


def test_a_tracker():
    images, tables = [], []
    tracker = Tracker(
        name="mine",
        callback=None,
        run=lambda callback: "my run",
        log_image=lambda run, key, image, step: images.append((run, key, image.shape, step)),
        log_table=lambda run, key, columns, rows, step: tables.append((run, key, columns, len(rows), step)),
    )
    assert "mine" not in TRACKERS
    trainer = make_trainer(evaluate=False, max_steps=2)
    trainer.add_callback(AlignmentCallback(trainer, PAIRS, metrics=["nasca", UNBOUNDED], trackers=(tracker,)))
    trainer.train()
    assert {key for _, key, _, _ in images} == {"alignment/heatmap_nasca", "alignment/heatmap_log_odds"}
    assert all(run == "my run" and shape[-1] == 3 and step == 2 for run, _, shape, step in images)
    assert [(key, rows) for _, key, _, rows, _ in tables] == [("alignment/last", 4)]


# Architectures


class MyConfig(LlamaConfig):
    model_type = "my_llama"


class MyModel(LlamaForCausalLM):
    config_class = MyConfig


def my_model():
    model = make_model("llama")
    mine = MyModel(MyConfig(**{**model.config.to_dict(), "model_type": "my_llama"}))
    mine.load_state_dict(model.state_dict())
    return mine.eval()


def test_an_architecture(registered):
    registered(
        "my_llama",
        Layout(
            blocks="layers",
            gate="mlp.gate_proj",
            act="mlp.act_fn",
            down="mlp.down_proj",
            attn_out="self_attn",
            mlp_out="mlp",
            final=("norm",),
        ),
    )
    model, tokenizer = my_model(), make_tokenizer()
    assert map_model(model).model_type == "my_llama"
    known, mine = (measure(one, tokenizer, PAIRS) for one in (make_model("llama"), model))
    assert mine.to_rows() == known.to_rows()
    units = find_units(model, tokenizer, TEXTS, share=0.05)
    with steer(model, units["deu_Latn"], operator="zero") as done:
        model(**tokenizer("It rains.", return_tensors="pt"))
    assert done.tokens > 0
    AlignmentObjective(model, tokenizer, load_pairs("bundled", ["deu_Latn"], n=20), batch_size=4)(
        0
    ).backward()
    assert model.model.layers[0].mlp.gate_proj.weight.grad.norm() > 0
