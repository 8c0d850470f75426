"""The command line's defaults and help repeat what stands elsewhere; here they are compared."""

import inspect
import re
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from types import UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

import pytest
from typer.testing import CliRunner

from tests.cli.typed import xalign
from xalign.cli.app import app
from xalign.cli.demo import PARTS, demo
from xalign.cli.options import DtypeName, FormName
from xalign.finding import METHODS
from xalign.measurement.options import ReadOptions
from xalign.measurement.run import DEFAULT_METRICS
from xalign.metrics import METRICS
from xalign.model.inputs import TextOptions
from xalign.model.operators import OPERATORS

VERBS = (
    *("measure", "items", "neurons", "latent", "tokens", "track", "experts", "steer", "demo", "doctor"),
    *("compare", "page"),
)
DEFAULTS = {one.name: one.default for options in (TextOptions, ReadOptions) for one in fields(options)}
# Options that are on, and whose switch is named shorter than the option: the help would cut it.
SHORTER = {"pool_special_tokens": "--no-special-tokens", "include_embedding": "--no-embedding"}


def function_of(verb):
    return getattr(import_module(f"xalign.cli.{verb}"), verb)


def parameters(verb):
    return inspect.signature(function_of(verb)).parameters


def test_the_help_names_every_strategy(monkeypatch):
    """Also one that was added: nothing on the command line repeats the names."""
    assert parameters("measure")["metrics"].default == ",".join(DEFAULT_METRICS)
    monkeypatch.setitem(METRICS, "another", METRICS["nasca"])
    monkeypatch.setitem(METHODS, "third", METHODS["lape"])
    for verb, names in (
        ("measure", [name for name, one in METRICS.items() if not one.is_of_items]),
        ("experts", METHODS),
        ("steer", [name for name, one in OPERATORS.items() if one.of_units is not None]),
    ):
        shown = " ".join(xalign(verb, "--help").stdout.split())
        for name in names:
            assert name in shown, (verb, name)
        assert not any(f"{{{name}}}" in shown for name in ("metrics", "methods", "operators"))


@pytest.mark.parametrize("verb", VERBS)
def test_defaults_are_those_of_the_options(verb):
    shared = parameters(verb).keys() & DEFAULTS.keys()
    assert verb not in ("measure", "track") or {"template", "template_pooled", "token_budget"} <= shared
    for name in shared:
        assert parameters(verb)[name].default == DEFAULTS[name], (verb, name)


def can_be_typed(kind):
    """Whether a value of this type is text, a number, a switch, or a choice of words."""
    if get_origin(kind) in (Union, UnionType):
        return any(can_be_typed(one) for one in get_args(kind) if one is not type(None))
    return kind in (str, int, bool) or get_origin(kind) is Literal


@pytest.mark.parametrize("verb", ["measure", "track", "doctor"])
def test_every_option_that_can_be_typed_can_be_typed(verb):
    """Errors advised `truncate=True` to a command that had no `--truncate`."""
    hints = get_type_hints(TextOptions) | get_type_hints(ReadOptions)
    typed = {name for name in DEFAULTS if can_be_typed(hints[name])} | {"source_codes"}  # like nso_Latn=ns
    assert DEFAULTS.keys() - typed == {"subtract", "steered"}
    assert not typed - parameters(verb).keys()


@pytest.mark.parametrize("verb", ["measure", "track", "doctor"])
def test_the_choices_are_those_of_the_options(verb):
    hints = get_type_hints(ReadOptions)
    for name in ("pool", "state_site", "value_site"):
        choices = inspect.get_annotations(function_of(verb), eval_str=True)[name]
        assert tuple(get_args(choices)[0]) == get_args(hints[name])


@pytest.mark.parametrize("verb", sorted({*VERBS} - {"page"}))  # which prints no table
def test_every_command_with_a_table_takes_json(verb):
    """The demo did not."""
    assert "json" in parameters(verb)


def test_defaults_are_those_of_the_functions():
    from xalign.cli.loading import Dtype, load_model
    from xalign.measurement import measure
    from xalign.monitor.track import track
    from xalign.pairs.load import load_pairs
    from xalign.views.picture import FORMS

    for verb, function in [
        ("measure", load_pairs),
        ("track", load_pairs),
        ("track", track),
        ("measure", load_model),
        ("track", load_model),
        ("measure", measure),
    ]:
        there = inspect.signature(function).parameters
        given = parameters(verb)
        for name in there.keys() & given.keys() - {"pairs", "metrics", "languages", "progress", "out"}:
            assert given[name].default == there[name].default, (verb, name)
    assert get_args(Dtype) == tuple(DtypeName)
    assert tuple(FormName) == FORMS
    assert ", ".join(PARTS[:-1]) in get_args(inspect.get_annotations(demo)["what"])[1].help


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_fits_a_terminal_of_80_columns(verb):
    """Lines of docstrings broke twice, long names were cut, and seeds showed a range of 19 digits."""
    shown = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "80", "NO_COLOR": "1"}).stdout
    prose, options = shown.split("─ Options ─")
    lines = [line.strip() for line in prose.split("╭")[0].splitlines()]
    assert max(map(len, lines)) <= 78
    for line, following in zip(lines, lines[1:], strict=False):
        if line and following:
            assert len(f"{line} {following.split()[0]}") > 78, (line, following)
    assert not re.search(r"…\s*(│|<)", options)
    assert "range" not in options
    for name in parameters(verb).keys() - {one for one in parameters(verb) if f"{{{one}}}" in prose}:
        by_place = name in ("what", "model")  # and may be left out
        assert by_place or SHORTER.get(name, f"--{name.replace('_', '-')}") in options, name


def test_help_needs_no_torch():
    """The command line answers before anything heavy is imported."""
    code = "import sys, xalign.cli.app; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
