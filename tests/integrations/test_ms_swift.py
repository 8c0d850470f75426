"""ms-swift by its own command, with and without the plugin; without it, its interface stands in."""

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.integrations.runs import STEPS, check_equal, command, save_world
from tests.monitor.training import COMMON, make_trainer, result_of
from tests.tiny import ROOT
from xalign import AlignmentCallback
from xalign.errors import ArgumentError, ArgumentTypeError, MissingExtraError
from xalign.integrations.ms_swift.__main__ import PLUGIN

installed = importlib.util.find_spec("swift") is not None
SECTION = {"pairs": "bundled", "languages": ["deu"], "n": 20, "every": 10}


def in_swift(folder, output, *more, fails=False, **variables):
    """Train by ms-swift's command."""
    options = {
        "model": "model",
        "model_type": "llama",
        "template": "default",
        "tuner_type": "full",
        "torch_dtype": "float32",
        "dataset": "data/train.json",
        "max_steps": STEPS,
        "logging_steps": 1,
        "save_steps": STEPS,
        "per_device_train_batch_size": 4,
        "learning_rate": 3e-3,
        "output_dir": output,
        "add_version": "false",
        "report_to": "none",
        "use_hf": "true",
        "gradient_checkpointing": "false",
        "max_length": 128,
        "split_dataset_ratio": 0,
        "seed": 3,
    }
    flags = [part for key, value in options.items() for part in (f"--{key}", value)]
    return command("-m", "swift.cli.sft", *flags, *more, cwd=folder, fails=fails, **variables)


@pytest.mark.skipif(not installed, reason="ms-swift wants other versions than constraints.txt")
@pytest.mark.filterwarnings("default")
def test_twenty_steps(tmp_path):
    save_world(tmp_path)
    more = ["--callbacks", "xalign", "--external_plugins", plugin_path()]
    (tmp_path / "xalign.yaml").write_text(yaml.safe_dump({"xalign": SECTION}))
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump({"xalign": SECTION | {"evry": 3}}))
    in_swift(tmp_path, "plain")
    in_swift(tmp_path, "with", *more, XALIGN_CONFIG="xalign.yaml")
    check_equal(tmp_path / "plain", tmp_path / "with")
    said = in_swift(tmp_path, "wrong", *more, fails=True, XALIGN_CONFIG="wrong.yaml")
    assert "no option 'evry', did you mean every?" in said


@pytest.fixture
def swift(monkeypatch):
    """`callbacks_map` of `swift.callbacks` (4.6.0): a name -> what is called with arguments and trainer."""
    for name in ("swift", "swift.callbacks"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["swift.callbacks"].callbacks_map = {}
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("xalign.yaml").write_text(yaml.safe_dump({"xalign": SECTION}))
    monkeypatch.setenv("XALIGN_CONFIG", "xalign.yaml")
    yield sys.modules["swift.callbacks"].callbacks_map
    sys.modules.pop("xalign_plugin", None)


def import_external_file(path, name="xalign_plugin"):
    """Import a plugin, its folder first in `sys.path`: by its bare name (4.5), or by another one (4.6)."""
    sys.path.insert(0, str(Path(path).parent))
    if name == "xalign_plugin":
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plugin_path():
    command = [sys.executable, "-m", "xalign.integrations.ms_swift"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


def test_it_prints_where_the_plugin_is():
    assert Path(plugin_path()) == PLUGIN


@pytest.mark.thorough
def test_twenty_steps_as_ms_swift_makes_its_trainer(swift):
    """The callback is made while the trainer is, and losses and weights are equal to the bit."""
    import_external_file(PLUGIN)
    trainer = make_trainer(evaluate=False, max_steps=20, folder="plain")
    trainer.train()
    arguments = COMMON | {"max_steps": 20}
    observed = make_trainer(
        evaluate=False, folder="with", callbacks=[swift["xalign"](arguments, None)], max_steps=20
    )
    observed.train()
    one, other = result_of(trainer), result_of(observed)
    assert one.rows == other.rows and len(one.rows) > 20
    assert all(one.weights[name].equal(other.weights[name]) for name in one.weights)
    rows = [row["step"] for row in observed.state.log_history if "eval_nasca_deu_Latn" in row]
    assert rows == [0, 10, 20]
    assert any(isinstance(one, AlignmentCallback) for one in observed.callback_handler.callbacks)


def test_it_registers_under_any_name_but_that_of_the_package(swift):
    import_external_file(PLUGIN, "_swift_external_0")
    assert list(swift) == ["xalign"]
    swift.clear()
    import_external_file(PLUGIN, "xalign.integrations.ms_swift.xalign_plugin")
    assert not swift


def test_its_folder_hides_no_other_package(swift):
    """ms-swift puts the plugin's folder first in `sys.path`: nothing else may be in it."""
    module = import_external_file(PLUGIN)
    assert {one.stem for one in Path(module.__file__).parent.glob("*.py")} == {
        "__init__",
        "__main__",
        "xalign_plugin",
    }


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"xalign": SECTION | {"evry": 1}}, ArgumentTypeError, r"no option 'evry', did you mean every\?"),
        (
            {"xalign": SECTION | {"align": {"pairs": "bundled"}}},
            ArgumentError,
            "align has no effect here: ms-swift",
        ),
        ({"xalgin": SECTION}, ArgumentError, "did you mean it by 'xalgin'"),
        (None, ArgumentError, "set XALIGN_CONFIG to a YAML file"),
    ],
)
def test_what_it_refuses_before_a_model_is_loaded(swift, monkeypatch, config, error, message):
    if config is None:
        monkeypatch.delenv("XALIGN_CONFIG")
    else:
        Path("xalign.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(error, match=message):
        import_external_file(PLUGIN)
    assert not swift


@pytest.mark.skipif(installed, reason="it is installed")
def test_without_it(swift, monkeypatch):
    monkeypatch.setitem(sys.modules, "swift", None)
    monkeypatch.delitem(sys.modules, "swift.callbacks")
    with pytest.raises(MissingExtraError, match="pip install ms-swift"):
        import_external_file(PLUGIN)
