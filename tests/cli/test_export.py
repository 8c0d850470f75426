"""`xalign export`: what it writes, and one line per mistake."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.cli.typed import xalign
from tests.exports.edited import logits_of, units_at, vector_at
from tests.tiny import make_model
from xalign import UnitSet, steer


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Units of two languages, and a vector."""
    folder = tmp_path_factory.mktemp("found")
    rows = [(row.label, row.site, row.index, row.score, row.value) for row in units_at("inner")]
    UnitSet.from_rows([*rows, ("rus_Cyrl", "1.inner", 3, 1.0, 2.0)]).save_pretrained(folder / "units")
    vector_at("1.hidden").save_pretrained(folder / "vector")
    return folder


def test_a_checkpoint_with_its_tokenizer(model_folder, folders, tmp_path):
    done = xalign(
        *("export", model_folder, "--units", folders / "units", "--language", "deu", "--format", "weights"),
        *("--operator", "zero", "--out", tmp_path / "edited", "--json"),
    )
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["format"] == "weights"
    assert f"wrote {tmp_path / 'edited'}, an edited checkpoint for from_pretrained" in done.stderr
    model = make_model("llama")
    with steer(model, units_at("inner"), operator="zero"):
        hooked = logits_of(model)
    found = logits_of(AutoModelForCausalLM.from_pretrained(tmp_path / "edited"))
    assert torch.allclose(found, hooked, atol=5e-6)
    assert AutoTokenizer.from_pretrained(tmp_path / "edited")("It rains.")


def test_a_vector(model_folder, folders, tmp_path):
    arguments = ("export", model_folder, "--units", folders / "vector", "--format", "gguf")
    done = xalign(*arguments, "--out", tmp_path / "v.gguf", "--strength", 2)
    assert done.exit_code == 0, done.stderr
    assert f"wrote {tmp_path / 'v.gguf'}, a control vector of llama.cpp" in done.stdout
    again = xalign(*arguments, "--out", tmp_path / "v.gguf")
    assert again.exit_code == 2 and "exists; give another one, or --overwrite" in again.stderr
    assert xalign(*arguments, "--out", tmp_path / "v.gguf", "--overwrite").exit_code == 0


def test_the_help_names_every_format():
    shown = " ".join(xalign("export", "--help").stdout.split())
    for name in ("peft", "weights", "gguf", "lm-eval"):
        assert f"{name}: " in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "onnx"), "format='onnx' must be one of peft, weights, gguf, lm-eval"),
        (("--units", "nowhere"), "source='nowhere' is no folder"),
        (("--language", "fra"), "language='fra' is not in units="),
        ((), "holds several: deu_Latn, rus_Cyrl"),
        (("--language", "deu", "--operator", "clamp"), "operator='clamp' must be one of set, add"),
        (("--language", "deu", "--operator", "scale"), "operator='scale' needs a strength"),
        (
            ("--language", "deu", "--format", "gguf", "--out", "v.gguf"),
            "site 0.inner cannot be exported as 'gguf'",
        ),
        (("--language", "deu", "--format", "gguf"), "must end in .gguf"),
    ],
)
def test_mistakes_are_one_line(arguments, message, model_folder, folders, tmp_path):
    given = {"--units": folders / "units", "--format": "peft", "--out": tmp_path / "out"}
    given |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    done = xalign("export", model_folder, *(part for option in given.items() for part in option))
    assert done.exit_code == 2, done.stderr
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
