"""`key_of_model` and `key_of_side`: everything that decides which states a forward gives."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import chain
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from xalign.extras import own_version
from xalign.identity.code import UnidentifiedError
from xalign.identity.digest import Digest
from xalign.model.batches import Batch
from xalign.model.class_forwards import runs_its_class
from xalign.model.placement import device_of

_CHUNK = 2**22  # bytes that one thread digests at a time
# What torch keeps on every module, and a forward of its own. Hooks and such a forward are refused; weights
# and modules are digested by themselves.
_OF_TORCH = {*vars(nn.Module()), "forward"}
# What says where a model came from, what it generates, or how it was run, and changes no state.
_SAYS_NOTHING = {
    *("name_or_path", "_name_or_path", "_commit_hash", "base_model_name_or_path", "generation_config"),
    *("warnings_issued", "_output_capturing_hooks_installed", "transformers_version", "model_tags"),
}
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")


class NoKeyError(Exception):
    """The states of a model depend on something that no key holds; the message says what."""


def key_of_model(model: nn.Module, layout: object) -> str:
    """Return a digest of everything, except the batch, that decides which states a model gives.

    These are the values of all weights and buffers; class, settings and configs of every module, active
    adapters among them; the layout; versions of xalign, torch, transformers, and of the packages that the
    modules are from; device, threads, autocast, and torch's settings of precision. Training mode is not among
    them, since states are read in evaluation mode.

    Every weight is read once, by as many threads as torch has, at about 1 GB/s each. On the CPU that takes
    as long as the forwards of a few sentences. Weights on a GPU come to the CPU in pieces for it.

    Args:
        model: The model.
        layout: Its layout, as JSON holds it.

    Raises:
        NoKeyError: Hooks, or a forward that replaces that of a module's class, as while a model is steered;
            weights whose values are not plain tensors, as with 4-bit weights and sharded ones; or a setting
            that is not known by its content.
    """
    modules = dict(model.named_modules(remove_duplicate=False))
    for path, module in modules.items():
        _refuse_hooks(path, module)
    if any(vars(nn.modules.module)[f"_global{kind}"] for kind in _HOOKS):
        raise NoKeyError("torch has hooks on all modules")
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    standing_for = {id(module): f"module {path}" for path, module in modules.items()}
    standing_for |= {id(tensor): f"tensor {name}" for name, tensor in named}
    try:
        for module in modules.values():
            standing_for |= _digests_of_configs(vars(module).values(), standing_for)
        content = {
            "environment": _environment(device_of(model)),
            "layout": layout,
            "modules": {path: _digest_of_module(one, standing_for) for path, one in modules.items()},
            "tensors": _digests_of_tensors(named, standing_for),
        }
    except UnidentifiedError as reason:
        raise NoKeyError(str(reason)) from None
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def key_of_side(batches: Sequence[Batch]) -> str:
    """Return a digest of what the model is given, batch by batch, and of what is pooled of it.

    It covers sentences, tokenizer, template, truncation and token budget, because these decide the batches.
    """
    digest = hashlib.sha256()
    for batch in batches:
        mask = {} if batch.mask is None else {"mask": batch.mask}
        for name, values in sorted({**batch.inputs, **mask, "pooled": batch.pooled}.items()):
            digest.update(f"{name} {values.dtype} {tuple(values.shape)} ".encode())
            digest.update(_bytes_of(values))
        digest.update(repr(batch.rows).encode())
    return digest.hexdigest()


def _refuse_hooks(path: str, module: nn.Module) -> None:
    where = path or "the model"
    hooks = chain.from_iterable(vars(module)[kind].values() for kind in _HOOKS)
    if any(not _only_captures(hook) for hook in hooks):
        raise NoKeyError(f"{where} has hooks, which may change its states")
    if not runs_its_class(module):
        raise NoKeyError(f"the forward of {where} is not that of its class")


def _only_captures(hook: object) -> bool:
    """Return whether a hook is one of those that transformers leaves on a model to collect its outputs."""
    return isinstance(hook, FunctionType) and hook.__module__ == "transformers.utils.output_capturing"


def _digest_of_module(module: nn.Module, standing_for: dict[int, str]) -> str:
    """Return a digest of a module's class, of whose forward it has, and of its settings."""
    forward = getattr(type(module).forward, "__module__", "")  # a package may have put its own in its place
    settings = {k: one for k, one in vars(module).items() if k not in _OF_TORCH | _SAYS_NOTHING}
    return Digest(standing_for).of((type(module), forward, settings)).hex()


def _digests_of_configs(values: Any, standing_for: dict[int, str]) -> dict[int, str]:
    """Return the id of each config among some values, and of those inside it -> a digest of its settings."""
    found: dict[int, str] = {}
    for config in values:
        if id(config) in standing_for or not _is_config(config):
            continue
        settings = {k: one for k, one in sorted(vars(config).items()) if k not in _SAYS_NOTHING}
        found |= _digests_of_configs(settings.values(), standing_for)
        digest = Digest(standing_for | found).of((type(config).__qualname__, settings))
        found[id(config)] = f"config {digest.hex()}"
    return found


def _is_config(value: object) -> bool:
    """Return whether this is a config of transformers, which has had two spellings, or one of PEFT."""
    return any(one.__name__.lower() in ("pretrainedconfig", "peftconfig") for one in type(value).__mro__)


def _environment(device: torch.device) -> dict[str, Any]:
    """Return what decides how torch computes, beside the model."""
    cuda: Any = torch.backends.cuda
    is_cuda = device.type == "cuda"
    return {
        "versions": {"xalign": own_version()} | {one: version(one) for one in ("torch", "transformers")},
        "device": (device.type, torch.cuda.get_device_name(device) if is_cuda else ""),
        "cpu": (torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()),
        "autocast": torch.is_autocast_enabled(device.type) and str(torch.get_autocast_dtype(device.type)),
        "dtype": str(torch.get_default_dtype()),
        "precision": (torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()),
        "convolutions": torch.backends.cudnn.allow_tf32,
        "attention": (cuda.flash_sdp_enabled(), cuda.mem_efficient_sdp_enabled(), cuda.math_sdp_enabled()),
    }


def _digests_of_tensors(named: Sequence[tuple[str, Tensor]], standing_for: dict[int, str]) -> dict[str, str]:
    """Return name -> digest of type, shape and values. What has several names is digested once."""
    found: dict[int, str] = {}
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for name, tensor in named:
            if id(tensor) in found:
                continue
            _refuse_special(name, tensor)
            # A quantised weight may hold its scales there.
            attributes = {k: one for k, one in sorted(vars(tensor).items()) if not k.startswith("_")}
            chunks = b"".join(threads.map(_digest_of_chunk, _chunks(tensor)))
            values = Digest(standing_for).of((tensor.dtype, tensor.shape, attributes, chunks))
            found[id(tensor)] = values.hex()
    return {name: found[id(tensor)] for name, tensor in named}


def _refuse_special(name: str, tensor: Tensor) -> None:
    if tensor.is_meta:
        raise NoKeyError(f"{name} has no values, as where weights are offloaded")
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout != torch.strided or tensor.is_quantized:
        raise NoKeyError(f"{name} is no plain tensor but {type(tensor).__name__}, as a quantised weight is")


def _chunks(tensor: Tensor) -> Iterator[Tensor]:
    yield from torch.split(tensor.detach().reshape(-1), max(1, _CHUNK // tensor.element_size()))


def _digest_of_chunk(values: Tensor) -> bytes:
    return hashlib.sha256(_bytes_of(values)).digest()


def _bytes_of(values: Tensor) -> Any:
    return values.cpu().reshape(-1).contiguous().view(torch.uint8).numpy()
