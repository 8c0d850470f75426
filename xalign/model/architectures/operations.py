"""What torch's operations do to states, by their names: the only names that the search for sites knows."""

from collections.abc import Callable
from typing import Any

# Products with weights.
PROJECTIONS = frozenset({"linear", "addmm", "matmul", "mm", "bmm", "baddbmm", "einsum", "conv1d"})
# What may stand on the residual stream.
ADDITIONS = frozenset({"add", "sub"})
FACTORS = frozenset({"mul", "div"})
NORMS = frozenset({"layer_norm", "rms_norm", "normalize"})
# Some values are replaced by a constant, as those of padding are.
MASKS = frozenset({"masked_fill", "where"})
# The same values at other places, or some of them.
MOVES = frozenset(
    {
        *("reshape", "view", "flatten", "unflatten", "squeeze", "unsqueeze", "transpose", "permute", "t"),
        *("T", "mT", "movedim", "moveaxis", "swapaxes", "swapdims", "view_as", "reshape_as", "contiguous"),
        *("clone", "detach", "data", "alias", "chunk", "split", "split_with_sizes", "tensor_split", "unbind"),
        *(
            "getitem",
            "narrow",
            "select",
            "index_select",
            "part",
            "expand",
            "expand_as",
            "dropout",
            "identity",
        ),
    }
)
# The same values in another data type or on another device.
CASTS = frozenset({"to", "float", "half", "double", "bfloat16", "type", "type_as", "cpu", "cuda"})
# Values of several tokens in one number. All other operations are judged by what they do to numbers.
MIXERS = frozenset(
    {
        *("scaled_dot_product_attention", "multi_head_attention_forward", "cumsum", "cumprod"),
        *(
            "conv1d",
            "conv2d",
            "roll",
            "fft",
            "rfft",
            "fft_fft",
            "fft_fftn",
            "fft_rfft",
            "logcumsumexp",
            "pad",
        ),
        *("avg_pool1d", "max_pool1d", "interpolate"),
    }
)
# What norms that are written by hand are made of. A reduction counts if it is over the last dimension.
_ROW_REDUCTIONS = frozenset(
    {"mean", "sum", "var", "std", "norm", "linalg_vector_norm", "vector_norm", "amax"}
)
_NORM_ARITHMETIC = (
    ADDITIONS | FACTORS | CASTS | {"pow", "square", "sqrt", "rsqrt", "rsub", "reciprocal", "clamp"}
)
_ALIASES = {
    **{"iadd": "add", "radd": "add", "imul": "mul", "rmul": "mul", "isub": "sub", "multiply": "mul"},
    **{"truediv": "div", "itruediv": "div", "true_divide": "div", "divide": "div", "subtract": "sub"},
    **{"alpha_dropout": "dropout", "feature_dropout": "dropout", "clamp_min": "clamp", "concat": "cat"},
}


def operation_of(function: Callable[..., Any]) -> str:
    """Return the name of an operation: `x + y`, `torch.add` and `x.add_(y)` are all `add`."""
    name = str(getattr(function, "__name__", function))
    if name == "__get__":  # an attribute of a tensor, such as x.T
        return str(getattr(getattr(function, "__self__", None), "__name__", name))
    bare = name.strip("_")
    return _ALIASES.get(bare, bare)


def is_in_place(function: Callable[..., Any]) -> bool:
    """Return whether an operation writes into its first argument."""
    name = str(getattr(function, "__name__", ""))
    is_augmented = name.startswith("__i") and name.endswith("__") and name not in ("__index__", "__invert__")
    return is_augmented or name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))


def is_part_of_norm(operation: str, dims: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether an operation may be a part of a norm over the last dimension of states.

    Args:
        operation: Its name.
        dims: Number of dimensions of the states.
        args: Its positional arguments.
        kwargs: Its named arguments.
    """
    if operation in _NORM_ARITHMETIC:
        return True
    if operation == "layer_norm" or operation == "rms_norm":
        shape = kwargs.get("normalized_shape", args[1] if len(args) > 1 else ())
        return isinstance(shape, int) or len(tuple(shape)) == 1
    if operation in _ROW_REDUCTIONS | NORMS:
        dim = kwargs.get("dim", kwargs.get("axis", next((one for one in args[1:] if _is_dim(one)), None)))
        return dim in (-1, dims - 1, (-1,), [-1], (dims - 1,), [dims - 1])
    return False


def reduces_rows(operation: str) -> bool:
    """Return whether an operation is what makes a norm of arithmetic: a reduction, or a norm as such."""
    return operation in _ROW_REDUCTIONS | NORMS


def _is_dim(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, int) and not isinstance(value, bool))
