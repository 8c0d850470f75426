"""`map_model`: find each site in a given model."""

import re
from dataclasses import replace

from torch import nn

from xalign.errors import ModelError
from xalign.model.architectures.check_layout import check_layout
from xalign.model.architectures.declared import declared_blocks
from xalign.model.architectures.from_proof import layout_of, stack_of_proof
from xalign.model.architectures.from_table import stack_of_layout
from xalign.model.architectures.layout_argument import takes_layout
from xalign.model.architectures.model_map import ModelMap
from xalign.model.architectures.places import Place
from xalign.model.architectures.proved import NotRun, ProvedStack, proved_stacks
from xalign.model.architectures.same_flow import has_library_classes, is_of_libraries
from xalign.model.architectures.table import GIVEN, LAYOUTS, Layout, has_blocks, is_override
from xalign.model.distributed import is_sharded
from xalign.model.wrapped import base_model_of, config_of, transformer_of

__all__ = ["ModelMap", "Place", "map_model"]

_Named = tuple[str, str, Layout]  # the path of what holds the blocks, its model type, and a layout


@takes_layout
def map_model(model: nn.Module) -> ModelMap:
    """Find where each site is in a model.

    The model may be wrapped (PEFT, DDP, compiled); paths start at the object passed, or at the transformers
    model inside a SentenceTransformer. Nothing is changed. The model is run twice on two short lines: its
    sites are found in one run and proved in the other. Hooks of your own on it are not called. Its map is
    kept until something in the model changes.

    Args:
        model: A transformers model.

    Returns:
        The map; `print` it to see the places, what was proved, and what is refused.

    Raises:
        ArgumentTypeError: `model` is not a torch module.
        ModelError: No blocks could be found and proved, a layout does not fit, or there are several stacks.

    Example:
        >>> print(map_model(model).place(Site("inner", 0)).path)
        encoder.layer.0.output.dense
    """
    model = transformer_of(model)
    named, seen = _named_by_table(model)
    if len(named) == 1:
        holder, (path, name, layout) = next(iter(named.items()))
        if is_override(name, layout):
            stack = stack_of_layout(holder, path, name, layout)
            check_layout(model, name, layout, stack)
            return ModelMap(model, name, (stack,), layout)
    registered = {name for name in seen & LAYOUTS.keys() if is_override(name, LAYOUTS[name])}
    if registered and not named:  # a layout that does not fit is not passed over
        raise _unknown(model, seen, "its layout in LAYOUTS does not fit")
    if len(named) == 1 and is_sharded(model) and has_library_classes(model):
        # A forward would wait for the other processes, which need not map the model at the same time, nor at
        # all: a forward that is replaced in one of them must not make that one run the model.
        return _unproved(model, seen, named, "its weights are sharded")
    try:
        return _proved(model, seen, named)
    except NotRun as error:
        return _unproved(model, seen, named, str(error))
    except ModelError as error:  # weights without values; another thread that runs the model
        if len(named) == 1 and is_of_libraries(model):
            return _unproved(model, seen, named, str(error))
        raise


def _unproved(model: nn.Module, seen: set[str], named: dict[nn.Module, _Named], reason: str) -> ModelMap:
    """Return the map of a model that cannot be run: by a row of xalign's own, or its blocks alone."""
    known = named or {
        holder: (path, str(holder.config.model_type), blocks)  # type: ignore[union-attr]
        for holder, (path, blocks) in declared_blocks(model).items()
    }
    if len(known) > 1:
        raise _several(model, [path or "the model itself" for path, _, _ in known.values()], reason)
    for holder, (path, name, layout) in known.items():
        return ModelMap(model, name, (stack_of_layout(holder, path, name, layout),), layout)
    raise _unknown(model, seen, reason)


def _named_by_table(model: nn.Module) -> tuple[dict[nn.Module, _Named], set[str]]:
    """Return the modules that hold blocks where a layout says, and all model types that were seen."""
    found: dict[nn.Module, _Named] = {}
    seen: set[str] = set()
    for path, module in model.named_modules():
        model_type = getattr(getattr(module, "config", None), "model_type", None)
        seen |= {model_type} if isinstance(model_type, str) else set()
        name = model_type if isinstance(model_type, str) else type(module).__name__
        known = GIVEN.get(module) or LAYOUTS.get(name)
        if known is not None and has_blocks(module, known):
            found[module] = (path, name, known)
    return found, seen


def _proved(model: nn.Module, seen: set[str], named: dict[nn.Module, _Named]) -> ModelMap:
    """Return the map of a model as it is proved.

    Raises:
        NotRun: It could not be run, or no blocks were proved.
    """
    proved = proved_stacks(model)
    names = _names_of(model, proved)
    found = [
        stack
        for one, name in zip(proved, names, strict=True)
        if (stack := stack_of_proof(model, one, name)) is not None
    ]
    # The encoder is meant where no stack is named; where there is none, the deepest stack. But first of all,
    # one whose states are of tokens.
    found.sort(key=lambda stack: (not stack.has_hidden, stack.name != "encoder", -len(stack.blocks)))
    if not found:
        reasons = [reason for one in proved for block in one.blocks for reason in block.refused.values()]
        raise NotRun(reasons[0] if reasons else "no list of blocks adds to a residual stream")
    main = next(one for one, name in zip(proved, names, strict=True) if name == found[0].name)
    holder = main.claim.holder
    model_type = (
        getattr(config_of(model.get_submodule(holder)), "model_type", None) or sorted(seen or {""})[0]
    )
    layout = layout_of(found[0], holder, main.claim.path)
    row = named.get(model.get_submodule(holder))
    if row is not None:
        model_type = row[1]
        if replace(layout, final=()) == replace(row[2], final=()):
            layout = row[2]
    return ModelMap(model, str(model_type or type(model).__name__), tuple(found), layout)


def _names_of(model: nn.Module, proved: tuple[ProvedStack, ...]) -> list[str]:
    """Return the names of stacks: none of one alone; else what tells the paths of their lists apart."""
    if len(proved) < 2:  # noqa: PLR2004
        return [""] * len(proved)
    config = getattr(base_model_of(model), "config", None)
    if len(proved) == 2 and getattr(config, "is_encoder_decoder", False):  # noqa: PLR2004
        return ["encoder", "decoder"]
    paths = [one.claim.path.split(".") for one in proved]
    for end in (0, -1):
        while all(len(path) > 1 for path in paths) and len({path[end] for path in paths}) == 1:
            for path in paths:
                path.pop(end)
    return [_identifier("_".join(path)) for path in paths]


def _identifier(text: str) -> str:
    """Make a name of a path, as `Site` takes it."""
    plain = re.sub(r"\W", "_", text)
    return plain if plain.isidentifier() else f"stack_{plain}"


def _several(model: nn.Module, places: list[str], reason: str) -> ModelError:
    return ModelError(
        f"{type(model).__name__} holds several stacks of blocks ({', '.join(places)}); pass one of them "
        "alone. Of an encoder-decoder model, pass the encoder: model.get_encoder(). The whole model could "
        f"not be run on an example: {reason}"
    )


def _unknown(model: nn.Module, seen: set[str], reason: str) -> ModelError:
    named = f"model_type {', '.join(sorted(seen))}" if seen else "no model_type"
    key = sorted(seen)[0] if seen else type(model).__name__
    return ModelError(
        f"{type(model).__name__} ({named}) is not an architecture xalign knows: {', '.join(LAYOUTS)}; its "
        f"blocks could not be found by a trace ({reason}), and transformers does not say which of its "
        "modules they are. If it is a transformer, say where its modules are (blocks= alone for what reads "
        f"hidden states): from xalign import Layout, register_layout; register_layout({key!r}, "
        "Layout(blocks=..., gate=..., act=..., down=..., attn_out=..., mlp_out=...))"
    )
