"""Which checkpoints are whole: every moment of writing one is tried, file by file and byte by byte."""

import json
import os
import shutil
import time

import pytest

from tests.monitor.training import make_trainer
from tests.tiny import make_model, make_tokenizer
from xalign.monitor.checkpoint_folders import (
    SETTLED,
    ChangedError,
    CheckpointFolders,
    checkpoints_of,
    has_ended,
    has_whole_weights,
    unchanged,
)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model in shards and its tokenizer, as an export writes them."""
    folder = tmp_path_factory.mktemp("exported")
    make_model("llama").save_pretrained(folder, max_shard_size="60KB")
    make_tokenizer().save_pretrained(folder)
    assert len(list(folder.glob("*.safetensors"))) > 1
    return folder


def age(folder, seconds):
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - seconds,) * 2)


@pytest.mark.parametrize(
    ("name", "inside", "step"),
    [("global_step_40", "actor/huggingface", 40), ("global_step40_hf", "", 40), ("iter_0000040", "", 40)],
)
def test_names_of_other_trainers(exported, tmp_path, name, inside, step):
    shutil.copytree(exported, tmp_path / name / inside)
    age(tmp_path, 1000)
    assert checkpoints_of(tmp_path) == {step: tmp_path / name / inside}


def test_one_that_is_being_written_is_never_found(exported, tmp_path):
    """At no moment: after each file, and in the middle of each file."""
    place, clock = tmp_path / "global_step_5", Clock()
    find = CheckpointFolders(tmp_path, clock)
    place.mkdir()
    files = sorted(exported.iterdir(), key=lambda path: path.name != "tokenizer_config.json")[::-1]
    for source in files:
        data = source.read_bytes()
        for end in (0, 9, len(data) // 2, len(data)):
            (place / source.name).write_bytes(data[:end])
            clock.now += SETTLED / 2
            assert find() == {}, (source.name, end)
    assert has_whole_weights(place)
    clock.now += SETTLED
    assert find() == {5: place}
    (place / "late.json").write_text("{}")  # it is written to again
    assert find() == {}
    clock.now += SETTLED
    assert find() == {5: place}


@pytest.mark.parametrize("end", [0, 7, 20, -1])
def test_weights_that_are_cut_are_not_whole_however_long_ago(exported, tmp_path, end):
    place = tmp_path / "iter_7"
    shutil.copytree(exported, place)
    shard = max(place.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:end])
    age(tmp_path, 1000)
    assert checkpoints_of(tmp_path) == {}
    shard.unlink()  # a shard that the index names is not there yet
    assert not has_whole_weights(place) and checkpoints_of(tmp_path) == {}


def test_a_folder_without_weights_is_no_checkpoint(exported, tmp_path):
    """As verl writes it where it saves its own shards only: configuration and tokenizer."""
    place = tmp_path / "global_step_5" / "actor" / "huggingface"
    shutil.copytree(exported, place, ignore=shutil.ignore_patterns("*.safetensors*"))
    age(tmp_path, 1000)
    assert checkpoints_of(tmp_path) == {}


def test_the_end_of_a_run_is_in_its_last_checkpoint(tmp_path):
    trainer = make_trainer(evaluate=False, max_steps=2, folder=tmp_path / "run", save_steps=1)
    trainer.args.save_strategy = "steps"
    trainer.train()
    found = checkpoints_of(tmp_path / "run")
    assert sorted(found) == [1, 2]
    assert has_ended(found)
    del found[2]
    assert not has_ended(found)
    assert not has_ended({3: tmp_path})  # a trainer that leaves no word
    state = json.loads((found[1] / "trainer_state.json").read_text())
    state["stateful_callbacks"]["TrainerControl"]["args"]["should_training_stop"] = True  # stopped early
    (found[1] / "trainer_state.json").write_text(json.dumps(state))
    assert has_ended(found)
    for broken in ("", "[]", '{"max_steps": "a"}', '{"stateful_callbacks": []}'):
        (found[1] / "trainer_state.json").write_text(broken)
        assert not has_ended(found)


def test_what_changes_while_it_is_loaded_is_said(exported, tmp_path):
    place = tmp_path / "checkpoint-1"
    shutil.copytree(exported, place)
    with unchanged(place):
        pass
    with pytest.raises(KeyError), unchanged(place):
        raise KeyError
    with pytest.raises(ChangedError, match="was written to while"), unchanged(place):
        (place / "config.json").write_text("{}")
    with pytest.raises(ChangedError, match="was deleted before it was measured"), unchanged(place):
        shutil.rmtree(place)
    with pytest.raises(ChangedError, match="was deleted"), unchanged(place):  # before it began
        raise OSError("no such file")
