"""torchtitan's validator with a model of torchtitan; without it, its interface stands in.

Its `Trainer` asks for an accelerator, so that its own entry point cannot run on CPUs.
"""

import importlib.util
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
import yaml

from tests.integrations.test_olmo_core import Decoder
from tests.tiny import VOCABULARY, make_tokenizer
from xalign import load_pairs, measure
from xalign.errors import ArgumentError, ArgumentTypeError, MissingExtraError
from xalign.integrations import torchtitan
from xalign.integrations.token_model import TokenModel
from xalign.results.history import History

installed = importlib.util.find_spec("torchtitan") is not None
SECTION = {"pairs": "bundled", "languages": ["deu"], "n": 20}


@pytest.fixture(autouse=True)
def made_anew():
    yield
    vars(torchtitan).pop("AlignmentValidator", None)


def given(logged):
    """What torchtitan's trainer passes to a validator, as far as it is used."""
    tokens = make_tokenizer()
    log = SimpleNamespace(log=lambda metrics, step: logged.setdefault(step, {}).update(metrics))
    return {
        "parallelism": SimpleNamespace(spmd_backend="default", num_pp_microbatches=1),
        "dp_world_size": 1,
        "dp_rank": 0,
        "tokenizer": SimpleNamespace(
            tokenizer=tokens.backend_tokenizer, eos_token="</s>", get_vocab_size=lambda: VOCABULARY
        ),
        "parallel_dims": SimpleNamespace(cp_enabled=False, pp_enabled=False),
        "loss_fn": None,
        "validation_context": nullcontext,
        "metrics_processor": SimpleNamespace(logger=log),
        "seq_len": 256,
        "local_batch_size": 4,
    }


def write_section(**changes):
    Path("xalign.yaml").write_text(yaml.safe_dump({"xalign": SECTION | changes}))


@pytest.mark.skipif(not installed, reason="torchtitan needs triton and another huggingface_hub")
@pytest.mark.filterwarnings("default")
def test_a_model_of_torchtitan_beside_its_validation(monkeypatch):
    from torchtitan.components.validate import Validator
    from torchtitan.models.llama3 import model_registry

    validated, logged = [], {}
    monkeypatch.setattr(Validator, "validate", lambda self, parts, step: validated.append(step))
    write_section(metrics=["nasca", "mexa"])
    torch.manual_seed(0)
    model = model_registry("debugmodel").model.build()
    model.init_states()
    validator = torchtitan.AlignmentValidator.Config(enable=True, freq=5).build(**given(logged))
    assert isinstance(validator, Validator) and [validator.should_validate(step) for step in (1, 4, 5)] == [
        True,
        False,
        True,
    ]
    before = {name: one.clone() for name, one in model.named_parameters()}
    for step in (1, 5, 10):
        validator.validate([model], step)
    assert validated == [1, 5, 10] == list(logged)
    assert {"validation_metrics/nasca_deu_Latn", "validation_metrics/mexa_worst"} <= logged[10].keys()
    assert 0 < logged[10]["validation_metrics/mexa"] <= 1 and model.training
    assert all(torch.equal(before[name], one) for name, one in model.named_parameters())
    assert [entry["step"] for entry in History.load("outputs").entries] == [1, 5, 10]


@pytest.fixture
def stand_in(monkeypatch):
    """`Validator` of `torchtitan.components.validate` (0.3.0)."""

    class Validator:
        @dataclass(kw_only=True, slots=True)
        class Config:
            freq: int = 10
            enable: bool = False

        def __init__(
            self, config, *, parallelism, metrics_processor, validation_context, tokenizer, seq_len, **_
        ):
            self.config, self.metrics_processor, self.validated = config, metrics_processor, []

        def validate(self, model_parts, step):
            self.validated.append(step)

        def post_dataloading_process(self, input_dict, labels, model_parts):
            assert torch.equal(input_dict["positions"][0], torch.arange(labels.shape[1]))
            return input_dict["input"], labels, {}

    for name in ("torchtitan", "torchtitan.components", "torchtitan.components.validate"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["torchtitan.components.validate"].Validator = Validator


def build(logged, **options):
    kind = torchtitan.AlignmentValidator
    return kind(kind.Config(), **given(logged) | options)


def test_it_measures_beside_each_validation(stand_in):
    logged, model = {}, Decoder()
    write_section()
    validator = build(logged)
    for step in (1, 10, 20):
        validator.validate([model], step)
    assert validator.validated == [1, 10, 20] == list(logged)
    report = measure(
        TokenModel(model, 256, VOCABULARY), make_tokenizer(), load_pairs("bundled", ["deu"], n=20), ["nasca"]
    )
    assert logged[20]["validation_metrics/nasca_deu_Latn"] == pytest.approx(report.score("nasca", "deu_Latn"))
    assert [entry["step"] for entry in History.load("outputs").entries] == [1, 10, 20]


def test_what_it_refuses(stand_in):
    with pytest.raises(ArgumentError, match="validator.xalign='xalign.yaml' cannot be read"):
        build({})
    write_section(langages=["deu"])
    with pytest.raises(ArgumentTypeError, match=r"no option 'langages', did you mean languages\?"):
        build({})
    write_section(every=5)
    with pytest.raises(ArgumentError, match="every is not for torchtitan, which measures at validator.freq"):
        build({})
    write_section()
    with pytest.raises(ArgumentError, match="the blocks of a pipeline are in several processes"):
        build({}).validate([Decoder(), Decoder()], 1)


@pytest.mark.skipif(installed, reason="it is installed")
def test_without_it():
    with pytest.raises(MissingExtraError, match="pip install torchtitan"):
        _ = torchtitan.AlignmentValidator
