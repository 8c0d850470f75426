"""Changes folded into a Linear and a Conv1D: against a forward that makes them one by one."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from xalign import Site
from xalign.errors import ModelError
from xalign.exports.affine import affine_of
from xalign.exports.changed import plain_weight
from xalign.exports.projection import ChangedProjection
from xalign.model.edit import Edit

IN, OUT = 7, 5
SITE = Site("inner", 0)
INPUTS = {
    "set": Edit("set", torch.tensor([1.0, -3.0]), units=[1, 6]),
    "scale": Edit("scale", 2.5, units=[0]),
    "project": Edit("project", torch.arange(1.0, IN + 1)),
}
OUTPUTS = {
    "set": Edit("set", 2.0, units=[4]),
    "add": Edit("add", torch.arange(1.0, OUT + 1)),
    "project": Edit("project", torch.arange(1.0, OUT + 1)),
    "zero all": Edit("zero"),
}


def make(kind, *, bias=True):
    torch.manual_seed(0)
    if kind == "conv":
        module = Conv1D(OUT, IN)
        nn.init.normal_(module.bias)
        return module.double()
    return nn.Linear(IN, OUT, bias=bias).double()


def edited(values, edit):
    operator = edit.resolved
    picked = values if edit.indices is None else values[..., edit.indices]
    new = values.clone()
    changed = operator.fn(picked, operator.operand.prepare(edit.value, picked, SITE))
    new[..., slice(None) if edit.indices is None else edit.indices] = changed
    return new


@pytest.mark.parametrize("kind", ["linear", "linear without bias", "conv"])
@pytest.mark.parametrize("before", [None, *INPUTS])
@pytest.mark.parametrize("after", [None, *OUTPUTS])
def test_one_projection_does_what_the_steps_do(kind, before, after):
    if before is None and after is None:
        return
    module = make("conv" if kind == "conv" else "linear", bias="without" not in kind)
    steps, values = [], torch.randn(2, 3, IN, dtype=torch.float64)
    wanted = values
    if before is not None:
        steps.append(("input", affine_of(SITE, INPUTS[before], IN)))
        wanted = edited(wanted, INPUTS[before])
    wanted = module(wanted)
    if after is not None:
        steps.append(("output", affine_of(SITE, OUTPUTS[after], OUT)))
        wanted = edited(wanted, OUTPUTS[after])
    changed = ChangedProjection("it", module, steps)
    folded = changed.folded()
    atol = 1e-5 if "project" in (before, after) else 1e-12  # project computes in float32
    assert torch.allclose(values @ folded.weight.T + folded.bias, wanted, atol=atol)
    own_weight = module.weight.T if kind == "conv" else module.weight
    assert torch.allclose(folded.left @ folded.right, folded.weight - own_weight, atol=1e-12)
    assert folded.left.shape[1] <= min(IN, OUT)
    has_offset = before == "set" or after in ("set", "add")
    assert changed.needs_bias == (has_offset and module.bias is None)
    parameters = changed.parameters()
    assert parameters["weight"].shape == module.weight.shape
    assert ("bias" in parameters) == (module.bias is not None or has_offset)


def test_factors_alone_are_known():
    module = make("linear")
    scale, zero = (affine_of(SITE, Edit(*edit, units=[2]), IN) for edit in (("scale", 3.0), ("zero",)))
    side, factors = ChangedProjection("it", module, [("input", scale)]).scale()
    assert side == "input" and factors.tolist() == [1, 1, 3, 1, 1, 1, 1]
    assert ChangedProjection("it", module, [("input", scale), ("input", zero)]).scale()[1][2] == 0
    both = [("input", scale), ("output", affine_of(SITE, Edit("zero", units=[0]), OUT))]
    assert ChangedProjection("it", module, both).scale() is None
    moved = affine_of(SITE, Edit("set", 1.0, units=[2]), IN)
    assert ChangedProjection("it", module, [("input", moved)]).scale() is None


def test_a_change_of_more_units_than_the_projection_has_outputs():
    module = make("linear")
    change = affine_of(SITE, Edit("scale", torch.arange(2.0, IN + 2)), IN)
    folded = ChangedProjection("it", module, [("input", change)]).folded()
    assert folded.left.shape == (OUT, OUT)
    assert torch.allclose(folded.weight, module.weight * torch.arange(2.0, IN + 2))


def test_weights_that_cannot_be_changed_are_refused():
    quantised = nn.Linear(IN, OUT)
    quantised.weight = nn.Parameter(torch.zeros(OUT, IN, dtype=torch.int8), requires_grad=False)
    with pytest.raises(ModelError, match="the weight of a.b is Parameter of torch.int8: it is quantised"):
        plain_weight("a.b", quantised)
    with pytest.raises(ModelError, match="without values"):
        plain_weight("a.b", nn.Linear(IN, OUT, device="meta"))
    with pytest.raises(ModelError, match="the weight of a.b is NoneType of None"):
        plain_weight("a.b", nn.Identity())
