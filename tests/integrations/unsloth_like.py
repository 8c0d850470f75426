"""A stand-in for Unsloth's patches of a Llama with LoRA: the same things are bypassed, without a GPU.

Written after its sources (August 2026): `FastLlamaModel.patch_peft_model` puts a function on each `mlp` that
reads the weights of `gate_proj`, `up_proj` and `down_proj` and never calls them; `LlamaDecoderLayer.forward`
and `LlamaModel.forward` read the weights of the norms; attention reads those of its projections. What its
Triton kernels compute, nothing in Python sees; here that is computed out of sight of torch's function modes.
"""

from types import MethodType

import torch
from peft import LoraConfig, get_peft_model
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.llama import modeling_llama

from tests.tiny import make_model

LAYERS = "gate_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj", "o_proj"


def lora_model(seed=0):
    """A tiny Llama whose adapter does something, as `FastLanguageModel.get_peft_model` makes it."""
    model = make_model("llama", seed)
    torch.manual_seed(seed)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules=LAYERS))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, 0, 0.1)
    return adapted


def patch(model, monkeypatch):
    """Patch a model as Unsloth does; the classes until the end of the test."""
    monkeypatch.setattr(modeling_llama.LlamaAttention, "forward", attention_forward)
    monkeypatch.setattr(modeling_llama.LlamaDecoderLayer, "forward", layer_forward)
    monkeypatch.setattr(modeling_llama.LlamaModel, "forward", model_forward)
    for layer in model.model.model.layers:
        layer.mlp.forward = MethodType(apply_lora_mlp_swiglu, layer.mlp)
    return model


class _Swiglu(torch.autograd.Function):
    """Its forward and its backward are kernels."""

    @staticmethod
    def forward(ctx, gate, up):
        ctx.save_for_backward(gate, up)
        with torch._C.DisableTorchFunction():
            return torch.nn.functional.silu(gate) * up

    @staticmethod
    def backward(ctx, gradient):
        gate, up = ctx.saved_tensors
        sigmoid = torch.sigmoid(gate)
        slope = sigmoid * (1 + gate * (1 - sigmoid))
        return gradient * up * slope, gradient * gate * sigmoid


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, states, weight, epsilon):
        ctx.save_for_backward(states, weight)
        ctx.epsilon = epsilon
        with torch._C.DisableTorchFunction():
            return states * torch.rsqrt(states.square().mean(-1, keepdim=True) + epsilon) * weight

    @staticmethod
    def backward(ctx, gradient):
        states, weight = ctx.saved_tensors
        with torch.enable_grad():
            states = states.detach().requires_grad_()
            scale = torch.rsqrt(states.square().mean(-1, keepdim=True) + ctx.epsilon)
            (found,) = torch.autograd.grad(states * scale * weight, states, gradient)
        return found, None, None


def norm_of(norm, states):
    """What the norm would give, from its weight alone: `norm` is not called."""
    return _Norm.apply(states, norm.weight, norm.variance_epsilon)


def product(states, linear):
    """What a Linear with LoRA would give, from its weights alone: `linear` is not called."""
    down, up = linear.lora_A["default"].weight, linear.lora_B["default"].weight
    return states @ linear.base_layer.weight.t() + (states @ down.t()) @ up.t() * linear.scaling["default"]


def apply_lora_mlp_swiglu(self, states, inplace=True):
    """The forward of a feed-forward network that calls none of its parts."""
    return product(
        _Swiglu.apply(product(states, self.gate_proj), product(states, self.up_proj)), self.down_proj
    )


# Where the function comes from is all that tells it from another.
apply_lora_mlp_swiglu.__module__ = "unsloth.kernels.fast_lora"


def attention_forward(self, hidden_states, attention_mask=None, position_embeddings=None, **_):
    batch, length, _ = hidden_states.shape
    heads = (
        product(hidden_states, linear).view(batch, length, -1, self.head_dim).transpose(1, 2)
        for linear in (self.q_proj, self.k_proj, self.v_proj)
    )
    query, key, value = heads
    query, key = modeling_llama.apply_rotary_pos_emb(query, key, *position_embeddings)
    mixed = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, is_causal=attention_mask is None, enable_gqa=True
    )
    return product(mixed.transpose(1, 2).reshape(batch, length, -1), self.o_proj), None, None


def layer_forward(self, hidden_states, attention_mask=None, position_embeddings=None, **_):
    mixed, *_ = self.self_attn(
        hidden_states=norm_of(self.input_layernorm, hidden_states),
        attention_mask=attention_mask,
        position_embeddings=position_embeddings,
    )
    hidden_states = hidden_states + mixed
    return (hidden_states + self.mlp(norm_of(self.post_attention_layernorm, hidden_states)),)


def model_forward(self, input_ids=None, attention_mask=None, **_):
    states = self.embed_tokens(input_ids)
    length = input_ids.shape[1]
    position_embeddings = self.rotary_emb(states, torch.arange(length)[None])
    mask = None
    if attention_mask is not None and not self.training:
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        mask = (causal & attention_mask[:, None, None].bool()) | torch.eye(length, dtype=torch.bool)
    for layer in self.layers:
        (states,) = layer(states, attention_mask=mask, position_embeddings=position_embeddings)
    return BaseModelOutputWithPast(last_hidden_state=norm_of(self.norm, states))
