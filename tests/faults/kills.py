"""Runs that are killed at a random moment and resumed: `python kills.py FOLDER KILLS [KIND …]`.

One process imports everything once and forks a child for each run, so that a kill costs only the training.
The moments are drawn uniformly over the time that an unbroken run takes. What a resumed run left is compared
with what the unbroken one left: history, weights, best checkpoint. Prints a line of JSON per kind.
"""

import json
import os
import random
import runpy
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
os.environ |= {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "CI": "1",
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "200",
}

import accelerate  # noqa: F401
import torch
import trl  # noqa: F401
from safetensors.torch import load_file
from tqdm import tqdm

import xalign
import xalign.cli.app as cli
from tests.monitor.training import make_trainer
from tests.tiny import ROOT, make_model, make_tokenizer
from xalign import AlignmentCallback, load_pairs
from xalign.results.history import History

torch.set_num_threads(1)
tqdm.set_lock(threading.RLock())  # its own is shared by all children: one that is killed would keep it
warnings.simplefilter("ignore")
STEPS = 12


def train(folder, every=None, keep_best=None, save_steps=3, limit=2):
    """A trainer's run, resumed from its last checkpoint where there is one."""
    saving = {"save_strategy": "steps", "save_steps": save_steps, "save_total_limit": limit}
    trainer = make_trainer(evaluate=False, max_steps=STEPS, folder=str(folder / "run"), **saving)
    if every is not None:
        pairs = load_pairs("bundled", ["deu_Latn"], n=8)
        metrics = ("nasca", "margin")
        trainer.add_callback(
            AlignmentCallback(trainer, pairs, every=every, metrics=metrics, keep_best=keep_best)
        )
    states = (folder / "run").glob("checkpoint-*/trainer_state.json")
    last = max((path.parent for path in states), key=lambda path: int(path.name[11:]), default=None)
    # transformers would train one more step from the checkpoint of the last one.
    if last is None or last.name != f"checkpoint-{STEPS}":
        trainer.train(resume_from_checkpoint=None if last is None else str(last))


def track(folder, *options):
    """`xalign track` on the run's folder, which is there before."""
    (folder / "run").mkdir(exist_ok=True)
    same = ("--pairs", "bundled", "--languages", "deu_Latn", "--n", "8", "--metrics", "nasca,margin")
    sys.argv = ["xalign", "track", str(folder / "run"), *same, *options]
    cli.main()


def recipe(name, *options):
    def run(folder):
        arguments = ("--output_dir", folder / "run", "--model", folder.parent / "model", "--every", 2)
        script = ROOT / "recipes" / f"{name}.py"
        sys.argv = [str(script), *map(str, (*arguments, *options))]
        xalign.load_pairs = lambda name: load_pairs(name, ["deu_Latn"], n=24)  # a recipe measures much more
        runpy.run_path(str(script), run_name="__main__")

    return run


def child(function, *arguments):
    """Run a function in a child process; return its id."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        with open(os.path.join(arguments[0], "log.txt"), "a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        function(*arguments)
        status = 0
    except SystemExit as ended:
        status = int(bool(ended.code))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def alone(function):
    """A kind of run in one process, which is killed at a moment and started again, or runs through."""

    def run(folder, moment):
        pid = child(function, folder)
        if moment is None:
            return wait(pid) == 0
        time.sleep(moment)
        os.kill(pid, signal.SIGKILL)
        was_killed = wait(pid) == -signal.SIGKILL
        return was_killed and wait(child(function, folder)) == 0

    return run


def beside(function):
    """A run and `xalign track --follow` beside it, one of which is killed and started again."""
    follow = ("--follow", "--poll", "0.1")

    def run(folder, moment):
        pids = {"run": child(function, folder), "track": child(track, folder, *follow)}
        again = {"run": (function, folder), "track": (track, folder, *follow)}
        fine = True
        if moment is not None:
            victim = random.choice(list(pids))
            time.sleep(moment)
            os.kill(pids[victim], signal.SIGKILL)
            fine = wait(pids[victim]) == -signal.SIGKILL
            pids[victim] = child(*again[victim])
        fine = wait(pids["run"]) == 0 and fine
        os.kill(pids["track"], signal.SIGKILL)  # it follows for ever
        fine = wait(pids["track"]) == -signal.SIGKILL and fine
        return wait(child(track, folder)) == 0 and fine

    return run


KINDS = {
    "callback": alone(lambda folder: train(folder, every=2)),
    "keep_best": alone(lambda folder: train(folder, every=2, keep_best="margin", save_steps=5)),
    "track": beside(lambda folder: train(folder, every=4, limit=None)),
    "plain_loop": alone(recipe("monitor_plain_loop", "--steps", STEPS, "--batch_size", 2)),
    "accelerate": alone(recipe("monitor_accelerate", "--steps", STEPS, "--cpu")),
}


def left_by(folder):
    """What a run left: the numbers of its history, its last weights, its best step, value and weights."""
    run = folder / "run"
    checkpoints = sorted(run.glob("checkpoint-*[0-9]"), key=lambda path: int(path.name[11:]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = History.load(run)
    found = {
        "history": [{key: one[key] for key in ("step", "settings", "metrics")} for one in history.entries],
        "checkpoints": [path.name for path in checkpoints],
        "weights": load_file(checkpoints[-1] / "model.safetensors"),
        "reports": [(step, getattr(history.report(step), "step", None)) for step in history.steps],
    }
    state = checkpoints[-1] / "trainer_state.json"
    if state.exists() and (best := json.loads(state.read_text())["best_model_checkpoint"]) is not None:
        found["best"] = (Path(best).name, json.loads(state.read_text())["best_metric"])
        found["best weights"] = load_file(run / Path(best).name / "model.safetensors")
    return found


def equal(one, other):
    if isinstance(one, dict) and all(isinstance(value, torch.Tensor) for value in one.values()):
        return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    return one == other


def differences(folder, whole):
    """What of a run differs from the unbroken one, in words."""
    try:
        found = left_by(folder)
    except Exception as error:  # whatever a broken run leaves
        return [f"{type(error).__name__}: {error}"]
    return [key for key in whole.keys() | found.keys() if not equal(whole.get(key), found.get(key))]


def campaign(kind, kills, top):
    """Kill and resume so many runs; return how many were killed, and what went wrong."""
    random.seed(kind)
    (top / "whole").mkdir(parents=True)
    make_model("llama", attention_dropout=0.2).save_pretrained(top / "model")
    make_tokenizer().save_pretrained(top / "model")
    started = time.monotonic()
    assert KINDS[kind](top / "whole", None), (top / "whole" / "log.txt").read_text()[-3000:]
    took = time.monotonic() - started
    whole = left_by(top / "whole")
    wrong, early, killed = [], 0, 0
    while killed < kills and early <= 2 * kills + 10:
        folder = top / f"{killed + early}"
        folder.mkdir()
        moment = random.uniform(0, took)
        fine = KINDS[kind](folder, moment)
        if not fine and "Traceback" not in (folder / "log.txt").read_text():
            early += 1  # it had ended by itself before the moment came
            continue
        killed += 1
        found = differences(folder, whole)
        if not fine or found:
            wrong.append({"run": folder.name, "at": round(moment / took, 3), "fine": fine, "differs": found})
    return {
        "kind": kind,
        "killed": killed,
        "ended before": early,
        "seconds of a whole run": round(took, 2),
        "steps": [entry["step"] for entry in whole["history"]],
        "best": whole.get("best"),
        "wrong": wrong,
    }


if __name__ == "__main__":
    for kind in sys.argv[3:] or KINDS:
        print(json.dumps(campaign(kind, int(sys.argv[2]), Path(sys.argv[1], kind))))
