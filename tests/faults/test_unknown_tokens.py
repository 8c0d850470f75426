"""`measure` warns of languages that the tokenizer does not know, as the monitor does."""

import warnings

import pytest

from tests.cli.typed import xalign
from tests.tiny import make_model
from xalign import AlignmentMonitor, load_pairs, measure


@pytest.fixture
def tokenizer_without_russian(tmp_path):
    """A tokenizer of whole Latin letters: Cyrillic ones are unknown to it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = ["<pad>", "<s>", "</s>", "<unk>", *map(chr, range(33, 127)), *"äöüßÄÖÜáéíóúñ¿¡"]
    made = Tokenizer(models.WordLevel({letter: at for at, letter in enumerate(letters)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


PAIRS = load_pairs("bundled", ["deu_Latn", "rus_Cyrl"], n=6)
SAID = r"unknown to this tokenizer: rus_Cyrl \d+%; their scores say nothing"


def test_measure_warns(tokenizer_without_russian):
    """It gave scores of such a language without a word; only the monitor warned."""
    model = make_model("llama")
    with pytest.warns(UserWarning, match=SAID) as caught:
        measure(model, tokenizer_without_russian, PAIRS, ["nasca"])
    assert [one.filename for one in caught if "unknown to this" in str(one.message)] == [__file__]
    with pytest.warns(UserWarning, match="rus_Cyrl .*; their curves say nothing"):
        AlignmentMonitor(model, tokenizer_without_russian, PAIRS, ["nasca"])


def test_it_does_not_warn_of_what_is_known(tokenizer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure(make_model("llama"), tokenizer, PAIRS, ["nasca"])


def test_the_command_warns(tokenizer_without_russian, tmp_path):
    """On the command line too."""
    make_model("llama").save_pretrained(tmp_path / "model")
    tokenizer_without_russian.save_pretrained(tmp_path / "model")
    with pytest.warns(UserWarning, match=SAID):
        done = xalign("measure", tmp_path / "model", "--languages", "deu,rus", "--n", 6, "--metrics", "nasca")
    assert done.exit_code == 0, done.stderr
