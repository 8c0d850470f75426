"""`trace`: run a model once, and note every operation and every module call."""

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.weak import WeakTensorKeyDictionary

from xalign.model.architectures.fused import explain
from xalign.model.architectures.graph import Blank, Call, Node, Projection, Ref, Trace
from xalign.model.architectures.kinds_of_module import is_experts, projection_of
from xalign.model.architectures.norms import is_norm
from xalign.model.architectures.operations import PROJECTIONS, is_in_place, operation_of
from xalign.model.hooks import Hook, hook_input, hook_output, remove_hooks
from xalign.model.module_values import input_of, is_of_whole_model, output_of

# Operations of which a tensor gives only its shape and its data type.
_LIKE = frozenset({"zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"})
_NEW = frozenset({"new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"})
_AS = frozenset({"expand_as", "type_as", "view_as", "reshape_as", "to"})


def trace(model: nn.Module, run: Callable[[], Any]) -> Trace:
    """Run a model once and note what happens.

    The tensors of the forward are not kept, but for those of the block in progress. Inside projections, norms
    and experts nothing is noted: they are one operation each.

    Args:
        model: The model. It is not changed; its modules carry hooks while it runs.
        run: Calls it.
    """
    tracer = _Tracer(model)
    modules = list(model.modules())
    try:
        for module in modules:
            hook_input(module, Hook(tracer, tracer.enter))
            hook_output(module, Hook(tracer, tracer.leave))
        with torch.no_grad(), tracer:
            run()
    finally:
        remove_hooks(modules, lambda hook: hook.owner is tracer)
    return tracer.trace


class _Tracer(TorchFunctionMode):
    """Sees the operations as a mode of torch, and the module calls through hooks."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.trace, self.thread = Trace(model), threading.get_ident()
        self._paths = {module: path for path, module in model.named_modules()}
        named = [*model.named_parameters(), *model.named_buffers()]
        self._weights = {id(tensor): path for path, tensor in named}
        self._made: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._open: list[Call] = []
        self._within_whole = 0
        # Outputs of projections, until the block ends: a fused kernel is explained by their values.
        self._held: dict[int, Tensor] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self._within_whole or threading.get_ident() != self.thread:
            return func(*args, **kwargs)
        flat, spec = tree_flatten((args, kwargs))
        given = [self._node(value) if isinstance(value, Tensor) else None for value in flat]
        before = _version(args)
        output = func(*args, **kwargs)
        in_place = is_in_place(func) or _version(args) != before
        made = args[0] if output is None and in_place else output
        tensors = [made] if isinstance(made, Tensor) else _tensors_in(made)
        if not tensors or (not in_place and any(made is value for value in flat)):
            return output
        operation = operation_of(func)
        if operation == "glu" and self._note_glu(args, kwargs, made):
            return output
        refs = _references(operation, flat, given)
        new_args, new_kwargs = tree_unflatten(refs, spec)
        node = self._add(operation, [ref.node for ref in refs if isinstance(ref, Ref)], made)
        node.function, node.args, node.kwargs, node.in_place = func, new_args, new_kwargs, in_place
        if operation in PROJECTIONS:
            self._note_projection(node, made)
        if not isinstance(made, Tensor):
            for number, tensor in enumerate(tensors):
                self._add("part", [node.index], tensor).args = (Ref(node.index), number)
        return output

    def enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Note that a module is called. A pre-hook."""
        with torch._C.DisableTorchFunction():  # what this does itself is not a part of the forward
            self._enter(module, args, kwargs)

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG002
        """Note what a module returned. A hook."""
        with torch._C.DisableTorchFunction():
            self._leave(module, output)

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        is_whole = is_experts(module)
        if not self._within_whole:
            path, first = self._paths.get(module, ""), input_of(args, kwargs)
            parent = self._open[-1] if self._open else None
            if projection_of(module, path) is not None:
                is_whole = True
                if isinstance(first, Tensor):
                    self._explain(first, parent)
            given = tuple(self._node(one) for one in _tensors_in((args, kwargs)))
            call = Call(module, path, parent, len(self.trace.nodes), given=given)
            call.input = self._node(first) if isinstance(first, Tensor) else None
            self._open.append(call)
        if self._within_whole or is_whole:
            self._within_whole += 1

    def _leave(self, module: nn.Module, output: Any) -> None:
        if self._within_whole:
            self._within_whole -= 1
            if self._within_whole:
                return
        call, states = self._open.pop(), output_of(output)
        call.returns_states = is_of_whole_model(output)
        projection = projection_of(module, call.path)
        if projection is not None and states is not None:
            node = self._add("projection", [] if call.input is None else [call.input], states, call)
            node.projection, node.depends = projection, True
            self._held[node.index] = states
        elif is_experts(module) and states is not None:
            self._add("experts", list(call.given), states, call).depends = True
        elif states is not None and is_norm(self.trace, call, self._node(states)):
            self._add("norm", [call.input], states, call)  # type: ignore[list-item]
        call.output = None if states is None else self._node(states)
        call.end = len(self.trace.nodes)
        self.trace.add_call(call)
        if not any(_is_listed(one.path) for one in self._open):
            self._held.clear()

    def _node(self, tensor: Tensor) -> int:
        """Return the node of a tensor; of one that no operation seen has made, a new one."""
        known = self._made.get(tensor)  # type: ignore[no-untyped-call]
        if known is not None:
            return int(known)
        path = self._weights.get(id(tensor))
        if path is not None or isinstance(tensor, nn.Parameter):
            node = self._add("weight", [], tensor)
            node.args = (path,)
        else:
            node = self._add("given", [], tensor)
            node.depends = True
        return node.index

    def _add(self, operation: str, inputs: list[int], output: Any, call: Call | None = None) -> Node:
        inside = call or (self._open[-1] if self._open else None)
        node = Node(len(self.trace.nodes), operation, inputs=tuple(inputs), call=inside)
        node.depends = any(self.trace.nodes[index].depends for index in inputs)
        self.trace.nodes.append(node)
        if isinstance(output, Tensor):
            node.shape, node.dtype, node.is_states = output.shape, output.dtype, output.is_floating_point()
            self._made[output] = node.index
        return node

    def _note_projection(self, node: Node, output: Any) -> None:
        """Note a product of states with weights that a function computes, not a module."""
        states = self.trace.data_inputs(node)
        if node.operation == "conv1d" and self._kernel_of(node) != 1:
            return
        if len(states) == 1 and len(node.inputs) > 1 and isinstance(output, Tensor) and output.dim():
            dim = 1 if node.operation == "conv1d" else -1
            given = self.trace.nodes[states[0]].shape
            node.projection = Projection("", given[dim] if given else 1, output.shape[dim], dim)

    def _kernel_of(self, node: Node) -> int:
        weights = [self.trace.nodes[index] for index in node.inputs if not self.trace.nodes[index].depends]
        return max((one.shape[-1] for one in weights if len(one.shape) > 1), default=0)

    def _explain(self, states: Tensor, parent: Call | None) -> None:
        """Find what a kernel computed that torch does not show: it gives a projection its input."""
        node = self.trace.nodes[self._node(states)]
        if node.operation != "given" or parent is None or node.index < parent.start:
            return
        nearby = {index: value for index, value in self._held.items() if index >= parent.start}
        found = explain(states, nearby)
        if found is None:
            return
        activation, gate, up = found
        heads = [self._columns(head) for head in (gate, up) if head is not None]
        name = operation_of(getattr(activation, "func", activation))
        acted = self._add(f"{name} (by its values)", [heads[0]], None)
        acted.function, acted.args = activation, (Ref(heads[0]),)
        acted.shape, acted.dtype, acted.is_states = states.shape, states.dtype, True
        if len(heads) == 1:
            self._made[states] = acted.index
            return
        product = self._add("mul", [acted.index, heads[1]], states)
        product.function, product.args = torch.mul, (Ref(acted.index), Ref(heads[1]))

    def _note_glu(self, args: Any, kwargs: Any, made: Any) -> bool:
        """Note the first half of some states times the sigmoid of the second, which torch computes as one."""
        dim = kwargs.get("dim", args[1] if len(args) > 1 else -1)
        if not args or dim not in (-1, made.dim() - 1):
            return False
        source, width = self._node(args[0]), made.shape[-1]
        first, second = (self._columns((source, one)) for one in (slice(0, width), slice(width, None)))
        acted = self._add("sigmoid", [second], None)
        acted.function, acted.args = torch.sigmoid, (Ref(second),)
        acted.shape, acted.dtype, acted.is_states = made.shape, made.dtype, True
        product = self._add("mul", [first, acted.index], made)
        product.function, product.args = torch.mul, (Ref(first), Ref(acted.index))
        return True

    def _columns(self, head: tuple[int, slice]) -> int:
        """Return the node of some columns of a projection."""
        index, columns = head
        source = self.trace.nodes[index]
        if columns == slice(None):
            return index
        node = self._add("getitem", [index], None)
        node.function, node.args = torch.Tensor.__getitem__, (Ref(index), (..., columns))
        width = len(range(*columns.indices(source.shape[-1])))
        node.shape, node.dtype = torch.Size((*source.shape[:-1], width)), source.dtype
        node.is_states = True
        return node.index


def _version(args: tuple[Any, ...]) -> int:
    """Return how often the first tensor was written into; relu and others may do so by an argument."""
    first = args[0] if args else None
    return first._version if isinstance(first, Tensor) and not first.is_inference() else 0


def _tensors_in(values: Any) -> list[Tensor]:
    return [one for one in tree_flatten(values)[0] if isinstance(one, Tensor)]


def _is_listed(path: str) -> bool:
    """Return whether a module is an item of a list."""
    return path.rpartition(".")[2].isdecimal()


def _references(operation: str, flat: list[Any], given: list[int | None]) -> list[Any]:
    """Put references in place of the tensors in arguments, and blanks where their values do not matter."""
    blank_from = 0 if operation in _LIKE | _NEW else 1 if operation in _AS else len(flat)
    tensors = 0
    refs: list[Any] = []
    for value, index in zip(flat, given, strict=True):
        if index is None:
            refs.append(value)
            continue
        is_blank = tensors >= blank_from
        refs.append(Blank(value.shape, value.dtype, value.device) if is_blank else Ref(index))
        tensors += 1
    return refs
