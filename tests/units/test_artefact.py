"""Units on disk: what was saved comes back, and nothing else does."""

import json
import os
import random

import pytest
import torch

import xalign.storage as storage
from xalign.errors import ArgumentTypeError, UnitsError, XAlignError
from xalign.units.unit_set import UnitSet

ROWS = [
    (f"{language}_Latn", f"{layer}.inner", index, 1 / (index + 1), index - 3.5)
    for language in ("deu", "spa")
    for layer in range(3)
    for index in range(0, 40, 7)
]
PROVENANCE = {"model": "babel/aligned", "shape": {"n_layers": 6}, "method": "expert_ap", "share": 0.02}
UNITS = UnitSet.from_rows(ROWS, PROVENANCE)


def test_what_was_saved_comes_back(tmp_path):
    UNITS.save_pretrained(tmp_path / "units")
    loaded = UnitSet.from_pretrained(tmp_path / "units")
    assert loaded == UNITS
    assert loaded.provenance == PROVENANCE
    card = (tmp_path / "units" / "README.md").read_text(encoding="utf-8")
    assert "library_name: xalign" in card
    assert "| deu_Latn | 1.inner | 6 |" in card
    assert "- method: `expert_ap`" in card
    assert {path.suffix for path in (tmp_path / "units").iterdir()} == {".json", ".md", ".safetensors"}


def test_saving_again_replaces(tmp_path):
    UNITS.save_pretrained(tmp_path)
    UNITS["deu_Latn"].save_pretrained(tmp_path)
    assert UnitSet.from_pretrained(tmp_path) == UNITS["deu_Latn"]
    assert len(list(tmp_path.iterdir())) == 3
    UNITS["deu_Latn"].save_pretrained(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    empty = UnitSet.from_rows([])
    empty.save_pretrained(tmp_path)
    assert UnitSet.from_pretrained(tmp_path) == empty


@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_interruption_leaves_the_old_set_or_the_new(tmp_path, monkeypatch, at):
    UNITS.save_pretrained(tmp_path)
    move, moved = os.replace, []

    def breaking(source, target):
        if len(moved) == at:
            raise KeyboardInterrupt
        moved.append(target)
        move(source, target)

    monkeypatch.setattr(os, "replace", breaking)
    with pytest.raises(KeyboardInterrupt):
        UNITS["spa_Latn"].save_pretrained(tmp_path)
    assert UnitSet.from_pretrained(tmp_path) == (UNITS if at < 2 else UNITS["spa_Latn"])


def mutations(data, count, seed):
    """Bytes flipped, cut out, put in, and cut short, at random places."""
    order = random.Random(seed)
    for _ in range(count):
        at, kind = order.randrange(len(data)), order.randrange(4)
        if kind == 0:
            yield data[:at] + bytes([data[at] ^ (1 << order.randrange(8))]) + data[at + 1 :]
        elif kind == 1:
            yield data[:at] + data[at + 1 + order.randrange(30) :]
        elif kind == 2:
            yield data[:at] + order.randbytes(1 + order.randrange(8)) + data[at:]
        else:
            yield data[:at]


@pytest.mark.parametrize(("pattern", "seed"), [("xalign.json", 0), ("values-*.safetensors", 1)])
def test_a_changed_file_is_refused(tmp_path, pattern, seed):
    UNITS.save_pretrained(tmp_path)
    (path,) = tmp_path.glob(pattern)
    whole = path.read_bytes()
    refused = 0
    for changed in mutations(whole, 500, seed):
        path.write_bytes(changed)
        try:
            assert UnitSet.from_pretrained(tmp_path) == UNITS  # white space, at most
        except XAlignError:
            refused += 1
    assert refused > 450


def test_a_file_made_by_hand_is_checked_too(tmp_path):
    """The checksum does not replace the checks of what it sums."""
    UNITS.save_pretrained(tmp_path)
    good = json.loads((tmp_path / "xalign.json").read_text())
    del good["sha256"]
    for change in (
        {"labels": []},
        {"labels": 5},
        {"sites": ["nowhere"]},
        {"sites": [["0.inner"], 1, None]},
        {"provenance": 3},
        {"values": {}},
        {"values": {"file": "../../etc/passwd", "sha256": ""}},
        {"kind": "xalign.LanguageVector"},
        {"schema_version": 2},
    ):
        body = good | change
        text = json.dumps(body | {"sha256": storage._digest(body)})
        (tmp_path / "xalign.json").write_text(text)
        with pytest.raises(UnitsError):
            UnitSet.from_pretrained(tmp_path)


def test_a_page_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(UnitsError, match="has a README.md of something else"):
        UNITS.save_pretrained(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("README.md", "mine")]


def test_what_is_not_there(tmp_path):
    with pytest.raises(UnitsError, match="holds no xalign.json"):
        UnitSet.from_pretrained(tmp_path)
    UNITS.save_pretrained(tmp_path)
    next(tmp_path.glob("values-*")).unlink()
    with pytest.raises(UnitsError, match="holds no values-"):
        UnitSet.from_pretrained(tmp_path)
    with pytest.raises(UnitsError, match="is no folder, and not to be had from the Hub"):
        UnitSet.from_pretrained("someone/units")
    with pytest.raises(UnitsError, match="is no folder, and not to be had from the Hub"):
        UnitSet.from_pretrained("no such / name")
    with pytest.raises(UnitsError, match="is no folder, and not to be had from the Hub"):
        UnitSet.from_pretrained("a\0b")
    with pytest.raises(ArgumentTypeError, match="source must be a folder or a Hub id"):
        UnitSet.from_pretrained(None)
    (tmp_path / "file").touch()
    with pytest.raises(UnitsError, match="cannot be written"):
        UNITS.save_pretrained(tmp_path / "file")
    with pytest.raises(UnitsError, match="provenance holds what JSON cannot"):
        UnitSet.from_rows(ROWS, {"model": torch.nn.Linear(1, 1)}).save_pretrained(tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_through_the_hub(tmp_path, monkeypatch):
    """What is uploaded is what a download reads; the Hub itself is played by a folder."""
    import huggingface_hub

    hub = tmp_path / "hub"

    class Api:
        def __init__(self, token=None):
            assert token == "secret"

        def create_repo(self, repo_id, private, exist_ok):
            assert exist_ok
            (hub / repo_id).mkdir(parents=True)

        def upload_folder(self, repo_id, folder_path, commit_message):
            UnitSet.from_pretrained(folder_path).save_pretrained(hub / repo_id)
            return "https://hub/commit/1"

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo_id, revision: str(hub / repo_id))
    assert UNITS.push_to_hub("someone/units", private=True, token="secret") == "https://hub/commit/1"
    assert UnitSet.from_pretrained("someone/units") == UNITS
