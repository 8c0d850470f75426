"""`map_model`: find each site in a given model."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from xalign.errors import ModelError
from xalign.model.architectures.declared import declared_blocks
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.sites import KINDS, Kind, Site
from xalign.model.architectures.table import GIVEN, LAYOUTS, Layout, has_blocks, submodule_or_none
from xalign.model.wrapped import config_of, transformer_of

_PARTS = ("gate", "act", "down", "attn_out", "mlp_out")
# Activation functions that are positive exactly where their input is: the sign can be read from the input.
_SIGN_KEEPING = {
    *("SiLUActivation", "SiLU", "ReLU", "ReLUSquaredActivation", "QuickGELUActivation", "BloomGelu"),
    *(
        "GELU",
        "GELUActivation",
        "GELUTanh",
        "NewGELUActivation",
        "FastGELUActivation",
        "AccurateGELUActivation",
    ),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a site is: which side of which module, and which part of its tensor.

    Attributes:
        module: The module to hook.
        path: Its path, seen from the model that was mapped.
        side: Whether the site is the module's input or its output.
        width: Size of the site's last dimension.
        half: Whether the site is the first half of a fused tensor that is twice as wide.
    """

    module: nn.Module
    path: str
    side: Literal["input", "output"]
    width: int
    half: bool = False


class ModelMap:
    """The sites of one model. A map registers no hooks and changes nothing.

    Attributes:
        model_type: The architecture's name, as in the model's config.
        layout: The module paths that were used.
        blocks: The transformer blocks, in order.
        width: Width of the residual stream.
        ffn_width: Number of feed-forward neurons per block; None where only the blocks are known.
        dtype: Data type of the weights.
    """

    def __init__(
        self, model: nn.Module, holder: nn.Module, prefix: str, model_type: str, layout: Layout
    ) -> None:
        self.model_type = model_type
        self.layout = layout
        self._model, self._holder, self._prefix = model, holder, prefix
        self.blocks = list(holder.get_submodule(layout.blocks).children())
        self.dtype: torch.dtype = next(p.dtype for p in holder.parameters() if p.is_floating_point())
        self.ffn_width, self.width = self._widths()

    def _widths(self) -> tuple[int | None, int]:
        """Check the parts of every block, and return the widths of its neurons and of the residual stream."""
        layout = self.layout
        parts = [name for name in _PARTS if getattr(layout, name)]
        if not parts:
            return None, _hidden_size(self._holder)
        for block in range(self.n_layers):
            self._check(block)
        ffn_width, width = _features(self._in_block(0, "down"))
        gate_width = _features(self._in_block(0, "gate"))[1] // (2 if layout.fused else 1)
        if gate_width != ffn_width:
            raise ModelError(
                f"{self.model_type}: the gate gives {gate_width} values where the down projection takes "
                f"{ffn_width}; check layout.gate, layout.down and layout.fused"
            )
        return ffn_width, width

    def _check(self, block: int) -> None:
        for name in _PARTS:
            try:
                if not getattr(self.layout, name):
                    raise AttributeError
                self._in_block(block, name)
            except AttributeError:
                raise ModelError(
                    f"{self.model_type}: block {block} has no module {getattr(self.layout, name)!r}; call "
                    f"register_layout({self.model_type!r}, Layout(..., {name}='path in the block'))"
                ) from None

    def _in_block(self, block: int, name: str) -> nn.Module:
        return self.blocks[block].get_submodule(getattr(self.layout, name))

    @property
    def name(self) -> str:
        """Where the model was loaded from; its architecture where its config does not say."""
        return str(getattr(config_of(self._model), "_name_or_path", "") or self.model_type)

    @property
    def n_layers(self) -> int:
        """Number of transformer blocks."""
        return len(self.blocks)

    @property
    def final(self) -> tuple[nn.Module, str]:
        """The module whose output is the final state, and its path."""
        for path in self.layout.final:
            module = submodule_or_none(self._holder, path)
            if module is not None:
                return module, self._path(path)
        last = self.n_layers - 1
        return self.blocks[last], self._path(f"{self.layout.blocks}.{last}")

    def activation(self, layer: int) -> nn.Module:
        """Return the activation function of a block."""
        return self._in_block(layer, "act")

    def keeps_sign(self, layer: int) -> bool:
        """Return whether a block's activation function is positive exactly where its input is."""
        return type(self.activation(layer)).__name__ in _SIGN_KEEPING

    def sites(self, kind: Kind) -> list[Site]:
        """List all sites of a kind from the lowest on: `hidden` has `embed` first and `final` last."""
        if kind == "linear":
            linear = [name for name, module in self._model.named_modules() if _is_linear(module)]
            # An adapter is a Linear made of Linears; the outer one is the site.
            inside = {name for name in linear if any(name.startswith(f"{outer}.") for outer in linear)}
            return [Site("linear", name=name) for name in linear if name not in inside]
        if kind != "hidden":
            self._refuse_unknown(f"sites of kind {kind}")
        blocks = [Site(kind, layer) for layer in range(self.n_layers)]
        return [Site(kind, "embed"), *blocks, Site(kind, "final")] if kind == "hidden" else blocks

    def place(self, site: Site) -> Place:
        """Return where a site is.

        Raises:
            ModelError: The model has no such site.
        """
        if site.stack:
            raise ModelError(f"site {site}: {self.model_type} has one stack; leave stack empty")
        if site.kind == "linear":
            return self._linear(site)
        if site.layer == "final":
            module, path = self.final
            return Place(module, path, "output", _features(module)[1] if _is_linear(module) else self.width)
        layer = 0 if site.layer == "embed" else site.layer
        if not isinstance(layer, int) or layer >= self.n_layers:
            raise ModelError(f"site {site}: {self.model_type} has blocks 0 to {self.n_layers - 1}")
        if site.kind == "hidden":
            path = self._path(f"{self.layout.blocks}.{layer}")
            side: Literal["input", "output"] = "input" if site.layer == "embed" else "output"
            return Place(self.blocks[layer], path, side, self.width)
        self._refuse_unknown(f"site {site}")
        name = "down" if site.kind == "inner" else site.kind
        module = self._in_block(layer, name)
        path = self._path(f"{self.layout.blocks}.{layer}.{getattr(self.layout, name)}")
        if site.kind == "inner":
            return Place(module, path, "input", _features(module)[0])
        if site.kind == "gate":
            half = self.layout.fused
            return Place(module, path, "output", _features(module)[1] // (2 if half else 1), half)
        return Place(module, path, "output", self.width)

    def _refuse_unknown(self, what: str) -> None:
        if self.ffn_width is None:
            raise ModelError(
                f"{what}: of {self.model_type} only the blocks are known, so only hidden states can be read. "
                "Take what reads these: metrics=['mexa', 'retrieval'], loss='contrastive', sites='hidden'. "
                "If each block has one feed-forward network, and not a mixture, say where its modules are: "
                f"from xalign import Layout, register_layout; register_layout({self.model_type!r}, "
                "Layout(blocks=..., gate=..., act=..., down=..., attn_out=..., mlp_out=...))"
            )

    def _linear(self, site: Site) -> Place:
        module = submodule_or_none(self._model, site.name or "")
        if module is None or not _is_linear(module):
            raise ModelError(
                f"site {site}: the model has no Linear of that name; map_model(model).sites('linear') lists "
                "them"
            )
        return Place(module, site.name or "", "output", _features(module)[1])

    def _path(self, inside: str) -> str:
        return ".".join(part for part in (self._prefix, inside) if part)

    def __str__(self) -> str:
        """Describe the model: depth, widths, the sites of the first block, and the activation function."""
        lines = [f"{self.model_type}: {self.n_layers} blocks, width {self.width}, {self.dtype}"]
        for kind in KINDS[:-1] if self.ffn_width is not None else ("hidden",):
            place = self.place(Site(kind, 0))
            cut = ", first half" if place.half else ""
            lines.append(f"  0.{kind:<9} {place.side} of {place.path} ({place.width}{cut})")
        lines.append(f"  final.hidden output of {self.final[1] or 'the model itself'}")
        if self.ffn_width is not None:
            lines.append(f"  activation   {type(self.activation(0)).__name__}")
        return "\n".join(lines)


@takes_layout
def map_model(model: nn.Module) -> ModelMap:
    """Find where each site is in a model.

    The model may be wrapped (PEFT, DDP, compiled); paths start at the object passed, or at the transformers
    model inside a SentenceTransformer. Nothing is changed.

    Args:
        model: A transformers model of a known architecture, or of one made known with `register_layout`. Of
            other models whose blocks transformers declares, hidden states can be read, and nothing else.

    Returns:
        The map; `print` it to see the places.

    Raises:
        ArgumentTypeError: `model` is not a torch module.
        ModelError: The architecture is not known, its layout does not fit, or there are several stacks.

    Example:
        >>> print(map_model(model).place(Site("inner", 0)).path)
        encoder.layer.0.output.dense
    """
    model = transformer_of(model)
    found: dict[nn.Module, tuple[str, str, Layout]] = {}
    seen: set[str] = set()
    for path, module in model.named_modules():
        model_type = getattr(getattr(module, "config", None), "model_type", None)
        seen |= {model_type} if isinstance(model_type, str) else set()
        name = model_type if isinstance(model_type, str) else type(module).__name__
        known = GIVEN.get(module) or LAYOUTS.get(name)
        if known is not None and has_blocks(module, known):
            found[module] = (path, name, known)
    if not found and not seen & LAYOUTS.keys():  # a layout that does not fit is not passed over
        for holder, (path, blocks) in declared_blocks(model).items():
            found[holder] = (path, str(holder.config.model_type), blocks)  # type: ignore[union-attr]
    if len(found) > 1:
        places = ", ".join(path or "the model itself" for path, _, _ in found.values())
        raise ModelError(
            f"{type(model).__name__} holds several stacks of blocks ({places}); pass one of them alone. "
            "Of an encoder-decoder model, pass the encoder: model.get_encoder()"
        )
    if not found:
        named = f"model_type {', '.join(sorted(seen))}" if seen else "no model_type"
        key = sorted(seen)[0] if seen else type(model).__name__
        raise ModelError(
            f"{type(model).__name__} ({named}) is not an architecture xalign knows: {', '.join(LAYOUTS)}; "
            "and transformers does not say which of its modules are its blocks. If it is a transformer, say "
            "where its modules are (blocks= alone for what reads hidden states): from xalign import Layout, "
            f"register_layout; register_layout({key!r}, Layout(blocks=..., gate=..., act=..., down=..., "
            "attn_out=..., mlp_out=...))"
        )
    holder, (path, name, known) = next(iter(found.items()))
    return ModelMap(model, holder, path, name, known)


def _hidden_size(holder: nn.Module) -> int:
    """Return the width of the residual stream, as the config says."""
    config = getattr(holder, "config", None)
    width = getattr(config, "hidden_size", None)
    if not isinstance(width, int):
        raise ModelError(
            f"{type(holder).__name__} has no config.hidden_size, so the width of its states is not known; "
            "register a layout with gate=, act=, down=, attn_out= and mlp_out= too"
        )
    return width


def _is_linear(module: nn.Module) -> bool:
    # LN-tuned norms have both names too, and no number behind them.
    widths = getattr(module, "in_features", None), getattr(module, "out_features", None)
    return all(isinstance(width, int) for width in widths) or hasattr(module, "nf")


def _features(module: nn.Module) -> tuple[int, int]:
    """Return (in, out) of an nn.Linear, a Conv1D, or a wrapper of one by peft or bitsandbytes."""
    if hasattr(module, "nf"):
        return int(module.nx), int(module.nf)  # type: ignore[arg-type]
    features = getattr(module, "in_features", None), getattr(module, "out_features", None)
    if not all(isinstance(width, int) for width in features):
        raise ModelError(
            f"{type(module).__name__} does not say how wide it is: it has no in_features and out_features as "
            "a Linear has; register a layout whose gate and down are Linear"
        )
    return features  # type: ignore[return-value]
