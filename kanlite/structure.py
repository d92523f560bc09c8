r"""The structure of a small network: which edges it needs, and which of them are straight lines.

Many networks compute one function. The one to read is the simplest: edges that the data can do
without are dropped, edges that may be straight become straight, and what remains is trained
again after each step (:meth:`Sketch.simplified`). A sketch is a KAN of cubic splines made for
this: an edge is nothing, a line or a spline, hidden nodes are sums or products of two sums, and
second-order training touches only what is there. It becomes a model of :class:`~kanlite.KANLayer`
and :class:`~kanlite.Multiply` when it is done (:meth:`Sketch.model`).

Glossary
    x, y     inputs (N, in) and targets (N, q), the latter scaled to mean 0 and variance 1
    z        what flows into a layer, (N, in)
    G, M     intervals on a layer's domain; M = G + 3 cubic B-splines
    B, D     B-splines at z and their derivatives, (N, in, M)
    kind     what an edge is: NOTHING, LINE or SPLINE, (out, in)
    theta    coefficients of spline edges (M each), then slope and constant of each line
    e        root mean square error
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kanlite.bases import BSpline
from kanlite.layers import KAN, KANLayer
from kanlite.samples import Rows, root_mean_square
from kanlite.variants import Multiply

__all__ = ["Sketch"]

NOTHING, LINE, SPLINE = 0, 1, 2
SIZE = 1e-3  # what a mean square of 1 counts beside a curvature of 1
Features = tuple[Tensor, Tensor]


@dataclass
class _Layer:
    """Edges of one layer, their coefficients (in, M, out), and the products that follow it."""

    coef: Tensor
    low: Tensor
    high: Tensor
    kind: Tensor
    products: int = 0  # the last 2 * products outputs are multiplied in pairs

    @property
    def splines(self) -> tuple[Tensor, Tensor]:
        """Outputs and inputs of the edges that are splines."""
        j, i = (self.kind == SPLINE).nonzero(as_tuple=True)
        return j, i

    @property
    def lines(self) -> tuple[Tensor, Tensor]:
        """Outputs and inputs of the edges that are lines."""
        j, i = (self.kind == LINE).nonzero(as_tuple=True)
        return j, i

    def line(self) -> Tensor:
        """Coefficients of u, which runs from -1 to 1 over the domain, and of 1: (2, M)."""
        count = self.coef.shape[1]
        u = 2 * (torch.arange(count, dtype=torch.float64) - 1) / (count - 3) - 1
        return torch.stack([u, torch.ones_like(u)])

    def features(self, z: Tensor) -> Features:
        """B and D on equal intervals, in closed form; straight lines beyond the domain."""
        count = self.coef.shape[1]
        steps = (count - 3) / (self.high - self.low)
        t = (z - self.low) * steps
        inside = t.clamp(0, count - 3)
        v = inside[..., None] - (torch.arange(count, dtype=torch.float64) - 1)
        far, near = (2 - v.abs()).relu_(), (1 - v.abs()).relu_()
        slopes = v.sign() * (4 * near.square() - far.square()) / 2
        values = (far**3 - 4 * near**3) / 6 + slopes * (t - inside)[..., None]
        return values, slopes * steps[:, None]

    def multiply(self, h: Tensor) -> Tensor:
        """Sums pass, pairs are multiplied: (..., out) -> (..., nodes)."""
        split = h.shape[-1] - 2 * self.products
        return torch.cat([h[..., :split], h[..., split::2] * h[..., split + 1 :: 2]], -1)

    def by_output(self, nodes: Tensor) -> Tensor:
        """What holds for the nodes, (nodes,), for the outputs that they are made of, (out,)."""
        sums = len(self.kind) - 2 * self.products
        return torch.cat([nodes[:sums], nodes[sums:].repeat_interleave(2)])

    def pull_back(self, slope: Tensor, h: Tensor) -> Tensor:
        """Derivatives by the outputs h (N, out) from those by the nodes: (N, q, .) each."""
        split = h.shape[-1] - 2 * self.products
        other = torch.stack([h[:, split + 1 :: 2], h[:, split::2]], -1).flatten(1)
        return torch.cat(
            [slope[..., :split], slope[..., split:].repeat_interleave(2, -1) * other[:, None]], -1
        )

    def resampled(self, low: Tensor, high: Tensor, num_intervals: int) -> _Layer:
        """The same functions, as nearly as can be, on another domain or other knots."""
        fresh = self.coef.new_zeros(len(low), num_intervals + 3, self.coef.shape[2])
        new = _Layer(fresh, low, high, self.kind, self.products)
        share = torch.linspace(0, 1, 6 * fresh.shape[1], dtype=torch.float64)[:, None]
        z = torch.lerp(low, high, share)
        values = torch.einsum("nim,imo->ino", self.features(z)[0], self.coef)
        new.coef = torch.linalg.pinv(new.features(z)[0].movedim(0, 1)) @ values
        return new


class Sketch:
    """A small network whose edges are nothing, lines or splines.

    Args:
        shape: Widths; a hidden one is a number of sums, or a pair (sums, products of two).
        x: Inputs, shape (N, in), float64: their range is the first layer's domain.
        generator: For the draw of coefficients, and of the parts.
        num_intervals: G to start with.
        apart: Whether each input enters one factor only of those of products; which one is
            drawn. Factors without any input get all.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> x = 2 * torch.rand(300, 2, generator=g, dtype=torch.float64) - 1
        >>> y = 3 * x[:, :1] * x[:, 1:]
        >>> rows = Rows(x[:200], y[:200], x[200:], y[200:])
        >>> sketch = Sketch([2, (0, 1), 1], x, g)
        >>> for smoothness in (1e-2, 1e-4, 1e-6):
        ...     sketch = sketch.trained(rows.x, rows.y, smoothness=smoothness, adapt=True)
        >>> small, error = sketch.simplified(rows, sketch.error(sketch.first(x), y))
        >>> sorted(small.layers[0].kind.tolist()), error < 1e-3  # each factor is a line
        ([[0, 1], [1, 0]], True)

    Book: *Reading a network*. Source: Liu et al., KAN 2.0 (2024), arXiv:2408.10205, for products
    in KANs; Eilers and Marx, Flexible smoothing with B-splines and penalties, Statistical
    Science 11 (1996), 89-121, for the penalty on second differences.
    """

    def __init__(
        self,
        shape: Sequence[int | tuple[int, int]],
        x: Tensor,
        generator: torch.Generator,
        *,
        num_intervals: int = 3,
        apart: bool = False,
    ) -> None:
        self.layers: list[_Layer] = []
        pairs = [(size, 0) if isinstance(size, int) else size for size in shape]
        for number, ((sums, products), (next_sums, next_products)) in enumerate(
            itertools.pairwise(pairs)
        ):
            n, m = sums + products, next_sums + 2 * next_products
            low, high = (x.amin(0), x.amax(0)) if number == 0 else (-torch.ones(n), torch.ones(n))
            coef = torch.randn(n, num_intervals + 3, m, dtype=torch.float64, generator=generator)
            kind = torch.full((m, n), SPLINE)
            if apart and next_products:
                factor = torch.randperm(n, generator=generator) % (2 * next_products)
                own = factor == torch.arange(2 * next_products)[:, None]
                kind[next_sums:] *= own | ~own.any(1, keepdim=True)
                coef *= (kind.T > NOTHING)[:, None]
            layer = _Layer(coef / math.sqrt(n), low.double(), high.double(), kind, next_products)
            self.layers.append(layer)

    # Evaluation

    def first(self, x: Tensor) -> Features:
        """B and D at the inputs, which stay the same while the network is trained."""
        return self.layers[0].features(x)

    def __call__(self, first: Features) -> Tensor:
        """Predictions (N, q)."""
        return self._forward(first)[1]

    def _forward(self, first: Features) -> tuple[list[tuple[Tensor, Tensor, Tensor]], Tensor]:
        """For each layer B, D and its outputs; and the predictions."""
        trace: list[tuple[Tensor, Tensor, Tensor]] = []
        z = torch.empty(0)
        for number, layer in enumerate(self.layers):
            b, d = layer.features(z) if number else first
            h = b.flatten(1) @ layer.coef.flatten(0, 1)
            trace.append((b, d, h))
            z = layer.multiply(h)
        return trace, z

    def derivatives(self, first: Features) -> tuple[Tensor, Tensor]:
        """Predictions (N, q) and their derivatives by theta (N, q, P)."""
        trace, y = self._forward(first)
        slope = torch.eye(y.shape[1], dtype=y.dtype).expand(len(y), -1, -1)  # (N, q, q)
        columns: list[Tensor] = []
        for number in reversed(range(len(self.layers))):
            layer, (b, d, h) = self.layers[number], trace[number]
            slope = layer.pull_back(slope, h)  # (N, q, out)
            j, i = layer.splines
            wide = slope[:, :, j, None] * b[:, None, i]  # (N, q, edges, M)
            o, n = layer.lines
            straight = slope[:, :, o, None] * (b[:, n] @ layer.line().T)[:, None]
            columns.insert(0, torch.cat([wide.flatten(2), straight.flatten(2)], 2))
            if number:
                slope = slope @ torch.einsum("nim,imo->noi", d, layer.coef)
        return y, torch.cat(columns, 2)

    def moved(self, step: Tensor) -> Sketch:
        """A sketch at theta + step."""
        new, at = copy.copy(self), 0
        new.layers = []
        for layer in self.layers:
            (j, i), (o, n), count = layer.splines, layer.lines, layer.coef.shape[1]
            coef = layer.coef.clone()
            coef[i, :, j] += step[at : at + len(j) * count].view(-1, count)
            at += len(j) * count
            coef[n, :, o] += step[at : at + 2 * len(o)].view(-1, 2) @ layer.line()
            at += 2 * len(o)
            new.layers.append(_Layer(coef, layer.low, layer.high, layer.kind, layer.products))
        return new

    def bending(self) -> tuple[Tensor, Tensor]:
        """Curvature and size of all edges as theta^T R theta: the matrix R, and R theta.

        Curvature is the mean square of second differences; the size counts little, and keeps
        large constants from canceling each other.
        """
        blocks, pulls = [], []
        for layer in self.layers:
            (j, i), (o, n), count = layer.splines, layer.lines, layer.coef.shape[1]
            line, eye = layer.line(), torch.eye(count, dtype=torch.float64)
            second = eye.diff(2, dim=0) * (count - 3) ** 2
            gram = second.T @ second / len(second) + SIZE * eye / count
            blocks += [gram] * len(j) + [line @ gram @ line.T] * len(o)
            pulls += [(layer.coef[i, :, j] @ gram).flatten()]
            pulls += [(layer.coef[n, :, o] @ gram @ line.T).flatten()]
        matrix: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
        return matrix, torch.cat(pulls)

    def roughness(self) -> float:
        """theta^T R theta."""
        total = 0.0
        for layer in self.layers:
            coef = layer.coef  # what is nothing has none
            second = coef.diff(2, dim=1) * (coef.shape[1] - 3) ** 2
            parts = second.square().mean(1) + SIZE * coef.square().mean(1)
            total += float(parts.sum())
        return total

    # Training

    def error(self, first: Features, y: Tensor) -> float:
        """Root mean square error; inf where it is not finite."""
        return root_mean_square(self(first) - y)

    def adapted(self, x: Tensor, margin: float = 0.1) -> Sketch:
        """The same function on hidden domains that fit what passes through them."""
        new = copy.copy(self)
        new.layers = list(self.layers)
        z = x
        for number, layer in enumerate(self.layers):
            if number:
                low, high = z.amin(0), z.amax(0)
                room = margin * (high - low).clamp(min=1e-9)
                covers = ((layer.low <= low) & (layer.high >= high)).all()
                if not covers or ((high - low) < 0.5 * (layer.high - layer.low)).any():
                    size = layer.coef.shape[1] - 3
                    new.layers[number] = layer.resampled(low - room, high + room, size)
            layer = new.layers[number]
            z = layer.multiply(layer.features(z)[0].flatten(1) @ layer.coef.flatten(0, 1))
        return new

    def refined(self, num_intervals: int) -> Sketch:
        """The same function on finer knots: exact if the old ones are among them."""
        new = copy.copy(self)
        new.layers = [
            layer.resampled(layer.low, layer.high, num_intervals) for layer in self.layers
        ]
        return new

    def trained(
        self, x: Tensor, y: Tensor, *, smoothness: float = 0.0, steps: int = 30, adapt: bool = False
    ) -> Sketch:
        """After Levenberg-Marquardt steps on the mean square error and the mean curvature."""
        net, damping, slow = self.adapted(x), 1e-2, 0
        first = net.first(x)
        loss = net.error(first, y) ** 2 + smoothness * net.roughness()
        for step in range(steps):
            if adapt and step in (1, 3, 7, 15):
                net = net.adapted(x)
                loss = net.error(first, y) ** 2 + smoothness * net.roughness()
            prediction, j = net.derivatives(first)
            rough, pull = net.bending()
            j, r = j.flatten(0, 1), (prediction - y).flatten()
            a = j.T @ j / len(r) + smoothness * rough
            g = j.T @ r / len(r) + smoothness * pull
            scaling = a.diagonal().clamp(min=1e-6 * float(a.diagonal().max()))
            before = loss
            for _ in range(12):
                factor, failed = torch.linalg.cholesky_ex(a + torch.diag(damping * scaling))
                if not failed:
                    trial = net.moved(-torch.cholesky_solve(g[:, None], factor)[:, 0])
                    after = trial.error(first, y) ** 2 + smoothness * trial.roughness()
                    if after < loss:
                        net, loss, damping = trial, after, max(damping / 5, 1e-15)
                        break
                damping *= 4
            slow = slow + 1 if loss > 0.99 * before else 0
            if slow == 4 or loss == before:
                break
        return net.adapted(x)

    # Simplification

    def simplified(self, rows: Rows, error: float) -> tuple[Sketch, float]:
        """Without the edges that validation does not miss, and with lines where they do.

        Args:
            rows: Data.
            error: Validation error of this sketch.

        Returns:
            The simpler sketch and its validation error.
        """
        limit = max(1.02 * error, min(3 * error, 1e-3))
        net = self
        for kind in (NOTHING, LINE, NOTHING):
            for number, j, i in net.by_weight(rows.x):
                if net.layers[number].kind[j, i] > kind:
                    trial = net.with_edge(number, j, i, kind)
                    if not trial.is_whole():
                        continue
                    trial = trial.trained(rows.x, rows.y, smoothness=1e-12, steps=25, adapt=True)
                    after = trial.error(trial.first(rows.held_x), rows.held_y)
                    if after <= limit:
                        net, error = trial.cleared(), after
        return net, error

    def by_weight(self, x: Tensor) -> list[tuple[int, int, int]]:
        """Layer, output and input of each edge, those that bend the least first."""
        found = []
        z = x
        for number, layer in enumerate(self.layers):
            b = layer.features(z)[0]
            phi = torch.einsum("nim,imo->noi", b, layer.coef)
            share = phi.std(0) / phi.std(0).sum(1, keepdim=True).clamp(min=1e-300)
            found += [
                (float(share[j, i]), number, j, i)
                for j, i in itertools.product(*map(range, layer.kind.shape))
            ]
            z = layer.multiply(phi.sum(-1))
        return [edge[1:] for edge in sorted(found)]

    def with_edge(self, number: int, j: int, i: int, kind: int) -> Sketch:
        """A sketch in which one edge is nothing (its mean goes to others), or the nearest line."""
        new = copy.copy(self)
        new.layers = list(self.layers)
        layer = self.layers[number]
        line = layer.line()
        coef, kinds = layer.coef.clone(), layer.kind.clone()
        kinds[j, i] = kind
        nearest = coef[i, :, j] @ torch.linalg.pinv(line)
        coef[i, :, j] = nearest @ line if kind == LINE else 0.0
        rest = (kinds[j] > NOTHING).nonzero()[:, 0]
        if kind == NOTHING and len(rest):  # the spline's coefficients of a constant are all alike
            coef[rest[0], :, j] += nearest[1]
        new.layers[number] = _Layer(coef, layer.low, layer.high, kinds, layer.products)
        return new

    @property
    def cost(self) -> int:
        """Numbers that describe the structure: two for a spline, one for a line."""
        return sum(int(layer.kind.sum()) for layer in self.layers)

    @property
    def reads_once(self) -> bool:
        """Whether each input enters one edge at most: nothing is left to simplify."""
        return bool(((self.layers[0].kind > NOTHING).sum(0) <= 1).all())

    def is_whole(self) -> bool:
        """Whether every factor and every output still depends on something."""
        last = self.layers[-1]
        factors = [layer.kind[len(layer.kind) - 2 * layer.products :] for layer in self.layers]
        return bool((last.kind > NOTHING).any(1).all()) and all(
            bool((kind > NOTHING).any(1).all()) for kind in factors
        )

    def cleared(self) -> Sketch:
        """Without edges into nodes that feed nothing; those from constant nodes are constants."""
        new = self
        while True:
            dead = new._dead()
            if not dead:
                return new
            for edge in dead:
                new = new.with_edge(*edge, NOTHING)

    def _dead(self) -> list[tuple[int, int, int]]:
        """Edges into nodes that no edge leaves, and edges that leave sums without edges."""
        found = []
        for number, (layer, after) in enumerate(itertools.pairwise(self.layers)):
            here, there = layer.kind > NOTHING, after.kind > NOTHING
            sums = len(here) - 2 * layer.products
            used = layer.by_output(there.any(0))
            found += [(number, j, i) for j, i in (here & ~used[:, None]).nonzero().tolist()]
            still = torch.zeros(there.shape[1], dtype=torch.bool)
            still[:sums] = ~here[:sums].any(1)
            found += [(number + 1, j, i) for j, i in (there & still).nonzero().tolist()]
        return found

    # What comes of it

    def model(self, mean: Tensor, spread: Tensor) -> nn.Sequential:
        """KAN layers with multiplications between them; outputs are scaled back."""
        nodes = [torch.ones(layer.kind.shape[1], dtype=torch.bool) for layer in self.layers]
        for number, layer in enumerate(self.layers[1:], 1):
            nodes[number] = (layer.kind > NOTHING).any(0)
        nodes.append(torch.ones(len(self.layers[-1].kind), dtype=torch.bool))
        modules: list[nn.Module] = []
        for number, layer in enumerate(self.layers):
            sums = len(layer.kind) - 2 * layer.products
            kept = nodes[number + 1]
            modules.append(_kan_layer(layer, nodes[number], layer.by_output(kept)))
            if layer.products and kept[sums:].any():
                modules.append(Multiply(int(kept[:sums].sum()), int(kept[sums:].sum())))
        last = modules[-1]
        if isinstance(last, KANLayer):
            with torch.no_grad():
                last.coef.mul_(spread)
            last.bias = nn.Parameter(mean.clone())
        layers = [module for module in modules if isinstance(module, KANLayer)]
        return KAN.from_layers(layers) if len(layers) == len(modules) else nn.Sequential(*modules)


def _kan_layer(layer: _Layer, inputs: Tensor, outputs: Tensor) -> KANLayer:
    """Some inputs and outputs of a layer as a KANLayer on the same knots."""
    intervals = layer.coef.shape[1] - 3
    low, high = layer.low[inputs, None], layer.high[inputs, None]
    share = torch.arange(-3, intervals + 4, dtype=torch.float64) / intervals
    basis = BSpline(degree=3, knots=low + (high - low) * share)
    made = KANLayer(int(inputs.sum()), int(outputs.sum()), basis, residual=None)
    made.coef = nn.Parameter(layer.coef[inputs][:, :, outputs].clone())
    return made
