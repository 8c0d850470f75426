"""Every wrong value of every option of every command: code 2 and one message, never a foreign error."""

import inspect
import json
import os
import typing
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.typed import xalign
from tests.quick import one_in
from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentReport, UnitSet, load_pairs, measure

VERBS = ("measure", "compare", "track", "page", "experts", "steer", "demo", "doctor")
WRONG = {
    int: ["", "many", "1.5", "-1", "0", "1", "99999999999999999999"],
    float: ["", "much", "-1", "0", "nan", "inf", "-inf", "1e308", "1e-308"],
    Path: ["", "file", "file/below", "x" * 300, "a\0b", "\udcff", "[red]", "/dev/null", "fifo"],
    str: [
        "",
        " ",
        ",",
        "nowhere",
        "x" * 5000,
        "../..",
        "a\0b",
        "\udcff",
        "[red]{x}%s",
        "\u2800",
        "-",
        "fifo",
    ],
}
# Beside these, what is wrong with one option only.
MORE = {
    "device": ["meta", "cuda:99", "cuda:-1", "disk"],
    "template": ["\udcff {text}", "{text}{text}", "{text", "{}"],
    "metrics": ["nasca,nasca", "nasca,,mexa"],
    "languages": ["deu,deu", "eng", "deu,eng,"],
    "revisions": ["step1", "step1,step1", "main"],
    "sites": ["1.nothing", "inner.1", "99.inner"],
    "operator": ["scale", "zero", "project", "replace"],
    "dtype": ["int8", "FLOAT32"],
    "strength": ["1e30", "-4"],
}
# What runs for hours with a number that is right, and what would be read from the Hub.
TAKES_LONG = {("steer", "n", "99999999999999999999"), ("steer", "max_new_tokens", "99999999999999999999")}


def options_of(verb):
    """(name, type, whether it is given by its position) of each parameter that takes a value."""
    function = getattr(import_module(f"xalign.cli.{verb}"), verb)
    for name, annotation in inspect.get_annotations(function, eval_str=True).items():
        if name == "return":
            continue
        kind, *about = typing.get_args(annotation)
        kind = next((one for one in typing.get_args(kind) if one is not type(None)), kind)
        if kind is not bool:
            yield name, kind, type(about[0]).__name__ == "ArgumentInfo"


CASES = [
    (verb, name, value)
    for verb in VERBS
    for name, kind, _ in options_of(verb)
    for value in [*WRONG.get(kind, [""]), *MORE.get(name, [])]
    if (verb, name, value) not in TAKES_LONG
]


@pytest.fixture(scope="module")
def made(model_folder, tmp_path_factory):
    """What the commands read: a model, a report, units, a run, a file and a pipe."""
    folder = tmp_path_factory.mktemp("made")
    pairs = load_pairs("bundled", ["deu_Latn"], n=4)
    report = measure(make_model("llama"), make_tokenizer(), pairs, ["nasca"])
    report.save(folder / "report")
    rows = [(code, "1.inner", at, 0.9, 2.0) for at, code in enumerate(("deu_Latn", "eng_Latn"))]
    UnitSet.from_rows(rows).save_pretrained(folder / "units")
    place = folder / "run" / "checkpoint-1"
    place.mkdir(parents=True)
    for path in model_folder.iterdir():
        (place / path.name).symlink_to(path)
    (place / "trainer_state.json").write_text("{}")
    (folder / "file").write_text("x")
    os.mkfifo(folder / "fifo")
    return folder


def typed(verb, changed, value, made, model_folder, out):
    """A command that is right but for one value."""
    few = {"pairs": "bundled", "languages": "deu", "n": 4, "device": "cpu"}
    right = {
        "measure": {"model": model_folder, **few, "metrics": "nasca", "out": out},
        "compare": {"before": made / "report", "after": made / "report"},
        "track": {"run": made / "run", **few, "metrics": "nasca", "out": out},
        "page": {"source": made / "report", "out": out / "page.html"},
        "experts": {"model": model_folder, **few, "share": 0.05, "out": out},
        "steer": {
            **{"model": model_folder, "units": made / "units", "language": "deu"},
            **{"n": 1, "max_new_tokens": 2, "device": "cpu"},
        },
        "demo": {"what": "emergence", "out": out},
        "doctor": {},
    }[verb]
    given = right | {changed: value}
    places = {name for name, _, by_place in options_of(verb) if by_place}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if name not in places]
    return [
        verb,
        *options,
        "--",
        *(given[name] for name, _, _ in options_of(verb) if name in given.keys() & places),
    ]


def one_message(done):
    """Whether stderr is one message: a line of ours, or a box of the option parser."""
    return "Traceback" not in done.stderr and ("Usage:" in done.stderr) != (
        sum(line.startswith("xalign: ") for line in done.stderr.splitlines()) == 1
    )


@pytest.mark.filterwarnings("ignore::UserWarning")  # said beside the message
@pytest.mark.parametrize(
    ("verb", "name", "value"),
    one_in(8, CASES),
    ids=["-".join(map(ascii, case))[:60] for case in CASES],
)
def test_a_wrong_value_is_refused_in_one_message(
    verb, name, value, made, model_folder, tmp_path, monkeypatch
):
    """Foreign errors came through, with code 1, such as a name that is too long or a byte that is no text."""
    monkeypatch.chdir(made)
    monkeypatch.setattr("xalign.demo.emergence.emerge", lambda *_, **__: {"interrupted": False})
    before = sorted(made.rglob("*"))
    done = xalign(*typed(verb, name, value, made, model_folder, tmp_path / "out"))
    assert done.exit_code in (0, 2), done.stderr
    if done.exit_code == 2:
        assert one_message(done), done.stderr
        assert sorted(made.rglob("*")) == before


@pytest.mark.parametrize(
    ("verb", "name"), [(verb, name) for verb in VERBS for name, kind, _ in options_of(verb) if kind is Path]
)
def test_an_empty_path_is_no_path(verb, name, made, model_folder, tmp_path, monkeypatch):
    """`--out ''` wrote into the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("xalign.demo.emergence.emerge", lambda *_, **__: {"interrupted": False})
    done = xalign(*typed(verb, name, "", made, model_folder, tmp_path / "out"))
    assert done.exit_code == 2
    assert "it is empty; name a folder or a file" in " ".join(done.stderr.split()).replace("│ ", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("verb", "option", "value", "said"),
    [
        ("steer", "temperature", "inf", "temperature=inf must be"),
        ("steer", "temperature", "nan", "temperature=nan must be"),
        ("steer", "temperature", "1e-308", "must be 0, for the likeliest token, or 1e-06 on"),
        ("steer", "max_new_tokens", "0", "max_new_tokens=0 must be at least 1"),
        ("steer", "n", "0", "n=0 must be at least 1"),
        ("steer", "seed", "-1", "Invalid value for '--seed'"),
        ("steer", "prompt", "\udcff", "not valid UTF-8"),
        ("steer", "units", "", "units='' is empty"),
        ("measure", "model", "", "model='' is empty"),
        ("measure", "model", "x" * 5000, "is no path and no Hub id: File name too long"),
        ("measure", "pairs", "", "source='' is empty"),
        ("measure", "device", "meta", "holds no values"),
        ("measure", "template", "\udcff {text}", "not valid UTF-8"),
        ("track", "run", "", "run='' is empty"),
        ("track", "pairs", "", "source='' is empty"),
        ("track", "poll", "1e300", "poll=1e+300 must be at most a day"),
        ("track", "device", "nowhere", "device='nowhere' is not there"),
        ("track", "token_budget", "0", "token_budget=0 must be at least 1"),
        ("track", "tokenizer", "nowhere", "tokenizer 'nowhere' cannot be loaded"),
        ("track", "template", "{text", "must hold {text} exactly once"),
        ("demo", "seed", "99999999999", "Invalid value for '--seed'"),
    ],
)
def test_what_is_said_of_it(verb, option, value, said, made, model_folder, tmp_path):
    """What is wrong for all checkpoints of a run was warned of once per checkpoint, which it left out."""
    done = xalign(*typed(verb, option, value, made, model_folder, tmp_path / "out"))
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.replace("│", "").split())
    assert one_message(done)


@pytest.mark.parametrize("verb", ["measure", "compare", "track", "experts", "steer", "doctor"])
def test_json(verb, made, model_folder, tmp_path):
    """Tables could be read by people only."""
    right = typed(verb, "nothing", "", made, model_folder, tmp_path / "out")
    right = [part for part in right if not str(part).startswith("--nothing")]
    table, done = xalign(*right), xalign(right[0], "--json", *re_rooted(right[1:], tmp_path))
    assert table.exit_code == done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found and "NaN" not in done.stdout
    rows = found if isinstance(found, list) else [found]
    keys = {
        "measure": {"metric", "language", "value", "low", "high", "floor", "chance"},
        "compare": {"metric", "language", "difference", "low", "high", "p"},
        "track": {"metric", "language", "emerged_at", "peak", "last"},
        "experts": {"language", "units", "best", "last", "sites"},
        "steer": {"language", "operator", "strength", "positions", "without", "steered", "changed"},
        "doctor": {"versions", "extras", "devices", "python"},
    }[verb]
    assert all(keys <= row.keys() for row in rows)
    if verb == "measure":
        assert rows == json.loads(json.dumps(AlignmentReport.load(tmp_path / "again").to_rows()))
        assert "wrote" in done.stderr


def re_rooted(arguments, tmp_path):
    """The same arguments with another output folder."""
    return [str(one).replace(str(tmp_path / "out"), str(tmp_path / "again")) for one in arguments]


def test_compare_draws(made, tmp_path):
    """It printed a table only."""
    done = xalign("compare", made / "report", made / "report", "--out", tmp_path / "compared")
    assert done.exit_code == 0, done.stderr
    with Image.open(tmp_path / "compared" / "nasca.png") as picture:
        assert picture.width > 300
    assert "wrote" in done.stdout and not list((tmp_path / "compared").glob(".*"))


def test_steer_says_when_it_changed_nothing(made, model_folder):
    """The two columns were equal without a word."""
    common = ("steer", model_folder, "--units", made / "units", "--language", "deu", "--n", 2)
    greedy = (*common, "--temperature", 0, "--max-new-tokens", 3)
    nothing = xalign(*greedy, "--strength", 1e-9, "--operator", "add")
    assert nothing.exit_code == 0, nothing.stderr
    assert "The units were written, but every continuation is the same without it." in nothing.stdout
    found = json.loads(xalign(*greedy, "--strength", 1e-9, "--operator", "add", "--json").stdout)
    assert found["changed"] == 0 and found["without"] == found["steered"]
    changed = xalign(*common, "--strength", 1000, "--positions", "all")
    assert "is the same without it" not in changed.stdout


def test_steer_finds_its_strength(made, model_folder, monkeypatch):
    """`--calibrate` takes what `calibrate` chooses, and says where nothing tried helps."""
    from xalign.judging.calibration import Calibration, Trial

    common = ("steer", model_folder, "--units", made / "units", "--language", "deu", "--n", 1)
    few = ("--max-new-tokens", 2, "--calibrate", "--device", "cpu")
    asked = {}

    def calibrate(model, tokenizer, what, texts, **options):
        asked.update(options, labels=what.labels, texts=set(texts))
        tried = tuple(Trial("deu_Latn", "all", s, s / 10, 0.05, 0.1) for s in (1.0, 8.0))
        return Calibration(options["operator"], tried, {"deu_Latn": asked["choice"](tried)}, 0.2)

    monkeypatch.setattr(import_module("xalign.judging.calibrate"), "calibrate", calibrate)
    asked["choice"] = lambda tried: tried[1]
    done = xalign(*common, *few, "--positions", "all", "--prompt", "Good")
    assert done.exit_code == 0, done.stderr
    assert (
        "strength 8: 80% in deu_Latn (5% without); the unsteered model finds this text 0.10 nats"
        in done.stdout
    )
    assert "deu_Latn, set × 8, all" in done.stdout
    assert asked["labels"] == ["deu_Latn"] and asked["positions"] == ["all"] and asked["prompt"] == "Good"
    asked["choice"] = lambda tried: None
    done = xalign(*common, *few)
    assert done.exit_code == 2 and "nothing tried for deu_Latn raises its share" in done.stderr
    for more, said in (
        (("--strength", 2), "--calibrate finds the strength"),
        (("--operator", "zero"), "operator='zero' has no strength"),
    ):
        done = xalign(*common, *few, *more)
        assert done.exit_code == 2 and said in done.stderr


@pytest.mark.slow
def test_steer_finds_its_strength_in_earnest(model_folder, made):
    """The same with the real `calibrate`."""
    done = xalign(
        *("steer", model_folder, "--units", made / "units", "--language", "deu", "--n", 1),
        *("--max-new-tokens", 4, "--calibrate", "--positions", "all", "--device", "cpu"),
    )
    assert done.exit_code in (0, 2)
    assert "nothing tried" in done.stderr or "deu_Latn, set ×" in done.stdout
