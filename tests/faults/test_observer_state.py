"""An observation puts back everything that a forward may change."""

import contextlib
from collections import OrderedDict, deque

import pytest
import torch
import torch.distributed as dist
from peft import IA3Config, LNTuningConfig, LoraConfig, get_peft_model
from torch import nn
from torch.ao.quantization import PerChannelMinMaxObserver
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.parametrizations import weight_norm
from transformers import BigBirdConfig, BigBirdModel, BitsAndBytesConfig, LlamaForCausalLM
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from tests.faults.interrupts import changes, picture_of
from tests.monitor.training import equal_to_the_bit, make_trainer, result_of
from tests.tiny import make_model, make_tokenizer
from xalign import AlignmentCallback, AlignmentMonitor, ParallelPairs, load_pairs, measure
from xalign.model.contents import LARGEST_TENSOR
from xalign.model.observe import observing
from xalign.model.snapshot import Snapshot

pytestmark = pytest.mark.filterwarnings("ignore")

_ALL = load_pairs("bundled")["deu_Latn"]
PAIRS = ParallelPairs({"eng_Latn": _ALL.pivot_sentences[:4], "deu_Latn": _ALL.sentences[:4]})
SHORT = ParallelPairs({"eng_Latn": ["No.", "Have you?", "Who?"], "deu_Latn": ["Nein.", "Haben Sie?", "Wer?"]})
IDS = torch.arange(4, 44).reshape(2, 20)

BASE = {"rope_theta": 10_000.0}
ROPE = {
    "default": BASE,
    "linear": BASE | {"factor": 2.0},
    "dynamic": BASE | {"factor": 2.0},
    "yarn": BASE | {"factor": 2.0, "original_max_position_embeddings": 24},
    "longrope": BASE
    | {
        "factor": 2.0,
        "original_max_position_embeddings": 24,
        "short_factor": [1.0, 1.1, 1.2, 1.3],
        "long_factor": [2.0, 2.1, 2.2, 2.3],
    },
    "llama3": BASE
    | {
        "factor": 2.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 24,
    },
    "proportional": BASE | {"factor": 2.0, "partial_rotary_factor": 0.5},
}
PER_LAYER = [name for name in ROPE if name not in ("default", "linear")]
# The two that change in a forward; the others change nothing, and would be noticed if they began to.
QUICK = ("dynamic", "longrope")
CASES = [
    pytest.param(family, name, marks=() if name in QUICK else pytest.mark.slow, id=f"{family} {name}")
    for family, names in (("llama", list(ROPE)), ("gemma3_text", PER_LAYER))
    for name in names
]


def rope_model(family, name):
    parameters = {"rope_type": name} | ROPE[name]
    if family == "gemma3_text":
        kinds = {"full_attention": parameters, "sliding_attention": {"rope_type": "default", **BASE}}
        types = ["sliding_attention", "full_attention", "full_attention"]
        return make_model(family, rope_parameters=kinds, layer_types=types, max_position_embeddings=24)
    longest = 48 if "original_max_position_embeddings" in parameters else 24
    return make_model(family, rope_parameters=parameters, max_position_embeddings=longest)


def test_every_rope_type_is_tried():
    assert {"default", *ROPE_INIT_FUNCTIONS} == set(ROPE)


@pytest.mark.parametrize(("family", "name"), CASES)
def test_training_with_the_callback_is_bit_exact(family, name, tmp_path):
    """A short forward reset the frequencies that dynamic RoPE had grown: the losses after it changed."""
    data = [{"input_ids": torch.arange(4, 4 + n).tolist()} for n in (44, 30, 38, 26, 35, 28)]
    runs = []
    for watched in (False, True):
        model = rope_model(family, name)
        options = {"max_steps": 4, "per_device_train_batch_size": 1, "logging_steps": 1}
        trainer = make_trainer(evaluate=False, folder=str(tmp_path / str(watched)), model=model, **options)
        trainer.train_dataset = data
        if watched:
            callback = AlignmentCallback(
                trainer, SHORT, every=1, metrics=("margin",), save_reports=False, truncate=True
            )
            trainer.add_callback(callback)
        trainer.train()
        runs.append(result_of(trainer))
    assert len(callback.reports) == 5
    assert equal_to_the_bit(*runs)


@pytest.mark.parametrize("name", QUICK)
def test_batches_do_not_depend_on_those_before_them(name):
    """Frequencies grown by a long batch were those of the next one, so that scores depended on the order."""
    model = rope_model("llama", name)
    with torch.no_grad():
        model(input_ids=torch.arange(4, 48)[None])  # longer than the positions it began with
    before = picture_of(model)
    first = measure(model, make_tokenizer(), PAIRS, ["margin"], token_budget=1, truncate=True)
    again = measure(model, make_tokenizer(), PAIRS, ["margin"], token_budget=1, truncate=True)
    assert first.score("margin") == again.score("margin")
    assert not changes(before, picture_of(model))


ADAPTERS = {
    "lora": LoraConfig(target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"),
    "dora": LoraConfig(target_modules=["down_proj"], use_dora=True, init_lora_weights=False),
    "ia3": IA3Config(task_type="CAUSAL_LM", init_ia3_weights=False),
    "ln": LNTuningConfig(task_type="CAUSAL_LM"),
}


def adapted(kind):
    model = get_peft_model(make_model("llama"), ADAPTERS[kind])
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                torch.manual_seed(len(name))
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("merged", [True, False], ids=["merged", "unmerged"])
@pytest.mark.parametrize("kind", ADAPTERS)
def test_adapters_stay_as_they_are(kind, merged, tmp_path):
    """A merged LoRA that was monitored ended up unmerged, and its weights were no longer the same."""
    model = adapted(kind)
    if merged:
        model.base_model.merge_adapter()
    before, logits = picture_of(model), model(input_ids=IDS).logits
    monitor = AlignmentMonitor(model, make_tokenizer(), PAIRS, metrics=["margin"], save_dir=tmp_path)
    monitor.step(0)
    assert not changes(before, picture_of(model))
    assert torch.equal(model(input_ids=IDS).logits, logits)
    # Not vacuous: the base model was measured, without the adapter.
    assert monitor.base.score("margin") != monitor.reports[0].score("margin")


def test_a_merged_adapter_that_is_disabled_stays_merged():
    """The first forward of a measurement unmerged it for good."""
    model = adapted("lora")
    model.base_model.merge_adapter()
    model.base_model.disable_adapter_layers()
    before = picture_of(model)
    measure(model, make_tokenizer(), PAIRS, ["margin"])
    assert not changes(before, picture_of(model))
    model(input_ids=IDS)
    assert changes(before, picture_of(model))  # a forward of its own does it


@pytest.mark.parametrize("bits", [4, 8])
def test_merged_adapters_on_quantised_weights_stay(bits, tmp_path):
    """The weights were dequantised, changed and quantised anew."""
    pytest.importorskip("bitsandbytes")
    sizes = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    make_model("llama", **sizes).save_pretrained(tmp_path)
    chosen = BitsAndBytesConfig(**{f"load_in_{bits}bit": True})
    quantised = LlamaForCausalLM.from_pretrained(tmp_path, quantization_config=chosen, device_map="cpu")
    lora = LoraConfig(target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    model = get_peft_model(quantised, lora)
    model(input_ids=IDS)  # bitsandbytes moves what it loaded at the first forward
    model.merge_adapter()
    logits = model(input_ids=IDS).logits
    layers = [module for module in model.modules() if getattr(module, "merged_adapters", None)]
    monitor = AlignmentMonitor(model, make_tokenizer(), PAIRS, metrics=["margin"], save_dir=tmp_path)
    monitor.step(0)
    assert len(layers) == 6
    assert all(layer.merged_adapters == ["default"] for layer in layers)
    assert torch.equal(model(input_ids=IDS).logits, logits)


class Counting(nn.Module):
    """A norm with a state of its own: everything that a forward can change."""

    def __init__(self, norm):
        super().__init__()
        self.norm, self.calls, self.seen = norm, 0, []
        self.register_buffer("total", torch.zeros(3))
        self.register_buffer("last", torch.zeros(1), persistent=False)
        self.options = {"scale": 1.0}

    @property
    def weight(self):
        return self.norm.weight

    def forward(self, x):
        self.calls += 1
        self.seen.append(x.shape)
        self.total += 1
        self.last = x.mean().reshape(1)
        self.options["scale"] = 2.0
        self.found = True
        self.register_buffer("more", torch.ones(1), persistent=False)
        torch.rand(1)
        return self.norm(x)


def test_what_modules_keep_is_put_back():
    """Counters, running values, caches and new buffers of a forward stayed on the model."""
    model = make_model("llama").train()
    model.model.norm = Counting(model.model.norm)
    model(input_ids=IDS)
    before = picture_of(model)
    measure(model, make_tokenizer(), PAIRS, ["margin"])
    assert not changes(before, picture_of(model))
    model(input_ids=IDS)
    assert len(changes(before, picture_of(model))) >= 5  # not vacuous


def test_large_buffers_are_not_copied():
    """They are weights in fact: a copy of them would double the memory."""
    model = nn.Module()
    model.register_buffer("small", torch.zeros(4))
    model.register_buffer("large", torch.zeros(LARGEST_TENSOR // 4 + 1))
    before = Snapshot(model)
    model.small += 1
    model.large += 1
    before.put_back()
    assert (model.small.sum(), model.large[0]) == (0, 1)


def hooked(hook, **attributes):
    """A model whose first MLP has some attributes, and a hook that is called with it and its output."""
    model = make_model("llama").train()
    mlp = model.model.layers[0].mlp
    for name, value in attributes.items():
        setattr(mlp, name, value)
    mlp.register_forward_hook(lambda module, given, output: hook(module, output))
    return model, mlp


def test_observers_of_quantisation_aware_training_are_put_back():
    """They resize buffers: measuring ended with a foreign error, and later attributes stayed changed."""

    def look(module, output):
        module.observer(output)
        module.calls += 1

    model, mlp = hooked(look, observer=PerChannelMinMaxObserver(ch_axis=2), calls=0)
    before = picture_of(model)
    measure(model, make_tokenizer(), PAIRS, ["margin"])
    assert not changes(before, picture_of(model))
    assert (mlp.calls, mlp.observer.min_val.shape) == (0, (0,))
    assert mlp.observer.min_val.untyped_storage().nbytes() == 0
    model(input_ids=IDS)
    assert mlp.observer.min_val.shape == (32,)  # not vacuous


BUFFER_CHANGES = {
    "resized": lambda b: b.resize_(40).fill_(2),
    "made smaller": lambda b: b.resize_(1).fill_(2),
    "other memory": lambda b: setattr(b, "data", b.data + 1),
    "other type": lambda b: setattr(b, "data", b.data.double()),
    "past the count": lambda b: b.data.add_(1),
    "sign of zero": lambda b: b.data.neg_(),
}


@pytest.mark.parametrize("change", BUFFER_CHANGES.values(), ids=BUFFER_CHANGES)
def test_buffers_keep_memory_shape_and_values(change):
    """Torch does not count changes through `.data`, and the shape was not compared."""
    model = nn.Module()
    model.register_buffer("whole", torch.tensor([0.0, 1.0, float("nan")]))
    model.register_buffer("end", model.whole[1:])
    whole, bits = model.whole, model.whole.view(torch.int32).clone()
    before = Snapshot(model)
    with torch.no_grad():
        change(whole)
    before.put_back()
    assert model.whole is whole
    assert whole.dtype == torch.float32
    assert torch.equal(whole.view(torch.int32), bits)
    assert whole.untyped_storage().nbytes() == 12
    assert model.end.data_ptr() == whole.data_ptr() + 4


def test_what_cannot_be_put_back_keeps_nothing_else_from_it():
    """An error in the middle left the attributes of all modules after it as the forward had changed them."""

    class Closed(list):
        def clear(self):
            raise RuntimeError("closed")

    model = nn.Sequential(*(nn.Module() for _ in range(3)))
    for module in model:
        module.seen, module.calls, module.last = [], 0, torch.zeros(2)
    model[1].seen = Closed()
    before = Snapshot(model)
    for module in model:
        module.seen.append(1)
        module.calls = 1
        module.last += 1
        module.training = False
    with pytest.raises(RuntimeError, match="closed"):
        before.put_back()
    assert [len(module.seen) for module in model] == [0, 1, 0]
    assert [(module.calls, module.last.sum(), module.training) for module in model] == [(0, 0, True)] * 3


def test_what_is_inside_of_attributes_is_put_back():
    """Only the first level of dicts, lists and sets was, and the values of no tensor that is not a buffer."""

    def look(module, output):
        module.running.add_(1)
        module.usage["by kind"]["of token"].append(output.shape)
        module.usage["sums"][0][0].add_(1)
        module.latest.append(output)
        module.order.move_to_end("first")
        torch.rand(1, generator=module.generator)
        module.register_buffer("late", torch.ones(1), persistent=False)
        module.up_proj.weight.requires_grad_(False)

    def state():
        order, drawn = list(mlp.order), mlp.generator.get_state().tolist()
        inside = (mlp.usage["by kind"]["of token"], mlp.usage["sums"][0][0].tolist(), list(mlp.latest))
        buffers = list(mlp._buffers), mlp._non_persistent_buffers_set
        return repr((mlp.running.tolist(), inside, order, drawn, buffers, mlp.up_proj.weight.requires_grad))

    model, mlp = hooked(
        look,
        running=torch.zeros(3),
        usage={"by kind": {"of token": []}, "sums": [(torch.zeros(2),)]},
        latest=deque([1, 2], maxlen=2),
        order=OrderedDict(first=1, second=2),
        generator=torch.Generator().manual_seed(1),
    )
    before, picture = state(), picture_of(model)
    measure(model, make_tokenizer(), PAIRS, ["margin"])
    assert state() == before
    assert not changes(picture, picture_of(model))
    model(input_ids=IDS)
    assert state() != before  # not vacuous


def in_one_autocast(*steps):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return [step() for step in steps][-1]


def test_an_outer_autocast_keeps_no_weights_of_a_measurement():
    """It kept what it had cast: after `load_state_dict`, scores and losses were those of the old weights."""
    other = make_model("llama", seed=1)
    model = make_model("llama", seed=0)

    def score(one=model):
        return measure(one, make_tokenizer(), PAIRS, ["margin"]).score("margin")

    def load():
        model.load_state_dict(other.state_dict())

    def loss(one=model):
        return one(input_ids=IDS, labels=IDS).loss.item()

    expected = in_one_autocast(lambda: score(other))
    assert in_one_autocast(score) != expected
    assert in_one_autocast(score, load, score) == expected
    model = make_model("llama", seed=0)
    assert in_one_autocast(score, load, loss) == in_one_autocast(lambda: loss(other))
    # What the run's own forward has cast is not what is measured.
    model = make_model("llama", seed=0)
    assert in_one_autocast(loss, load, score) == expected


def test_an_outer_autocast_keeps_the_weights_of_the_run():
    """Two forwards share the weights that were cast: if cast anew, gradients are rounded otherwise."""
    gradients = []
    for watched in (False, True):
        model = make_model("llama").train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            first = model(input_ids=IDS, labels=IDS).loss
            if watched:
                measure(model, make_tokenizer(), PAIRS, ["margin"])
            second = model(input_ids=IDS + 1, labels=IDS).loss
        (first + second).backward()
        gradients.append([first, second, *(parameter.grad for parameter in model.parameters())])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_a_forward_of_ddp_is_the_first_of_the_next_step(tmp_path):
    """DDP notes a forward without gradient, and did not synchronise its buffers in the step that followed."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = DistributedDataParallel(make_model("llama").train())
        model(input_ids=IDS).logits.sum().backward()
        before = picture_of(model)
        assert model.require_forward_param_sync
        measure(model, make_tokenizer(), PAIRS, ["margin"])
        assert not changes(before, picture_of(model))
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("outer", ["no_grad", "inference_mode", "set_grad_enabled"])
def test_measuring_inside_another_mode(outer, tmp_path):
    """The values are the same, and the mode is as it was. 0.1.0 could do this too."""
    model = make_model("llama")
    expected = measure(model, make_tokenizer(), PAIRS)
    before = picture_of(model)
    mode = torch.set_grad_enabled(True) if outer == "set_grad_enabled" else getattr(torch, outer)()
    with mode:
        inside = picture_of(model)
        report = measure(model, make_tokenizer(), PAIRS)
        assert not changes(inside, picture_of(model))
    assert not changes(before, picture_of(model))
    assert [row["value"] for row in report.to_rows()] == [row["value"] for row in expected.to_rows()]
    report.save(tmp_path / "report")
    assert report.compare(expected)


@pytest.mark.parametrize("shape", [(1,), (1, 2), (2, 1), ()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bfloat16])
def test_expanded_buffers_are_put_back(shape, dtype):
    """Torch refused to write into an expanded buffer, and a measurement ended with its RuntimeError."""
    model = make_model("llama")
    mlp = model.model.layers[0].mlp
    mlp.register_buffer("expanded", torch.ones(shape, dtype=dtype).expand(3, *(2 for _ in shape)))
    before, changed = mlp.expanded.clone(), []

    class Changes(type(mlp)):
        def forward(self, states):
            self.expanded.untyped_storage().fill_(1)
            changed.append(not torch.equal(self.expanded, before))
            return super().forward(states)

    mlp.__class__ = Changes
    measure(model, make_tokenizer(), SHORT)
    assert all(changed) and torch.equal(mlp.expanded, before) and 0 in mlp.expanded.stride()


@pytest.fixture
def big_bird():
    """A BigBird which exchanges its sparse attention for full attention in forwards of up to 28 tokens."""
    config = BigBirdConfig(
        vocab_size=500,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        block_size=4,
        num_random_blocks=1,
        max_position_embeddings=512,
    )
    return BigBirdModel(config).train()


LONG = torch.arange(4, 132)[None]


def test_big_bird_runs_long_texts_after_short_ones_were_measured(big_bird):
    """Its attribute was put back and its attention was not: every long forward raised a TypeError."""
    before = picture_of(big_bird)
    measure(big_bird, make_tokenizer(), SHORT, ["margin"])
    assert not changes(before, picture_of(big_bird))
    big_bird(input_ids=LONG)
    big_bird(input_ids=LONG[:, :7])
    assert big_bird.attention_type == "original_full"  # not vacuous


def test_short_batches_do_not_change_the_attention_of_long_ones(big_bird):
    """After a short batch, all later batches of the same measurement ran with full attention."""
    with observing(big_bird) as before:
        for length in (128, 7, 128):
            big_bird(input_ids=LONG[:, :length])
            sparse = big_bird.attention_type == "block_sparse"
            assert sparse == (length == 128)
            before.rewind()


PART_CHANGES = {
    "submodule made": lambda m: setattr(m, "made", nn.Linear(2, 2)),
    "submodule replaced": lambda m: setattr(m, "act_fn", nn.GELU()),
    "submodule deleted": lambda m: delattr(m, "gate_proj"),
    "submodule set to None": lambda m: setattr(m, "gate_proj", None),
    "order": lambda m: m._modules.update(gate_proj=m._modules.pop("gate_proj")),
    "weight made": lambda m: setattr(m, "made", nn.Parameter(torch.ones(1))),
    "weight replaced": lambda m: setattr(m.up_proj, "weight", nn.Parameter(torch.ones(1))),
    "weight deleted": lambda m: delattr(m.up_proj, "weight"),
    "weight made a plain tensor": lambda m: weight_made_plain(m.up_proj),
}


def weight_made_plain(module):
    weight = module.weight.detach()
    del module.weight
    module.weight = weight


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("change", PART_CHANGES.values(), ids=PART_CHANGES)
def test_submodules_and_weights_are_put_back(change, fails):
    """Those that a forward replaced, added or deleted were not, so that `state_dict` had other keys."""

    def look(module, output):
        change(module)
        if fails:
            raise OSError

    model, _ = hooked(look)
    before, keys = picture_of(model), list(model.state_dict())
    with contextlib.suppress(OSError), observing(model):
        model(input_ids=IDS)
    assert not changes(before, picture_of(model))
    assert list(model.state_dict()) == keys
    with contextlib.suppress(OSError):
        model(input_ids=IDS)
    assert changes(before, picture_of(model))  # not vacuous


def test_submodules_made_in_a_forward_stay_until_the_end_of_a_measurement():
    """Made again for each batch, they would have other random weights."""
    made = []

    def look(module, output):
        if not hasattr(module, "made"):
            module.made = nn.Linear(2, 2)
            made.append(module.made)

    model, mlp = hooked(look)
    with observing(model) as before:
        for _ in range(3):
            model(input_ids=IDS)
            before.rewind()
    assert len(made) == 1
    assert not hasattr(mlp, "made")


def test_parametrized_weights_stay():
    """Their modules hold the weights of the module that they belong to."""
    model = make_model("llama").train()
    weight_norm(model.model.layers[0].mlp.up_proj)
    before = picture_of(model)
    measure(model, make_tokenizer(), PAIRS, ["margin"])
    assert not changes(before, picture_of(model))
    model(input_ids=IDS).logits.sum().backward()


@pytest.fixture
def one_process(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_weights_of_fsdp2_are_left_to_it(one_process):
    """It exchanges weights in a forward: the gathered ones that were there before may be freed by then."""
    model = make_model("llama").train()
    for layer in model.model.layers:
        fully_shard(layer, mesh=one_process)
    fully_shard(model, mesh=one_process)
    model(input_ids=IDS)  # the weights of the root stay gathered
    gathered, sharded = model.lm_head.weight, model.model.layers[0].mlp.up_proj.weight
    with observing(model):
        model(input_ids=IDS)
        model.reshard()
        model.lm_head.made = nn.Parameter(torch.ones(1))
        model.model.made = nn.Linear(2, 2)
    assert model.lm_head.weight is not gathered
    assert model.model.layers[0].mlp.up_proj.weight is sharded
    assert all(isinstance(weight, DTensor) for weight in model.parameters())
    assert (list(model.lm_head._parameters), "made" in model.model._modules) == (["weight", "bias"], False)
    model(input_ids=IDS).logits.sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())
