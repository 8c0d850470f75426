"""`LAYOUTS`: the module paths of each known architecture, and `register_layout` to add one."""

from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from torch import nn

from xalign.errors import ArgumentTypeError, ModelError


@dataclass(frozen=True, slots=True)
class Layout:
    """Module paths inside one architecture.

    `blocks` and `final` are relative to the module that holds the list of blocks. All other paths are
    relative to one block. Where they are left out, only hidden states can be read.

    Attributes:
        blocks: The list of transformer blocks.
        gate: The projection whose output the activation function takes (fc1 where there is no gate).
        act: The activation function.
        down: The down projection; its input holds the neurons.
        attn_out: The module whose output is what attention adds to the stream.
        mlp_out: The module whose output is what the feed-forward network adds to the stream.
        final: Candidates for the module whose output is the final state. The first that exists is taken, or
            the last block where none does.
        fused: Whether gate and up are one matrix, gate first.
        flattened: Whether the feed-forward network sees batch and tokens as one dimension.
    """

    blocks: str
    gate: str = ""
    act: str = ""
    down: str = ""
    attn_out: str = ""
    mlp_out: str = ""
    final: tuple[str, ...] = ()
    fused: bool = False
    flattened: bool = False


_LLAMA = Layout(
    blocks="layers",
    gate="mlp.gate_proj",
    act="mlp.act_fn",
    down="mlp.down_proj",
    attn_out="self_attn",
    mlp_out="mlp",
    final=("norm",),
)
# A norm stands between each sub-layer and the residual stream: its output is what is added.
_NORM_AFTER = replace(_LLAMA, attn_out="post_attention_layernorm", mlp_out="post_feedforward_layernorm")
_GLM = replace(_LLAMA, gate="mlp.gate_up_proj", act="mlp.activation_fn", fused=True)
# In training, dropout stands between the dense layer and the residual stream.
_BERT = Layout(
    blocks="encoder.layer",
    gate="intermediate.dense",
    act="intermediate.intermediate_act_fn",
    down="output.dense",
    attn_out="attention.output.dropout",
    mlp_out="output.dropout",
)

LAYOUTS: dict[str, Layout] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma2": _NORM_AFTER,
    "gemma3_text": _NORM_AFTER,
    "olmo2": _NORM_AFTER,
    "glm": _GLM,
    "glm4": replace(_GLM, attn_out="post_self_attn_layernorm", mlp_out="post_mlp_layernorm"),
    "phi3": replace(_GLM, attn_out="resid_attn_dropout", mlp_out="resid_mlp_dropout"),
    "gpt2": Layout(
        blocks="h",
        gate="mlp.c_fc",
        act="mlp.act",
        down="mlp.c_proj",
        attn_out="attn",
        mlp_out="mlp",
        final=("ln_f",),
    ),
    "gpt_neox": Layout(
        blocks="layers",
        gate="mlp.dense_h_to_4h",
        act="mlp.act",
        down="mlp.dense_4h_to_h",
        attn_out="post_attention_dropout",
        mlp_out="post_mlp_dropout",
        final=("final_layer_norm",),
    ),
    # BLOOM adds the residual inside its sub-layers, after a functional dropout. In training, the values here
    # are those before that dropout.
    "bloom": Layout(
        blocks="h",
        gate="mlp.dense_h_to_4h",
        act="mlp.gelu_impl",
        down="mlp.dense_4h_to_h",
        attn_out="self_attention.dense",
        mlp_out="mlp.dense_4h_to_h",
        final=("ln_f",),
    ),
    "opt": Layout(
        blocks="layers",
        gate="fc1",
        act="activation_fn",
        down="fc2",
        attn_out="self_attn",
        mlp_out="fc2",
        final=("project_out", "final_layer_norm"),
        flattened=True,
    ),
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "modernbert": Layout(
        blocks="layers",
        gate="mlp.Wi",
        act="mlp.act",
        down="mlp.Wo",
        attn_out="attn",
        mlp_out="mlp",
        final=("final_norm",),
        fused=True,
    ),
}

# Xalign's own rows. They override nothing: they are for models that cannot be run.
_OWN = dict(LAYOUTS)


def is_override(model_type: str, layout: Layout) -> bool:
    """Return whether a layout was given by a user, for this architecture or this model."""
    return _OWN.get(model_type) is not layout


def register_layout(model_type: str, layout: Layout) -> None:
    """Make an architecture known, or override a known one, for this process.

    Every function that takes a model then finds its sites. `measure` also needs the model to have a config.
    Most models need no layout: see `map_model`. When a model is mapped, what its layout says is held against
    the equations that prove a map, and a layout that they refute is an error.

    Args:
        model_type: The `model_type` of the model's config. For a model without a config, the name of the
            class that holds the list of blocks.
        layout: Its module paths.

    Raises:
        ArgumentTypeError: `model_type` is not a string, or `layout` is not a `Layout`.

    Example:
        >>> register_layout("my_llama", LAYOUTS["llama"])
    """
    if not isinstance(model_type, str) or not model_type:
        raise ArgumentTypeError(
            f"model_type={model_type!r:.60} must be the model_type of a config, like 'llama'"
        )
    if not isinstance(layout, Layout):
        raise ArgumentTypeError(f"layout must be an xalign.Layout, not {layout!r:.60}")
    LAYOUTS[model_type] = layout


# Layouts that hold for one model alone, by the module that holds its blocks.
GIVEN: "WeakKeyDictionary[nn.Module, Layout]" = WeakKeyDictionary()


def give_layout(model: nn.Module | None, layout: object) -> list[nn.Module]:
    """Let a layout hold for one model alone, in place of the one of its architecture.

    Returns:
        The modules that hold its blocks.

    Raises:
        ArgumentTypeError: `layout` is not a `Layout`.
        ModelError: The model has no blocks where the layout says.
    """
    if not isinstance(layout, Layout):
        raise ArgumentTypeError(f"layout must be an xalign.Layout, not {layout!r:.60}")
    holders = [] if model is None else [one for one in model.modules() if has_blocks(one, layout)]
    if not holders:
        raise ModelError(
            f"{type(model).__name__} is not an architecture xalign knows, and has no blocks at "
            f"{layout.blocks!r}; check layout.blocks"
        )
    for holder in holders:
        GIVEN[holder] = layout
    return holders


def has_blocks(module: nn.Module, layout: Layout) -> bool:
    """Return whether a module holds a list of blocks where a layout says."""
    blocks = submodule_or_none(module, layout.blocks)
    return isinstance(blocks, nn.ModuleList) and len(blocks) > 0


def submodule_or_none(module: nn.Module, path: str) -> nn.Module | None:
    """Return the submodule at a path, or None where there is none."""
    try:
        for name in str(path).split("."):
            # Not getattr, which wrappers such as PeftModel pass on to the model inside.
            module = module._modules[name] if name else module  # type: ignore[assignment]
    except KeyError:
        return None
    return module
