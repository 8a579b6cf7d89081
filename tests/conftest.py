"""One thread per worker: tiny models are slower, and shared cores much slower, with several."""

import os

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_directory(tmp_path_factory):
    """A directory of this test session, the same for all of its workers."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def copying_gpt2(shared_directory):
    """The GPT-2 that was trained to repeat a birthday, and its tokenizer: once for all workers."""
    from trained_gpt2 import recall, trained_gpt2

    hf, tokenizer = trained_gpt2(shared_directory)
    assert recall(hf, tokenizer) > 0.95  # else it is not what the tests take it for
    return hf, tokenizer
