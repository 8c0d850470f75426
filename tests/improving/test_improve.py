"""`improve`: before and after by language, what got worse, centring where it helps, one page; bad input."""

import copy
import json

import pytest
import torch
from transformers import Trainer

from tests.tiny import ROOT, make_model, make_tokenizer
from xalign import AlignmentCallback, improve, load_pairs, measure
from xalign.errors import ArgumentError, ArgumentTypeError, PairsError, ReportError
from xalign.improving.centring import fit_centring
from xalign.improving.config import ImproveConfig
from xalign.improving.improvement import Improvement
from xalign.results.history import History
from xalign.training.documents import cut_into_blocks
from xalign.views.before_after import FILE, improvement_of

SMOKE = ROOT / "configs" / "closed_loop_smoke.yaml"


@pytest.fixture
def config(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    return ImproveConfig.load(SMOKE, output_dir=str(tmp_path / "run"), max_steps=6, align_control_every=2)


@pytest.fixture(scope="module")
def improved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("improved") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        config = ImproveConfig.load(SMOKE, output_dir=str(folder))
        trainer = config.make_trainer()
        return trainer, improve(trainer, config.reporting(), every=10), folder


def test_it_measures_trains_centres_and_measures_again(improved):
    trainer, improvement, folder = improved
    before, trained, centred = improvement.stages.values()
    assert (before.step, trained.step, centred.step) == (0, 20, 20)
    assert trained.score("nasca") > before.score("nasca")
    assert improvement.cost["steps"] == trainer.state.global_step == 20
    assert improvement.cost["pairs"] == sum(trainer.closed_loop.counts["pairs"].values()) > 0
    assert [one.step for one in improvement.decisions] == [0, 5, 10, 15]
    assert list(improvement.losses) == ["eng_Latn", "spa_Latn", "deu_Latn"]
    # The rows are those of the reports, and their intervals are paired.
    for row in improvement.rows():
        end = centred if row["language"] in improvement.kept else trained
        moved = end.per_pair(row["metric"], row["language"]) - before.per_pair(row["metric"], row["language"])
        assert row["difference"] == pytest.approx(moved.mean(), abs=1e-6)
        assert row["low"] <= row["difference"] <= row["high"]
        assert row["verdict"] == ("better" if row["low"] > 0 else "worse" if row["high"] < 0 else "")
    saved = json.loads((folder / "alignment" / FILE).read_text())
    assert saved == json.loads(json.dumps(improvement.to_dict()))
    text = (folder / "alignment" / FILE).read_text()
    assert not any(one in text for one in trainer.objective.pairs["deu_Latn"].sentences)


def test_the_page_shows_it(improved, tmp_path):
    _, improvement, folder = improved
    page = improvement.to_html(tmp_path / "improvement.html").read_text()
    assert all(sentence.replace("<", "\\u003c") in page for sentence in improvement.sentences())
    found = improvement_of(History.load(folder))
    assert found["said"] == improvement.sentences()


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": 1}'])
def test_a_broken_file_is_said_on_the_page(text, improved, tmp_path):
    _, _, folder = improved
    (tmp_path / "history.jsonl").write_bytes((folder / "alignment" / "history.jsonl").read_bytes())
    (tmp_path / FILE).write_text(text)
    assert "cannot be read" in improvement_of(History.load(tmp_path))["problem"]


def test_what_got_worse_is_said(improved):
    """The same run backwards."""
    _, improvement, _ = improved
    backwards = Improvement(
        before=improvement.trained,
        trained=improvement.before,
        losses={"eng_Latn": (2.0, 2.1), "spa_Latn": (2.0, 2.01)},
    )
    better = {
        (row["language"], row["metric"])
        for row in Improvement(before=improvement.before, trained=improvement.trained).rows()
        if row["verdict"] == "better"
    }
    assert better
    worse = backwards.worse()
    assert len(worse) == len(better) + 1
    assert worse[-1] == "text is harder for the model, in nats per token: eng_Latn 2.000 → 2.100 (+5.0%)"
    assert "What got worse: nasca of" in backwards.sentences()[-1]
    same = Improvement(before=improvement.before, trained=improvement.before)
    assert same.sentences()[-1] == "Nothing surely got worse."
    with pytest.raises(ReportError, match="kept no history"):
        same.to_html("page.html")


def test_centring_is_kept_where_it_helps(babel_pairs):
    """States of one language are moved by a constant; its mean takes the constant away again."""
    model, tokenizer = make_model("llama"), make_tokenizer()
    centring = fit_centring(model, tokenizer, babel_pairs, {})
    plain, centred = (
        measure(model, tokenizer, babel_pairs, ["mexa"]),
        centring.measure(babel_pairs, ["mexa"]),
    )
    kept = centring.helps(babel_pairs, "mexa")
    for code in plain.languages:
        difference = centred.per_pair("mexa", code) - plain.per_pair("mexa", code)
        assert (code in kept) == (difference.mean() > 0 and code in kept)
    assert set(centring.vectors) == {"eng_Latn", *plain.languages}
    assert [str(site) for site in centring.vectors["deu_Latn"].vectors] == [
        "0.hidden",
        "1.hidden",
        "2.hidden",
    ]
    templated = fit_centring(model, tokenizer, babel_pairs, {"template": "query: {text}"})
    called = fit_centring(model, tokenizer, babel_pairs, {"template": lambda text, code: f"query: {text}"})
    for code, vector in templated.vectors.items():
        for site, values in vector.vectors.items():
            assert torch.equal(values, called.vectors[code].vectors[site])
            assert not torch.equal(values, centring.vectors[code].vectors[site])


@pytest.fixture
def babel_pairs():
    return load_pairs("bundled", ["deu", "spa"], n=24)


def test_bad_input(config, tmp_path):
    with pytest.raises(ArgumentTypeError, match="trainer must be made by with_alignment"):
        improve(Trainer.__new__(Trainer), config.reporting())
    trainer = config.make_trainer()
    with pytest.raises(PairsError, match="sentences"):
        improve(trainer, trainer.closed_loop.control)
    assert trainer.state.global_step == 0
    trainer = config.make_trainer()
    trainer.add_callback(AlignmentCallback(trainer, config.reporting()))
    with pytest.raises(ArgumentError, match="has an AlignmentCallback already"):
        improve(trainer, config.reporting())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read as YAML"),
        ("a: [", "cannot be read as YAML"),
        ("words", "must hold keys and values, not 'words'"),
        ("model_name_or_path: x\ntext: [a]\noutput_dir: run\nalign_contrl: loop", "align_contrl"),
        ("text: [a]\noutput_dir: run", "model_name_or_path"),
    ],
)
def test_a_config_that_cannot_be_meant(text, message, tmp_path):
    file = tmp_path / "config.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ArgumentError, match=message):
        ImproveConfig.load(file)


@pytest.mark.parametrize("block", [1, 100_000])
def test_a_block_that_does_not_fit(block, config):
    config.improve.block = block
    with pytest.raises(ArgumentError, match=f"block={block} must lie between 2 and"):
        config.make_trainer()


def test_text_is_cut_into_full_blocks(tmp_path):
    tokenizer, file = make_tokenizer(), tmp_path / "text.txt"
    file.write_text("It rains.\n\n  \nGood morning.\n", encoding="utf-8")
    end = tokenizer.eos_token_id
    ids = [*tokenizer("It rains.")["input_ids"], end, *tokenizer("Good morning.")["input_ids"], end]
    blocks = cut_into_blocks(str(file), tokenizer, 4)
    assert [token for block in blocks for token in block["input_ids"]] == ids[: len(ids) // 4 * 4]
    assert all(len(block["input_ids"]) == 4 for block in blocks)
    assert blocks == cut_into_blocks([file], tokenizer, 4)
    with pytest.raises(ArgumentError, match=r"text holds .* fewer than one block=500"):
        cut_into_blocks([file], tokenizer, 500)
    without = copy.deepcopy(tokenizer)
    without.eos_token = None
    with pytest.raises(ArgumentError, match="no end-of-sequence token"):
        cut_into_blocks([file], without, 4)
    with pytest.raises(ArgumentError, match="cannot be read as UTF-8"):
        cut_into_blocks([tmp_path / "none.txt"], tokenizer, 4)
