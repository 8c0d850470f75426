"""Names of callbacks collide with nothing, and the key of the best model is taken in any spelling."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.monitor.training import make_trainer
from xalign import AlignmentCallback, load_pairs
from xalign.errors import ArgumentError, XAlignError
from xalign.metrics.metric import Metric
from xalign.monitor.scalars import checked_name, scalar_keys
from xalign.monitor.selection import exact_key
from xalign.pairs.languages import normalize_language


@pytest.fixture(scope="module")
def pairs():
    return load_pairs("bundled", ["deu_Latn", "zho_Hans"], n=4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (None, "name=None must be text"),
        (7, "name=7 must be text"),
        (True, "name=True must be text"),
        (Path("news"), "must be text"),
        ("a/b", "name='a/b' must be made of letters"),
        ("..", "must be made of letters"),
        ("-", "must be made of letters"),
        ("news ", "must be made of letters"),
        ("a\udcffb", "must be made of letters"),
        ("n" * 65, "is longer than 64 bytes"),
        ("step-00000003", "name='step-00000003' is the name of a folder or file"),
        ("step_3", "is the name of a folder or file"),
        ("Earlier-1", "is the name of a folder or file"),
        ("checkpoint-4", "is the name of a folder or file"),
        ("history", "is the name of a folder or file"),
        ("HISTORY", "is the name of a folder or file"),
        ("reports", "is the name of a folder or file"),
        ("best", "is the name of a folder or file"),
        ("alignment", "is the name of a folder or file"),
        ("_alignment", "is the name of a folder or file"),
        ("keep_best", "is the name of a folder or file"),
    ],
)
def test_names_that_are_refused(name, message, pairs):
    """`name=None` was a TypeError of pathlib, and a new run moved the folder of `name='step-1'` away."""
    with pytest.raises(XAlignError, match=message):
        AlignmentCallback(make_trainer(), pairs, name=name)
    assert not Path("run/alignment").exists()


@given(
    st.text(max_size=12)
    | st.from_regex(r"(step|earlier|checkpoint)[-_][0-9a-z]{0,9}", fullmatch=True)
    | st.from_regex(r"history[.a-z0-9]{0,4}", fullmatch=True)
)
def test_a_name_that_is_taken_is_one_folder_of_its_own(name):
    """Whatever is accepted is one plain part of a path, and no pattern of a run's own files."""
    try:
        checked_name(name)
    except XAlignError:
        return
    assert Path("alignment", name).parts in (("alignment", name), ("alignment",))
    for pattern in ("step-*", "earlier-*", "checkpoint-*", "history", "history.*", ".*", "_alignment"):
        assert not Path(name).match(pattern) if name else True


def test_two_names_that_differ_in_case_alone(pairs):
    """On a file system that ignores case, both callbacks would write one history."""
    trainer = make_trainer(evaluate=False)
    trainer.add_callback(AlignmentCallback(trainer, pairs, name="News"))
    with pytest.raises(ArgumentError, match="name='news' already"):
        AlignmentCallback(trainer, pairs, name="news")


SPELLINGS = {
    "deu_Latn": ["deu", "de", "deu-Latn", "DEU_latn", "de-DE", "ger"],
    "zho_Hans": ["zh-CN", "zh_Hans", "zho-hans", "cmn_Hans"],
}


def spelled():
    for code, spellings in SPELLINGS.items():
        for one in spellings:
            try:
                if normalize_language(one) == code:
                    yield one, code
            except XAlignError:
                continue


@pytest.mark.parametrize(("spelling", "code"), list(spelled()))
@pytest.mark.parametrize("prefix", ["", "eval_"])
def test_the_key_of_one_language_in_any_spelling(spelling, code, prefix, pairs):
    """`metric_for_best_model="nasca_deu"` was refused, though `score("nasca", "deu")` is taken."""
    trainer = make_trainer(
        metric_for_best_model=f"{prefix}nasca_{spelling}", save_strategy="steps", save_steps=3
    )
    AlignmentCallback(trainer, pairs)
    assert trainer.args.metric_for_best_model.removeprefix("eval_") == f"nasca_{code}"
    assert trainer.args.greater_is_better is True


def distance(similarity):
    return 1 - similarity.diagonal()


@pytest.mark.parametrize("greater", [None, False])
def test_the_direction_is_that_of_the_metric(greater, pairs):
    """With less for better, and the key set after the arguments were made, the trainer kept the worst."""
    less = Metric(
        "distance", "distance", "hidden", distance, bounds=(0.0, 2.0), higher_is_better=False, has_floor=False
    )
    trainer = make_trainer(save_strategy="steps", save_steps=3)
    trainer.args.metric_for_best_model, trainer.args.greater_is_better = "distance_de", greater
    callback = AlignmentCallback(trainer, pairs, metrics=[less])
    assert trainer.args.greater_is_better is False
    trainer.add_callback(callback)
    trainer.train()
    values = {
        row["step"]: row["eval_distance_deu_Latn"]
        for row in trainer.state.log_history
        if "eval_distance_deu_Latn" in row and "eval_loss" in row
    }
    assert trainer.state.best_metric == min(values.values())
    trainer.remove_callback(callback)
    trainer.args.greater_is_better = True
    with pytest.raises(ArgumentError, match="pass greater_is_better=False"):
        AlignmentCallback(trainer, pairs, metrics=[less])


def test_higher_is_better_where_nothing_was_said(pairs):
    """`greater_is_better` stayed None, which the trainer takes for: less is better."""
    trainer = make_trainer(save_strategy="steps", save_steps=3)
    trainer.args.metric_for_best_model = "nasca_worst"
    AlignmentCallback(trainer, pairs)
    assert trainer.args.greater_is_better is True


def test_keep_best_takes_them_too(pairs):
    callback = AlignmentCallback(make_trainer(evaluate=False), pairs, every=1, keep_best="eval_nasca_de-DE")
    assert callback.best_key == "nasca_deu_Latn"


@given(st.text(max_size=20), st.sampled_from(["", "news"]))
def test_a_key_is_exact_or_what_was_given(tail, name):
    """No spelling leads to a key of another language or metric."""
    languages = ["deu_Latn", "zho_Hans"]
    keys = scalar_keys(["nasca", "mexa"], languages, name)
    start = f"{name}_nasca" if name else "nasca"
    given_key = f"{start}_{tail}"
    found = exact_key(given_key, keys, languages)
    assert found == given_key or (
        found in keys and normalize_language(tail) == found.removeprefix(f"{start}_")
    )
