"""What an error advises is spelled as in a shell."""

import pytest

from tests.cli.typed import xalign
from tests.tiny import make_model, make_tokenizer
from xalign.cli.advice import as_typed

OPTIONS = [
    "truncate",
    "template_pooled",
    "metrics",
    "sites",
    "token_budget",
    "stack",
    "max_length",
    "template",
]


@pytest.mark.parametrize(
    ("said", "typed"),
    [
        ("cut them with truncate=True, or leave", "cut them with --truncate, or leave"),
        ("pass template_pooled=True or load it", "pass --template-pooled or load it"),
        ("metrics=['bleu'] unknown; choose", "metrics=['bleu'] unknown; choose"),
        (" metrics=['mexa', 'retrieval'], loss='x'", " --metrics mexa,retrieval, loss='x'"),
        ('take metrics=["mexa"]', "take --metrics mexa"),
        ("or stack='decoder'.", "or --stack decoder."),
        ("(an alignment loss: max_length=), or", "(an alignment loss: --max-length), or"),
        ("token_budget=0 must be; token_budget=64 would", "token_budget=0 must be; --token-budget 64 would"),
        ("the argument `truncate=True` to", "the argument `--truncate` to"),
        ("of template=None, and template='{text} x'", "of template=None, and template='{text} x'"),
        ("mytruncate=True, use_fast=True", "mytruncate=True, use_fast=True"),
    ],
)
def test_as_typed(said, typed):
    assert as_typed(said, OPTIONS) == typed
    assert as_typed(said, []) == said


@pytest.fixture(scope="module")
def short_folder(tmp_path_factory):
    """A model whose context is shorter than sentences are."""
    folder = tmp_path_factory.mktemp("short")
    make_model("bert", max_position_embeddings=40).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


FEW = ("--languages", "deu", "--n", 10, "--device", "cpu")


@pytest.mark.parametrize("verb", ["measure", "doctor"])
def test_an_error_names_the_option_that_helps(verb, short_folder):
    done = xalign(verb, short_folder, *FEW)
    text = " ".join((done.stdout + done.stderr).split())
    assert done.exit_code == (2 if verb == "measure" else 1)
    assert "cut them with --truncate" in text and "truncate=True" not in text
    assert xalign(verb, short_folder, *FEW, "--truncate").exit_code == 0


def test_options_of_reading_reach_the_measurement(short_folder, tmp_path):
    from xalign import AlignmentReport

    done = xalign(
        *("measure", short_folder, *FEW, "--out", tmp_path / "r", "--metrics", "nasca,mexa"),
        *("--max-length", 30, "--pool", "mean", "--state-site", "inner", "--no-embedding"),
        "--no-special-tokens",
    )
    assert done.exit_code == 0, done.stderr
    found = AlignmentReport.load(tmp_path / "r").provenance
    expected = {"max_length": 30, "pool": "mean", "state_site": "inner", "include_embedding": False}
    assert expected | {"pool_special_tokens": False} == {
        name: found[name] for name in (*expected, "pool_special_tokens")
    }
