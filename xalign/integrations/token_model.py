"""`TokenModel`: a decoder that is no model of transformers, in the form in which xalign takes one."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from transformers import PretrainedConfig


class TokenModel(nn.Module):
    """Calls a causal decoder with the token ids alone.

    Padding is on the right, and no token of a causal decoder looks to its right: it needs no attention mask.
    The blocks and neurons are found in the decoder itself, as in any model.

    Args:
        decoder: Takes ids [batch, token], and returns logits.
        context: The most tokens of a line.
        vocabulary: Number of tokens that it embeds.
        call: How it is called with ids, where they alone are not enough.

    Example:
        >>> small = TokenModel(torch.nn.Embedding(10, 4), context=8, vocabulary=10)
        >>> small(input_ids=torch.tensor([[1, 2]])).shape
        torch.Size([1, 2, 4])
    """

    def __init__(
        self,
        decoder: nn.Module,
        context: int,
        vocabulary: int,
        call: Callable[[Tensor], Any] | None = None,
    ) -> None:
        super().__init__()
        self.decoder, self._call = decoder, call
        sizes: Any = {"max_position_embeddings": context, "vocab_size": vocabulary}
        self.config = PretrainedConfig(**sizes)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:  # noqa: ARG002
        """Run the decoder."""
        return self.decoder(input_ids) if self._call is None else self._call(input_ids)
