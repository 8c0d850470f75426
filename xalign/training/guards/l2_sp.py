"""`L2SP`: how far the trained weights are from where they were before training."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xalign.errors import ModelError
from xalign.model.placement import device_of
from xalign.model.wrapped import unwrapped


class L2SP:
    """Half the squared distance of the trained weights from their start.

    The gradient at each weight is its own difference from the start, however many weights there are. The
    start is a copy of what is trained: the weights of the adapter alone, where an adapter is trained.

    Args:
        model: The model, before its first step.

    Reference:
        Li, Grandvalet and Davoine (2018), *Explicit Inductive Bias for Transfer Learning with Convolutional
        Networks*, without its second term, which is for weights that have no start.

    Example:
        >>> layer = torch.nn.Linear(2, 1, bias=False)
        >>> distance = L2SP(layer)
        >>> with torch.no_grad():
        ...     _ = layer.weight.add_(3.0)
        >>> round(distance(layer).item(), 4)
        9.0
    """

    def __init__(self, model: nn.Module) -> None:
        self._start: dict[str, Tensor] = {
            name: parameter.detach().clone() for name, parameter in _trained(model)
        }

    def __call__(self, model: nn.Module) -> Float[Tensor, ""]:
        """Compute ½ Σ (w − w₀)² over the trained weights.

        Args:
            model: The model as it is wrapped now.

        Raises:
            ModelError: A weight is trained that was not when this was made, and so has no start.
        """
        total = torch.zeros((), device=device_of(model))
        for name, parameter in _trained(model):
            if name not in self._start:
                raise ModelError(
                    f"l2_sp: {name} is trained now and was not when the objective was made, so that its "
                    "start is not known; make the objective once all that is to be trained is"
                )
            self._start[name] = self._start[name].to(parameter.device)
            difference = parameter - self._start[name]
            dtype = torch.promote_types(difference.dtype, torch.float32)
            total = total + difference.to(dtype).square().sum().to(total.device) / 2
        return total


def _trained(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, one) for name, one in unwrapped(model).named_parameters() if one.requires_grad]
