import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from tests.tiny import make_model, make_tokenizer
from xalign import load_pairs, measure
from xalign.errors import ArgumentError, MissingExtraError
from xalign.languages import language_name
from xalign.views.emergence import emergence_figure
from xalign.views.heatmap import heatmap
from xalign.views.save import save_with_heatmaps
from xalign.views.stages import stages_figure, stages_table
from xalign.views.table import comparison_table, report_table


@pytest.fixture(scope="module")
def report():
    pairs = load_pairs("bundled", ["deu_Latn", "spa_Latn", "zho_Hans"], n=40)
    metrics = ("nasca", "navca", "mexa", "retrieval", "margin")
    return measure(make_model("llama"), make_tokenizer(), pairs, metrics, step=12)


def printed(table, width=80):
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_a_notebook_shows_figures_without_pyplot(report):
    """IPython knows matplotlib's own figures only once pyplot was imported: a cell showed `<Figure …>`."""
    picture, size = report.figure("nasca")._repr_png_()
    with Image.open(io.BytesIO(picture)) as drawn:
        assert drawn.width == pytest.approx(1.5 * size["width"], abs=2)  # 150 pixels an inch, shown at 100
        assert drawn.height == pytest.approx(1.5 * size["height"], abs=2)


def test_table_shows_every_number_in_eighty_columns(report):
    text = printed(report.table())
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "at step 12" in text
    for language in report.languages:
        for metric in report.measured:
            low, high = report.interval(metric, language)
            line = next(
                line
                for line in text.split(language)[1].splitlines()
                if f"{metric} " in line and f"{report.score(metric, language):.3f}" in line
            )
            assert f"[{low:.2f}, {high:.2f}]" in line
            assert f"{report.floor(metric, language):.3f}" in line
            assert f"{report.best_layer(metric, language)} (" in line
        assert f"{report.stats[language].tokens_per_sentence:.1f}" in text
    assert "chance: nasca 0.013" in text
    assert "retrieval 0.025 at n = 40" in text


def test_table_of_a_comparison(report):
    text = printed(comparison_table(report.compare(report)))
    assert text.count("+0.000") == 3 * len(report.metrics)
    assert "1.0000" in text


def test_comparison_of_values_near_zero():
    """A difference of .0004 was `+0.000 [0.00, 0.00]`, and nothing said why lines are dim or blank."""
    row = {"language": "deu_Latn", "metric": "nasca", "layer": "mean", "before": 0.1, "after": 0.1004}
    rows = [
        row | {"difference": 0.0004, "low": 0.0001, "high": 0.0007, "p": 0.01},
        row | {"language": "spa_Latn", "difference": 0.1, "low": 0.05, "high": 0.15, "p": 0.01},
        row | {"language": "zho_Hans", "difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0},
    ]
    text = " ".join(printed(comparison_table(rows)).split())
    assert "+0.00040 [0.0001, 0.0007]" in text and "+0.100 [0.05, 0.15]" in text
    assert "Dim: the interval holds 0." in text and "No interval: all sentences changed equally" in text


def test_the_table_explains_its_signs(report):
    """`>`, `<` and `~` stood there without a word."""
    text = " ".join(printed(report.table()).split())
    assert "> the whole interval lies above floor and chance, < below one of them, ~ neither" in text


@pytest.mark.parametrize("metric", ["nasca", "mexa", "retrieval", "margin"])
def test_heatmap_draws_a_cell_per_value(report, metric, tmp_path):
    figure = report.figure(metric)
    axes = figure.axes[0]
    layers = report.metrics["nasca" if metric == "nasca" else "mexa"].layers
    assert len(axes.texts) == 3 * (len(layers) + 2)
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        f"{language_name(code)}\n{code}" for code in report.languages
    ]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == [*map(str, layers), "mean", "floor"]
    grid = np.asarray(axes.images[0].get_array(), dtype=float)
    for row, language in enumerate(report.languages):
        assert grid[row, -1] == pytest.approx(report.floor(metric, language))
        assert grid[row, -2] == pytest.approx(report.score(metric, language))
    figure.savefig(tmp_path / "map.png")
    with Image.open(tmp_path / "map.png") as image:
        assert min(image.size) > 200
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_heatmap_is_bold_above_its_bars_in_the_mean_too(report):
    """With floors of 0 a score is bold whose interval is above chance, and the floor itself never."""
    low = replace(report.metrics["mexa"], floors={c: torch.zeros(40, dtype=bool) for c in report.languages})
    axes = heatmap(replace(report, metrics={"mexa": low}), "mexa").axes[0]
    columns = len(low.layers)
    weights = {text.get_position(): text.get_fontweight() for text in axes.texts}
    for row, code in enumerate(report.languages):
        is_clear = report.interval("mexa", code)[0] > report.chance("mexa", code)
        assert weights[columns + 1, row] == ("bold" if is_clear else "normal")
        assert weights[columns + 2, row] == "normal"
    assert "bold" in {weights[columns + 1, row] for row in range(3)}


def test_heatmap_of_what_is_not_there(report, monkeypatch):
    with pytest.raises(ArgumentError, match="metric='bleu' is not in this report"):
        heatmap(report, "bleu")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[plot\]"):
        heatmap(report)


def test_saved_with_its_pictures(report, tmp_path):
    written = save_with_heatmaps(report, tmp_path / "out")
    assert [path.name for path in written] == [
        *("report.json", "nasca.png", "navca.png", "mexa.png", "retrieval.png", "margin.png")
    ]
    assert all(path.stat().st_size > 1000 for path in written)


def test_table_of_languages_with_different_counts():
    from xalign import ParallelPairs

    pairs = ParallelPairs.from_bitexts({"de": (list("abcd"), list("efgh")), "ru": (list("xyz"), list("uvw"))})
    text = printed(report_table(measure(make_model("llama"), make_tokenizer(), pairs, ["nasca"])))
    assert "at n = 3 (up to 4 pairs)" in " ".join(text.split())


def test_emergence_draws_what_was_measured(report):
    reports = [replace(report, step=step) for step in (0, 5, 20)]
    figure = emergence_figure(reports, {0: 3.0, 20: 1.0}, references={"twin": 0.3})
    layers, curves, loss = figure.axes[:3]
    drawn = layers.images[0].get_array()
    assert drawn.shape == (3, 3)  # layers × steps
    expected = np.mean([report.per_sentence("nasca", code, 1).double().mean() for code in report.languages])
    assert np.asarray(drawn)[1] == pytest.approx(np.full(3, expected))
    lines = {line.get_label(): line for line in curves.lines if not line.get_label().startswith("_")}
    names = [f"{language_name(code)} {code}" for code in report.languages]
    assert list(lines) == [*names, "chance (0.013)", "twin"]
    assert lines["twin"].get_linestyle() != lines["chance (0.013)"].get_linestyle() == "--"
    low, high = float(np.min(drawn)), float(np.max(drawn))
    assert curves.get_ylabel() == "share of pairs"
    assert figure.axes[-1].get_ylabel() == f"share of pairs\ncolours from {low:.2f} to {high:.2f}"
    assert loss.get_ylabel() == "loss"
    assert list(lines["German deu_Latn"].get_xdata()) == [0, 5, 20]
    assert lines["German deu_Latn"].get_ydata()[0] == report.score("nasca", "deu_Latn")
    assert len(curves.collections) == 3  # a band per language
    assert list(loss.lines[0].get_ydata()) == [3.0, 1.0]


def test_emergence_refuses_what_is_no_curve(report):
    with pytest.raises(ArgumentError, match=r"1 report\(s\) given: a curve needs at least two"):
        emergence_figure([report])
    with pytest.raises(ArgumentError, match="each with its step"):
        emergence_figure([report, replace(report, step=None)])
    with pytest.raises(ArgumentError, match="metric='retrieval' has no row of its own"):
        emergence_figure([report, report], metric="retrieval")


def test_stages(report):
    after = replace(
        report,
        metrics={
            name: replace(result, values={code: ~bits for code, bits in result.values.items()})
            for name, result in report.metrics.items()
            if name == "nasca"
        },
    )
    before = replace(report, metrics={"nasca": report.metrics["nasca"]})
    table = stages_table({"before": before, "after": after})
    assert table.row_count == len(report.languages) + 1
    cells = [list(column.cells) for column in table.columns]
    for row, language in enumerate(report.languages):
        gain = after.score("nasca", language) - before.score("nasca", language)
        assert cells[2][row] == f"{before.score('nasca', language):.3f}"
        assert cells[3][row] == f"{after.score('nasca', language):.3f}"
        assert cells[4][row].startswith(f"{gain:+.3f}")
        gains = after.per_pair("nasca", language) - before.per_pair("nasca", language)
        assert ("[" in cells[4][row]) == (gains.std() > 1e-9)
    figure = stages_figure({"before": before, "after": after})
    assert len(figure.axes) == len(report.languages)
    layers = before.metrics["nasca"].values[report.languages[0]].double().mean(1)
    lines = figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["before", "after", "floor", "chance"]
    assert len(figure.axes[0].collections) == 2  # a band of 95 % intervals per stage
    assert lines[0].get_ydata().tolist() == layers.tolist()
    assert lines[1].get_ydata().tolist() == (1 - layers).tolist()
    assert lines[2].get_ydata()[0] == before.floor("nasca", report.languages[0])
    with pytest.raises(ArgumentError, match="stages has 1 report"):
        stages_table({"before": before})
    with pytest.raises(ArgumentError, match="metric='mexa' is not in every report"):
        stages_figure({"before": before, "after": after}, "mexa")
