"""Recipes that align: every YAML builds what it trains on a model of its architecture, every smoke twin runs.

The twins run in this process and for fewer steps; as users call them they run in `-m slow`.
"""

import json
import shutil

import pytest
import torch
import yaml
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForTokenClassification,
    Seq2SeqTrainingArguments,
    TrainingArguments,
)
from trl import DPOConfig, ModelConfig, SFTConfig, TrlParser

from tests.marking_tokenizers import make_nllb
from tests.pairs_of_stacks import make_pair
from tests.recipes.here import run_here
from tests.recipes.test_recipes import HERE, MODELS, SMOKE, load, run
from tests.tiny import ROOT, SIZES, make_tokenizer
from tests.tiny_speech import make_speech_model
from xalign import AlignmentArguments, UnitSet, load_pairs
from xalign.babel import load_babel
from xalign.training.adapters import LanguageAdapters, combine_adapters
from xalign.training.layers import blocks_of, parse_layers

CONFIGS = ROOT / "configs"
# Recipe -> what its file is parsed into, beside its own `Data` and the alignment's fields.
PARSED = {
    "align_then_merge": (SFTConfig, ModelConfig),
    "language_adapters": (ModelConfig,),
    "neuron_only": (SFTConfig, ModelConfig),
    "sft_ot_align": (SFTConfig, ModelConfig),
    "few_shot_transfer": (TrainingArguments,),
    "dpo_with_alignment": (DPOConfig, ModelConfig),
}
EVERY_MODEL = [*PARSED, "ot_align_speech"]
REAL = {
    name: sorted(path for path in CONFIGS.glob(f"{name}_*.yaml") if "smoke" not in path.stem)
    for name in PARSED
}


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", EVERY_MODEL)
def test_every_recipe_has_a_file_for_every_model(name):
    files = [path for path in CONFIGS.glob(f"{name}_*.yaml") if "smoke" not in path.stem]
    assert sorted(read(path)["model_name_or_path"] for path in files) == sorted(MODELS)


def blocks_in(name):
    """A quarter of the blocks of a real model: the files name shares of the depth."""
    return MODELS[name][1]["num_hidden_layers"] // 4


def tiny(name, made=AutoModelForCausalLM, **changes):
    """A model of a real one's architecture, in the size of a toy."""
    family, sizes = MODELS[name]
    changes |= {"num_hidden_layers": blocks_in(name), "max_position_embeddings": 2048}
    config = AutoConfig.for_model(family, **SIZES | sizes | changes)
    torch.manual_seed(0)
    return made.from_config(config)


def parse(path, name, recipe, **here):
    """What a recipe parses of its file, with data that is here."""
    shared = {"align_pairs": HERE["align_pairs"], "measure_pairs": HERE["measure_pairs"], "measure_n": 24}
    if name != "language_adapters":
        shared |= {key: HERE[key] for key in ("use_cpu", "bf16", "output_dir", "report_to")}
    given = [
        part for key, value in {**shared, **here}.items() for part in (f"--{key}", *map(str, many(value)))
    ]
    return TrlParser((recipe.Data, *PARSED[name], AlignmentArguments)).parse_args_and_config(
        ["--config", str(path), *given]
    )


def many(value):
    return value if isinstance(value, list) else [value]


def cases(*names):
    return pytest.mark.parametrize(
        "path", [path for name in names for path in REAL[name]], ids=lambda path: path.stem
    )


@pytest.mark.thorough
@cases("align_then_merge")
def test_the_merging_recipe_builds_both_trainings(path):
    recipe = load("align_then_merge")
    parts = parse(
        path,
        "align_then_merge",
        recipe,
        task_data=SMOKE / "domains.jsonl",
        other_data=SMOKE / "domains_others.jsonl",
    )
    name = read(path)["model_name_or_path"]
    trainer = recipe.make_trainer(*parts[:3], model=tiny(name), tokenizer=make_tokenizer())
    assert trainer.model.active_adapter == "task"
    halves = {f"{half}_{code}": 12 for half in ("choose", "report") for code in ("deu_Latn", "spa_Latn")}
    assert {name: len(rows) for name, rows in trainer.eval_dataset.items()} == halves
    trainer.model.set_adapter("alignment")
    objective = recipe.make_objective(trainer, parts[3])
    assert objective.layers == blocks_of({0.5: 1.0}, blocks_in(name))
    assert (parts[0].grid, parts[0].how, parts[0].align_steps) == ([0.3, 0.5, 0.7, 1.0], "sum", 1000)


@cases("language_adapters")
def test_the_language_adapters_are_built(path, tmp_path):
    recipe = load("language_adapters")
    data, model_arguments, alignment = parse(path, "language_adapters", recipe, output_dir=tmp_path)
    adapters, new = recipe.make_adapters(data, model_arguments, tiny(read(path)["model_name_or_path"]))
    assert adapters.languages == new == ["deu_Latn", "fin_Latn", "ind_Latn", "swh_Latn", "tur_Latn"]
    config = alignment.config()
    assert (config.frozen_pivot, config.layer, config.batch_size) == (True, "all", 128)
    data.steps, data.bf16, alignment.align_batch_size = 2, False, 4
    before = {name: one.clone() for name, one in adapters.model.named_parameters()}
    with adapters.use("deu_Latn"):
        recipe.align(adapters, "deu_Latn", make_tokenizer(), alignment, None, data)
    moved = [name for name, one in adapters.model.named_parameters() if not torch.equal(one, before[name])]
    assert moved and all("deu_Latn" in name for name in moved)


@pytest.mark.thorough
@cases("neuron_only")
def test_the_neuron_recipe_builds_its_trainer(path):
    recipe = load("neuron_only")
    parts = parse(path, "neuron_only", recipe, task_data=SMOKE / "task.jsonl", find_n=12)
    name = read(path)["model_name_or_path"]
    trainer, trained, units = recipe.make_trainer(*parts, model=tiny(name), tokenizer=make_tokenizer())
    blocks = blocks_in(name)
    assert len(units.places) == round(0.1 * blocks * SIZES["intermediate_size"])
    moved = {id(one) for one in trainer.model.parameters() if one.requires_grad}
    assert moved == {id(one) for one in trained.parameters}
    assert len(trainer.objective.layers) == blocks


def few_shot_trainer(path, recipe, tokenizer, made):
    """What a file builds on the model that `made` gives for a number of labels."""
    here = {"tagged": SMOKE / "tagged", "word_column": 0, "tag_column": 1, "languages": ["spa_Latn"]}
    here |= {"align_languages": ["spa_Latn", "deu_Latn"]}
    here |= {key: HERE[key] for key in ("use_cpu", "bf16", "output_dir", "align_pairs")}
    given = [part for key, value in here.items() for part in (f"--{key}", *map(str, many(value)))]
    parser = TrlParser((recipe.Data, TrainingArguments, AlignmentArguments))
    data, training, alignment = parser.parse_args_and_config(["--config", str(path), *given])
    assert (data.learnt, data.k) == (250, [0, 20])
    tagged = recipe.read_tagged(data, "spa_Latn")
    labels = sorted({tag for one in tagged for _, tag in one})
    rows = recipe.encode(tagged, tokenizer, labels, data.max_length)
    return recipe.make_trainer(
        data, training, alignment, rows, labels, True, model=made(len(labels)), tokenizer=tokenizer
    )


def test_the_file_of_a_real_encoder_builds_its_trainer():
    config = AutoConfig.for_model("bert", **SIZES)

    def made(labels):
        config.num_labels = labels
        return AutoModelForTokenClassification.from_config(config)

    recipe = load("few_shot_transfer")
    trainer = few_shot_trainer(CONFIGS / "few_shot_minilm.yaml", recipe, make_tokenizer(), made)
    assert len(trainer.objective.layers) == config.num_hidden_layers
    assert trainer.objective.config.resolved_loss.name == "neuron_state"


@cases("sft_ot_align", "dpo_with_alignment", "few_shot_transfer")
def test_a_file_builds_its_trainer(path):
    kind = next(name for name in PARSED if path.stem.startswith(name))
    recipe = load("sft_mid_align" if kind == "sft_ot_align" else kind)
    config, tokenizer = read(path), make_tokenizer()
    name = config["model_name_or_path"]
    blocks = blocks_in(name)
    if kind == "few_shot_transfer":
        trainer = few_shot_trainer(
            path,
            recipe,
            tokenizer,
            lambda labels: tiny(name, AutoModelForTokenClassification, num_labels=labels),
        )
        layers = "all"
    else:
        here = {"task_data": SMOKE / "task.jsonl"} if kind == "sft_ot_align" else {}
        here |= {"preferences": SMOKE / "preferences.jsonl"} if kind == "dpo_with_alignment" else {}
        parts = parse(path, kind, recipe, **here)
        trainer = recipe.make_trainer(*parts, model=tiny(name), tokenizer=tokenizer)
        layers = config["align_layer"]
        assert any("lora" in key for key, _ in trainer.model.named_parameters())
    assert trainer.objective.layers == blocks_of(parse_layers(layers), blocks)
    assert trainer.objective.config.resolved_loss.name == config["align_loss"]


def test_nllb_builds_its_trainer():
    recipe, path = load("ot_align"), CONFIGS / "ot_align_nllb_600m.yaml"
    here = HERE | {
        "task_pairs": SMOKE / "pairs.tsv",
        "align_languages": "deu_Latn",
        "measure_languages": "deu_Latn",
    }
    pairs = load_pairs(SMOKE / "pairs.tsv", ["deu_Latn"])
    given = [part for key, value in here.items() for part in (f"--{key}", str(value))]
    parts = TrlParser((recipe.Data, Seq2SeqTrainingArguments, AlignmentArguments)).parse_args_and_config(
        ["--config", str(path), *given]
    )
    tokenizer = make_nllb(extra_special_tokens=["deu_Latn", "eng_Latn", "spa_Latn"])
    model = make_pair("m2m_100", vocab_size=1100, encoder_layers=12, max_position_embeddings=1024)
    trainer = recipe.make_trainer(*parts, model=model, tokenizer=tokenizer)
    assert trainer.objective.layers == blocks_of({3: 1.0, 7: 2.0, 11: 3.0}, 12)
    assert trainer.objective.config.transform == "subtract_means"
    # NLLB marks both sides: the source with its language in front, the target with English.
    row = next(
        row
        for row in trainer.train_dataset
        if row["input_ids"][0] == tokenizer.convert_tokens_to_ids("deu_Latn")
    )
    assert row["labels"][0] == tokenizer.convert_tokens_to_ids("eng_Latn")
    assert tokenizer.decode(row["input_ids"], skip_special_tokens=True) in pairs["deu_Latn"].sentences
    assert len(trainer.train_dataset) == 128


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("ot_align_speech_*.yaml")), ids=lambda path: path.stem)
def test_the_speech_recipe_builds_its_model(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    recipe, config = load("ot_align_speech"), read(path)
    assert config.keys() == read(CONFIGS / "ot_align_speech_smoke.yaml").keys()
    name = config["model_name_or_path"]
    if name in MODELS:
        assert config["speech_encoder"] == "openai/whisper-small"
        encoder, extractor = make_speech_model("whisper")
        parts = {"language_model": tiny(name), "tokenizer": make_tokenizer()}
        model = recipe.make_model(config, encoder, extractor, **parts)
    else:
        model = recipe.make_model(config)
    assert all(name.startswith("projection.") for name, one in model.named_parameters() if one.requires_grad)
    assert len(model.projection.blocks) == len(config["block_weights"]) == 2
    assert set(config["transport"]) == {"temperature", "debiased", "detach_pivot"}


def test_what_the_speech_recipe_adds_up(monkeypatch):
    """The task's loss is that of transformers on unpadded recordings, and frozen parts get no gradient."""
    monkeypatch.chdir(ROOT)
    recipe, config = load("ot_align_speech"), read(CONFIGS / "ot_align_speech_smoke.yaml")
    model = recipe.make_model(config)
    sounds = [recipe.speak(text, "deu_Latn") for text in ("Der Vater backt Brot.", "Die Frau singt.")]
    texts = ["The father bakes bread.", "The woman sings."]
    heard, mask, _ = model.hear(sounds)
    loss = model.translation_loss(heard, mask, texts)
    losses, counts = [], []
    for sound, text in zip(sounds, texts, strict=True):
        alone, own_mask, _ = model.hear([sound])
        assert bool(own_mask.all())
        ids = model.tokenizer(f"{text}{model.tokenizer.eos_token}", return_tensors="pt")["input_ids"]
        embedded = model.language_model.get_input_embeddings()(ids)
        logits = model.language_model(inputs_embeds=torch.cat([alone, embedded], dim=1)).logits
        said = logits[0, alone.shape[1] - 1 : -1].log_softmax(-1)
        losses.append(-said.gather(1, ids[0].unsqueeze(1)).sum())
        counts.append(ids.shape[1])
    assert loss.item() == pytest.approx((sum(losses) / sum(counts)).item(), rel=1e-4)
    loss.backward()
    assert all(
        (one.grad is not None) == name.startswith("projection.") for name, one in model.named_parameters()
    )


def test_labels_stand_at_the_last_token_of_each_word():
    recipe, tokenizer = load("few_shot_transfer"), make_tokenizer()
    sentence = [("Übermorgen", "time"), ("liest", "action"), ("书", "object"), (".", "mark")]
    (row,) = recipe.encode([sentence], tokenizer, ["action", "mark", "object", "time"], 100)
    places = [place for place, label in enumerate(row["labels"]) if label != -100]
    assert [row["labels"][place] for place in places] == [3, 0, 2, 1]
    read_so_far = [tokenizer.decode(row["input_ids"][1 : place + 1]) for place in places]
    assert read_so_far == ["Übermorgen", "Übermorgen liest", "Übermorgen liest 书", "Übermorgen liest 书 ."]


def call(recipe, name, out, **changes):
    """Run a smoke twin in this process, and return what it printed."""
    given = [part for key, value in changes.items() for part in (f"--{key}", *many(value))]
    return run_here(recipe, "--config", CONFIGS / f"{name}_smoke.yaml", "--output_dir", out, *given)


@pytest.mark.thorough
def test_merging_adds_up_what_the_two_adapters_do(tmp_path):
    steps = {"max_steps": 2, "align_steps": 2, "grid": [1.0], "measure_n": 8}
    printed = call("align_then_merge", "align_then_merge", tmp_path, **steps)
    assert "deu_Latn: loss of the task " in printed and "NASCA: base " in printed
    found = json.loads((tmp_path / "align_then_merge.json").read_text(encoding="utf-8"))
    assert found["weights"] == {"task": 1.0, "alignment": 1.0}
    base, tokenizer = load_babel("unaligned")
    ids = tokenizer("The nurse sells honey at the market. <sep>", return_tensors="pt")["input_ids"]
    plain = base(ids).logits
    merged = PeftModel.from_pretrained(base, tmp_path / "merged")
    assert merged.peft_config["default"].r == 16
    saved = merged(ids).logits
    both = PeftModel.from_pretrained(load_babel("unaligned")[0], tmp_path / "task", adapter_name="task")
    both.load_adapter(tmp_path / "alignment", adapter_name="alignment")
    combine_adapters(both, found["weights"])
    assert (both(ids).logits - saved).abs().max() < 1e-4 < (saved - plain).abs().max()


@pytest.mark.thorough
def test_a_further_language_changes_no_other(tmp_path):
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", init_lora_weights=False)
    LanguageAdapters(load_babel("unaligned")[0], config, languages=["spa_Latn"]).save_pretrained(tmp_path)
    of_spanish = tmp_path / "spa_Latn" / "adapter_model.safetensors"
    before = of_spanish.read_bytes()
    changes = {"steps": 2, "align_batch_size": 4, "measure_n": 8, "metrics": "mexa"}
    printed = call("language_adapters", "language_adapters", tmp_path, **changes)
    assert "new: deu_Latn; unchanged: spa_Latn" in printed
    assert of_spanish.read_bytes() == before
    learnt = load_file(tmp_path / "deu_Latn" / "adapter_model.safetensors")
    assert all(bool(value.any()) for name, value in learnt.items() if "lora_B" in name)
    gains = json.loads((tmp_path / "gains.json").read_text(encoding="utf-8"))
    assert [row["language"] for row in gains] == ["spa_Latn", "deu_Latn"]


@pytest.mark.thorough
def test_only_the_chosen_neurons_have_moved(tmp_path):
    printed = call("neuron_only", "neuron_only", tmp_path, max_steps=2, find_n=12)
    assert "230 neurons, " in printed and "eval_nasca: " in printed
    units, start = UnitSet.from_pretrained(tmp_path / "units"), load_babel("unaligned")[0]
    now = dict(AutoModelForCausalLM.from_pretrained(tmp_path).named_parameters())
    chosen = {layer: {index for site, index in units.places if site.layer == layer} for layer in range(6)}
    for name, was in start.named_parameters():
        moved = now[name] != was
        if "mlp" not in name:
            assert not bool(moved.any()), name
            continue
        rows = moved.any(dim=0 if "down_proj" in name else 1).nonzero().flatten().tolist()
        assert set(rows) == chosen[int(name.split(".")[2])], name


def test_the_transport_recipe_runs(tmp_path):
    changes = {"max_steps": 2, "measure_every": 2, "align_batch_size": 4, "logging_steps": 1}
    printed = call("ot_align", "ot_align", tmp_path, **changes)
    assert "eval_loss: 7.3" in printed and "'align_loss'" in printed
    assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path).config.encoder_layers == 3


def test_the_speech_recipe_runs_on_tones(tmp_path, monkeypatch):
    config = read(CONFIGS / "ot_align_speech_smoke.yaml") | {
        "n": 8,
        "tested": 4,
        "steps": 2,
        "per_language": 4,
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    changes = {"config": tmp_path / "config.yaml"}
    printed = call("ot_align_speech", "ot_align_speech", tmp_path, **changes)
    assert "tones stand in for speech" in printed and "deu_Latn: loss " in printed
    found = json.loads((tmp_path / "ot_align_speech.json").read_text(encoding="utf-8"))
    assert all(
        found["after"][code]["loss"] < found["before"][code]["loss"] for code in ("spa_Latn", "deu_Latn")
    )
    assert any(name.startswith("blocks.1.") for name in load_file(tmp_path / "projection.safetensors"))


@pytest.mark.thorough
def test_the_few_shot_recipe_runs(tmp_path):
    changes = {"max_steps": 3, "learning_rate": 3e-3, "k": [2], "align_batch_size": 4}
    printed = call("few_shot_transfer", "few_shot_transfer", tmp_path, **changes)
    assert "k = 2, aligned" in printed
    found = json.loads((tmp_path / "few_shot_transfer.json").read_text(encoding="utf-8"))
    assert list(found) == ["k = 2, plain", "k = 2, aligned"]
    assert all(list(row) == ["eng_Latn", "spa_Latn", "deu_Latn"] for row in found.values())
    assert found["k = 2, plain"] != found["k = 2, aligned"]
    assert found["k = 2, plain"]["eng_Latn"] > 0.3  # eight labels


@pytest.mark.thorough
def test_the_preference_recipe_runs(tmp_path):
    changes = {"max_steps": 2, "logging_steps": 1, "measure_n": 8, "align_batch_size": 4}
    printed = call("dpo_with_alignment", "dpo_with_alignment", tmp_path, **changes)
    assert "the chosen answer is preferred: " in printed and "eval_nasca_worst: " in printed
    assert (tmp_path / "adapter_config.json").exists()


def test_one_page_lists_every_recipe():
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert not [path.stem for path in (ROOT / "recipes").glob("*.py") if f"`{path.stem}`" not in page]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(name for name in EVERY_MODEL if name != "sft_ot_align"), "ot_align"])
def test_the_smoke_twins_run_as_users_call_them(name, tmp_path):
    run(name, "--config", CONFIGS / f"{name}_smoke.yaml", "--output_dir", tmp_path)


@pytest.mark.slow
def test_the_few_shot_recipe_reads_pud(tmp_path, real_text):
    changes = {"tagged": real_text / "pud" / "conllu", "word_column": 1, "tag_column": 3, "learnt": 485}
    changes |= {"languages": ["deu_Latn", "zho_Hant"], "k": [2], "max_steps": 2}
    call("few_shot_transfer", "few_shot_transfer", tmp_path, **changes)
    found = json.loads((tmp_path / "few_shot_transfer.json").read_text(encoding="utf-8"))
    assert list(found["k = 2, plain"]) == ["eng_Latn", "deu_Latn", "zho_Hant"]
