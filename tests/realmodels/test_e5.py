"""multilingual-e5-small: the conversion, and what xalign measures of it on FLORES."""

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from tests.realmodels.e5 import e5_folder
from xalign import load_pairs, map_model, measure

# Layer means of NASCA and MEXA, and the lexical floor, of an independent script; the tolerance is .01.
EXPECTED = {
    "deu_Latn": (0.737, 0.830, 0.24),
    "fra_Latn": (0.652, 0.761, 0.28),
    "rus_Cyrl": (0.728, 0.783, 0.11),
    "swh_Latn": (0.552, 0.687, 0.27),
    "tam_Taml": (0.425, 0.556, 0.09),
}
# From the engine of the package itself (e5.c, compiled apart): the number of tokens, and the first six
# coordinates of the sentence embedding, rounded to four decimals.
ENGINE = {
    "The weather is lovely today.": (11, [0.0080, 0.0055, -0.0468, -0.0687, 0.0434, -0.0396]),
    "Das Wetter ist heute schön.": (11, [0.0316, -0.0033, -0.0481, -0.0659, 0.0464, -0.0315]),
    "今天天气很好。": (9, [0.0268, 0.0102, -0.0210, -0.0406, 0.0763, -0.0401]),
}


@pytest.mark.parametrize("sentence", ENGINE)
def test_embeddings_are_those_of_the_packages_own_engine(e5_small, sentence):
    model, tokenizer = e5_small
    batch = tokenizer("query: " + sentence, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state[0]
    tokens, expected = ENGINE[sentence]
    assert len(states) == tokens
    embedding = torch.nn.functional.normalize(states.mean(dim=0), dim=0)
    assert embedding[:6].tolist() == pytest.approx(expected, abs=0.0025)  # the engine counts in 8 bits


def test_the_tokenizer_is_that_of_xlm_r(e5_small):
    _, tokenizer = e5_small
    assert tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]) == [
        0,
        1,
        2,
        3,
        250001,
    ]
    # Control characters go, compatibility characters are replaced; the wide tilde stays, which NFKC replaces.
    assert tokenizer.tokenize("a～b ① \u200b ﬁ\x01") == tokenizer.tokenize("a～b 1 fi")
    assert "～" in "".join(tokenizer.tokenize("a～b"))
    assert tokenizer("Guten  Tag.").input_ids == tokenizer("Guten Tag.").input_ids


def test_transformers_loads_the_folder_by_itself(e5_small):
    _, tokenizer = e5_small
    loaded = AutoTokenizer.from_pretrained(e5_folder())
    assert (
        loaded("Das Wetter ist heute schön.").input_ids == tokenizer("Das Wetter ist heute schön.").input_ids
    )
    config = AutoModel.from_pretrained(e5_folder()).config
    sizes = (config.hidden_size, config.intermediate_size, config.num_hidden_layers, config.vocab_size)
    assert sizes == (384, 1536, 12, 250037)


@pytest.mark.slow
def test_five_languages(e5_small, real_text):
    model, tokenizer = e5_small
    pairs = load_pairs(real_text / "flores200", list(EXPECTED), n=100)
    report = measure(model, tokenizer, pairs, ["nasca", "mexa"], template="query: {text}")
    for language, (nasca, mexa, floor) in EXPECTED.items():
        assert report.score("nasca", language) == pytest.approx(nasca, abs=0.01), language
        assert report.score("mexa", language) == pytest.approx(mexa, abs=0.01), language
        assert report.floor("nasca", language) == pytest.approx(floor, abs=1e-9), language
        assert report.interval("nasca", language)[0] > report.floor("nasca", language), language
    assert map_model(model).n_layers == 12
