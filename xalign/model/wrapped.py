"""Wrappers of a model, and how to reach the model inside: DDP, `torch.compile`, PEFT, SentenceTransformer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import Parameter, signature
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from xalign.errors import ArgumentTypeError, ModelError
from xalign.model.merged import KeptMerged
from xalign.model.snapshot import Snapshot
from xalign.model.undo import Steps, undo


def uncompiled(model: nn.Module) -> nn.Module:
    """Return the model without the wrapper of `torch.compile`."""
    # Not getattr: a PeftModel passes names that it does not have on to the model inside it.
    inner = model._modules.get("_orig_mod")
    return model if inner is None else inner


def sentence_transformer_in(model: nn.Module) -> nn.Module | None:
    """Return the model of sentence-transformers that this is, or that DDP or `torch.compile` wraps."""
    inner = uncompiled(model)
    if isinstance(inner, DistributedDataParallel):
        inner = uncompiled(inner.module)
    # Told by its classes' module: the package is optional, and is not imported to ask.
    is_one = any(
        one.__module__.startswith("sentence_transformers.") and one.__name__ == "BaseModel"
        for one in type(inner).__mro__
    )
    return inner if is_one else None


def transformer_of(model: nn.Module) -> nn.Module:
    """Return the transformers model inside a SentenceTransformer, and any other model as it is.

    Raises:
        ArgumentTypeError: Not a torch module.
        ModelError: A SentenceTransformer that holds no transformers model, or several.
    """
    if not isinstance(model, nn.Module):
        raise ArgumentTypeError(f"model must be a torch module, not {type(model).__name__}")
    outer: Any = sentence_transformer_in(model)
    if outer is None:
        return model
    found = [inner for inner in (_auto_model(part) for part in outer.children()) if inner is not None]
    if len(found) != 1 or found[0] is not _auto_model(outer[0]):
        raise ModelError(
            f"this {type(outer).__name__} holds {len(found)} transformers models, where one in its first "
            "module is needed; pass the transformers model itself, with its tokenizer"
        )
    return found[0]


def _auto_model(part: nn.Module) -> nn.Module | None:
    inner = getattr(part, "auto_model", None)
    return inner if isinstance(inner, nn.Module) and hasattr(inner, "config") else None


def is_compiled(model: nn.Module) -> bool:
    """Return whether the model, or the model inside DDP or PEFT, is wrapped by `torch.compile`."""
    return any(hasattr(one, "_orig_mod") for one in (model, getattr(model, "module", model)))


def is_ddp(model: nn.Module) -> bool:
    """Return whether the model is wrapped in DistributedDataParallel."""
    return isinstance(model, DistributedDataParallel)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model without DDP and `torch.compile`, in either order. A PEFT model keeps its adapters.

    Of a SentenceTransformer, the transformers model inside it is returned.
    """
    model = uncompiled(transformer_of(model))
    if isinstance(model, DistributedDataParallel):
        model = model.module
    return uncompiled(model)


def base_model_of(model: nn.Module) -> Any:
    """Return the transformers model inside `torch.compile`, DDP, DataParallel, PEFT and SentenceTransformer.

    PEFT puts adapter layers inside the base model, so that they still run.
    """
    inner: Any = uncompiled(transformer_of(model))
    inner = uncompiled(getattr(inner, "module", inner))
    return uncompiled(inner.get_base_model()) if hasattr(inner, "get_base_model") else inner


def accepted_by(base: nn.Module) -> Mapping[str, Parameter]:
    """Return the arguments of a model's forward by name."""
    # Of the class: trainers replace the instance's forward by functions without a signature.
    return signature(type(base).forward).parameters


def encoder_of(model: nn.Module) -> nn.Module | None:
    """Return the encoder of a model whose forward runs an encoder and a decoder; None for other models."""
    base = base_model_of(model)
    has_both = getattr(getattr(base, "config", None), "is_encoder_decoder", False)
    if not has_both or "decoder_input_ids" not in accepted_by(base):
        return None
    encoder: nn.Module = base.get_encoder()
    return encoder


def entry_points(model: nn.Module) -> list[nn.Module]:
    """List the modules whose forward may be called: `generate` of a PEFT model calls the model inside it.

    `generate` of an encoder–decoder calls its encoder by itself. Of a SentenceTransformer these are the
    transformers model and the module around it, which `encode` calls.
    """
    called = uncompiled(transformer_of(model))
    base = getattr(called, "get_base_model", None)
    inner = called if base is None else uncompiled(base())
    outer: Any = sentence_transformer_in(model)
    entries = [called, inner] if outer is None else [outer[0], called, inner]
    encoder = encoder_of(model)
    return list(dict.fromkeys(entries if encoder is None else [*entries, encoder]))


def config_of(model: nn.Module) -> Any:
    """Return the config of the transformers model inside any wrapper; None where there is none."""
    model = transformer_of(model)
    return getattr(getattr(model, "module", model), "config", None)


def text_config_of(model: nn.Module) -> Any:
    """Return the part of a model's config that is about text; all of it where it has no parts."""
    config = config_of(model)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def has_adapter(model: nn.Module) -> bool:
    """Return whether this is a PEFT model whose adapter can be disabled."""
    return hasattr(model, "peft_config") and hasattr(model, "disable_adapter")


@contextmanager
def adapter_disabled(model: nn.Module) -> Iterator[None]:
    """Disable the adapter of a PEFT model inside the `with`.

    Afterwards the model is as before: the same parameters are trainable, and an adapter that was merged into
    the weights is merged, to the bit. PEFT alone would make every adapter parameter trainable when it enables
    the adapter again, and would leave a merged adapter unmerged.
    """
    peft_model: Any = model
    trainable = [(parameter, parameter.requires_grad) for parameter in peft_model.parameters()]
    before, merged = Snapshot(model), KeptMerged(model)
    steps: Steps = [merged.put_back, before.put_back, lambda: _set_trainable(trainable)]
    try:
        try:
            merged.begin()
            with peft_model.disable_adapter():
                yield
        finally:
            undo(steps)
    finally:
        undo(steps)


def _set_trainable(parameters: list[tuple[nn.Parameter, bool]]) -> None:
    for parameter, was in parameters:
        parameter.requires_grad_(was)


def registers_hooks_in_forward(model: nn.Module) -> bool:
    """Return whether the model's forward registers hooks of its own, as PEFT's aLoRA does.

    Such hooks would stay if the forward were left early.
    """
    adapters = getattr(unwrapped(model), "peft_config", {})
    return any(getattr(adapter, "alora_invocation_tokens", None) for adapter in adapters.values())


def virtual_tokens(model: nn.Module) -> int:
    """Return how many tokens of its own a prompt-tuned model puts before its input; 0 for other models."""
    adapters = getattr(unwrapped(model), "peft_config", {})
    active = adapters.get(getattr(unwrapped(model), "active_adapter", None)) if adapters else None
    return int(getattr(active, "num_virtual_tokens", None) or 0)
