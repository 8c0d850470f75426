"""A warning names the user's line, whatever stands between that line and the place in xalign that warns."""

import contextlib
import functools
import threading
import types

import pytest
import torch

import xalign.steering
from tests.tiny import make_model, make_tokenizer
from xalign import ParallelPairs, Site, UnitSet, load_pairs, measure, steer
from xalign.model.write import Edit, write
from xalign.results.history import History
from xalign.warn import warn

SITE = Site("inner", 0)


def of_pairs(folder):
    (folder / "eng.txt").write_text("One.\nTwo.\n")
    (folder / "deu.txt").write_text("Eins.\nZwei.\n")
    (folder / "notes here.txt").write_text("x\n")
    load_pairs(folder, pivot="eng")


def of_pairs_of_each_two_sides(folder):
    (folder / "deu-eng").mkdir()
    for code in ("eng", "deu"):
        (folder / "deu-eng" / f"{code}.txt").write_text("One.\nTwo.\n")
    (folder / "deu-eng" / "notes here.txt").write_text("x\n")
    load_pairs(folder, pivot="eng")


def of_repeated_sentences(folder):
    ParallelPairs({"eng": ["One.", "One."], "deu": ["Eins.", "Zwei."]}, pivot="eng")


def of_repeated_sentences_in_a_file(folder):
    (folder / "pairs.tsv").write_text("eng\tdeu\nOne.\tEins.\nOne.\tZwei.\n")
    load_pairs(folder / "pairs.tsv", pivot="eng")


def of_equal_tokens(folder):
    model = make_model("llama", max_position_embeddings=8)
    same = "The same beginning of each of these"
    texts = {"eng": [f"{same} {n}" for n in ("dogs", "cats")], "deu": ["Eins.", "Zwei."]}
    measure(model, make_tokenizer(), ParallelPairs(texts, pivot="eng"), ["nasca"], truncate=True)


def of_a_torn_history(folder):
    (folder / "history.jsonl").write_bytes(b"\0" * 50)
    History(folder / "history.jsonl")


def of_a_torn_history_that_is_loaded(folder):
    (folder / "history.jsonl").write_bytes(b"\0" * 50)
    History.load(folder)


def generate_elsewhere(model):
    ids = torch.arange(4, 9)[None]
    with torch.no_grad():
        model(ids)
    other = threading.Thread(target=lambda: model.generate(ids, max_new_tokens=1, pad_token_id=0))
    other.start()
    other.join()


def of_a_write(folder):
    model = make_model("llama")
    with write(model, {SITE: Edit("add", 1.0)}):
        generate_elsewhere(model)


def of_steering(folder):
    """`steer` opens a write: the warning named `contextlib.py`."""
    model = make_model("llama")
    units = UnitSet.from_rows([("deu", SITE, 7, 1, 2.5)])
    with contextlib.ExitStack() as stack:
        stack.enter_context(steer(model, units))
        generate_elsewhere(model)


@pytest.mark.parametrize(
    "cause",
    [one for name, one in list(globals().items()) if name.startswith("of_")],
    ids=lambda one: one.__name__,
)
def test_the_users_line(cause, tmp_path):
    """Each site guessed how many frames stand between: some named xalign's own lines, or those of Python."""
    with pytest.warns(UserWarning) as caught:
        cause(tmp_path)
    lines = {line for _, _, line in cause.__code__.co_lines()}
    assert [(one.filename, one.lineno in lines) for one in caught] == [(__file__, True)], caught[0].message


def test_the_users_import():
    """Python does not count the frames of the import system, and the importer's caller was named."""
    xalign.steering.__dict__.pop("find_units", None)  # where another test has used it
    with pytest.warns(DeprecationWarning, match=r"xalign\.steering\.find_units") as caught:
        exec(compile("from xalign.steering import find_units", "user.py", "exec"), {"__name__": "user"})
    assert [one.filename for one in caught] == ["user.py"]


@pytest.mark.parametrize(
    ("between", "named"),
    [
        (["xalign.monitor.monitor"], "user"),
        (["xalign.monitor.monitor", "contextlib", "xalign"], "user"),
        (["importlib._bootstrap", "xalign.renamed"], "user"),
        (["transformers.trainer", "xalign.monitor.callback"], "transformers.trainer"),
        (
            ["xalign.training.trainer", "transformers.trainer", "xalign.monitor.callback"],
            "transformers.trainer",
        ),
        (["xalign_of_another", "xalign.warn"], "xalign_of_another"),
    ],
)
def test_the_first_frame_outside(between, named):
    """The modules of a stack, from the user's to the one that warns."""
    call = functools.partial(warn, "so")
    for name in [*reversed(between)]:
        call = in_module(name, call)
    call = in_module("user", call)
    with pytest.warns(UserWarning, match="so") as caught:
        call()
    assert caught[0].filename == f"{named}.py"


def in_module(name, call):
    """A function of a module of that name, which calls another function."""
    module = types.ModuleType(name)
    module.call = call
    exec(compile("def here():\n    call()\n", f"{name}.py", "exec"), vars(module))
    return module.here
