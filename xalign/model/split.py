"""Models that are split over devices or processes: which can be visited, and which are refused."""

from torch import nn

from xalign.errors import ModelError


def is_sharded(model: nn.Module) -> bool:
    """Whether blocks gather their weights before they run and let them go after: none may be left halfway."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def let_go(model: nn.Module) -> None:
    """Has FSDP2 let go of the weights that it keeps after a forward, for a backward that does not come.

    Until then `model.parameters()` are whole tensors, and an optimizer made of them would train nothing.
    """
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def refuse_split(model: nn.Module, *, learning: bool = False) -> None:
    """An error for what splits a model in a way in which a visit sees no states, or only parts of them.

    DDP and FSDP2 are no such ways.

    Args:
        model: The model, as it is called.
        learning: Whether it is to learn: then `nn.DataParallel` on one device is refused too.

    Raises:
        ModelError: `nn.DataParallel`, FSDP1, tensor parallelism or DeepSpeed ZeRO-3.
    """
    if isinstance(model, nn.DataParallel) and (learning or len(model.device_ids) > 1):
        raise ModelError(
            "nn.DataParallel copies the model for each forward, and what happens in the copies is not seen; "
            "start a process per GPU with torchrun (DDP), or show one GPU with CUDA_VISIBLE_DEVICES=0"
        )
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        raise ModelError("FSDP1 is not supported; FSDP2 is: pass fsdp_version=2 in fsdp_config")
    if any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
        raise ModelError("DeepSpeed ZeRO-3 is not supported; use ZeRO-1 or 2, DDP, or FSDP2")
    if any((getattr(module, "tp_size", None) or 1) > 1 for module in model.modules()):
        raise ModelError(
            "tensor parallelism is not supported: each process holds only its part of the neurons; use DDP "
            "or FSDP2"
        )
