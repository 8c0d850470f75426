"""The two models that ship: what loads, what does not, and that the recipe makes them."""

import json
import os
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from tests.tiny import ROOT
from tests.versions.require import require
from xalign import load_pairs, measure
from xalign.babel import load_babel, write_pairs
from xalign.babel.examine import WITH_SEPARATOR, examine
from xalign.babel.models import babel_facts, save_babel
from xalign.babel.pretrain import Pretraining, make_trainer
from xalign.babel.tokenizer import make_tokenizer
from xalign.errors import ArgumentError, ModelError

SHIPPED = Path(str(files("xalign.babel"))) / "shipped"
NAMES = ("aligned", "unaligned")


@pytest.mark.parametrize("name", NAMES)
def test_what_ships(name):
    model, tokenizer = load_babel(name)
    assert not model.training
    assert next(model.parameters()).dtype == torch.float32
    assert model.config.model_type == "llama"
    assert model.num_parameters() == pytest.approx(1.5e6, rel=0.15)
    assert tokenizer.get_vocab() == make_tokenizer().get_vocab()
    facts = babel_facts(name)
    assert facts["run"] == {"mixture": name, "seed": 0} | {
        key: facts["run"][key] for key in facts["run"] if key not in ("mixture", "seed")
    }
    assert facts["run"]["steps"] <= 2500
    card = (SHIPPED / name / "README.md").read_text(encoding="utf-8")
    assert f"seed\n  {facts['run']['seed']};" in card or f"seed {facts['run']['seed']};" in card


def test_what_is_saved_loads_with_transformers_4_and_5(tmp_path):
    """transformers 5 names a class that 4 does not know, and 4 adds token types to what a tokenizer makes."""
    model, tokenizer = load_babel("unaligned")
    facts = {"run": {"mixture": "unaligned", "seed": 0}}
    for place in (SHIPPED / "aligned", save_babel(model, tokenizer, tmp_path, facts)):
        settings = json.loads((place / "tokenizer_config.json").read_text(encoding="utf-8"))
        assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
        assert settings["model_input_names"] == ["input_ids", "attention_mask"]  # token types are no input
    again, same = load_babel("unaligned", tmp_path)
    assert same("Es regnet. <sep>") == tokenizer("Es regnet. <sep>")
    assert all(map(torch.equal, again.parameters(), model.parameters()))


def test_they_are_small_and_ordinary():
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) <= 8e6
    ids = AutoTokenizer.from_pretrained(SHIPPED / "aligned")("Es regnet. <sep>", return_tensors="pt")[
        "input_ids"
    ]
    generated = AutoModelForCausalLM.from_pretrained(SHIPPED / "aligned", dtype="float32").generate(
        ids, max_new_tokens=4, do_sample=False
    )
    assert generated.shape == (1, ids.shape[1] + 4)


@pytest.mark.thorough
def test_one_is_aligned_and_its_twin_is_not():
    """What the demo says, on the models as they ship; loss and transfer stand in their facts."""
    pairs = write_pairs(100, seed=0, split="held_out")
    reports = {name: measure(*load_babel(name), pairs, ["nasca"], **WITH_SEPARATOR) for name in NAMES}
    aligned, unaligned = reports["aligned"], reports["unaligned"]
    assert aligned.score("nasca") >= 0.45
    assert aligned.worst("nasca")[1] >= 0.35
    assert unaligned.score("nasca") <= 0.15
    assert max(aligned.floor("nasca", code) for code in pairs) <= 0.05
    mispaired = measure(*load_babel("aligned"), pairs.shuffled(seed=0), ["nasca"], **WITH_SEPARATOR)
    assert mispaired.score("nasca") <= 0.015
    ours, theirs = (babel_facts(name)["figures"] for name in NAMES)

    def mean(values):
        return sum(values.values()) / len(values)

    assert mean(theirs["sentence_loss"]) <= 1.05 * mean(ours["sentence_loss"])
    assert mean(theirs["translation_loss"]) <= 1.10 * mean(ours["translation_loss"])
    zero_shot = [
        [
            sum(value for code, value in result["accuracy"].items() if code != "eng_Latn") / 4
            for result in figures["transfer"]
        ]
        for figures in (ours, theirs)
    ]
    assert len(zero_shot[0]) == len(zero_shot[1]) == 3
    assert sum(zero_shot[0]) / 3 >= sum(zero_shot[1]) / 3 + 0.15


@pytest.mark.thorough
def test_the_bundled_sentences_go_through():
    model, tokenizer = load_babel("aligned")
    report = measure(model, tokenizer, load_pairs("bundled", n=50), ["nasca"])
    assert 0 <= report.score("nasca") < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("mixture", NAMES)
def test_the_recipe_makes_them(mixture, tmp_path):
    """Fifty steps of the whole run: the first losses are those of the shipped model's run."""
    require("it draws the first weights in another order", transformers="5.0")
    facts = babel_facts(mixture)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trainer = make_trainer(Pretraining(**facts["run"]), tmp_path)
        trainer.add_callback(StopAt(50))
        trainer.train()
    finally:
        torch.set_num_threads(threads)
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert losses[:5] == pytest.approx(facts["first_losses"], abs=0.02)
    assert losses[4] < losses[0] - 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_cards_figures(name):
    figures, stated = examine(*load_babel(name)), babel_facts(name)["figures"]
    for key in ("nasca", "nasca_plain", "floor", "sentence_loss", "translation_loss"):
        assert figures[key] == pytest.approx(stated[key], abs=0.01)
    for again, before in zip(figures["transfer"], stated["transfer"], strict=True):
        assert again["accuracy"] == pytest.approx(before["accuracy"], abs=0.05)


@pytest.mark.slow
def test_the_recipe_runs(tmp_path):
    command = [
        sys.executable,
        ROOT / "recipes" / "pretrain_babel.py",
        ROOT / "configs" / "babel_aligned.yaml",
    ]
    subprocess.run(
        [*command, "--steps", "8", "--checkpoints", "2", "--out", tmp_path],
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert load_babel("aligned", tmp_path)
    assert len(list((tmp_path / "aligned-checkpoints").glob("checkpoint-*"))) == 2
    assert (tmp_path / "aligned" / "README.md").read_text().startswith("# Babel, aligned")


def test_bad_input(tmp_path):
    with pytest.raises(ArgumentError, match="name='tower' must be one of aligned, unaligned"):
        load_babel("tower")
    with pytest.raises(
        ArgumentError, match="'unequal' does not ship with xalign: run recipes/pretrain_babel.py"
    ):
        load_babel("unequal")
    with pytest.raises(ModelError, match="does not say how 'aligned' was made"):
        load_babel("aligned", tmp_path)
    for damage, message in (
        (lambda d: (d / "pretraining.json").write_text("{"), "does not say how"),
        (lambda d: (d / "pretraining.json").write_text("[]"), "does not say how"),
        (
            lambda d: (d / "model.safetensors").unlink(),
            r"model\.safetensors is missing",
        ),
        (lambda d: flip_a_byte(d / "model.safetensors"), "is not the file that was saved"),
        (
            lambda d: shutil.copy(SHIPPED / "unaligned" / "model.safetensors", d),
            "is not the file that was saved",
        ),
        (lambda d: (d / "config.json").unlink(), r"config\.json is missing"),
        (
            lambda d: (d / "tokenizer.json").write_text("{}"),
            r"tokenizer\.json is not the file that was saved",
        ),
    ):
        shutil.rmtree(tmp_path / "aligned", ignore_errors=True)
        shutil.copytree(SHIPPED / "aligned", tmp_path / "aligned")
        assert load_babel("aligned", tmp_path)
        damage(tmp_path / "aligned")
        with pytest.raises(ModelError, match=message):
            load_babel("aligned", tmp_path)


class StopAt(TrainerCallback):
    def __init__(self, step):
        self._step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self._step


def flip_a_byte(path):
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
