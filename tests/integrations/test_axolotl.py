"""axolotl by its own command, with and without the plugin; without it, its interface stands in."""

import importlib
import importlib.util
import sys

import pytest
import yaml
from transformers import Trainer

from tests.integrations.axolotl_like import BasePlugin, Config, HFCausalTrainerBuilder, stand_in
from tests.integrations.runs import STEPS, check_equal, command, log_of, save_world
from tests.monitor.training import make_trainer
from xalign import AlignmentCallback, load_pairs
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.integrations import axolotl
from xalign.training.trainer import with_alignment

installed = importlib.util.find_spec("axolotl") is not None
NAME = "xalign.integrations.axolotl.AlignmentPlugin"
SECTION = {"pairs": "bundled", "languages": ["deu"], "n": 20, "every": 10}
ALIGN = {"pairs": "train_pairs.tsv", "weight": 0.5, "batch_size": 4}


def in_axolotl(folder, output, fails=False, **changes):
    """Train by axolotl's command."""
    config = {
        "base_model": "model",
        "datasets": [{"path": "data/train.json", "type": "alpaca"}],
        "dataset_prepared_path": "prepared",
        "sequence_len": 256,
        "max_steps": STEPS,
        "micro_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "learning_rate": 0.003,
        "optimizer": "adamw_torch",
        "lr_scheduler": "constant",
        "logging_steps": 1,
        "save_steps": STEPS,
        "output_dir": output,
        "bf16": False,
        "fp16": False,
        "tf32": False,
        "gradient_checkpointing": False,
        "val_set_size": 0,
        "seed": 3,
    }
    (folder / f"{output}.yaml").write_text(yaml.safe_dump(config | changes))
    variables = {"AXOLOTL_DO_NOT_TRACK": "1"}
    return command("-m", "axolotl.cli.train", f"{output}.yaml", cwd=folder, fails=fails, **variables)


@pytest.mark.skipif(not installed, reason="axolotl pins other versions than constraints.txt")
@pytest.mark.filterwarnings("default")
def test_twenty_steps(tmp_path):
    save_world(tmp_path)
    in_axolotl(tmp_path, "plain")
    in_axolotl(tmp_path, "with", plugins=[NAME], xalign=SECTION)
    check_equal(tmp_path / "plain", tmp_path / "with")

    said = in_axolotl(tmp_path, "wrong", fails=True, plugins=[NAME], xalign=SECTION | {"evry": 3})
    assert "no option 'evry', did you mean every?" in said
    assert not (tmp_path / "wrong").exists()


@pytest.mark.skipif(not installed, reason="axolotl pins other versions than constraints.txt")
@pytest.mark.filterwarnings("default")
def test_twenty_steps_with_a_loss(tmp_path):
    save_world(tmp_path)
    german = load_pairs("bundled", ["deu"])["deu_Latn"]
    lines = [
        "eng_Latn\tdeu_Latn",
        *map("\t".join, zip(german.pivot_sentences, german.sentences, strict=True)),
    ]
    (tmp_path / "train_pairs.tsv").write_text("\n".join([lines[0], *lines[101:]]) + "\n", encoding="utf-8")
    in_axolotl(tmp_path, "aligned", plugins=[NAME], xalign=SECTION | {"align": ALIGN})
    rows = log_of(tmp_path / "aligned")
    assert len([row for row in rows if row.get("align_loss", 0) > 0]) == STEPS
    assert [row["step"] for row in rows if "eval_nasca_deu_Latn" in row] == [0, 10, STEPS]


class OtherTrainer(Trainer):
    """What axolotl has, or what another plugin gives."""


@pytest.fixture
def manager(monkeypatch):
    for made in ("AlignmentPlugin", "AlignmentArgs"):
        monkeypatch.delitem(vars(axolotl), made, raising=False)
    yield stand_in(monkeypatch, OtherTrainer)
    for made in ("AlignmentPlugin", "AlignmentArgs"):
        vars(axolotl).pop(made, None)


@pytest.fixture
def plugin(manager):
    manager.register(NAME)
    return manager.plugins[NAME]


def config(**section):
    return Config(base_model="gpt2", plugins=[NAME], xalign=section)


def test_it_is_a_plugin_with_a_callback(plugin):
    trainer, cfg = make_trainer(evaluate=False), config(**SECTION)
    plugin.register(cfg)
    assert isinstance(plugin, BasePlugin) and plugin.get_trainer_cls(cfg) is None
    (callback,) = plugin.add_callbacks_post_trainer(cfg, trainer)
    assert isinstance(callback, AlignmentCallback) and list(callback.pairs) == ["deu_Latn"]


def test_its_keys_are_a_pydantic_model(plugin):
    module, _, name = plugin.get_input_args().rpartition(".")
    model = getattr(importlib.import_module(module), name)
    assert model(xalign=SECTION).model_dump(exclude_none=True) == {"xalign": SECTION}
    assert model().xalign is None and name in repr(model) and model.__module__ == module
    with pytest.raises(ArgumentTypeError, match=r"no option 'langages', did you mean languages\?"):
        model(xalign={"pairs": "bundled", "langages": ["deu"]})


def test_the_class_is_that_of_axolotl_with_a_loss(plugin):
    cfg = config(**SECTION, align=ALIGN | {"pairs": "bundled"})
    plugin.register(cfg)
    kind = HFCausalTrainerBuilder._get_trainer_cls(type("Builder", (), {"cfg": cfg})())
    assert issubclass(kind, with_alignment(OtherTrainer))
    trainer = make_trainer(evaluate=False)
    made = kind(
        model=trainer.model,
        args=trainer.args,
        train_dataset=trainer.train_dataset,
        processing_class=trainer.processing_class,
    )
    assert made.alignment.weight == 0.5 and made.alignment.batch_size == 4
    assert len(plugin.add_callbacks_post_trainer(cfg, made)) == 1
    only = config(align=ALIGN | {"pairs": "bundled"})
    assert plugin.add_callbacks_post_trainer(only, made) == []


def test_another_plugin_gives_the_class(plugin, manager):
    class Another(BasePlugin):
        def get_trainer_cls(self, cfg):
            return Other

    class Other(OtherTrainer):
        pass

    cfg = config(**SECTION, align=ALIGN | {"pairs": "bundled"})
    manager.plugins["another"] = Another()
    assert issubclass(manager.get_trainer_cls(cfg), with_alignment(Other))
    manager.plugins = {"another": Another(), NAME: plugin}
    assert manager.get_trainer_cls(cfg) is Other
    with pytest.raises(
        ArgumentError, match="align has no effect, as another plugin sets the trainer's class"
    ):
        plugin.add_callbacks_post_trainer(cfg, make_trainer(evaluate=False))


@pytest.mark.parametrize(
    ("cfg", "error", "message"),
    [
        (config(pairs="bundled", evry=2), ArgumentTypeError, "no option 'evry', did you mean every?"),
        (config(align=ALIGN | {"wieght": 2}), ArgumentTypeError, "no option 'wieght', did you mean weight?"),
        (Config(xaling=SECTION), ArgumentError, "no section 'xalign'; did you mean it by 'xaling'?"),
        (Config(), ArgumentError, "no section 'xalign'"),
        (config(align=ALIGN | {"weight": -1}), ArgumentError, "weight"),
        (Config(config(align=ALIGN), rl="dpo"), ArgumentError, "align does not go with rl"),
        (
            Config(config(align=ALIGN), reward_model=True),
            ArgumentError,
            "align does not go with reward_model",
        ),
    ],
)
def test_what_it_refuses_before_anything_is_loaded(plugin, cfg, error, message):
    with pytest.raises(error, match=message.replace("?", r"\?")):
        plugin.register(cfg)


@pytest.mark.skipif(installed, reason="it is installed")
def test_no_error_is_one_that_axolotl_swallows(manager, monkeypatch):
    """Its manager prints an `ImportError` and trains on, without the plugin."""
    monkeypatch.delattr(sys.modules["axolotl.integrations.base"], "BasePlugin")
    with pytest.raises(ArgumentError, match="BasePlugin, of axolotl") as raised:
        manager.register(NAME)
    assert not isinstance(raised.value, ImportError)
