"""`AlignmentConfig`: every field from Python, YAML and the command line."""

from dataclasses import fields
from typing import get_type_hints

import pytest
import yaml
from trl import DPOConfig, GRPOConfig, ModelConfig, SFTConfig, TrlParser

from tests.tiny import ROOT
from xalign import AlignmentArguments, AlignmentConfig, load_pairs
from xalign.errors import ArgumentError, ArgumentTypeError
from xalign.training import config as config_module

OTHER = {
    "pairs": "bundled",
    "loss": "contrastive",
    "transform": "subtract_means",
    "layer": "4:.5,8:.5",
    "weight": 0.3,
    "batch_size": 16,
    "chunk_size": 4,
    "temperature": 0.07,
    "direction": "to_pivot",
    "kind": "inner",
    "pool": "last",
    "centre": False,
    "gather": True,
    "mask_duplicates": False,
    "detach_pivot": True,
    "frozen_pivot": True,
    "mode": "alternate",
    "alternate_every": 3,
    "replay": "text.txt",
    "replay_weight": 0.2,
    "replay_batch_size": 4,
    "kl": 0.1,
    "l2_sp": 0.01,
    "start": "copy",
    "held_out": "held_out.tsv",
    "eval_pairs": "dev.tsv",
    "languages": ["deu_Latn", "swh_Latn"],
    "languages_per_batch": 2,
    "language_temperature": 2.0,
    "pivot": "spa_Latn",
    "template": "query: {text}",
    "template_pooled": True,
    "max_length": 64,
    "source_codes": "nso_Latn=ns,swh_Latn=sw",
    "control": "loop",
    "control_pairs": "control.tsv",
    "control_every": 50,
    "target": 0.9,
    "max_forgetting": 0.03,
    "guard": "guarded.txt",
    "guard_reference": "runs/control",
    "budget_pairs": 1000,
    "budget_seconds": 60.0,
    "seed": 7,
}
# Fields that do not go with some of the above, with what they need.
APART = {
    "links": {"loss": "word_level", "links": "links"},
    "pivot_drift": {"pivot_drift": 0.2},
    "epochs": {"epochs": 3},
    "partners": {"partners": "any"},
}


def test_every_field_has_another_value_here_and_a_help_text():
    assert OTHER.keys() | APART.keys() == {option.name for option in fields(AlignmentConfig)}
    assert not OTHER.keys() & APART.keys()
    others = OTHER | {name: values[name] for name, values in APART.items()}
    default = AlignmentConfig()
    page = (ROOT / "docs" / "align.md").read_text(encoding="utf-8")
    for option in fields(AlignmentConfig):
        assert f"`{option.name}`" in page
        assert len(option.metadata["help"]) > 15
        assert getattr(default, option.name) != others[option.name]


def as_arguments(values, prefix=""):
    for name, value in values.items():
        yield f"--{prefix}{name}"
        yield from map(str, value if isinstance(value, list) else [value])


def test_from_the_command_line():
    (given,) = TrlParser((AlignmentArguments,)).parse_args_and_config(list(as_arguments(OTHER, "align_")))
    assert given.config() == AlignmentConfig(**OTHER)


@pytest.mark.parametrize("values", APART.values(), ids=APART)
def test_from_the_command_line_and_yaml_apart(values, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({f"align_{key}": one for key, one in values.items()}), encoding="utf-8")
    for arguments in (list(as_arguments(values, "align_")), ["--config", str(file)]):
        (given,) = TrlParser((AlignmentArguments,)).parse_args_and_config(arguments)
        assert given.config() == AlignmentConfig(**values)


LINKED = {"deu_Latn": [[(0, 0)]]}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kl": 0.1}, "kl=0.1 compares what the model expects in replayed text; give replay="),
        ({"kl": -1.0}, "kl=-1.0 must be 0 or above 0"),
        ({"l2_sp": float("inf")}, "l2_sp=inf"),
        ({"pivot_drift": 0.1, "frozen_pivot": True}, "pivot_drift=0.1 has no meaning with frozen_pivot=True"),
        ({"start": "copy"}, "start='copy' is of kl, pivot_drift and losses that ask"),
        ({"start": "base", "pivot_drift": 0.1}, "start='base' must be one of adapter_off, copy"),
        ({"links": LINKED}, "links has no meaning for loss='neuron_state', which compares no words"),
        ({"loss": "word_level", "transform": "subtract_means"}, "transform='subtract_means' has no meaning"),
        ({"loss": "word_level", "eval_pairs": "dev.tsv"}, "eval_pairs have no links"),
        ({"loss": "word_level", "partners": "any"}, "partners='any' has no meaning for loss='word_level'"),
        ({"loss": "word_level", "pool": "mean"}, "pool='mean' has no meaning for loss='word_level'"),
        ({"partners": "all"}, "partners='all' must be one of pivot, any"),
        ({"partners": "any", "pivot_drift": 0.1}, "partners='any' does not go with pivot_drift=0.1"),
        ({"partners": "any", "frozen_pivot": True}, "partners='any' does not go with frozen_pivot=True"),
        ({"epochs": -1}, "epochs=-1 must be at least 0"),
        ({"epochs": 2, "partners": "any"}, "epochs=2 does not go with partners='any'"),
        ({"epochs": 0, "language_temperature": 2}, "epochs=0 does not go with language_temperature=2"),
        ({"epochs": 2, "gather": True}, "epochs=2 does not go with gather=True: the micro-batches"),
        ({"epochs": 1, "control": "loop", "control_pairs": "dev"}, "epochs=1 does not go with control="),
        ({"language_temperature": 0.0}, "language_temperature=0.0 must be above 0"),
    ],
)
def test_what_does_not_go_together(values, message):
    with pytest.raises(ArgumentError, match=message):
        AlignmentConfig(**values)


@pytest.mark.parametrize(
    "changes", [{}, {"layer": 8}, {"layer": 0.25}, {"layer": [4, 8]}, {"layer": {4: 0.5}}]
)
def test_from_yaml(changes, tmp_path):
    file = tmp_path / "config.yaml"
    prefixed = {f"align_{name}": value for name, value in (OTHER | changes).items()}
    file.write_text(yaml.safe_dump(prefixed), encoding="utf-8")
    (given,) = TrlParser((AlignmentArguments,)).parse_args_and_config(["--config", str(file)])
    assert given.config() == AlignmentConfig(**OTHER | changes)


def test_codes_of_languages_as_text_and_as_a_mapping():
    codes = {"nso_Latn": "ns", "swh_Latn": "sw"}
    config = AlignmentConfig(source_codes="nso_Latn=ns, swh_Latn=sw")
    assert config == AlignmentConfig(source_codes=codes)
    assert config.text_options.source_codes == codes
    with pytest.raises(ArgumentError, match=r"source_codes='nso_Latn' must be like nso_Latn=ns"):
        AlignmentConfig(source_codes="nso_Latn")
    with pytest.raises(ArgumentTypeError, match="source_codes=3 must map languages"):
        AlignmentConfig(source_codes=3)


@pytest.mark.parametrize("trainer_config", [SFTConfig, DPOConfig, GRPOConfig])
def test_beside_a_trainers_own_arguments(trainer_config, tmp_path):
    file = tmp_path / "config.yaml"
    prefixed = {f"align_{name}": value for name, value in OTHER.items()}
    text = {"output_dir": "run", "seed": 3, "use_cpu": True, "bf16": False} | prefixed
    file.write_text(yaml.safe_dump(text), encoding="utf-8")
    parser = TrlParser((trainer_config, ModelConfig, AlignmentArguments))
    args, _, alignment = parser.parse_args_and_config(["--config", str(file), "--align_weight", "0.7"])
    assert args.seed == 3
    assert alignment.config() == AlignmentConfig(**OTHER | {"weight": 0.7})


def test_a_typo_is_an_error(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("align_layers: 8\noutput_dir: run\nuse_cpu: true\nbf16: false\n", encoding="utf-8")
    with pytest.raises(ValueError, match="align_layers"):
        TrlParser((SFTConfig, AlignmentArguments)).parse_args_and_config(["--config", str(file)])


def test_arguments_are_of_types_that_parsers_know():
    parsed = get_type_hints(AlignmentArguments)  # parsers change the types of fields()
    assert list(parsed) == [f"align_{option.name}" for option in fields(AlignmentConfig)]
    assert {parsed[f"align_{name}"] for name in ("loss", "layer", "direction", "mode")} == {str}
    assert {parsed[f"align_{name}"] for name in ("pairs", "held_out", "replay", "template")} == {str | None}
    assert parsed["align_languages"] == list[str] | None
    assert (parsed["align_batch_size"], parsed["align_gather"]) == (int, bool)


@pytest.mark.parametrize(
    ("old", "value"),
    [
        ("KINDS", {"contrastive": "hidden", "cosine": "hidden", "neuron_state": "gate"}),
        ("DEFAULT_POOLS", {"contrastive": "mean", "cosine": "mean", "neuron_state": "weighted"}),
        ("DEFAULT_TEMPERATURES", {"contrastive": 0.05, "cosine": None, "neuron_state": 0.1}),
    ],
)
def test_tables_of_0_1_0(old, value):
    vars(config_module).pop(old, None)
    with pytest.warns(DeprecationWarning, match=rf"config.{old} is deprecated .* use xalign.losses.LOSSES"):
        assert value.items() <= getattr(config_module, old).items()
    with pytest.raises(AttributeError, match="no attribute 'POOL'"):
        _ = config_module.POOL


def test_objects_and_what_the_loss_decides():
    pairs = load_pairs("bundled")
    assert AlignmentConfig(pairs=pairs).pairs is pairs
    assert (AlignmentConfig().kind, AlignmentConfig().pool) == ("gate", "weighted")
    assert AlignmentConfig().temperature == 0.1
    states = AlignmentConfig(loss="contrastive")
    assert (states.kind, states.pool, states.temperature) == ("hidden", "mean", 0.05)
    with pytest.raises(ArgumentError, match="temperature=-1.0"):
        AlignmentArguments(align_temperature=-1.0).config()
