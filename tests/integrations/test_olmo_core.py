"""OLMo-core's own `Trainer.fit`, with and without the callback; without it, its interface stands in."""

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from tests.monitor.training import SENTENCES
from tests.tiny import VOCABULARY, make_tokenizer
from xalign import load_pairs, measure
from xalign.errors import ArgumentError, ArgumentTypeError, MissingExtraError
from xalign.integrations import olmo_core
from xalign.integrations.token_model import TokenModel
from xalign.results.history import History

installed = importlib.util.find_spec("olmo_core") is not None
SECTION = {"pairs": "bundled", "languages": ["deu"], "n": 20, "every": 10, "metrics": ["nasca", "mexa"]}


@pytest.fixture
def tokenizer_folder(tmp_path):
    make_tokenizer().save_pretrained(tmp_path / "tokenizer")
    return str(tmp_path / "tokenizer")


@pytest.fixture(autouse=True)
def made_anew():
    yield
    vars(olmo_core).pop("OLMoAlignment", None)


def fit_in_olmo(folder, *callbacks):
    """Train a tiny OLMo for 20 steps with its own trainer; return losses, weights and what was logged."""
    from olmo_core.data import DataLoaderBase
    from olmo_core.nn.transformer import TransformerConfig
    from olmo_core.optim import AdamWConfig
    from olmo_core.train import Duration, TrainerConfig
    from olmo_core.train.callbacks import Callback
    from olmo_core.train.train_module import TransformerTrainModule

    class Batches(DataLoaderBase):
        """Lines of 32 tokens, 4 of them in each batch."""

        def __init__(self):
            super().__init__(work_dir=folder / "data", global_batch_size=4 * 32)
            ids = make_tokenizer()(" ".join(SENTENCES))["input_ids"]
            self.lines = torch.tensor(ids[: len(ids) // 32 * 32]).reshape(-1, 32)

        @property
        def total_batches(self):
            return len(self.lines) // 4

        def state_dict(self):
            return {}

        def load_state_dict(self, state_dict):
            pass

        def reshuffle(self, epoch=None, **_):
            self._epoch = epoch or 1

        def _iter_batches(self):
            for start in range(0, self.total_batches * 4, 4):
                yield {"input_ids": self.lines[start : start + 4]}

        def get_mock_batch(self):
            return {"input_ids": self.lines[:4]}

    rows = {}

    @dataclass
    class Rows(Callback):
        """Keeps what trackers get."""

        def log_metrics(self, step, metrics):
            rows.setdefault(step, {}).update(metrics)

    torch.manual_seed(0)
    config = TransformerConfig.llama_like(d_model=32, vocab_size=VOCABULARY, n_layers=3, n_heads=4)
    module = TransformerTrainModule(
        model=config.build(init_device="cpu"),
        optim=AdamWConfig(lr=3e-3),
        rank_microbatch_size=4 * 32,
        max_sequence_length=32,
        device=torch.device("cpu"),
    )
    trainer = TrainerConfig(
        save_folder=str(folder / "saved"),
        work_dir=str(folder / "work"),
        device="cpu",
        max_duration=Duration.steps(20),
        metrics_collect_interval=1,
        no_checkpoints=True,
        no_evals=True,
        callbacks={"rows": Rows()} | {f"alignment-{at}": one for at, one in enumerate(callbacks)},
    ).build(module, Batches())
    trainer.fit()
    return rows, {name: one.detach().clone() for name, one in module.model.named_parameters()}, module.model


@pytest.mark.skipif(not installed, reason="OLMo-core wants another huggingface_hub than constraints.txt")
@pytest.mark.filterwarnings("default")
def test_twenty_steps(tmp_path, tokenizer_folder):
    plain, weights, _ = fit_in_olmo(tmp_path / "plain")
    callback = olmo_core.OLMoAlignment(tokenizer=tokenizer_folder, section=SECTION, context=128)
    rows, observed, model = fit_in_olmo(tmp_path / "with", callback)
    losses = [
        [row["train/CE loss"] for row in one.values() if "train/CE loss" in row] for one in (plain, rows)
    ]
    assert losses[0] == losses[1] and len(set(losses[0])) == 20
    assert weights.keys() == observed.keys()
    assert all(torch.equal(weights[name], observed[name]) for name in weights)
    measured = {
        step: row["eval/alignment/nasca_deu_Latn"]
        for step, row in rows.items()
        if "eval/alignment/mexa" in row
    }
    assert list(measured) == [0, 10, 20]
    pairs = load_pairs("bundled", ["deu"], n=20)
    report = measure(TokenModel(model, 128, VOCABULARY), make_tokenizer(), pairs, SECTION["metrics"])
    assert measured[20] == pytest.approx(report.score("nasca", "deu_Latn"))
    assert [entry["step"] for entry in History.load(tmp_path / "with" / "work").entries] == [0, 10, 20]


class Decoder(nn.Module):
    """A decoder of the form of OLMo-core's: it takes ids, and is no model of transformers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.vocab_size = VOCABULARY
        self.embeddings = nn.Embedding(VOCABULARY, 32)
        self.blocks = nn.ModuleDict({str(at): Block() for at in range(3)})
        self.norm, self.head = nn.RMSNorm(32), nn.Linear(32, VOCABULARY, bias=False)

    def forward(self, input_ids):
        states = self.embeddings(input_ids)
        for block in self.blocks.values():
            states = block(states)
        return self.head(self.norm(states))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention_norm, self.attention = nn.RMSNorm(32), Attention()
        self.feed_forward_norm, self.feed_forward = nn.RMSNorm(32), FeedForward()

    def forward(self, states):
        states = states + self.attention(self.attention_norm(states))
        return states + self.feed_forward(self.feed_forward_norm(states))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.w_q, self.w_k, self.w_v, self.w_out = (nn.Linear(32, 32, bias=False) for _ in range(4))

    def forward(self, states):
        heads = [one(states).unflatten(-1, (4, 8)).transpose(1, 2) for one in (self.w_q, self.w_k, self.w_v)]
        mixed = nn.functional.scaled_dot_product_attention(*heads, is_causal=True)
        return self.w_out(mixed.transpose(1, 2).flatten(-2))


class FeedForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.w1, self.w2, self.w3 = nn.Linear(32, 80), nn.Linear(80, 32), nn.Linear(32, 80)

    def forward(self, states):
        return self.w2(nn.functional.silu(self.w1(states)) * self.w3(states))


@pytest.fixture
def stand_in(monkeypatch):
    """`Callback` of `olmo_core.train.callbacks` (3.0.0), and a trainer that calls it."""

    @dataclass
    class Callback:
        _trainer = None

        @property
        def trainer(self):
            return self._trainer

    for name in ("olmo_core", "olmo_core.train", "olmo_core.train.callbacks"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["olmo_core.train.callbacks"].Callback = Callback
    recorded = {}
    trainer = SimpleNamespace(
        train_module=SimpleNamespace(model=Decoder()),
        work_dir=Path("work"),
        global_step=0,
        record_metric=lambda name, value: recorded.setdefault(trainer.global_step, {}).update({name: value}),
    )
    return trainer, recorded


def test_its_metrics(stand_in, tokenizer_folder):
    trainer, recorded = stand_in
    callback = olmo_core.OLMoAlignment(tokenizer=tokenizer_folder, section=SECTION, context=128)
    assert isinstance(callback, sys.modules["olmo_core.train.callbacks"].Callback)
    callback._trainer = trainer
    callback.pre_train()
    for trainer.global_step in range(1, 14):
        callback.post_step()
    callback.post_train()
    assert list(recorded) == [0, 10, 13]
    assert {"eval/alignment/nasca_deu_Latn", "eval/alignment/mexa_worst"} <= recorded[13].keys()
    assert [entry["step"] for entry in History.load("work").entries] == [0, 10, 13]


def test_what_it_refuses(stand_in, tokenizer_folder):
    trainer, _ = stand_in
    with pytest.raises(ArgumentTypeError, match=r"no option 'evry', did you mean every\?"):
        olmo_core.OLMoAlignment(tokenizer=tokenizer_folder, section={"pairs": "bundled", "evry": 1})
    with pytest.raises(ArgumentError, match="tokenizer is missing"):
        olmo_core.OLMoAlignment(section=SECTION)
    callback = olmo_core.OLMoAlignment(tokenizer=tokenizer_folder, section=SECTION | {"keep_best": "nasca"})
    callback._trainer = trainer
    with pytest.raises(ArgumentError, match="keep_best needs a trainer of transformers"):
        callback.pre_train()
    trainer.train_module = SimpleNamespace()
    with pytest.raises(ArgumentError, match="SimpleNamespace has no attribute model"):
        callback.pre_train()


@pytest.mark.skipif(installed, reason="it is installed")
def test_without_it():
    with pytest.raises(MissingExtraError, match="pip install ai2-olmo-core"):
        _ = olmo_core.OLMoAlignment
