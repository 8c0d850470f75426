"""Drawn states for the tests of similarity structure."""

import numpy as np
import torch


def draw(n, width=12, seed=0, noise=1.0):
    generator = torch.Generator().manual_seed(seed)
    pivot = torch.randn(n, width, generator=generator)
    return pivot, pivot + noise * torch.randn(n, width, generator=generator)


def rotation(width, seed=0):
    return torch.from_numpy(np.linalg.qr(np.random.RandomState(seed).randn(width, width))[0]).float()
