"""`contents_of`: what is inside of containers, tensors and generators, noted and put back."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

# Larger tensors are weights in fact, such as those of a quantised layer.
LARGEST_TENSOR = 2**24
# How many containers within each other are looked into.
LEVELS = 4
_PLAIN: dict[type, Callable[[Any], Any]] = {dict: dict, list: list, set: set, deque: list}
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Contents(Protocol):
    """What was inside of something."""

    def put_back(self) -> None:
        """Make it again what it was."""


def contents_of(values: Iterable[Any]) -> list[Contents]:
    """Note what is inside of some values.

    Args:
        values: Dicts, lists, sets, deques, tensors and `torch.Generator`s, up to `LEVELS` containers within
            each other. Other values have nothing inside that is noted, and neither have weights.

    Returns:
        What to put back, outer containers first.
    """
    found: list[Contents] = []
    seen: set[int] = set()
    level = list(values)
    for _ in range(LEVELS + 1):
        inside: list[Any] = []
        for value in level:
            if not isinstance(value, _NOTED) or id(value) in seen:
                continue
            seen.add(id(value))
            if isinstance(value, tuple):
                inside += value
            elif isinstance(value, torch.Generator):
                found.append(_OfGenerator(value))
            elif isinstance(value, Tensor):
                if not isinstance(value, nn.Parameter) and _has_values(value):
                    found.append(_OfTensor(value) if type(value) is Tensor else _OfSubclass(value))
            else:
                found.append(OfContainer(value))
                inside += list(value.values() if isinstance(value, dict) else value)
        level = inside
    return found


_NOTED: Any = (*_PLAIN, tuple, Tensor, torch.Generator)


class OfContainer:
    """What is inside of a container, the objects themselves, as they are now.

    Args:
        container: A dict, list, set or deque.
    """

    def __init__(self, container: Any) -> None:
        self._container = container
        plain = next(plain for kind, plain in _PLAIN.items() if isinstance(container, kind))
        self._content = plain(container)

    def put_back(self) -> None:
        """Make it again what it was; as often as you like."""
        if not _same(self._container, self._content):
            self._container.clear()
            add = "extend" if isinstance(self._container, list | deque) else "update"
            getattr(self._container, add)(self._content)


class _OfGenerator:
    def __init__(self, generator: torch.Generator) -> None:
        self._generator, self._state = generator, generator.get_state()

    def put_back(self) -> None:
        self._generator.set_state(self._state)


class _OfTensor:
    """The memory, shape and values of a tensor.

    They are written past torch's count of changes: a backward that is still to come may need the tensor, and
    finds in it what it had.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._data = tensor, tensor.data
        self._place, self._bytes = _place(tensor), tensor.untyped_storage().nbytes()
        self._values = _once(self._data)
        self._copy = self._values.clone()

    def put_back(self) -> None:
        storage = self._data.untyped_storage()
        if storage.nbytes() < self._bytes:
            return  # It was freed, as gathered weights are.
        if _place(self._tensor) != self._place:
            self._tensor.data = self._data
        if storage.nbytes() > self._bytes:
            storage.resize_(self._bytes)
        # Not by torch's count of changes, which misses those through `.data`.
        # Nor by their values on a CUDA device, for which the program would wait.
        if self._values.is_cuda or not torch.equal(_bits(self._values), _bits(self._copy)):
            self._values.copy_(self._copy)


class _OfSubclass:
    """The values of a tensor that may have no memory of its own."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._version, self._copy = tensor, _version(tensor), tensor.detach().clone()

    def put_back(self) -> None:
        is_counted = self._version is not None and self._version == _version(self._tensor)
        if not is_counted and not torch.equal(self._tensor, self._copy):
            with torch.no_grad():
                self._tensor.copy_(self._copy)


def _has_values(tensor: Tensor) -> bool:
    if tensor.is_meta or tensor.layout != torch.strided or tensor.nbytes > LARGEST_TENSOR:
        return False
    # Weights that are sharded are views of memory which is freed between forwards.
    return type(tensor) is not Tensor or tensor.nbytes == 0 or tensor.untyped_storage().nbytes() > 0


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype


def _once(tensor: Tensor) -> Tensor:
    """Return a tensor without the repetitions of an expanded one, into which torch does not write."""
    for dim, stride in enumerate(tensor.stride()):
        if stride == 0 and tensor.shape[dim] > 1:
            tensor = tensor.narrow(dim, 0, 1)
    return tensor


def _version(tensor: Tensor) -> int | None:
    return None if tensor.is_inference() else tensor._version


def _bits(tensor: Tensor) -> Tensor:
    """Return numbers that are equal only where every bit is: NaN is itself, and -0 is not 0."""
    is_float = tensor.is_floating_point() and tensor.itemsize in _INTEGERS
    return tensor.view(_INTEGERS[tensor.itemsize]) if is_float else tensor


def _same(container: Any, content: Any) -> bool:
    """Return whether a container holds the same objects, in the same order where it has one."""
    if len(container) != len(content):
        return False
    if isinstance(container, set):
        return bool(container == content)
    if isinstance(container, dict):
        pairs = zip(container.items(), content.items(), strict=True)
        return all(value is old and (key is name or key == name) for (key, value), (name, old) in pairs)
    return all(one is other for one, other in zip(container, content, strict=True))
