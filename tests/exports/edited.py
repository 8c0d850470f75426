"""Units, vectors and logits that the tests of exports share."""

import torch

from tests.tiny import FFN, LAYERS, WIDTH, make_model
from xalign import LanguageVector, Site, UnitSet, steer

# Their heads are their embeddings, as in the small models of these families.
FAMILIES = ("llama", "qwen3", "gpt2", "gemma3_text")
IDS = torch.arange(4, 24).reshape(2, 10)
ROUNDING = 1e-6  # absolute, and relative to the largest logit: eight times the step of float32 at 1


def units_at(kind, *, width=FFN, count=4, seed=0):
    """A few units of every block, with values of either sign."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for layer in range(LAYERS):
        for unit in torch.randperm(width, generator=generator)[:count].tolist():
            value = float(torch.randn((), generator=generator))
            rows.append(("deu_Latn", f"{layer}.{kind}", unit, 1.0, value))
    return UnitSet.from_rows(rows)


def units_of_networks():
    """Neurons, and units of the gate."""
    return units_at("inner") | units_at("gate", seed=1)


def units_of_sublayers():
    return units_at("mlp_out", width=WIDTH) | units_at("attn_out", width=WIDTH, seed=1)


def vector_at(*sites, width=WIDTH, seed=0):
    generator = torch.Generator().manual_seed(seed)
    vectors = {Site.parse(site): torch.randn(width, generator=generator) for site in sites}
    return LanguageVector("deu_Latn", vectors)


@torch.no_grad()
def logits_of(model):
    return model(input_ids=IDS).logits


def make(family, dtype=torch.float32):
    return make_model(family, tie_word_embeddings=True).to(dtype)


def hooked_and_plain(family, what, dtype=torch.float32, **how):
    """The logits of a fresh model under `steer`, and without; they differ, or comparing would say nothing."""
    model = make(family, dtype)
    plain = logits_of(model)
    with steer(model, what, **how):
        hooked = logits_of(model)
    assert (hooked - plain).abs().max() > 1e-3
    return hooked, plain


def assert_within_rounding(found, wanted):
    assert (found - wanted).abs().max() <= ROUNDING * max(1.0, float(wanted.abs().max()))
