"""LLaMA-Factory by its own command and by the launcher; without it, its interface stands in."""

import importlib.util
import json
import sys
from types import ModuleType

import pytest
import yaml

from tests.integrations.runs import STEPS, check_equal, command, save_world
from xalign import AlignmentCallback
from xalign.errors import ArgumentError, ArgumentTypeError, MissingExtraError
from xalign.integrations import llamafactory

installed = importlib.util.find_spec("llamafactory") is not None
SECTION = {"pairs": "bundled", "languages": ["deu"], "n": 20, "every": 10}


@pytest.mark.skipif(not installed, reason="LLaMA-Factory wants another transformers than constraints.txt")
@pytest.mark.filterwarnings("default")
def test_twenty_steps(tmp_path):
    save_world(tmp_path)
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps({"train": {"file_name": "train.json"}}))
    config = {
        "model_name_or_path": "model",
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "dataset": "train",
        "dataset_dir": "data",
        "template": "empty",
        "cutoff_len": 128,
        "max_steps": STEPS,
        "logging_steps": 1,
        "save_steps": STEPS,
        "learning_rate": 3e-3,
        "per_device_train_batch_size": 4,
        "output_dir": "plain",
        "report_to": "none",
        "disable_gradient_checkpointing": True,
    }
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config | {"xalign": SECTION}))
    command("-m", "llamafactory.cli", "train", "plain.yaml", cwd=tmp_path)
    command("-m", "xalign.integrations.llamafactory", "train.yaml", "output_dir=with", cwd=tmp_path)
    check_equal(tmp_path / "plain", tmp_path / "with")
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(config | {"xalign": SECTION | {"evry": 3}}))
    said = command("-m", "xalign.integrations.llamafactory", "wrong.yaml", cwd=tmp_path, fails=True)
    assert "no option 'evry', did you mean every?" in said and "Traceback" not in said


@pytest.fixture
def stand_in(monkeypatch):
    """What the launcher calls: `read_args` of its `hparams`, `run_exp` of its `train.tuner` (0.9.5)."""
    calls = []

    def read_args(args=None):
        return given

    def run_exp(args=None, callbacks=None):
        calls.append((args, callbacks))

    given = {"stage": "sft", "xalign": dict(SECTION)}
    for name, parts in {
        "llamafactory": {},
        "llamafactory.hparams": {"read_args": read_args},
        "llamafactory.train": {},
        "llamafactory.train.tuner": {"run_exp": run_exp},
    }.items():
        module = ModuleType(name)
        vars(module).update(parts)
        monkeypatch.setitem(sys.modules, name, module)
    return given, calls


def test_the_section_is_taken_out(stand_in):
    _, calls = stand_in
    llamafactory.run()
    ((args, (callback,)),) = calls
    assert args == {"stage": "sft"} and isinstance(callback, AlignmentCallback)


@pytest.mark.parametrize(
    ("section", "error", "message"),
    [
        ({"pairs": "bundled", "metrcs": ["nasca"]}, ArgumentTypeError, "did you mean metrics?"),
        (
            {"pairs": "bundled", "align": {"pairs": "bundled"}},
            ArgumentError,
            "align has no effect here: LLaMA",
        ),
        (None, ArgumentError, "the config has no section 'xalign'"),
    ],
)
def test_what_it_refuses(stand_in, section, error, message):
    given, calls = stand_in
    given["xalign"] = section
    with pytest.raises(error, match=message):
        llamafactory.run()
    assert not calls


def test_arguments_that_are_no_file(stand_in, monkeypatch):
    monkeypatch.setattr(sys.modules["llamafactory.hparams"], "read_args", lambda: ["--stage", "sft"])
    with pytest.raises(ArgumentError, match="give a .yaml or .json file"):
        llamafactory.run()


@pytest.mark.skipif(installed, reason="it is installed")
def test_without_it(tmp_path):
    with pytest.raises(MissingExtraError, match="pip install llamafactory"):
        llamafactory.run()
