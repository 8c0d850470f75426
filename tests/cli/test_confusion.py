"""`xalign confusion`: rates, edits, the page, and one line per mistake."""

import json
import re

import pytest
import torch

from tests.cli.typed import xalign
from xalign.model.architectures.sites import Site
from xalign.units.language_vector import LanguageVector
from xalign.units.unit_set import UnitSet

ROWS = [
    {"prompt": "Guten Morgen, wie geht es?", "language": "de"},
    {"prompt": "Доброе утро", "language": "ru"},
]
SHORT = ("--max-new-tokens", 8, "--among", "de,en,ru", "--least", 1)


@pytest.fixture
def prompts(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    return file


@pytest.fixture
def units(tmp_path):
    rows = [("eng_Latn", "1.inner", index, 1.0, 6.0) for index in range(20)]
    UnitSet.from_rows(rows).save_pretrained(tmp_path / "units")
    return tmp_path / "units"


def test_answers_there_are_get_rates(tmp_path):
    file, words = tmp_path / "answers.jsonl", tmp_path / "words.txt"
    answers = [
        {"answer": "Das ist ein guter Satz auf Deutsch.", "language": "de"},
        {"answer": "This sentence is certainly not German.", "language": "de"},
        {"answer": "Это простой ответ на вопрос, и machine тоже.", "language": "ru"},
    ]
    file.write_text("\n".join(map(json.dumps, answers)), encoding="utf-8")
    words.write_text("machine\nParis\n", encoding="utf-8")
    page = tmp_path / "page.html"
    done = xalign("confusion", "--completions", file, "--words", words, "--json", "--page", page)
    assert done.exit_code == 0, done.stderr
    rows = {(row["source"], row["language"]): row for row in json.loads(done.stdout)}
    assert rows["all", "deu_Latn"]["lpr"] == 0.5 and rows["all", "deu_Latn"]["most_wrong"] == "eng_Latn"
    assert rows["all", "rus_Cyrl"]["wpr"] == 0.0
    assert "certainly not German" in page.read_text(encoding="utf-8")


@pytest.mark.thorough
def test_a_model_answers_with_units_silenced_and_without(model_folder, prompts, units, tmp_path):
    page = tmp_path / "page.html"
    options = ("--prompts", prompts, *SHORT, "--edit", units, "--page", page)
    done = xalign("confusion", model_folder, *options, "--json")
    assert done.exit_code == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["language"] for row in rows] == ["deu_Latn", "rus_Cyrl", "all"]
    assert set(rows[0]) >= {"before", "after", "difference", "low", "high", "kept_after"}
    text = page.read_text(encoding="utf-8")
    assert ROWS[1]["prompt"] in text and "with the edit" in text
    done = xalign("confusion", model_folder, *options)
    assert "95 % interval" in done.stdout and "judged" in done.stdout


@pytest.mark.thorough
def test_other_edits_act_where_they_suit(model_folder, prompts, units, tmp_path):
    LanguageVector("deu_Latn", {Site("hidden", 1): torch.full((32,), 4.0)}).save_pretrained(
        tmp_path / "vector"
    )
    asked = ("confusion", model_folder, "--prompts", prompts, *SHORT)
    copied = xalign(*asked, "--edit", units, "--reference", model_folder, "--page", tmp_path / "copied.html")
    assert copied.exit_code == 0, copied.stderr
    sides = sides_of(tmp_path / "copied.html")
    assert sides[0] == sides[1] and sides[2] == sides[3]  # copied from itself
    done = xalign(*asked, "--edit", tmp_path / "vector", "--page", tmp_path / "added.html")
    assert done.exit_code == 0, done.stderr
    sides = sides_of(tmp_path / "added.html")
    assert sum(sides[at] != sides[at + 1] for at in (0, 2)) == 1  # the German prompt alone
    for options, message in (
        (("--edit", tmp_path / "vector", "--reference", model_folder), "a vector is written as it is"),
        (("--edit", units, "--reference", model_folder, "--operator", "zero"), "do not go together"),
        (("--edit", units, "--operator", "scale"), "strength"),
    ):
        done = xalign(*asked, *options)
        assert done.exit_code == 2 and message in done.stderr, done.stderr


def sides_of(page):
    """The answers on a page, without the mark of a point."""
    found = re.findall(r'<h3>.*?</h3><p dir="auto">(.*?)</p>', page.read_text(encoding="utf-8"), re.DOTALL)
    return [re.sub("<[^>]*>", "", one).replace(" ", "") for one in found]


@pytest.mark.thorough
def test_mistakes_are_one_line(model_folder, prompts, units, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("", encoding="utf-8")
    asked = (model_folder, "--prompts", prompts)
    for given, message in (
        ((), "give either --prompts"),
        ((model_folder, "--completions", prompts), "leave the model and --edit out"),
        (("--prompts", prompts), "name one"),
        ((*asked, "--reference", model_folder), "is for --edit"),
        ((*asked, "--page", tmp_path / "page.pdf"), "must end in .html"),
        (("--completions", empty), "is empty; it needs a JSON object"),
        (("--completions", prompts), "line 1 of .*it has no 'answer'"),
        ((*asked, "--among", "en,fr"), "knows eng_Latn, fra_Latn, and not deu_Latn, rus_Cyrl"),
        ((*asked, "--edit", units, "--operator", "magic"), "operator='magic' must be one of"),
        ((*asked, "--max-new-tokens", 0), "max_new_tokens=0"),
        ((*asked, "--words", empty), "has no word in lower case"),
        ((*asked, "--chat"), "no chat template"),
    ):
        done = xalign("confusion", *given)
        assert done.exit_code == 2, (given, done.stdout)
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert re.search(message, done.stderr), done.stderr
