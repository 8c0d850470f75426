"""Recipes: every YAML builds its trainer on a model of its architecture, every smoke twin runs."""

import importlib.util
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import transformers
import yaml
from transformers import AutoConfig, AutoModelForCausalLM, TrainingArguments
from trl import ModelConfig, SFTConfig, TrlParser

from tests.quick import one_in
from tests.recipes.here import run_here
from tests.tiny import ROOT, SIZES, make_model, make_tokenizer
from xalign import AlignmentArguments, LanguageVector, UnitSet
from xalign.bias import load_bias_list
from xalign.errors import ArgumentError
from xalign.finding.expert_ap import expert_ap
from xalign.improving.config import ImproveConfig
from xalign.judging import calibrate, evaluate
from xalign.judging.options import EvaluateArguments, OutputArguments
from xalign.steering import AutoencoderOptions, LatentSpace
from xalign.training.layers import blocks_of, parse_layers

# What each real model is, in the width of a toy: its depth decides which layer a share of it means.
MODELS = {
    "Qwen/Qwen3-0.6B": ("qwen3", {"num_hidden_layers": 28, "num_key_value_heads": 2, "head_dim": 8}),
    "HuggingFaceTB/SmolLM2-360M": ("llama", {"num_hidden_layers": 32, "num_key_value_heads": 2}),
    "meta-llama/Llama-3.2-1B": ("llama", {"num_hidden_layers": 16, "num_key_value_heads": 2}),
}
RECIPES = {
    "sft_mid_align": ("sft_mid_align", (SFTConfig, ModelConfig)),
    "continued_pretraining": ("continued_pretraining_with_alignment", (TrainingArguments,)),
}
SMOKE = ROOT / "configs" / "smoke"
REAL = sorted(
    path
    for name in RECIPES
    for path in (ROOT / "configs").glob(f"{name}_*.yaml")
    if not path.stem.endswith("smoke")
)
HERE = {
    "use_cpu": "true",
    "bf16": "false",
    "output_dir": "run",
    "report_to": "none",
    "align_pairs": SMOKE / "pairs.tsv",
    "measure_pairs": SMOKE / "held_out.tsv",
    "measure_n": 24,
}


def load(recipe):
    spec = importlib.util.spec_from_file_location(recipe, ROOT / "recipes" / f"{recipe}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[recipe] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_model_has_a_file_for_every_recipe():
    named = {yaml.safe_load(path.read_text(encoding="utf-8"))["model_name_or_path"] for path in REAL}
    assert named == set(MODELS)
    assert len(REAL) == len(MODELS) * len(RECIPES)


@pytest.mark.parametrize("path", one_in(2, REAL), ids=lambda path: path.stem)
def test_a_file_builds_its_trainer(path):
    name = next(name for name in RECIPES if path.stem.startswith(name))
    recipe, configs = load(RECIPES[name][0]), RECIPES[name][1]
    here = HERE | (
        {"task_data": SMOKE / "task.jsonl"} if name == "sft_mid_align" else {"text": SMOKE / "text.txt"}
    )
    given = [part for key, value in here.items() for part in (f"--{key}", str(value))]
    parsed = TrlParser((recipe.Data, *configs, AlignmentArguments)).parse_args_and_config(
        ["--config", str(path), *given]
    )
    family, sizes = MODELS[yaml.safe_load(path.read_text(encoding="utf-8"))["model_name_or_path"]]
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(family, **SIZES | {"max_position_embeddings": 2048} | sizes)
    )
    trainer = recipe.make_trainer(*parsed, model=model, tokenizer=make_tokenizer())
    assert trainer.objective.layers == blocks_of(parse_layers(0.5), sizes["num_hidden_layers"])
    assert trainer.objective.config.batch_size == 32
    assert any(
        type(callback).__name__ == "AlignmentCallback" for callback in trainer.callback_handler.callbacks
    )
    assert (name == "sft_mid_align") == any("lora" in key for key, _ in trainer.model.named_parameters())


def run(recipe, *arguments, **environment):
    command = [sys.executable, str(ROOT / "recipes" / f"{recipe}.py"), *map(str, arguments)]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")  # the trainers' own
@pytest.mark.parametrize("name", one_in(2, RECIPES))
def test_the_smoke_twins_run(name, tmp_path):
    config = ROOT / "configs" / f"{name}_smoke.yaml"
    printed = run_here(RECIPES[name][0], "--config", config, "--output_dir", tmp_path / "out")
    assert "eval_nasca_worst: " in printed
    assert "'align_loss'" in printed
    assert (tmp_path / "out" / "tokenizer.json").exists()


@pytest.mark.parametrize("block", [1, -5, 513])
def test_a_block_out_of_range_is_refused(block, tmp_path):
    recipe = load("continued_pretraining_with_alignment")
    data = recipe.Data("", [str(SMOKE / "text.txt")], block=block)
    with pytest.raises(
        ArgumentError, match=f"block={block} must lie between 2 and the model's context of 512"
    ):
        recipe.make_trainer(data, None, None, model=make_model("llama"), tokenizer=make_tokenizer())


@pytest.mark.slow
@pytest.mark.parametrize("where", ["real", "absent"])
def test_the_minilm_recipe_runs(where, tmp_path, request):
    data = request.getfixturevalue("real_text") if where == "real" else tmp_path / "nowhere"
    config = ROOT / "configs" / "align_minilm_smoke.yaml"
    printed = run(
        "align_minilm",
        "--output_dir",
        tmp_path / "out",
        "--seed",
        1,
        "--config",
        config,
        XALIGN_DATA=str(data),
    )
    assert ("training on Babel" in printed) == (where == "absent")
    model = transformers.AutoModel.from_pretrained(tmp_path / "out")
    assert model.config.num_hidden_layers == 6
    found = json.loads((tmp_path / "out" / "align_minilm.json").read_text(encoding="utf-8"))
    assert (tmp_path / "out" / "align_minilm.png").exists()
    trained = {"deu_Latn", "rus_Cyrl"} | (set() if where == "real" else {"spa_Latn", "zho_Hans"})
    assert {code for code, row in found["languages"].items() if row["trained"]} == trained
    assert 0.9 < found["english"]["drift"] < 1
    for row in found["languages"].values():
        assert row["gain"] == pytest.approx(row["nasca_after"] - row["nasca_before"])
        if row["low"] is not None:  # else all sentences changed alike
            assert row["low"] <= row["gain"] <= row["high"]


def test_the_loop_has_a_file_for_every_model():
    """Each builds its trainer on a model of its architecture, with a loop that decides."""
    files = sorted((ROOT / "configs").glob("closed_loop_*.yaml"))
    configs = {path: yaml.safe_load(path.read_text(encoding="utf-8")) for path in files}
    smoke = next(path for path in files if path.stem.endswith("smoke"))
    named = {config["model_name_or_path"] for path, config in configs.items() if path != smoke}
    assert named == set(MODELS)
    changes = HERE | {"text": [str(SMOKE / "text.txt")], "align_control_pairs": str(SMOKE / "control.tsv")}
    changes |= {"use_cpu": True, "bf16": False, "align_replay": str(SMOKE / "text.txt")}
    changes = {name: str(value) if isinstance(value, Path) else value for name, value in changes.items()}
    for path in set(files) - {smoke}:
        config = ImproveConfig.load(path, **changes)
        family, sizes = MODELS[config.improve.model_name_or_path]
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(family, **SIZES | {"max_position_embeddings": 2048} | sizes)
        )
        trainer = config.make_trainer(model, make_tokenizer())
        assert trainer.closed_loop.controller.name == "loop"
        assert list(config.reporting()) == ["spa_Latn", "deu_Latn"]


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")
def test_the_closed_loop_recipe_runs(tmp_path):
    config = ROOT / "configs" / "closed_loop_smoke.yaml"
    printed = run_here("closed_loop", "--config", config, "--output_dir", tmp_path / "out")
    assert "- NASCA, mean of 2 languages: " in printed
    assert (tmp_path / "out" / "improvement.html").exists()
    assert (tmp_path / "out" / "tokenizer.json").exists()


def test_steering_has_a_file_for_every_model():
    files = sorted((ROOT / "configs").glob("steer_language_*.yaml"))
    configs = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in files}
    smoke = configs.pop("steer_language_smoke")
    assert {config["model_name_or_path"] for config in configs.values()} == set(MODELS)
    keywords = {"calibrate": set(OutputArguments.__annotations__)}
    keywords["evaluate"] = set(EvaluateArguments.__annotations__)
    for config in configs.values():
        assert config.keys() | {"stop"} == smoke.keys() | {"stop"}
        for part, function in (("find", expert_ap), ("calibrate", calibrate), ("evaluate", evaluate)):
            known = set(inspect.signature(function).parameters) - {"options"} | keywords.get(part, set())
            assert set(config[part]) - {"method"} <= known, part


@pytest.mark.slow
def test_the_steering_recipe_runs(tmp_path):
    printed = run(
        "steer_language", "--config", ROOT / "configs" / "steer_language_smoke.yaml", "--output_dir", tmp_path
    )
    assert "within bounds: " in printed
    units = UnitSet.from_pretrained(tmp_path / "units")
    assert units.labels == ["eng_Latn", "spa_Latn", "deu_Latn"]
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    zeroed = {
        (row["label"], row["language"]): row
        for row in rows
        if (row["what"], row["quantity"]) == ("zeroed", "loss")
    }
    for label in units.labels:
        assert zeroed[label, label]["difference"] > 0.1
        assert zeroed[label, label]["difference"] > 2 * zeroed[label, label]["random_largest"]
    assert any(row["what"] == "forced" and row["quantity"] == "output_share" for row in rows)
    assert "difference [95 %]" in (tmp_path / "table.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").glob("transplant_*.yaml")), ids=lambda path: path.stem
)
def test_every_file_of_transplants_says_what_the_smoke_twin_does(path):
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    twin = yaml.safe_load((ROOT / "configs" / "transplant_smoke.yaml").read_text(encoding="utf-8"))
    assert given.keys() == twin.keys()
    assert given["model_name_or_path"] in {*MODELS, twin["model_name_or_path"]}


def test_transplants_have_a_file_for_every_model():
    files = (ROOT / "configs").glob("transplant_*.yaml")
    named = {yaml.safe_load(path.read_text(encoding="utf-8"))["model_name_or_path"] for path in files}
    assert set(MODELS) < named


@pytest.mark.slow
def test_the_transplanting_recipe_runs(tmp_path):
    """A pair of blocks is chosen on one half, and judged on the other beside other items' sources."""
    items = (SMOKE / "items.jsonl").read_text(encoding="utf-8").splitlines()[:8]
    (tmp_path / "items.jsonl").write_text("\n".join(items), encoding="utf-8")
    config = yaml.safe_load((ROOT / "configs" / "transplant_smoke.yaml").read_text(encoding="utf-8"))
    config |= {"items": str(tmp_path / "items.jsonl"), "controls": 1}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    run("transplant", "--config", tmp_path / "config.yaml", "--output_dir", tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "rows.json").read_text(encoding="utf-8"))
    shares = {(row["tried"], row["what"]): row["share"] for row in rows}
    assert {row["n"] for row in rows} == {4}
    assert shares["any pair of blocks", "union"] >= shares["the chosen pair", "union"]
    assert ("any pair of blocks", "chance union") in shares
    assert "union above chance" in (tmp_path / "out" / "table.txt").read_text(encoding="utf-8")


def test_confusion_has_a_file_for_every_model():
    files = sorted((ROOT / "configs").glob("reduce_language_confusion_*.yaml"))
    configs = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in files}
    smoke = configs.pop("reduce_language_confusion_smoke")
    assert {config["model_name_or_path"] for config in configs.values()} == set(MODELS)
    assert all(config.keys() == smoke.keys() for config in configs.values())


@pytest.mark.slow
def test_the_confusion_recipe_runs(tmp_path):
    config = ROOT / "configs" / "reduce_language_confusion_smoke.yaml"
    printed = run("reduce_language_confusion", "--config", config, "--output_dir", tmp_path)
    assert "of 16 answers slip into English" in printed and "50 neurons copied: " in printed
    found = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert len(found["tried"]) == 5  # two ways with two numbers of neurons, and a shift
    best = max(found["tried"], key=lambda row: row["after"])
    assert found["chosen"] == best["edit"]
    assert [row["language"] for row in found["judged"]] == ["deu_Latn", "rus_Cyrl", "all"]
    if best["edit"].startswith("shift"):
        assert LanguageVector.from_pretrained(tmp_path / "edit-rus_Cyrl").label == "rus_Cyrl"
    else:
        assert len(UnitSet.from_pretrained(tmp_path / "edit"))
    page = (tmp_path / "confusion.html").read_text(encoding="utf-8")
    assert "with the edit" in page and "Confusion points" in page


@pytest.mark.slow
@pytest.mark.parametrize("where", ["real", "absent"])
def test_the_debiasing_recipe_runs(where, tmp_path, request):
    data = request.getfixturevalue("real_text") if where == "real" else tmp_path / "nowhere"
    config = ROOT / "configs" / "debias_minilm_smoke.yaml"
    printed = run(
        "debias_minilm", "--output_dir", tmp_path / "out", "--config", config, XALIGN_DATA=str(data)
    )
    assert ("of bundled sentences, in deu_Latn, rus_Cyrl" in printed) == (where == "absent")
    assert (tmp_path / "out" / "debias_minilm.png").exists()
    found = json.loads((tmp_path / "out" / "debias_minilm.json").read_text(encoding="utf-8"))["languages"]
    finals = {stage: [row[stage]["final"] for row in found.values()] for stage in ("before", "own mean off")}
    assert sum(finals["own mean off"]) >= sum(finals["before"])
    vector = LanguageVector.from_pretrained(tmp_path / "out" / "vectors" / "deu_Latn-active")
    assert (vector.state, len(vector.vectors)) == ("active", 6)


def test_latent_debiasing_has_a_file_for_every_model():
    files = sorted((ROOT / "configs").glob("debias_latent_*.yaml"))
    configs = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in files}
    smoke = configs.pop("debias_latent_smoke")
    assert {config["model_name_or_path"] for config in configs.values()} == set(MODELS)
    for config in (smoke, *configs.values()):
        assert config.keys() == smoke.keys()
        AutoencoderOptions(**config["autoencoder"])
        assert set(config["fit_on"]) <= set(load_bias_list(config["bias"]).pairs)


@pytest.mark.slow
def test_the_latent_debiasing_recipe_runs(tmp_path):
    printed = run(
        "debias_latent", "--config", ROOT / "configs" / "debias_latent_smoke.yaml", "--output_dir", tmp_path
    )
    assert "latent_projection: gap removed, where fitted " in printed
    assert "subspace_projection: the loss rose by " in printed
    space = LatentSpace.from_pretrained(tmp_path / "space")
    assert (str(space.site), space.autoencoder.latent) == ("3.hidden", 16)
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert {row["what"] for row in rows} == {"latent_projection", "subspace_projection"}
    assert {row["measure"] for row in rows} == {"gap", "preferred", "effect 3.hidden", "loss"}
    fitted = [abs(row["after"]) < abs(row["before"]) for row in rows if row["language"] == "eng_Latn"]
    assert sum(fitted) >= 4
    assert "change [95 %]" in (tmp_path / "table.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.py")), ids=lambda path: path.stem)
def test_recipes_are_short(recipe):
    assert len(recipe.read_text(encoding="utf-8").splitlines()) <= 200
