"""`run_example`: what a model gives for two short lines."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from xalign.errors import ModelError, XAlignError
from xalign.model.architectures.example import caller, example_inputs

_SEED = 3


def run_example(model: nn.Module) -> Tensor:
    """Run a model on the first example that it takes, and return what it gives: logits, or the last states.

    Args:
        model: The model, as it is to run.

    Raises:
        ModelError: It takes none.
    """
    said = "its forward takes no input_ids, input_features or input_values"
    for inputs in example_inputs(model, _SEED):
        try:
            given = caller(model, inputs)()
        except XAlignError:  # of the hooks
            raise
        except Exception as error:  # of the model: it does not take this example
            said = f"{type(error).__name__}: {error!s:.200}"
            continue
        return _states(given)
    raise ModelError(f"{type(model).__name__} cannot be run on an example: {said}")


def _states(given: object) -> Tensor:
    values = list(given.values()) if isinstance(given, Mapping) else [given]
    found = next(one for one in values if isinstance(one, Tensor) and one.is_floating_point())
    return found.to(torch.float32) if found.dtype.itemsize < torch.float32.itemsize else found
