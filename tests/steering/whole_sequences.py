"""What a steered model must compute: whole sequences, without a cache, edited by absolute position.

The only hook is a plain torch one on a block. Nothing of xalign is used.
"""

import torch
import transformers
from packaging.version import Version
from torch import Tensor

BLOCK = 1
# One vector that is added to the stream after a block. It is large, so that a token missed is seen.
torch.manual_seed(5)
VECTOR = 2 * torch.randn(32)


def positions_of(mask: Tensor, length: int) -> Tensor:
    """Position ids as `generate` makes them: counted over the prompt's real tokens, then on from the last.

    transformers 4 counts over the real tokens of the whole sequence, wherever the padding is.
    """
    if Version(transformers.__version__) < Version("5"):
        whole = padded(mask, length)
        return (whole.long().cumsum(dim=1) - 1).masked_fill(whole == 0, 1)
    prompt = (mask.long().cumsum(dim=1) - 1).masked_fill(mask == 0, 0)
    after = torch.arange(1, length - mask.shape[1] + 1)
    return torch.cat([prompt, prompt[:, -1:] + after], dim=1)


def padded(mask: Tensor, length: int) -> Tensor:
    """The mask of a whole sequence: tokens after the prompt are real."""
    return torch.cat([mask, mask.new_ones(len(mask), length - mask.shape[1])], dim=1)


@torch.no_grad()
def logits_of(model, mask: Tensor, edited: Tensor, position_ids: Tensor, **inputs) -> Tensor:
    """Logits [sentence, column, token] of whole sequences.

    mask: which tokens are real; edited: which tokens the vector is added to.
    """
    block = model.model.layers[BLOCK]

    def edit(module, args, output):
        if isinstance(output, tuple):  # of some blocks of transformers 4
            return output[0] + edited.unsqueeze(-1) * VECTOR, *output[1:]
        return output + edited.unsqueeze(-1) * VECTOR

    handle = block.register_forward_hook(edit)
    try:
        return model(attention_mask=mask, position_ids=position_ids, use_cache=False, **inputs).logits
    finally:
        handle.remove()
