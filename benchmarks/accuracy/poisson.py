"""Poisson's equation by least squares on its residual: [2, 10, 1] against pykan and an MLP.

    python -m benchmarks.accuracy.poisson

On [-1, 1]^2, with u = 0 on the boundary, the Laplacian of u is given such that
u = sin(pi x) sin(pi y^2). The loss is that of pykan's tutorial, 0.01 times the mean square of
the residual inside plus the mean square of u on the boundary; the error is the mean square
of u - u* on 101 x 101 points. kanlite takes the Laplacian from the derivatives of its splines and
minimizes with Levenberg-Marquardt on 31 x 31 points and 4 x 31 on the boundary; pykan runs its
tutorial (51 x 51 and 4 x 51 points; grids 5, 10, 20, 50 steps of LBFGS each). The MLP, four
hidden layers of 100 with tanh, runs on kanlite's points for as much process time as kanlite had
in the same seed (Adam, which was ahead of LBFGS there), and, where pykan ran, for as much as
pykan had (LBFGS, which was ahead of Adam there). Prints a table and writes poisson.json beside
this file.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import kanlite as kl
from benchmarks.accuracy import campaign
from benchmarks.accuracy.campaign import Follower, Run, Target, Task, generator, timed
from kanlite.refinement import adapt_knots_

WIDTHS = [2, 10, 1]
SHARE = 0.01  # of the equation in the loss; the boundary has 1
GRIDS, DEGREE, STEPS = [5, 10], 4, 25


def solution(x: Tensor) -> Tensor:
    return torch.sin(torch.pi * x[..., 0]) * torch.sin(torch.pi * x[..., 1] ** 2)


def source(x: Tensor) -> Tensor:
    """The Laplacian of the solution, by hand."""
    pi, square = torch.pi, torch.pi * x[..., 1] ** 2
    across = 2 * pi * torch.cos(square) - 4 * pi * square * torch.sin(square)
    return torch.sin(pi * x[..., 0]) * (across - pi**2 * torch.sin(square))


def inside(points: int) -> Tensor:
    t = torch.linspace(-1, 1, points)
    return torch.cartesian_prod(t, t)


def boundary(points: int) -> Tensor:
    t, one = torch.linspace(-1, 1, points), torch.ones(points)
    return torch.cat([torch.stack(p, 1) for p in ((t, one), (t, -one), (one, t), (-one, t))])


def error(model: Callable[[Tensor], Tensor]) -> float:
    x = inside(101)
    with torch.no_grad():
        return float((model(x).squeeze(-1) - solution(x)).square().mean())


class Curvature(nn.Module):
    """A KAN's value and Laplacian at one point: (n,) -> (2,), from its splines' derivatives.

    Through a layer of edges phi go a value z, the slopes of z along each coordinate, and its
    second derivatives: z'' becomes phi''(z) z'^2 + phi'(z) z''.
    """

    def __init__(self, kan: kl.KAN) -> None:
        super().__init__()
        self.kan = kan

    def forward(self, x: Tensor) -> Tensor:
        n = len(x)
        z, first, second = x, torch.eye(n), torch.zeros(n, n)  # (in,), (n, in), (n, in)
        for layer in self.kan:
            phi, slope, bend = (
                torch.einsum("ig,igo->io", layer.basis.derivative(z, order), layer.coef)
                for order in range(3)
            )  # (in, out)
            z, first, second = phi.sum(0), first @ slope, first.square() @ bend + second @ slope
        return torch.stack([z[0], second.sum()])


def residual(f: Callable[[Tensor], Tensor], x: Tensor, within: Tensor, given: Tensor) -> Tensor:
    """Of one point: the equation's where `within` is above 0, the boundary's elsewhere."""
    value, laplacian = f(x)
    return torch.where(within > 0, laplacian - given, value)


def kanlite(seed: int, quick: bool) -> Run:
    grids, steps, points = ([3, 6], 2, 7) if quick else (GRIDS, STEPS, 31)
    run = Run()
    with timed(run):
        interior, edge = inside(points), boundary(points)
        x, count = torch.cat([interior, edge]), len(interior) + len(edge)
        within = torch.cat([torch.ones(len(interior)), torch.zeros(len(edge))])
        weight = torch.where(within > 0, SHARE * count / len(interior), count / len(edge))
        basis = kl.BSpline(grids[0], DEGREE)
        model = kl.KAN(WIDTHS, basis, residual=None, generator=generator(seed))
        for grid in grids:
            model = model if grid == grids[0] else kl.refine(model, grid)
            lm = kl.LevenbergMarquardt(Curvature(model))
            for step in range(steps):
                if step in (0, 1, 2, 4, 8):
                    adapt_knots_(model, x)
                lm.step_residual(residual, x, within, source(x), weight=weight)
                if lm.converged:
                    break
    return {"mse": error(model), "parameters": kl.count_parameters(model)} | run


def mlp(seed: int, quick: bool, other: Run) -> Run:
    """Adam for the process time of another run, its learning rate falling to zero over it."""
    model = new_mlp(seed, quick)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    seconds = other["process_seconds"]

    def decay(spent: float) -> None:
        adam.param_groups[0]["lr"] = 1e-3 * max(0.0, 1 - spent / seconds)

    return train_mlp(model, adam, seconds, quick, decay)


def mlp_lbfgs(seed: int, quick: bool, other: Run) -> Run:
    """LBFGS for the process time of another run."""
    model = new_mlp(seed, quick)
    lbfgs = torch.optim.LBFGS(
        model.parameters(),
        max_iter=1,
        max_eval=26,
        history_size=50,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
    return train_mlp(model, lbfgs, other["process_seconds"], quick, lambda spent: None)


def new_mlp(seed: int, quick: bool) -> kl.MLP:
    widths = [2, 5, 1] if quick else [2, 100, 100, 100, 100, 1]
    return kl.MLP(widths, activation="tanh", generator=generator(seed))


def train_mlp(
    model: kl.MLP,
    optimizer: torch.optim.Optimizer,
    seconds: float,
    quick: bool,
    before_step: Callable[[float], None],
) -> Run:
    points = 7 if quick else 31
    interior, edge = inside(points), boundary(points)
    given = source(interior)

    def closure() -> Tensor:
        optimizer.zero_grad()
        equation = (mlp_laplacian(model, interior) - given).square().mean()
        loss = SHARE * equation + model(edge).square().mean()
        loss.backward()
        return loss

    run, steps, begin = Run(), 0, time.process_time()
    with timed(run):
        while (spent := time.process_time() - begin) < seconds:
            before_step(spent)
            optimizer.step(closure)
            steps += 1
    return {"mse": error(model), "parameters": kl.count_parameters(model), "steps": steps} | run


def mlp_laplacian(model: nn.Module, x: Tensor) -> Tensor:
    """Of a tanh MLP at many points: slopes and the Laplacian go through the layers with z."""
    z, slopes, laplacian = x, torch.eye(2)[:, None].expand(2, *x.shape), torch.zeros_like(x)
    for layer in model:
        if isinstance(layer, nn.Linear):
            z, slopes, laplacian = layer(z), slopes @ layer.weight.T, laplacian @ layer.weight.T
        else:  # tanh' = 1 - tanh^2, tanh'' = -2 tanh tanh'
            z = layer(z)
            first = 1 - z.square()
            laplacian = first * (laplacian - 2 * z * slopes.square().sum(0))
            slopes = first * slopes
    return laplacian.squeeze(1)


def tutorial_loss(model: nn.Module, interior: Tensor, edge: Tensor, given: Tensor) -> Tensor:
    """The equation inside, weighted, and the values on the boundary."""
    x = interior.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    second = [
        torch.autograd.grad(slope[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(2)
    ]
    equation = (second[0] + second[1] - given).square().mean()
    return SHARE * equation + model(edge).square().mean()


def pykan(seed: int, quick: bool) -> Run:
    """Its tutorial "Solving Partial Differential Equation", at the widths of the paper."""
    from kan import KAN
    from kan.LBFGS import LBFGS

    from benchmarks.accuracy.pykan import quiet_folder, size

    grids, steps, points = ([3, 6], 1, 7) if quick else ([5, 10, 20], 50, 51)
    interior, edge, run = inside(points), boundary(points), Run()
    given = source(interior)

    with quiet_folder(), timed(run):
        model = KAN(width=WIDTHS, grid=grids[0], k=3, seed=seed).speed()
        for grid in grids:
            if grid != grids[0]:
                model.save_act = True
                model.get_act(interior)
                model = model.refine(grid).speed()
            optimizer = LBFGS(
                model.parameters(),
                lr=1,
                history_size=10,
                line_search_fn="strong_wolfe",
                tolerance_grad=1e-32,
                tolerance_change=1e-32,
                tolerance_ys=1e-32,
            )

            def closure(model: nn.Module = model, optimizer: LBFGS = optimizer) -> Tensor:
                optimizer.zero_grad()
                loss = tutorial_loss(model, interior, edge, given)
                loss.backward()
                return loss

            for step in range(steps):
                if step % 5 == 0 and step < 20:
                    model.update_grid_from_samples(interior)
                optimizer.step(closure)
    return {"mse": error(model), "parameters": size(model)} | run


TASKS = {
    "Poisson": Task(
        {
            "kanlite": kanlite,
            "pykan": pykan,
            "MLP, kanlite's time": Follower("kanlite", mlp),
            "MLP, pykan's time": Follower("pykan", mlp_lbfgs),
        },
        ("mse", "parameters", "steps", "process_seconds", "wall_seconds"),
        (
            Target("median MSE", campaign.median("kanlite", "mse"), 1e-7),
            Target("parameters", campaign.worst("kanlite", "parameters"), 720),
            Target("process time over pykan's", campaign.time_ratio("kanlite", "pykan"), 0.1),
            Target(
                "median MSE over the MLP's at equal time",
                campaign.ratio("kanlite", "MLP, kanlite's time", "mse"),
                1.0,
            ),
        ),
    )
}


if __name__ == "__main__":
    campaign.main(__doc__, __file__, TASKS)
