"""What every notebook of the book begins with: one look, one precision, and numbers for the text.

from book.notebook import PALETTE, glue, start

start()
"""

from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import torch
from cycler import cycler

__all__ = ["PALETTE", "Palette", "glue", "start"]


class Palette(NamedTuple):
    """Okabe and Ito's colors, told apart by color-blind readers too; by name or by number."""

    blue: str = "#0072B2"
    vermillion: str = "#D55E00"
    green: str = "#009E73"
    purple: str = "#CC79A7"
    orange: str = "#E69F00"
    sky: str = "#56B4E9"
    yellow: str = "#F0E442"
    black: str = "#000000"


PALETTE = Palette()

# Yellow is too faint for a line on white; it stays in PALETTE for areas.
_CYCLE = [color for color in PALETTE if color != PALETTE.yellow]

_STYLE: dict[str, Any] = {
    "figure.figsize": (7.0, 3.6),
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
    "savefig.dpi": 200,
    "axes.prop_cycle": cycler(color=_CYCLE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelsize": 12,
    "axes.titlesize": 12,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.0,
    "lines.markersize": 5.0,
    "font.size": 11,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "image.cmap": "cividis",
}


def start(*, threads: int = 1) -> None:
    """Set Matplotlib's style, float64 as PyTorch's default, and whatever makes reruns identical.

    Args:
        threads: how many CPU threads PyTorch uses. Sums over several threads are added up in an
            order that differs between machines; one thread gives the same digits everywhere, and
            for models as small as the book's it is as fast.
    """
    mpl.rcParams.update(_STYLE)
    _show_figures_at_twice_the_resolution()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    torch.set_printoptions(precision=4, sci_mode=False, linewidth=100)
    np.set_printoptions(precision=4, suppress=True, linewidth=100)


def glue(name: str, value: Any) -> None:
    """Keep `value` under `name`, so that the text can cite it: {glue:text}`name:.2e`.

    Tensors and NumPy scalars of one entry become plain numbers first, so that they can be
    formatted. Where the book's tools are not installed (on Colab, say), nothing happens.
    """
    try:
        from myst_nb import glue as keep
    except ImportError:
        return
    keep(name, value.item() if isinstance(value, (torch.Tensor, np.generic)) else value, False)


def _show_figures_at_twice_the_resolution() -> None:
    """PNG at 2x in notebooks; nothing elsewhere (a script has no inline backend)."""
    try:
        from IPython.core.getipython import get_ipython
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return
    if get_ipython() is not None:
        set_matplotlib_formats("retina")
