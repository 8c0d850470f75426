"""With `push_to_hub=True` no sentence is uploaded unless `log_text=True`."""

import errno
import json
import shutil
from collections import defaultdict
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS
from hypothesis import given
from hypothesis import strategies as st
from transformers import TrainerCallback

from tests.monitor.training import make_trainer
from tests.quick import one_in
from xalign import AlignmentCallback, AlignmentReport, ParallelPairs, measure
from xalign.errors import ArgumentTypeError, ReportError
from xalign.files import temporary_name
from xalign.monitor.track import track
from xalign.results.history import History
from xalign.results.run_folder import PRIVATE, PUBLIC, make_private, run_folder

N = 5
ENGLISH = [f"Secret number {row} lies under the lantern {row * 7919}." for row in range(N)]
GERMAN = [f"Das Geheimnis {row} liegt unter der Laterne {row * 7919}." for row in range(N)]
IDS = [f"patient-{row}-{row * 7727}" for row in range(N)]
# Parts of sentences too: a table may cut them. No numbers alone, which a float may have among its digits.
SECRETS = [*IDS, "patient-", "Secret", "Geheimnis", "lantern", "Laterne"]
PAIRS = ParallelPairs(texts={"eng_Latn": ENGLISH, "deu_Latn": GERMAN}, ids=IDS)
CHANGES = {"evaluate": False, "max_steps": 3, "save_strategy": "steps", "save_steps": 1}


class Hub:
    """What would be sent, by path; nothing leaves the machine."""

    def __init__(self, monkeypatch):
        self.sent = defaultdict(list)
        monkeypatch.setattr(huggingface_hub.HfApi, "_validate_yaml", lambda api, content, **options: None)
        # A function, so that it is bound to the client whose own rules say which files are sent.
        monkeypatch.setattr(
            huggingface_hub.HfApi, "upload_folder", lambda api, **given: self._take(api, **given)
        )
        monkeypatch.setattr(
            huggingface_hub.HfApi,
            "create_repo",
            lambda api, repo, **options: SimpleNamespace(repo_id=f"me/{repo}"),
        )

    def _take(self, api, folder_path, path_in_repo="", ignore_patterns=None, run_as_future=False, **options):
        ignored = [*DEFAULT_IGNORE_PATTERNS, *(ignore_patterns or ())]
        for operation in api._prepare_upload_folder_additions(
            folder_path, path_in_repo, ignore_patterns=ignored
        ):
            with operation.as_file() as file:
                self.sent[operation.path_in_repo].append(file.read())
        done = Future()
        done.set_result(SimpleNamespace(commit_url=""))
        return done if run_as_future else done.result()

    def holding(self, secrets=SECRETS):
        """Which paths hold one of the secrets, in any usual encoding."""
        found = set()
        for path, versions in self.sent.items():
            for data in versions:
                for secret in secrets:
                    spellings = (
                        secret.encode(),
                        secret.encode("utf-16-le"),
                        json.dumps(secret)[1:-1].encode(),
                    )
                    if any(spelling in data for spelling in spellings):
                        found.add(path)
        return found


@pytest.fixture
def hub(monkeypatch):
    return Hub(monkeypatch)


def trained(folder="run", push=True, resume=None, trainer_options=(), **options):
    changes = (
        CHANGES | ({"push_to_hub": True, "hub_always_push": True} if push else {}) | dict(trainer_options)
    )
    trainer = make_trainer(folder=folder, **changes)
    callback = AlignmentCallback(trainer, PAIRS, every=1, heatmap_every=1, **options)
    trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=resume)
    if push:
        trainer._finish_current_push()
    return trainer, callback


@pytest.mark.thorough
@pytest.mark.parametrize("strategy", ["every_save", "checkpoint", "all_checkpoints", "end"])
@pytest.mark.filterwarnings("ignore:tracker 'tensorboard' failed")
def test_nothing_that_is_sent_holds_a_sentence(strategy, hub, monkeypatch):
    """Reports under `alignment/` were uploaded with all their sentences."""
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "run/board")
    trainer, _ = trained(
        trainer_options={"hub_strategy": strategy, "report_to": "tensorboard"}, keep_best="nasca"
    )
    trainer.push_to_hub()
    assert any(path.endswith("config.json") for path in hub.sent)
    assert not hub.holding()
    # The reports are there all the same, and are found.
    assert History.load("run").steps == [0, 1, 2, 3]
    assert AlignmentReport.load(f"run/{PRIVATE}/step-00000003").pairs["deu_Latn"].sentences == tuple(GERMAN)
    assert not Path("run", PUBLIC).exists()


def test_the_text_is_sent_where_it_may_be(hub):
    """The test above would find sentences."""
    trained(log_text=True)
    assert {f"{PUBLIC}/step-00000001/report.json"} <= hub.holding()
    assert f"{PUBLIC}/history.jsonl" in hub.sent and f"{PUBLIC}/history.jsonl" not in hub.holding()


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:what was in")
def test_reports_of_an_earlier_run_are_not_sent_either(hub):
    """A run without `push_to_hub` that was resumed with it sent the reports that lay there."""
    trained(push=False, trainer_options={"max_steps": 2})
    assert Path("run", PUBLIC, "step-00000002").is_dir()
    _, callback = trained(resume="run/checkpoint-2")
    assert not hub.holding() and hub.sent
    assert callback.history.steps == History.load("run").steps == [0, 1, 2, 3]
    assert AlignmentReport.load(f"run/{PRIVATE}/step-00000001").step == 1
    # And back: the run goes on where its history is.
    _, callback = trained(push=False, resume="run/checkpoint-3", trainer_options={"max_steps": 4})
    assert callback.history.steps == History.load("run").steps == [0, 1, 2, 3, 4]


def test_an_upload_by_hand_sends_no_sentence(hub):
    """`trainer.push_to_hub()` after a run without `push_to_hub=True` sent them."""
    trainer, callback = trained(push=False)
    with pytest.warns(UserWarning, match="what was in run/alignment is in run/_alignment now"):
        trainer.push_to_hub()
    assert hub.sent and not hub.holding()
    assert callback.history.steps == History.load("run").steps == [0, 1, 2, 3]
    trainer.push_to_hub()  # again, with nothing left to move


@pytest.mark.filterwarnings("ignore:what was in", "ignore:You are adding a")
def test_of_two_callbacks_each_has_its_own_rule(hub):
    """What one callback may send says nothing of the other's sentences."""
    trainer = make_trainer(**CHANGES | {"push_to_hub": True, "hub_always_push": True})
    shown = ParallelPairs(
        texts={"eng_Latn": ["open one", "open two"], "deu_Latn": ["offen eins", "offen zwei"]}
    )
    for pairs, options in ((shown, {"log_text": True, "name": "shown"}), (PAIRS, {})):
        trainer.add_callback(AlignmentCallback(trainer, pairs, every=1, **options))
    trainer.train()
    trainer.push_to_hub()
    assert not hub.holding()
    assert hub.holding(["offen zwei"])
    assert History.load("run/alignment/shown").steps == [0, 1, 2, 3]


SHOWN = ParallelPairs(texts={"eng_Latn": ["open one", "open two"], "deu_Latn": ["offen eins", "offen zwei"]})
ELSEWHERE = {
    "a run inside": lambda: trained(folder="run/stage1", push=False),
    "a private run inside": lambda: trained(folder="run/stage1"),
    "a run deep inside": lambda: trained(folder="run/a/_b/c", push=False),
    "a run in a checkpoint": lambda: trained(folder="run/checkpoint-1", push=False),
    "a copy": lambda: shutil.copytree(trained(folder="other", push=False) and "other/alignment", "run/copy"),
    "saved by hand": lambda: saved("run/before"),
    "saved beside the weights": lambda: saved("run"),
    "tracked": lambda: saved("run/tracked", track_it=True),
    "half written": lambda: half_written("run/x"),
}


def saved(folder, track_it=False):
    trainer = make_trainer(folder="other", **CHANGES)
    load = (trainer.model, trainer.processing_class)
    if track_it:
        track(lambda: {1: "it"}, lambda checkpoint: load, folder, PAIRS)
    else:
        measure(*load, PAIRS, step=1).save(folder)


def half_written(folder):
    saved(folder)
    Path(folder, "report.json").rename(Path(folder, temporary_name()))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("place", "log_text"),
    one_in(2, [*((place, False) for place in ELSEWHERE), ("tracked", True), ("half written", True)]),
)
@pytest.mark.filterwarnings("ignore:what was in")
def test_reports_elsewhere_in_the_folder_are_not_sent(place, log_text, hub):
    """Only `run/alignment` was looked at: an earlier stage in `run/stage1` was sent with its sentences."""
    ELSEWHERE[place]()
    hub.sent.clear()
    there = {
        one.read_bytes()
        for one in Path("run").rglob("*")
        if one.is_file() and b"AlignmentR" in one.read_bytes()
    }
    assert there
    trainer = make_trainer(
        folder="run",
        **CHANGES | {"push_to_hub": True, "hub_always_push": True, "hub_strategy": "all_checkpoints"},
    )
    with pytest.warns(UserWarning, match=r"the reports of run.* are in run/_alignment/earlier-1 now"):
        trainer.add_callback(AlignmentCallback(trainer, SHOWN, every=1, log_text=log_text))
        trainer.train()
        trainer._finish_current_push()
        trainer.push_to_hub()
    assert hub.sent and not hub.holding()
    assert bool(hub.holding(["offen zwei"])) == log_text
    assert there <= {one.read_bytes() for one in Path("run/_alignment").rglob("*") if one.is_file()}
    for report in Path("run/_alignment/earlier-1").rglob("report.json"):
        assert AlignmentReport.load(report.parent).pairs["deu_Latn"].sentences == tuple(GERMAN)
    assert Path("run/config.json").exists()


def test_a_report_of_another_program_stays(hub):
    """Only files of xalign are moved."""
    Path("run/other").mkdir(parents=True)
    Path("run/other/report.json").write_text('{"kind": "mine"}')
    trained()
    assert hub.sent["other/report.json"] == [b'{"kind": "mine"}'] * len(hub.sent["other/report.json"])


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["secret", ""])
@pytest.mark.filterwarnings(
    "ignore:what was in", "ignore:the reports of", "ignore:.*held the measurements of"
)
def test_an_earlier_callback_is_not_open(name, hub):
    """Where all callbacks of a run had `log_text`, what an earlier, private one had kept was sent."""
    trained(push=False, name=name)
    for later in ("shown", name):
        trainer = make_trainer(folder="run", **CHANGES | {"push_to_hub": True, "hub_always_push": True})
        trainer.add_callback(AlignmentCallback(trainer, SHOWN, every=1, log_text=True, name=later))
        trainer.train()
        trainer._finish_current_push()
        trainer.push_to_hub()
        assert not hub.holding()
        assert hub.holding(["offen zwei"]) == {path for path in hub.sent if path.endswith("report.json")}
    assert [path.read_text() for path in Path("run/_alignment").rglob("report.json")]


def test_a_file_in_the_way_is_told_before_the_run(hub):
    Path("run").mkdir()
    Path("run", PRIVATE).write_text("a file")
    Path("run", PUBLIC).mkdir()
    Path("run", PUBLIC, "history.jsonl").write_text("")
    with pytest.raises(Exception, match=f"cannot be moved out of the upload.*{PRIVATE}|log_text=True"):
        trained()
    with pytest.raises(ArgumentTypeError, match="log_text='no' must be True or False"):
        trained(log_text="no")


def fail(monkeypatch, owner, name, applies):
    """Have calls of a function to the file system fail where they apply to some path."""
    original = getattr(owner, name)

    def failing(path, *args, **kwargs):
        if applies(Path(path)):
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(path, *args, **kwargs)

    monkeypatch.setattr(owner, name, failing)


def is_kept(path):
    return path.name in (PUBLIC, "history.jsonl", "report.json") or path.name.startswith("step-")


HARMS = {
    "a file in the way": lambda monkeypatch: Path("run", PRIVATE).write_text("a file"),
    "no folder can be made": lambda monkeypatch: fail(
        monkeypatch, Path, "mkdir", lambda path: path.name == PRIVATE
    ),
    "nothing can be renamed": lambda monkeypatch: fail(monkeypatch, Path, "rename", is_kept),
    "nor unlinked": lambda monkeypatch: (
        fail(monkeypatch, Path, "rename", is_kept),
        fail(monkeypatch, Path, "unlink", lambda path: PUBLIC in path.parts),
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("by_hand", "shown", "nested"),
    [(False, False, False), (True, True, True)],
    ids=["at a checkpoint", "by hand, one log_text, a run inside"],
)
@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.filterwarnings("ignore:.*training goes on", "ignore:You are adding a")
@pytest.mark.filterwarnings("ignore:reports that are not in")  # said at the end, and in `callback.missing`
def test_sentences_that_cannot_be_moved_are_not_sent(harm, by_hand, shown, nested, hub, monkeypatch):
    """While a run trained, a move that failed was warned about, and the upload sent the sentences."""
    if nested:
        saved(f"run/stage/{PUBLIC}/step-1")
    trainer = make_trainer(**CHANGES | {"max_steps": 4})
    callback = AlignmentCallback(trainer, PAIRS, every=1)
    trainer.add_callback(callback)
    if shown:
        open_pairs = ParallelPairs(
            texts={"eng_Latn": ["open one", "open two"], "deu_Latn": ["offen eins", "offen zwei"]}
        )
        trainer.add_callback(AlignmentCallback(trainer, open_pairs, every=1, log_text=True, name="shown"))

    class Push(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                HARMS[harm](monkeypatch)
                trainer.init_hf_repo()
                args.push_to_hub = not by_hand
                if by_hand:
                    trainer.push_to_hub()

    trainer.add_callback(Push())
    with pytest.warns(UserWarning, match="cannot be moved out of the upload.*goes on in run/_alignment"):
        trainer.train()
    assert trainer.state.global_step == 4
    assert hub.sent and not hub.holding()
    assert not shown or hub.holding(["offen zwei"])
    assert [report.step for report in callback.reports] == [0, 1, 2, 3, 4]
    if "nothing" in harm or "nor" in harm:  # what was there is deleted, and the history written anew
        assert History.load(f"run/{PRIVATE}").steps == [0, 1, 2, 3, 4] and not callback.missing
    else:  # what was there has another name, and the rest waits in memory
        assert callback.missing == {"history": [3, 4], "reports": [3, 4]}
        found = [AlignmentReport.load(path.parent).step for path in Path("run").glob("_*/**/report.json")]
        assert {0, 1, 2} <= set(found)


def test_sentences_that_can_in_no_way_be_kept_back_end_the_run(hub, monkeypatch):
    """Nothing but the end of the run, whose checkpoint is saved by then, keeps back such an upload."""
    trainer = make_trainer(**CHANGES)
    trainer.add_callback(AlignmentCallback(trainer, PAIRS, every=1))

    class Push(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                for name in ("rename", "unlink", "write_bytes"):
                    fail(monkeypatch, Path, name, lambda path: PUBLIC in path.parts)
                trainer.init_hf_repo()
                args.push_to_hub = True

    trainer.add_callback(Push())
    with pytest.raises(
        ReportError, match="cannot be moved out of the upload .*, nor be deleted .*the run ends here"
    ):
        trainer.train()
    assert not hub.sent and Path("run/checkpoint-2/trainer_state.json").exists()


def test_a_linked_folder_is_moved(hub):
    """A link in the place of `alignment` raised an error after everything was moved."""
    Path("run").mkdir()
    Path("elsewhere").mkdir()
    Path("run", PUBLIC).symlink_to(Path("elsewhere").absolute())
    trainer, callback = trained(push=False)
    with pytest.warns(UserWarning, match="what was in run/alignment is in run/_alignment now"):
        trainer.push_to_hub()
    assert hub.sent and not hub.holding()
    assert not Path("run", PUBLIC).is_symlink() and Path("elsewhere").is_dir()
    assert callback.history.steps == History.load("run").steps == [0, 1, 2, 3]


@given(
    st.dictionaries(
        st.sampled_from(["history.jsonl", "step-1", "step-2", "earlier-1", "news"]), st.booleans()
    )
)
def test_nothing_is_lost_or_left_by_a_move(entries):
    """Whatever is in one folder, the other or both, everything is there afterwards, in the private one."""
    import tempfile

    with tempfile.TemporaryDirectory() as run:
        contents = set()
        for name, in_both in entries.items():
            for folder in (PUBLIC, PRIVATE) if in_both else (PUBLIC,):
                path = Path(run, folder, name)
                path.mkdir(parents=True)
                (path / "content").write_text(f"{folder} {name}")
                contents.add(f"{folder} {name}")
        assert make_private(run, lambda entry: False) == bool(entries)
        assert {path.read_text() for path in Path(run, PRIVATE).rglob("content")} == contents
        assert not list(Path(run, PUBLIC).rglob("content"))
        assert run_folder(run).name == (PRIVATE if entries else PUBLIC)
