"""`Autoencoder`: from states to a smaller space and back, a linear encoder and a decoder of two layers."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xalign.errors import ArgumentError

WEIGHTS = ("mean", "spread", "encoder", "bias", "first", "first_bias", "second", "second_bias")


@dataclass(frozen=True, eq=False, slots=True)
class Autoencoder:
    """The numbers of a fitted autoencoder.

    With the states x, E(x) = encoder (x − mean) / spread + bias, and D(z) = mean + spread · (second ·
    gelu(first · z + first_bias) + second_bias).

    Attributes:
        mean: The mean of the states it was fitted on, [width].
        spread: Their root mean squared distance from it, per coordinate; a tensor of one number.
        encoder: [latent, width].
        bias: [latent].
        first: The decoder's first layer, [hidden, latent].
        first_bias: [hidden].
        second: Its second layer, [width, hidden].
        second_bias: [width].

    Raises:
        ArgumentError: Shapes that do not belong together, or values that are not finite.
    """

    mean: Float[Tensor, " width"]
    spread: Float[Tensor, ""]
    encoder: Float[Tensor, "latent width"]
    bias: Float[Tensor, " latent"]
    first: Float[Tensor, "hidden latent"]
    first_bias: Float[Tensor, " hidden"]
    second: Float[Tensor, "width hidden"]
    second_bias: Float[Tensor, " width"]

    def __post_init__(self) -> None:
        """Check shapes and values."""
        latent, width = self.encoder.shape if self.encoder.dim() == 2 else (0, 0)
        hidden = len(self.first_bias)
        expected = {
            "mean": (width,),
            "spread": (),
            "bias": (latent,),
            "first": (hidden, latent),
            "second": (width, hidden),
            "second_bias": (width,),
        }
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape or not width:
                raise ArgumentError(
                    f"{name} of the autoencoder has shape {tuple(getattr(self, name).shape)}, and the others "
                    f"need {shape}"
                )
        if not all(bool(getattr(self, name).isfinite().all()) for name in WEIGHTS):
            raise ArgumentError("the autoencoder holds NaN or infinity")
        if not float(self.spread) > 0:
            raise ArgumentError(f"spread of the autoencoder is {float(self.spread):g}; it must be above 0")

    @property
    def width(self) -> int:
        """The width of the states."""
        return self.encoder.shape[1]

    @property
    def latent(self) -> int:
        """The width of the latent space."""
        return self.encoder.shape[0]

    def encode(self, states: Float[Tensor, "*_ width"]) -> Float[Tensor, "*_ latent"]:
        """Return E(x)."""
        return (states - self.mean) / self.spread @ self.encoder.T + self.bias

    def decode(self, latent: Float[Tensor, "*_ latent"]) -> Float[Tensor, "*_ width"]:
        """Return D(z)."""
        inner = torch.nn.functional.gelu(latent @ self.first.T + self.first_bias)
        return self.mean + self.spread * (inner @ self.second.T + self.second_bias)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Autoencoder":
        """Return it on a device and in a data type."""
        return Autoencoder(*(getattr(self, name).to(device, dtype) for name in WEIGHTS))

    def explained_variance(self, states: Float[Tensor, "state width"]) -> float:
        """Return the share of the states' variance that D(E(x)) explains, 1 − e / d.

        Here e is the squared error of D(E(x)), and d the squared distance from the states' own mean. It is 1
        if the states are reproduced, 0 if a constant would do as well, and can be below 0.
        """
        wide = states.double()
        back = self.to(wide.device, torch.float64)
        error = (back.decode(back.encode(wide)) - wide).square().sum()
        return 1 - float(error / (wide - wide.mean(dim=0)).square().sum())
