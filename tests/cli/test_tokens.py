"""`xalign tokens`: a table, JSON, a comparison, and what is refused."""

import json

import pytest

from tests.cli.typed import xalign
from tests.tiny import make_tokenizer
from xalign import load_pairs
from xalign.measurement.alignability import alignability, compare_alignability


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(found)
    return found


def test_json_has_the_figures_of_the_function(folder):
    done = xalign("tokens", folder, "--languages", "de,zh", "--n", "20", "--seed", "3", "--json")
    assert done.exit_code == 0, done.stderr
    printed = json.loads(done.stdout)
    found = alignability(make_tokenizer(), load_pairs("bundled", ["de", "zh"], n=20), seed=3)
    assert printed["alignability"] == [{"tokenizer": str(folder)} | one.to_dict() for one in found]
    assert printed["difference"] == []


def test_a_table_and_a_comparison(folder, tmp_path):
    make_tokenizer().save_pretrained(tmp_path / "other")
    common = ("tokens", folder, "--languages", "de", "--n", "20", "--how", "grow_diag", "--against")
    done = xalign(*common, tmp_path / "other")
    assert done.exit_code == 0, done.stderr
    for part in ("alignability_ibm1", "shuffled", "deu_Latn", "parity", "+0.000"):
        assert part in done.stdout
    printed = json.loads(xalign(*common, tmp_path / "other", "--json").stdout)
    found = alignability(make_tokenizer(), load_pairs("bundled", ["de"], n=20), how="grow_diag")
    assert printed["difference"] == compare_alignability(found, found)
    assert [row["tokenizer"] for row in printed["alignability"]] == [str(folder), str(tmp_path / "other")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--aligner", "fast_align"), "aligner='fast_align' must be one of ibm1, eflomal"),
        (("--how", "both"), "how='both' must be one of"),
        (("--languages", "fr"), "fra_Latn not found in bundled"),
    ],
)
def test_what_is_refused(folder, options, said):
    done = xalign("tokens", folder, *options)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_tokenizer_that_is_not_there(tmp_path):
    done = xalign("tokens", tmp_path / "none")
    assert done.exit_code == 2
    assert "cannot be loaded" in done.stderr
