"""The plugin of ms-swift, imported as ms-swift imports it; the rest of its interface stands in."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tests.monitor.training import COMMON, make_trainer, result_of
from tests.tiny import ROOT
from xalign import AlignmentCallback
from xalign.errors import ArgumentError, ArgumentTypeError, MissingExtraError
from xalign.integrations.ms_swift.__main__ import PLUGIN

SECTION = {"pairs": "bundled", "languages": ["deu"], "n": 20, "every": 10}


@pytest.fixture
def swift(monkeypatch):
    """`callbacks_map` of `swift.callbacks` (4.5.2): a name -> what is called with arguments and trainer."""
    for name in ("swift", "swift.callbacks"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["swift.callbacks"].callbacks_map = {}
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("xalign.yaml").write_text(yaml.safe_dump({"xalign": SECTION}))
    monkeypatch.setenv("XALIGN_CONFIG", "xalign.yaml")
    yield sys.modules["swift.callbacks"].callbacks_map
    sys.modules.pop("xalign_plugin", None)


def import_external_file(path):
    """Import a plugin: its folder first among those where modules are looked for, then by its bare name."""
    sys.path.insert(0, str(Path(path).parent))
    return importlib.import_module(Path(path).stem)


def plugin_path():
    command = [sys.executable, "-m", "xalign.integrations.ms_swift"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()


def test_it_prints_where_the_plugin_is():
    assert Path(plugin_path()) == PLUGIN


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


def test_without_it(swift, monkeypatch):
    monkeypatch.setitem(sys.modules, "swift", None)
    monkeypatch.delitem(sys.modules, "swift.callbacks")
    with pytest.raises(MissingExtraError, match="pip install ms-swift"):
        import_external_file(PLUGIN)
