"""Exports are written whole or not at all, and destroy nothing."""

import hashlib
import json
import os
import shutil
import signal
from functools import partial

import pytest
import torch
import transformers

from tests.exports.edited import make, units_at, vector_at
from tests.killed import KillsItself
from xalign import UnitSet
from xalign.errors import ArgumentError, ArgumentTypeError, UnitsError
from xalign.exports import FORMATS, Format, export, written
from xalign.exports.written import PROVENANCE

UNITS = units_at("inner")


def zeroed(path, **options):
    return UNITS.export("weights", path, make("llama"), operator="zero", **options)


def added(path, **options):
    return vector_at("1.hidden").export("lm-eval", path, make("llama"), **options)


def contents(folder):
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def test_the_provenance_says_where_it_comes_from(tmp_path):
    units = UnitSet(UNITS.rows, {"method": "expert_ap", "settings": {"share": 0.02}})
    units.export("weights", tmp_path / "edited", make("llama"), operator="scale", strength=0.5)
    said = json.loads((tmp_path / "edited" / PROVENANCE).read_text())
    assert said["kind"] == "xalign.Export" and said["format"] == "weights" and said["name"] == "deu_Latn"
    assert said["found_in"] == {"method": "expert_ap", "settings": {"share": 0.02}}
    assert said["edits"][0] == {"site": "0.inner", "operator": "scale", "strength": 0.5, "units": 4}
    assert 0 <= said["largest_difference"] < 1e-6
    assert said["versions"]["transformers"] == transformers.__version__
    files = contents(tmp_path / "edited")
    assert said["files"].keys() == files.keys() - {PROVENANCE}
    for name, digest in said["files"].items():
        assert hashlib.sha256(files[name]).hexdigest() == digest
    added(tmp_path / "steer.pt")
    beside = json.loads((tmp_path / "steer.pt.json").read_text())
    digest = hashlib.sha256((tmp_path / "steer.pt").read_bytes()).hexdigest()
    assert beside["files"] == {"steer.pt": digest}


def test_nothing_is_overwritten_unless_asked(tmp_path):
    zeroed(tmp_path / "edited")
    added(tmp_path / "steer.pt")
    before = contents(tmp_path)
    for again in (partial(zeroed, tmp_path / "edited"), partial(added, tmp_path / "steer.pt")):
        with pytest.raises(ArgumentError, match="exists; give another one, or overwrite=True"):
            again()
    assert contents(tmp_path) == before
    UNITS.export("weights", tmp_path / "edited", make("llama"), overwrite=True)
    vector_at("2.hidden").export("lm-eval", tmp_path / "steer.pt", make("llama"), overwrite=True)
    after = contents(tmp_path)
    assert after.keys() == before.keys()
    assert all(
        after[name] != before[name] for name in ("edited/model.safetensors", "steer.pt", "steer.pt.json")
    )


def test_overwriting_removes_only_what_an_export_wrote(tmp_path):
    """A checkpoint of someone else, notes beside an export, a file without a provenance."""
    make("llama").save_pretrained(tmp_path / "trained")
    zeroed(tmp_path / "edited")
    (tmp_path / "edited" / "notes").mkdir()
    (tmp_path / "edited" / "notes" / "mine.txt").write_text("mine")
    (tmp_path / "steer.pt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(ArgumentError, match=r"'.*trained' holds what no export wrote \(trained\)"):
        zeroed(tmp_path / "trained", overwrite=True)
    with pytest.raises(
        ArgumentError, match=r"holds what no export wrote \(notes/mine.txt\), which overwrite"
    ):
        zeroed(tmp_path / "edited", overwrite=True)
    with pytest.raises(ArgumentError, match=r"holds what no export wrote \(steer.pt\)"):
        added(tmp_path / "steer.pt", overwrite=True)
    assert contents(tmp_path) == before


def test_an_empty_folder_is_taken_and_folders_above_are_made(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    zeroed(tmp_path / "empty")
    assert (tmp_path / "empty" / "model.safetensors").exists()
    monkeypatch.chdir(tmp_path)
    assert added("runs/one/steer.pth").name == "steer.pth"
    assert sorted(os.listdir("runs/one")) == ["steer.pth", "steer.pth.json"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_breaks_off_leaves_what_was_there(overwrite, error, tmp_path, monkeypatch):
    if overwrite:
        zeroed(tmp_path / "edited")
    before = contents(tmp_path)
    model = make("llama")
    real = type(model).save_pretrained

    def torn(self, folder, **options):
        real(self, folder, **options)
        raise error

    monkeypatch.setattr(type(model), "save_pretrained", torn)
    with pytest.raises(UnitsError if isinstance(error, OSError) else KeyboardInterrupt) as told:
        UNITS.export("weights", tmp_path / "edited", model, overwrite=overwrite)
    assert isinstance(error, KeyboardInterrupt) or "cannot be written: No space left" in str(told.value)
    assert contents(tmp_path) == before
    assert sorted(os.listdir(tmp_path)) == (["edited"] if overwrite else [])
    assert model.config.mlp_bias is False and model.model.layers[0].mlp.down_proj.bias is None


def write_two(request, folder):
    folder.mkdir()
    for name in ("first", "second"):
        (folder / name).write_text(request.name)
    return {}


TWO = Format("two", write_two, needs_model=False)
MODEL = make("llama")


def killed_at(at, path, overwrite):
    """A process that exports, and kills itself when it moves or removes something for the `at`-th time."""
    process = os.fork()
    if process == 0:
        kills = KillsItself(at)
        for module, name in ((os, "replace"), (os, "unlink"), (shutil, "rmtree")):
            setattr(module, name, kills.moment(getattr(module, name)))
        try:
            export(UNITS, TWO, path, overwrite=overwrite)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_killed_export_is_there_whole_or_not_at_all(overwrite, tmp_path):
    """Only while one export takes the place of another is there a moment with neither."""
    ends, missing, at = [], 0, 0
    while not ends or ends[-1] != 0:
        at += 1
        folder = tmp_path / str(at)
        if overwrite:
            export(UNITS, TWO, folder / "it")
        ends.append(killed_at(at, folder / "it", overwrite))
        if (folder / "it").exists():
            held = contents(folder / "it")
            assert json.loads(held[PROVENANCE])["files"].keys() | {PROVENANCE} == held.keys()
            assert held.keys() == {"first", "second", PROVENANCE}
        else:
            missing += 1
        export(UNITS, TWO, folder / "other")  # sweeps what the killed one left
        assert set(os.listdir(folder)) - {"it"} == {"other"}
    assert ends.count(-signal.SIGKILL) == len(ends) - 1 >= 2
    assert not overwrite or missing == 1


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            {"format": "onnx"},
            ArgumentError,
            "format='onnx' must be one of peft, weights, gguf, lm-eval, or a F",
        ),
        ({"path": ""}, ArgumentTypeError, "path='' must name a folder"),
        ({"path": 3}, ArgumentTypeError, "path=3 must name a folder"),
        ({"format": "gguf", "path": "v.bin"}, ArgumentError, "path='v.bin' must end in .gguf"),
        ({"format": "lm-eval", "path": "v"}, ArgumentError, "path='v' must end in .pt or .pth"),
        ({"model": None}, ArgumentError, "model=None: format='peft' needs the model"),
        ({"tokenizer": "mine"}, ArgumentError, "tokenizer='mine' is not saved by format='peft'"),
        ({"overwrite": 1}, ArgumentTypeError, "overwrite=1 must be True or False"),
        ({"strength": float("nan")}, ArgumentError, "strength=nan must be finite"),
        ({"operator": "scale"}, ArgumentError, "operator='scale' needs a strength"),
        ({"operator": "clamp"}, ArgumentError, "operator='clamp' must be one of set, add"),
        ({"operator": lambda values, operand: values}, ArgumentError, "its is_linear is False"),
        (
            {"positions": "prompt"},
            ArgumentError,
            "positions='prompt' cannot be exported: .* calibrated there",
        ),
        ({"positions": torch.ones(2, 10, dtype=torch.bool)}, ArgumentError, "cannot be exported"),
        ({"what": 3}, ArgumentTypeError, "what must be a UnitSet, a LanguageVector or an Intervention"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_written(given, error, message, tmp_path):
    given = {"what": UNITS, "format": "peft", "path": "adapter", "model": MODEL} | given
    with pytest.raises(error, match=message):
        export(**given)
    assert not list(tmp_path.iterdir())


def test_a_provenance_that_json_cannot_hold_is_refused(tmp_path):
    units = UnitSet(UNITS.rows, {"settings": {"seen": {1, 2}}})
    with pytest.raises(UnitsError, match="the provenance holds what JSON cannot"):
        units.export("peft", tmp_path / "adapter", MODEL, operator="zero")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UnitsError, match="cannot be written"):
        zeroed(tmp_path / "file" / "edited")


def test_a_format_of_your_own(tmp_path, monkeypatch):
    def write(request, path):
        path.write_text("\n".join(map(str, request.edits)))
        return {"sites": len(request.edits)}

    sites = Format("sites", write, suffixes=(".txt",))
    assert export(UNITS, sites, tmp_path / "s.txt", MODEL).read_text() == "0.inner\n1.inner\n2.inner"
    assert json.loads((tmp_path / "s.txt.json").read_text())["sites"] == 3
    monkeypatch.setitem(FORMATS, "sites", sites)
    UNITS.export("sites", tmp_path / "again.txt", MODEL)
    nothing = Format("nothing", lambda request, path: {})
    with pytest.raises(ArgumentError, match="format='nothing' wrote no folder"):
        export(UNITS, nothing, tmp_path / "nothing", MODEL)
    for given in ({"name": "", "write": write}, {"name": "x", "write": 3}):
        with pytest.raises(ArgumentTypeError):
            Format(**given)
    assert written.provenance_path(tmp_path / "a", is_file=False).name == PROVENANCE
