"""Four published layers, operation by operation.

Shapes: x is (batch, in), outputs (batch, out).
"""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn


class EfficientKAN(nn.Module):
    """efficient-kan: dense Cox-de Boor recursion on a buffer of knots, then one linear map.

    Source: https://github.com/Blealtan/efficient-kan (2024), whose layer is

    y_o = sum_i [ W_oi silu(x_i) + s_oi sum_g c_oig B_g(x_i) ].
    """

    grid: Tensor

    def __init__(self, in_features: int, out_features: int, grid_size: int = 5, order: int = 3):
        super().__init__()
        self.order = order
        h = 2.0 / grid_size
        knots = torch.arange(-order, grid_size + order + 1) * h - 1.0
        self.register_buffer("grid", knots.expand(in_features, -1).contiguous())
        self.base_weight = nn.Parameter(torch.empty(out_features, in_features))
        shape = (out_features, in_features, grid_size + order)
        self.spline_weight = nn.Parameter(0.1 * torch.randn(shape))
        self.spline_scaler = nn.Parameter(torch.empty(out_features, in_features))
        nn.init.kaiming_uniform_(self.base_weight, a=5**0.5)
        nn.init.kaiming_uniform_(self.spline_scaler, a=5**0.5)

    def b_splines(self, x: Tensor) -> Tensor:
        """The recursion, level by level on all basis functions: (batch, in, num_basis)."""
        t, x = self.grid, x.unsqueeze(-1)
        bases = ((x >= t[:, :-1]) & (x < t[:, 1:])).to(x.dtype)
        for k in range(1, self.order + 1):
            left = (x - t[:, : -(k + 1)]) / (t[:, k:-1] - t[:, : -(k + 1)]) * bases[:, :, :-1]
            right = (t[:, k + 1 :] - x) / (t[:, k + 1 :] - t[:, 1:-k]) * bases[:, :, 1:]
            bases = left + right
        return bases.contiguous()

    def forward(self, x: Tensor) -> Tensor:
        base = nnf.linear(nnf.silu(x), self.base_weight)
        scaled = self.spline_weight * self.spline_scaler.unsqueeze(-1)
        spline = nnf.linear(self.b_splines(x).view(x.size(0), -1), scaled.view(scaled.size(0), -1))
        return base + spline


class FastKAN(nn.Module):
    """FastKAN: Gaussians of normalized inputs, a linear map, and a linear branch of SiLU.

    Source: Li, Kolmogorov-Arnold Networks are Radial Basis Function Networks (2024),
    arXiv:2405.06721.
    """

    centers: Tensor

    def __init__(self, in_features: int, out_features: int, num_grids: int = 8) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(in_features)
        self.register_buffer("centers", torch.linspace(-2.0, 2.0, num_grids))
        self.width = 4.0 / (num_grids - 1)
        self.spline_linear = nn.Linear(in_features * num_grids, out_features, bias=False)
        self.base_linear = nn.Linear(in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        z = self.layernorm(x)
        basis = torch.exp(-(((z[..., None] - self.centers) / self.width) ** 2))
        return self.spline_linear(basis.view(*x.shape[:-1], -1)) + self.base_linear(nnf.silu(x))


class FasterKAN(nn.Module):
    """FasterKAN: the reflectional switch 1 - tanh(z - u)^2 of normalized inputs, a linear map.

    Source: https://github.com/AthanasiosDelis/faster-kan (2024). Its hand-written backward is
    not the gradient of its forward; here autograd differentiates, as in a plain formula.
    """

    centers: Tensor

    def __init__(self, in_features: int, out_features: int, num_grids: int = 8) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(in_features)
        self.register_buffer("centers", torch.linspace(-1.2, 1.2, num_grids))
        self.spline_linear = nn.Linear(in_features * num_grids, out_features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        basis = 1 - torch.tanh(self.layernorm(x)[..., None] - self.centers) ** 2
        return self.spline_linear(basis.view(*x.shape[:-1], -1))


class ChebyKAN(nn.Module):
    """ChebyKAN: Chebyshev polynomials of tanh(x) by cosines, one einsum.

    Source: https://github.com/SynodicMonth/ChebyKAN (2024), see also arXiv:2405.07200.
    """

    degrees: Tensor

    def __init__(self, in_features: int, out_features: int, degree: int = 7) -> None:
        super().__init__()
        self.register_buffer("degrees", torch.arange(degree + 1))
        std = 1 / (in_features * (degree + 1))
        self.coef = nn.Parameter(std * torch.randn(in_features, out_features, degree + 1))

    def forward(self, x: Tensor) -> Tensor:
        angle = torch.tanh(x).clamp(-1 + 1e-7, 1 - 1e-7).acos()
        return torch.einsum("bid,iod->bo", (angle[..., None] * self.degrees).cos(), self.coef)
