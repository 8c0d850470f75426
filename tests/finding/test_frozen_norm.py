"""Norms with a frozen variance: affine, equal to the norm at the state, and told apart from other modules."""

import pytest
import torch
from torch import nn

from tests.tiny import WIDTH, make_model
from xalign import map_model
from xalign.errors import ModelError
from xalign.finding.frozen_norm import freeze_norm

torch.manual_seed(0)
STATE, OTHER = torch.randn(2, WIDTH, dtype=torch.float64) * 3


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2", "opt", "olmo2"])
def test_it_is_the_norm_at_the_state_and_affine_elsewhere(family):
    norm = map_model(make_model(family)).final[0]
    frozen = freeze_norm(norm, STATE)
    assert frozen.is_centred == (family in ("gpt2", "opt"))
    made = norm.double()(STATE.reshape(1, 1, -1)).reshape(-1)
    assert torch.allclose(frozen(STATE), made, atol=1e-6)
    # By the formula, with the weights as they are.
    weight = norm.weight.double() + (1 if family == "gemma2" else 0)
    centre = STATE - STATE.mean() if frozen.is_centred else STATE
    eps = next(getattr(norm, name) for name in ("eps", "variance_epsilon") if hasattr(norm, name))
    scale = weight / (centre.square().mean() + eps).sqrt()
    other = OTHER - OTHER.mean() if frozen.is_centred else OTHER
    bias = norm.bias.double() if getattr(norm, "bias", None) is not None else 0
    assert torch.allclose(frozen(OTHER), other * scale + bias, atol=1e-5)
    assert torch.allclose(frozen.scaled(OTHER), other * scale, atol=1e-5)


class Softened(nn.Module):
    def forward(self, states):
        return torch.tanh(states)


@pytest.mark.parametrize("module", [nn.Linear(WIDTH, WIDTH), Softened()])
def test_what_is_no_norm_is_refused(module):
    with pytest.raises(ModelError, match=f"{type(module).__name__} is neither a layer norm nor an RMS norm"):
        freeze_norm(module, STATE)
