"""Small models of one's own: a stack of blocks whose two sub-layers are given."""

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, FFN, BLOCKS = 16, 40, 3


class Attention(nn.Module):
    """Softmax attention with one head."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x):
        return self.out(F.scaled_dot_product_attention(self.query(x), self.key(x), self.value(x)))


class FeedForward(nn.Module):
    """Two projections and a third, computed with as a function says: (module, states) -> states."""

    def __init__(self, compute, first=FFN, **more):
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, first), nn.Linear(FFN, WIDTH)
        self.third = nn.Linear(WIDTH, FFN)
        self.compute = compute
        for name, module in more.items():
            setattr(self, name, module)

    def forward(self, x):
        return self.compute(self, x)


class Block(nn.Module):
    """A block with a norm before each sub-layer; or one whose stream is folded by a function."""

    def __init__(self, attention, feed_forward, fold=None):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention, self.feed_forward, self.fold = attention, feed_forward, fold

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        if self.fold is not None:
            return self.fold(self, x)
        return x + self.feed_forward(self.norm2(x))


class Homemade(nn.Module):
    """Embeddings, blocks, and a norm."""

    def __init__(self, make_block):
        super().__init__()
        self.embed = nn.Embedding(100, WIDTH)
        self.layers = nn.ModuleList(make_block() for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, input_ids):
        x = self.embed(input_ids)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


def model_of(feed_forward=None, attention=Attention, fold=None):
    """A model whose blocks have such a feed-forward network, such an attention, and such a stream."""
    torch.manual_seed(0)
    made = feed_forward or (lambda: FeedForward(lambda m, x: m.second(F.gelu(m.first(x)))))
    return Homemade(lambda: Block(attention(), made(), fold)).eval()


def computing(compute, **more):
    """A model whose feed-forward networks compute this."""
    return model_of(lambda: FeedForward(compute, **{name: make() for name, make in more.items()}))
