"""What tests of a CUDA device share: the device, in exact float32, with operations that repeat themselves.

`XALIGN_GPU_DEVICE=cpu pytest tests/gpu` runs most of them on the CPU, to check the tests themselves.
"""

import os

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts

import pytest
import torch


@pytest.fixture
def device():
    """The device to compare with the CPU."""
    named = os.environ.get("XALIGN_GPU_DEVICE", "cuda")
    if named == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    return torch.device(named)


@pytest.fixture
def cuda(device):
    """The device, of tests that ask CUDA itself."""
    if device.type != "cuda":
        pytest.skip("there is no CUDA device")
    return device


@pytest.fixture(autouse=True)
def exact_float32():
    """TF32 keeps 10 bits of a product; with it nothing could be compared closely."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def repeatable():
    """Operations that give the same numbers each time; one that cannot would be an error."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)
