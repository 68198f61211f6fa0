"""Tests of PyTorch's CUDA build without a GPU: `make test-cuda-build` runs them, in an environment
of their own. They are what doubles of `torch.cuda` cannot show."""

from pathlib import Path

import pytest
import torch

# Before anything that imports diffusers, as in every job: devices are hidden meanwhile.
import sdbench.models.hugging_face  # noqa: F401
from sdbench.cases.kinds import nvidia_gpus
from tests.e2e.conftest import job, quiet

__all__ = ["job", "quiet"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cuda_build)


@pytest.fixture(scope="session", autouse=True)
def cuda_build() -> None:
    assert torch.version.cuda, f"PyTorch {torch.__version__} is not built for CUDA"
    # Asking PyTorch would spoil every fork of this process.
    if nvidia_gpus():
        pytest.skip("this machine has a GPU: what is tested here is a build without one")
