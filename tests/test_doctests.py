"""The examples in kanlite's docstrings give what they say, in the default dtype of PyTorch."""

import doctest
import importlib
from pathlib import Path

import pytest
import torch
from helpers import default_dtype

import kanlite as kl

FOLDER = Path(kl.__file__).parent
MODULES = [
    "kanlite",
    *(f"kanlite.{path.stem}" for path in sorted(FOLDER.glob("[!_]*.py"))),
    "kanlite.kernels",
    "kanlite.kernels.choice",
]
WITHOUT_EXAMPLES = {"kanlite.edges", "kanlite.plotting", "kanlite.persistence"}


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    """They pass, and there are some in all modules but those listed above."""
    with default_dtype(torch.float32), torch.random.fork_rng():
        results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0
    assert results.attempted > 0 or name in WITHOUT_EXAMPLES
