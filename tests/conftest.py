"""What all tests share: no windows, repeatable examples, small notebooks to try the tools on."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # GPU kernels run on the CPU, slowly

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")

HEADER = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  name: python3
  display_name: Python 3
---

"""


@pytest.fixture
def write_source(tmp_path: Path) -> Callable[[str], Path]:
    """A function that writes a MyST notebook with the given body into a temporary folder."""

    def write(body: str, name: str = "page") -> Path:
        source = tmp_path / f"{name}.md"
        source.write_text(HEADER + body, encoding="utf-8")
        return source

    return write
