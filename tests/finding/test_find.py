"""`find_units`: the methods by name, and options that they have not."""

import pytest

from tests.tiny import make_model, make_tokenizer
from xalign import find_units
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.finding.expert_ap import expert_ap
from xalign.finding.language_neurons import language_neurons

TEXTS = {"eng_Latn": ["It rains.", "Good night."], "deu_Latn": ["Es regnet.", "Gute Nacht."]}


def test_it_is_the_methods():
    model, tokenizer = make_model("llama"), make_tokenizer()
    assert find_units(model, tokenizer, TEXTS, k=4).rows == expert_ap(model, tokenizer, TEXTS, k=4).rows
    found = find_units(model, tokenizer, TEXTS, method="lape", share=0.1)
    assert found.rows == language_neurons(model, tokenizer, TEXTS, share=0.1).rows


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "method='magic' must be one of expert_ap, expert_auroc"),
        (
            {"method": "lape", "sites": "gate"},
            r"method='lape'\) has no option 'sites', did .* it has bar, experts, penalty",
        ),
        ({"shre": 0.1}, "has no option 'shre', did you mean share\\? it has ends, experts, k, pool"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        find_units(make_model("llama"), make_tokenizer(), TEXTS, **options)


def test_every_linear_of_an_encoder_but_its_pooler():
    units = find_units(make_model("bert"), make_tokenizer(), TEXTS, sites="linear", share=1.0)
    names = {row.site.name for row in units}
    assert "encoder.layer.0.attention.self.query" in names
    assert not any("pooler" in name for name in names)
