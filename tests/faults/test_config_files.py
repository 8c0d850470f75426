"""An alignment config from a YAML file or a command line is read as meant, or refused by the field's name."""

import random

import pytest
import yaml
from transformers import HfArgumentParser

from tests.faults.mutations import fields_changed
from xalign import AlignmentArguments, AlignmentConfig
from xalign.errors import XAlignError
from xalign.training.layers import parse_layers

YAML = """
align_pairs: bundled
align_loss: contrastive
align_layer: {4: 0.5, 8: 1.0}
align_weight: 0.5
align_batch_size: 16
align_chunk_size: 4
align_temperature: 0.1
align_direction: both
align_kind: hidden
align_pool: mean
align_gather: false
align_replay: [one document, another]
align_languages: [deu_Latn, rus_Cyrl]
align_max_length: 64
align_template: "query: {text}"
align_held_out: null
align_seed: 3
"""


def config_of(content):
    (arguments,) = HfArgumentParser(AlignmentArguments).parse_dict(content)
    return arguments.config()


@pytest.mark.parametrize("text", ["1e-1", "0.1", "1.0e-1", "'1e-1'", ".1", "+1E-1"])
def test_every_way_to_write_a_number(text):
    """YAML reads 1e-1 as text: it was a type error that did not say so, and TRL's parser took it."""
    assert config_of(yaml.safe_load(f"align_weight: {text}")).weight == 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("align_languages: deu", "align_languages='deu' is not allowed: Expected `array"),
        ("align_languages: [1]", "align_languages.0=1 is not allowed: Expected `str`"),
        ("align_pairs: 5", "align_pairs=5 is not allowed: Expected `str"),
        ("align_pivot: [eng]", r"align_pivot=\['eng'\] is not allowed"),
        ("align_held_out: [1]", "align_held_out"),
        ("align_replay: 5", "align_replay=5"),
        ("align_template: 5", "align_template=5"),
        ("align_max_length: 1e3", "align_max_length='1e3' is not allowed: Expected `int"),
        ("align_weight: much", "align_weight='much' is not allowed: Expected `float`"),
        ("align_weight: 1e999", "weight=inf must be"),
        ("align_weight: .nan", "weight=nan must be"),
        ("align_gather: 'yes'", "align_gather='yes' is not allowed: Expected `bool`"),
        ("align_kind: []", "align_kind"),
        ("align_mode: {}", "align_mode"),
        ("align_direction: up", "direction='up' must be one of"),
        ("align_layer: yes", "align_layer=True"),
        ("align_layer: -1", "layer=-1"),
    ],
)
def test_an_error_names_the_field(text, message):
    """0.1.0 took a number as languages, pairs, pivot or template, and broke when training began."""
    with pytest.raises(XAlignError, match=message):
        config_of(yaml.safe_load(text))


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_edited_configs(count):
    """Whatever a file holds, there is a sound config or an XAlignError."""
    body = yaml.safe_load(YAML)
    good, refused = config_of(body), 0
    assert (good.weight, good.layer, good.replay) == (0.5, {4: 0.5, 8: 1.0}, ["one document", "another"])
    for number in range(count):
        changed, raw = fields_changed(body, random.Random(number))
        known = {name: one for name, one in changed.items() if hasattr(AlignmentArguments, str(name))}
        if raw is not None:
            continue
        try:
            found = config_of(known)
        except XAlignError:
            refused += 1
            continue
        assert isinstance(found, AlignmentConfig)
        parse_layers(found.layer)
        repr((found, found.resolved_loss, found.text_options))
    assert 0.3 * count < refused < count
