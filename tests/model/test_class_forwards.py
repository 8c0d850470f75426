"""Whose forward a module runs."""

from types import MethodType

import torch

from tests.tiny import make_model
from xalign.model.architectures.resident import projected
from xalign.model.architectures.same_flow import is_of_libraries
from xalign.model.class_forwards import runs_its_class


def test_the_forward_of_the_class_may_stand_on_the_module():
    """transformers 4 leaves it on every module once states were asked for, which counted as replaced."""
    model = make_model("llama")
    linear, states = model.model.layers[0].mlp.down_proj, torch.ones(1, 80)
    expected = projected(linear, states)
    for module in model.modules():
        assert runs_its_class(module)
        module.forward = MethodType(type(module).forward, module)
        assert runs_its_class(module)
    assert is_of_libraries(model)
    assert torch.equal(projected(linear, states), expected)


def test_another_forward_is_not_that_of_the_class():
    model = make_model("llama")
    linear, other = model.model.layers[0].mlp.down_proj, model.model.layers[1].mlp.down_proj
    for forward in (lambda states: states, other.forward):
        linear.forward = forward
        assert not runs_its_class(linear)
        assert not is_of_libraries(model)
        assert projected(linear, torch.ones(1, 80)) is None
