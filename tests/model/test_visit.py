"""`visit`: fires once, leaves nothing, says what it cannot do."""

from types import MethodType

import pytest
import torch
import transformers
from packaging.version import Version
from peft import LoraConfig, get_peft_model
from torch import nn

from tests.tiny import WIDTH, enable_checkpointing, make_model
from xalign import Site, map_model, visit
from xalign.errors import ArgumentTypeError, ModelError
from xalign.model.capture import capture
from xalign.model.write import Edit, write

SEAM = ["llama", "gpt2", "bert", "opt", "phi3"]
BATCH = {"input_ids": torch.arange(4, 16).reshape(2, 6)}


def count_hooks(model: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)


def in_double(model: nn.Module) -> nn.Module:
    """The model in float64 throughout: RMS norms compute in float32 whatever their input is."""

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon))

    for module in model.double().modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = MethodType(forward, module)
    return model


def output_of(model, **kwargs):
    output = model(**BATCH, **kwargs)
    return output.logits if hasattr(output, "logits") else output.last_hidden_state


@pytest.mark.parametrize("family", SEAM)
@pytest.mark.parametrize("kind", ["gate", "inner", "hidden"])
def test_captured_gradient_equals_finite_differences(family, kind):
    model = in_double(make_model(family))
    site = Site(kind, 1)
    with capture(model, [site]) as states:
        output = output_of(model)
    direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    (gradient,) = torch.autograd.grad((output * direction).sum(), states[site])
    assert gradient.norm() > 1e-3
    width = gradient.shape[-1]
    for unit in (0, width // 2, width - 1):
        step, values = 1e-6, []
        for sign in (1, -1):
            # One token only, so that the gradient of that one coordinate is seen.
            def nudge(x, change=sign * step, unit=unit):
                new = x.clone()
                new[1, 2, unit] += change
                return new

            with torch.no_grad(), visit(model, {site: nudge}):
                values.append((output_of(model) * direction).sum().item())
        numeric = (values[0] - values[1]) / (2 * step)
        assert numeric == pytest.approx(gradient[1, 2, unit].item(), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("family", SEAM)
def test_zeroing_a_neuron_is_removing_its_column(family):
    model = make_model(family)
    site, neuron = Site("inner", 1), 7
    with torch.no_grad():
        plain = output_of(model)
        with write(model, {site: Edit("zero", units=[neuron])}):
            zeroed = output_of(model)
        assert torch.equal(output_of(model), plain)  # and afterwards nothing is left
        down = model.get_submodule(map_model(model).place(site).path)
        column = down.weight[neuron] if type(down).__name__ == "Conv1D" else down.weight[:, neuron]
        column.zero_()
        removed = output_of(model)
    assert not torch.allclose(zeroed, plain, atol=1e-4)
    assert torch.allclose(zeroed, removed, atol=1e-6)


@pytest.mark.parametrize("family", SEAM)
def test_an_exception_leaves_no_hook(family):
    model = make_model(family)
    before = count_hooks(model)

    def fail(x):
        assert count_hooks(model) > before  # or the test would be vacuous
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), visit(model, {Site("inner", 0): fail}):
        model(**BATCH)
    assert count_hooks(model) == before
    with pytest.raises(ZeroDivisionError), visit(model, {Site("inner", 0): lambda x: None}):
        raise ZeroDivisionError
    assert count_hooks(model) == before


@pytest.mark.parametrize("family", SEAM)
def test_a_site_that_does_not_fire_is_an_error(family):
    model = make_model(family)
    place = map_model(model).place(Site("inner", 1))
    # What a kernel does that computes the whole network in one go: the projection itself is never called.
    parent = model.get_submodule(place.path.rpartition(".")[0])
    if family == "opt":
        alone = Version(transformers.__version__) >= Version("5")  # earlier blocks return a tuple
        parent.forward = lambda hidden_states, **kwargs: hidden_states if alone else (hidden_states,)
    else:
        parent.forward = lambda *args, **kwargs: torch.zeros(2, 6, WIDTH)
    with (
        pytest.raises(ModelError, match=r"1\.inner did not fire"),
        visit(model, {Site("inner", 1): lambda x: None}),
    ):
        model(**BATCH)


def test_a_site_that_fires_twice_is_an_error():
    model = make_model("bert", chunk_size_feed_forward=3)
    with pytest.raises(ModelError, match="fired twice"), visit(model, {Site("inner", 0): lambda x: None}):
        model(**BATCH)


def test_no_forward_is_no_error_and_a_failed_one_is_not_judged():
    model = make_model("llama")
    with visit(model, {Site("inner", 0): lambda x: None}):
        pass
    with visit(model, {Site("inner", 2): lambda x: None}):
        with pytest.raises(IndexError):
            model(input_ids=torch.tensor([[10_000]]))
        model(**BATCH)


def test_each_forward_is_counted_by_itself():
    model, seen = make_model("llama"), []
    with visit(model, {Site("hidden", 0): lambda x: seen.append(x.shape)}):
        model(**BATCH)
        model(input_ids=BATCH["input_ids"][:1])
    assert seen == [(2, 6, WIDTH), (1, 6, WIDTH)]


def test_every_module_shape_arrives_as_batch_token_width():
    for family, kinds in {"opt": ("gate", "inner", "mlp_out"), "phi3": ("gate",), "gpt2": ("inner",)}.items():
        model = make_model(family)
        for kind in kinds:
            seen = []
            site = Site(kind, 0)
            with visit(model, {site: lambda x, seen=seen: seen.append(x)}):
                model(**BATCH)
            assert seen[0].shape == (2, 6, map_model(model).place(site).width)


def test_linear_sites_flattened_ones_too():
    model = make_model("opt")
    names = [site.name for site in map_model(model).sites("linear")]
    assert "model.decoder.layers.1.fc1" in names
    seen = {}
    sites = [Site("linear", name="model.decoder.layers.1.fc1"), Site("gate", 1)]
    with visit(model, {site: lambda x, site=site: seen.__setitem__(site, x) for site in sites}):
        model(**BATCH)
    assert torch.equal(*seen.values())
    assert seen[sites[0]].shape[:2] == (2, 6)


def test_visits_nest_in_the_order_of_entering():
    model, seen = make_model("llama"), []
    site = Site("inner", 1)
    with visit(model, {site: lambda x: x * 2}), visit(model, {site: lambda x: x + 1}):  # noqa: SIM117
        with visit(model, {site: lambda x: seen.append(x)}):
            model(**BATCH)
    with visit(model, {site: lambda x: seen.append(x)}):
        model(**BATCH)
    assert torch.allclose(seen[0], seen[1] * 2 + 1)


def test_what_a_function_may_return():
    model = make_model("llama")
    for wrong, message in (
        (lambda x: x[:, :2], "shape"),
        (lambda x: x.double(), "dtype"),
        (lambda x: 0, "None or a tensor"),
    ):
        with (
            pytest.raises((ModelError, ArgumentTypeError), match=message),
            visit(model, {Site("inner", 0): wrong}),
        ):
            model(**BATCH)


def test_a_forward_that_is_tried_again_ends_with_the_first_error():
    """transformers 4 runs a forward again after a TypeError, and then the site was said to fire twice."""
    model = make_model("llama")
    forward = model.model.forward

    def try_again(*args, **kwargs):
        try:
            return forward(*args, **kwargs)
        except TypeError:
            return forward(*args, **kwargs)

    model.model.forward = try_again
    for _ in range(2):
        with (
            pytest.raises(ArgumentTypeError, match="None or a tensor"),
            visit(model, {Site("inner", 0): lambda x: 0}),
        ):
            model(**BATCH)
    with visit(model, {Site("inner", 0): lambda x: None}):
        model(**BATCH)


def test_what_a_site_may_be():
    model = make_model("llama")
    with pytest.raises(ArgumentTypeError, match=r"Site\.parse"), visit(model, {"3.inner": lambda x: None}):
        pass
    for site, message in (
        (Site("inner", 3), "blocks 0 to 2"),
        (Site("hidden", 0, stack="encoder"), "one stack"),
        (Site("linear", name="nothing.here"), "no Linear of that name"),
    ):
        with pytest.raises(ModelError, match=message), visit(model, {site: lambda x: None}):
            pass


@pytest.mark.parametrize("family", SEAM)
def test_checkpointing_does_not_count_the_recomputation(family):
    """Captured tensors have their gradient, equal to that without checkpointing, and functions look once."""
    gradients = []
    for checkpointing in (False, True):
        model = make_model(family)
        model.train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        if checkpointing:
            enable_checkpointing(model)
        looked, sites = [], [Site("gate", 1), Site("inner", 1), Site("hidden", 1)]
        with visit(model, {Site("mlp_out", 0): lambda x, looked=looked: looked.append(x.requires_grad)}):
            with capture(model, sites) as states:
                output_of(model, use_cache=False) if family != "bert" else output_of(model)
            loss = sum(states[site].square().mean() for site in sites)
            loss.backward()
        assert looked == [True]
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert gradients[0].norm() > 1e-3
    assert torch.allclose(*gradients, rtol=1e-5, atol=1e-8)


def test_checkpointing_repeats_an_edit_in_the_recomputation():
    gradients = []
    for checkpointing in (False, True):
        model = make_model("llama").train()
        if checkpointing:
            enable_checkpointing(model)
        with visit(model, {Site("inner", 1): lambda x: x * 0.5}):
            output_of(model, use_cache=False).square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.allclose(*gradients, rtol=1e-5, atol=1e-8)


def test_on_lora_the_outer_module_is_edited():
    model = get_peft_model(
        make_model("llama"), LoraConfig(target_modules=["down_proj"], init_lora_weights=False)
    )
    site = Site("inner", 1)
    assert map_model(model).place(site).path.endswith("layers.1.mlp.down_proj")
    seen = {}
    look = {Site("mlp_out", 1): lambda x: seen.__setitem__("out", x)}
    with torch.no_grad(), write(model, {site: Edit("zero")}), visit(model, look):
        model(**BATCH)
    # Zero in means zero out, through the adapter's branch as well.
    assert seen["out"].abs().max() == 0
    linear = [s.name for s in map_model(model).sites("linear")]
    assert not any("lora_" in name or "base_layer" in name for name in linear)


def test_a_call_around_the_visited_model_is_said():
    """Nobody could count the fires of a forward that does not begin at the model visited."""
    model = make_model("llama")
    with (
        pytest.raises(ModelError, match="visit the object you call"),
        visit(model, {Site("inner", 1): lambda x: None}),
    ):
        model.forward(**BATCH)


@pytest.mark.thorough
def test_a_compiled_function_around_the_model_is_seen():
    model, seen = make_model("llama"), []
    step = torch.compile(lambda ids: model(input_ids=ids), backend="eager")
    with torch.no_grad():
        step(BATCH["input_ids"])
        with visit(model, {Site("inner", 1): lambda x: seen.append(x.shape)}):
            step(BATCH["input_ids"])
    assert len(seen) == 1


def test_functions_of_the_wrong_type():
    model, site = make_model("llama"), Site("inner", 1)
    for fns, message in (
        ([site], "fns must map"),
        (None, "fns must map"),
        ({site: "x"}, "the function at site 1.inner must be callable"),
        ({"1.inner": print}, "see Site.parse"),
    ):
        with pytest.raises(ArgumentTypeError, match=message), visit(model, fns):
            pass
    assert count_hooks(model) == 0


@pytest.mark.thorough
@pytest.mark.parametrize("how", ["function", "in place"])
def test_a_compiled_model_is_seen(how):
    model, seen = make_model("llama"), []
    compiled = torch.compile(model, backend="aot_eager") if how == "function" else model
    if how == "in place":
        model.compile(backend="aot_eager")
    with torch.no_grad():
        compiled(**BATCH)  # the graph is made without hooks
        with visit(compiled, {Site("inner", 1): lambda x: seen.append(x.shape)}):
            compiled(**BATCH)
    assert len(seen) == 1
