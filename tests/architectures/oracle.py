"""What 33 architectures compute in their feed-forward networks, written from the weights alone.

Nothing of xalign is used here. A plain forward hook of torch takes the input of each feed-forward network and
the output of each block; gate and neurons follow from that input by the formula of the architecture, which
was read off its modelling file. All paths are written out by hand.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.architectures.zoo import run

Activation = Callable[[Tensor], Tensor]
Tensors = dict[tuple[str, int], Tensor]


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def relu(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.zeros_like(x))


def project(module: nn.Module, x: Tensor) -> Tensor:
    """x through the weights of a projection; GPT-2's Conv1D keeps them transposed."""
    weight = module.weight.T if type(module).__name__ == "Conv1D" else module.weight
    out = x @ weight.T
    return out if getattr(module, "bias", None) is None else out + module.bias


@dataclass(frozen=True)
class Formula:
    """How a feed-forward network makes gate and neurons of its input; paths are relative to a block.

    Attributes:
        network: The module whose input is the network's input.
        gate: The projection whose output goes into the activation function.
        down: The down projection. It is only used to check the formula against the model.
        act: The activation function.
        up: The projection that the activated gate is multiplied with, if it is a module of its own.
        halves: Whether `gate` gives the gate and, in its second half, what it is multiplied with.
        factor: What the gate is multiplied with before the activation function.
    """

    network: str
    gate: str
    down: str
    act: Activation
    up: str = ""
    halves: bool = False
    factor: Callable[[nn.Module], float] = lambda block: 1.0

    def __call__(self, block: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        gate = project(block.get_submodule(self.gate), x)
        other: Tensor | None = None
        if self.halves:
            gate, other = gate[..., : gate.shape[-1] // 2], gate[..., gate.shape[-1] // 2 :]
        elif self.up:
            other = project(block.get_submodule(self.up), x)
        inner = self.act(gate * self.factor(block))
        return gate, inner if other is None else inner * other


@dataclass(frozen=True)
class Architecture:
    """A specimen of the zoo and its formula.

    Attributes:
        name: `model_type:class`, as in the zoo.
        blocks: Path of the list of blocks.
        formula: How their feed-forward networks compute.
        stack: Which of several stacks this is.
        dense: The blocks that have this network, where the others have experts; None for all.
        calls: How often the only block is called, where blocks share their weights.
    """

    name: str
    blocks: str
    formula: Formula
    stack: str = ""
    dense: tuple[int, ...] | None = None
    calls: int = 1

    def __str__(self) -> str:
        return f"{self.name}{'.' if self.stack else ''}{self.stack}"


def _gated(act: Activation, network: str = "mlp") -> Formula:
    return Formula(network, f"{network}.gate_proj", f"{network}.down_proj", act, up=f"{network}.up_proj")


def _plain(network: str, first: str, second: str, act: Activation) -> Formula:
    return Formula(network, f"{network}.{first}", f"{network}.{second}", act)


_BERT = Formula("intermediate", "intermediate.dense", "output.dense", gelu)
_BART = Formula("fc1", "fc1", "fc2", gelu)
_M2M = Formula("fc1", "fc1", "fc2", relu)
_FALCON_H1 = Formula(
    "feed_forward",
    "feed_forward.gate_proj",
    "feed_forward.down_proj",
    silu,
    up="feed_forward.up_proj",
    factor=lambda block: block.feed_forward.gate_multiplier,
)

ARCHITECTURES = [
    # Dense decoders.
    Architecture("llama:LlamaForCausalLM", "model.layers", _gated(silu)),
    Architecture("gpt2:GPT2LMHeadModel", "transformer.h", _plain("mlp", "c_fc", "c_proj", gelu_tanh)),
    Architecture(
        "gpt_neox:GPTNeoXForCausalLM",
        "gpt_neox.layers",
        _plain("mlp", "dense_h_to_4h", "dense_4h_to_h", gelu),
    ),
    Architecture(
        "bloom:BloomForCausalLM", "transformer.h", _plain("mlp", "dense_h_to_4h", "dense_4h_to_h", gelu_tanh)
    ),
    Architecture(
        "falcon:FalconForCausalLM", "transformer.h", _plain("mlp", "dense_h_to_4h", "dense_4h_to_h", gelu)
    ),
    Architecture("phi:PhiForCausalLM", "model.layers", _plain("mlp", "fc1", "fc2", gelu_tanh)),
    Architecture(
        "phi3:Phi3ForCausalLM",
        "model.layers",
        Formula("mlp", "mlp.gate_up_proj", "mlp.down_proj", silu, halves=True),
    ),
    Architecture("gemma2:Gemma2ForCausalLM", "model.layers", _gated(gelu_tanh)),
    Architecture("gemma3_text:Gemma3ForCausalLM", "model.layers", _gated(gelu_tanh)),
    Architecture("olmo2:Olmo2ForCausalLM", "model.layers", _gated(silu)),
    Architecture("cohere:CohereForCausalLM", "model.layers", _gated(silu)),
    Architecture("opt:OPTForCausalLM", "model.decoder.layers", _M2M),
    Architecture("mpt:MptForCausalLM", "transformer.blocks", _plain("ffn", "up_proj", "down_proj", gelu)),
    Architecture(
        "gpt_bigcode:GPTBigCodeForCausalLM", "transformer.h", _plain("mlp", "c_fc", "c_proj", gelu_tanh)
    ),
    # Encoders.
    Architecture("bert:BertForMaskedLM", "bert.encoder.layer", _BERT),
    Architecture("roberta:RobertaForMaskedLM", "roberta.encoder.layer", _BERT),
    Architecture("electra:ElectraForMaskedLM", "electra.encoder.layer", _BERT),
    Architecture("deberta-v2:DebertaV2ForMaskedLM", "deberta.encoder.layer", _BERT),
    Architecture(
        "modernbert:ModernBertForMaskedLM",
        "model.layers",
        Formula("mlp", "mlp.Wi", "mlp.Wo", gelu, halves=True),
    ),
    Architecture(
        "distilbert:DistilBertForMaskedLM",
        "distilbert.transformer.layer",
        _plain("ffn", "lin1", "lin2", gelu),
    ),
    # Its four blocks are one, called four times.
    Architecture(
        "albert:AlbertForMaskedLM",
        "albert.encoder.albert_layer_groups.0.albert_layers",
        Formula("ffn", "ffn", "ffn_output", gelu_tanh),
        calls=4,
    ),
    # Encoder–decoders.
    Architecture(
        "t5:T5ForConditionalGeneration",
        "encoder.block",
        _plain("layer.1.DenseReluDense", "wi", "wo", relu),
        stack="encoder",
    ),
    Architecture(
        "t5:T5ForConditionalGeneration",
        "decoder.block",
        _plain("layer.2.DenseReluDense", "wi", "wo", relu),
        stack="decoder",
    ),
    Architecture(
        "mt5:MT5ForConditionalGeneration",
        "encoder.block",
        Formula(
            "layer.1.DenseReluDense",
            "layer.1.DenseReluDense.wi_0",
            "layer.1.DenseReluDense.wo",
            gelu_tanh,
            up="layer.1.DenseReluDense.wi_1",
        ),
        stack="encoder",
    ),
    Architecture("bart:BartForConditionalGeneration", "model.encoder.layers", _BART, stack="encoder"),
    Architecture("bart:BartForConditionalGeneration", "model.decoder.layers", _BART, stack="decoder"),
    Architecture("m2m_100:M2M100ForConditionalGeneration", "model.encoder.layers", _M2M, stack="encoder"),
    Architecture("marian:MarianMTModel", "model.encoder.layers", _BART, stack="encoder"),
    # The language models of multimodal ones, with text alone.
    Architecture("llava:LlavaForConditionalGeneration", "model.language_model.layers", _gated(silu)),
    Architecture("qwen2_vl:Qwen2VLForConditionalGeneration", "model.language_model.layers", _gated(silu)),
    # Hybrids, and the dense blocks of mixtures of experts.
    Architecture("falcon_h1:FalconH1ForCausalLM", "model.layers", _FALCON_H1),
    Architecture("jamba:JambaForCausalLM", "model.layers", _gated(silu, "feed_forward"), dense=(0, 2)),
    Architecture("deepseek_v3:DeepseekV3ForCausalLM", "model.layers", _gated(silu), dense=(0,)),
    # Speech.
    Architecture("whisper:WhisperForConditionalGeneration", "model.encoder.layers", _BART, stack="encoder"),
    Architecture(
        "wav2vec2:Wav2Vec2ForCTC",
        "wav2vec2.encoder.layers",
        _plain("feed_forward", "intermediate_dense", "output_dense", gelu),
    ),
]


@torch.no_grad()
def expected(one: Architecture, model: nn.Module, inputs: dict[str, Tensor]) -> Tensors:
    """(kind, block) -> what is there, [batch, token, width], for the kinds hidden, gate and inner."""
    seen, outputs = captured(one, model, inputs, one.formula.network)
    found: Tensors = {}
    for layer, block, x in seen:
        tokens = outputs[layer].shape[:2]
        gate, inner = one.formula(block, x)
        found["gate", layer], found["inner", layer] = gate.reshape(*tokens, -1), inner.reshape(*tokens, -1)
    return found | {("hidden", layer): output for layer, output in enumerate(outputs)}


def captured(
    one: Architecture, model: nn.Module, inputs: dict[str, Tensor], path: str
) -> tuple[list[tuple[int, nn.Module, Tensor]], list[Tensor]]:
    """Run the model once.

    Returns:
        Per block with this network (its number, itself, the first input of the module at `path` in it), and
        the output of each block.
    """
    blocks = list(model.get_submodule(one.blocks).children())
    numbers = range(len(blocks)) if one.dense is None else one.dense
    taken: list[list[Tensor]] = [[] for _ in blocks]
    outputs: list[list[Tensor]] = [[] for _ in blocks]
    with _hooks() as hook:
        for number, block in enumerate(blocks):
            hook(block, lambda args, out, number=number: outputs[number].append(_first(out)))
            if number in numbers:
                module = block.get_submodule(path)
                hook(module, lambda args, out, number=number: taken[number].append(_first(args)))
        run(model, inputs)
    seen = [(number, x) for number in numbers for x in taken[number]]
    assert len(seen) == len(numbers) * one.calls, f"{path} of {one} was called {len(seen)} times"
    if one.calls > 1:  # the only block: its k-th call is block k
        return [(layer, blocks[0], x) for layer, (_, x) in enumerate(seen)], outputs[0]
    return [(number, blocks[number], x) for number, x in seen], [one for [one] in outputs]


def _first(values: object) -> Tensor:
    while isinstance(values, tuple):
        values = values[0]
    assert isinstance(values, Tensor)
    return values.detach().clone()


@contextmanager
def _hooks() -> Iterator[Callable[[nn.Module, Callable[[tuple, object], None]], None]]:
    handles = []

    def hook(module: nn.Module, look: Callable[[tuple, object], None]) -> None:
        def on_forward(module: nn.Module, args: tuple, kwargs: dict, out: object) -> None:
            look(args or tuple(kwargs.values()), out)

        handles.append(module.register_forward_hook(on_forward, with_kwargs=True))

    try:
        yield hook
    finally:
        for handle in handles:
            handle.remove()
