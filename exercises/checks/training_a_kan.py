"""Checks of the exercises to the chapter on training a KAN.

Glossary
    theta      all parameters in one vector, shape (P,)
    r, J       residuals (m,) and their Jacobian (m, P)
    A, g       J^T J, shape (P, P), and J^T r, shape (P,)
    mu, D      damping, and the diagonal that it multiplies
    k, n, h    degree, number of basis functions, spacing of the knots
    A          also: from B-spline coefficients to those of powers of ReLU, shape (n, n)
"""

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

import kanlite as kl
from exercises.checks import Wrong, checker, choose, close, uniform

Residual = Callable[[Tensor], Tensor]


def _entry(answer: Any, name: str) -> Any:
    """An entry of a dictionary that the exercise asks for."""
    if not isinstance(answer, dict):
        raise Wrong(f"Give a dictionary, not {type(answer).__name__}.")
    if name not in answer:
        raise Wrong(f"The entry {name!r} is missing.")
    return answer[name]


def _number(answer: Any, name: str) -> float:
    """An entry that is one finite number."""
    got = torch.as_tensor(_entry(answer, name)).double()
    if got.numel() != 1 or not bool(got.isfinite().all()):
        raise Wrong(f"{name!r} should be one finite number.")
    return float(got)


def _several(got: Any, count: int, what: str) -> Sequence[Any]:
    """What a student's function returns, if it is that many things."""
    if got is None or got is ...:
        raise NotImplementedError(what)
    if not isinstance(got, (tuple, list)) or len(got) != count:
        raise Wrong(f"Return {count} things: {what}.")
    return got


def _draw(rng: torch.Generator, low: int, high: int) -> int:
    """A random integer from low to high, both included."""
    return int(torch.randint(low, high + 1, (1,), generator=rng))


def _random_kan(
    rng: torch.Generator,
    widths: list[int],
    num_intervals: int = 4,
    degree: int = 3,
    residual: str | None = None,
) -> kl.KAN:
    """A KAN in float64 with weights from the check's own generator."""
    basis = kl.BSpline(num_intervals, degree)
    return kl.KAN(widths, basis, residual=residual, generator=rng).double()


# Predictions -----------------------------------------------------------------------------------


def _best_error(num_intervals: int, degree: int) -> float:
    """Largest error of the best fit to sin 3x on [-1, 1]."""
    x = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    basis = kl.bspline_basis(
        x, kl.uniform_knots(num_intervals, degree, dtype=torch.float64), degree
    )
    target = (3 * x).sin()
    return float((basis @ torch.linalg.lstsq(basis, target).solution - target).abs().max())


@checker("training-a-kan/predict", "a rank and a factor, measured; the others, computed")
def _predict(answer: Any, rng: torch.Generator) -> None:
    layer = _random_kan(rng, [3, 4], num_intervals=5)[0]
    block = layer.features(uniform(rng, -1.0, 1.0, 1000, 3)).detach().flatten(1)
    rank = 4 * int(torch.linalg.matrix_rank(block))
    right = {
        "rank": (
            rank,
            "Four blocks of 3 * 8 columns. The basis functions of each of the three inputs sum to "
            "one: how many dependencies is that per block?",
        ),
        "steps": (1, "The residuals of one layer are linear in its coefficients."),
        "outside": (
            1 - (1 - 2 / 400) ** 3,
            "One input is off with probability 2 / (N + 1), and all three are inside with the "
            "product of three probabilities.",
        ),
        "starts": (
            math.ceil(math.log(0.05) / math.log(0.7)),
            "All R starts fail with probability 0.7^R: which R is the first with at most 0.05?",
        ),
    }
    for name, (value, hint) in right.items():
        tolerance = 6e-4 if name == "outside" else 1e-6
        close(f"your {name!r}", _number(answer, name), float(value), tolerance, hint)
    factor, mine = _best_error(10, 5) / _best_error(20, 5), _number(answer, "factor")
    if not 0.7 * factor < mine < 1.4 * factor:
        raise Wrong(
            f"your 'factor', {mine:g}, is not what is measured. Which power of h does the rate "
            "theorem give for degree 5?"
        )


# Levenberg-Marquardt ---------------------------------------------------------------------------


def _trials(residual: Residual, theta: Tensor, steps: int, mu: float) -> tuple[Tensor, float]:
    """What `levenberg_marquardt` should do."""
    for _ in range(steps):
        J, r = jacrev(residual)(theta), residual(theta)
        A = J.T @ J
        D = A.diagonal().clamp(min=1e-6 * float(A.diagonal().max()))
        moved = theta - torch.linalg.solve(A + torch.diag(mu * D), J.T @ r)
        if residual(moved).square().sum() < r.square().sum():
            theta, mu = moved, mu / 3
        else:
            mu *= 2
    return theta, mu


def _mistaken_steps(residual: Residual, theta: Tensor, mu: float) -> dict[str, Tensor]:
    """First steps with a common mistake, and what to say about each."""
    J, r = jacrev(residual)(theta), residual(theta)
    A, g = J.T @ J, J.T @ r
    D, identity = A.diagonal(), torch.eye(len(g), dtype=A.dtype)

    def step(system: Tensor, gradient: Tensor = g) -> Tensor:
        return theta - torch.linalg.solve(system, gradient)

    right = A + mu * torch.diag(D)
    return {
        "You damped with mu times the identity. D is the diagonal of J^T J, so that each "
        "parameter is damped in its own unit.": step(A + mu * identity),
        "You added the vector mu * D to every row of the matrix, which changes all its columns. "
        "On the diagonal it is torch.diag(mu * D).": step(A + mu * D),
        "Your step is undamped: mu has no effect on it.": step(A),
        "Your step is twice as long as it should be: is a factor 2 of the gradient of |r|^2 left "
        "over?": step(right, 2 * g),
        "You divided J^T J or J^T r, but not both, by the number of residuals.": step(
            right, g / len(r)
        ),
    }


def _random_problem(rng: torch.Generator) -> tuple[Residual, Tensor]:
    """Smooth residuals whose parameters have very different units."""
    matrix = uniform(rng, -1.0, 1.0, 9, 4) * torch.tensor([1.0, 20.0, 0.1, 3.0]).double()
    shift = uniform(rng, -1.0, 1.0, 9)
    return lambda theta: (matrix @ theta).sin() + 0.3 * (matrix @ theta) - shift, uniform(
        rng, -0.05, 0.05, 4
    )


@checker(
    "training-a-kan/levenberg-marquardt",
    "random problems, rejected trials, parameters that are hardly seen, a step of kanlite's own",
)
def _levenberg_marquardt(answer: Callable[..., Any], rng: torch.Generator) -> None:
    def attempt(residual: Residual, theta: Tensor, steps: int, mu: float) -> tuple[Tensor, float]:
        given = theta.clone()
        moved, damping = _several(answer(residual, given, steps, mu), 2, "theta and mu")
        if not torch.equal(given, theta):
            raise Wrong("Your function changes the tensor theta that it is given; make new ones.")
        return torch.as_tensor(moved).detach(), float(damping)

    _check_one_trial(attempt, rng)
    _check_rejection(attempt)
    _check_unseen(attempt)
    _check_many_trials(attempt, rng)
    _check_against_kanlite(attempt, rng)


def _check_one_trial(attempt: Callable[..., tuple[Tensor, float]], rng: torch.Generator) -> None:
    """Where the step lowers the sum of squares."""
    for _ in range(3):
        residual, theta = _random_problem(rng)
        right, mu = _trials(residual, theta, 1, 0.5)
        got, damping = attempt(residual, theta, 1, 0.5)
        if got.shape != right.shape:
            raise Wrong(f"theta should keep its shape {tuple(right.shape)}, not {tuple(got.shape)}")
        if torch.equal(got, theta):
            raise Wrong(
                "Your first trial was rejected, although the right step lowers the sum of "
                "squares. Check the sign of the step, -J^T r on the right, and the comparison."
            )
        if not torch.allclose(got, right, rtol=1e-7, atol=1e-9):
            for message, mistaken in _mistaken_steps(residual, theta, 0.5).items():
                if torch.allclose(got, mistaken, rtol=1e-6, atol=1e-9):
                    raise Wrong(message)
        close("theta after one trial with mu = 0.5", got, right, 1e-7,
              "Compare with (J^T J + mu D) delta = -J^T r, and with rule 2.")  # fmt: skip
        close("mu after that trial", damping, mu, 1e-12,
              "After a trial that lowers the sum of squares, divide mu by 3.")  # fmt: skip


def _check_many_trials(attempt: Callable[..., tuple[Tensor, float]], rng: torch.Generator) -> None:
    """Where theta and the damping change from trial to trial."""
    for steps in (2, 5):
        residual, theta = _random_problem(rng)
        right, mu = _trials(residual, 8 * theta, steps, 1e-2)
        got, damping = attempt(residual, 8 * theta, steps, 1e-2)
        hint = "J, r and D belong to the current theta: are they computed anew in each trial?"
        close(f"theta after {steps} trials", got, right, 1e-6, hint)
        close(f"mu after {steps} trials", damping, mu, 1e-9, hint)
    start = torch.tensor([2.0], dtype=torch.float64)
    right, mu = _trials(torch.atan, start, 11, 1e-3)
    got, damping = attempt(torch.atan, start, 11, 1e-3)
    hint = "Some of them fail: others follow, until there were 11 trials in all."
    close("theta after 11 trials on arctan from 2", got, right, 1e-7, hint)
    close("mu after 11 trials on arctan from 2", damping, mu, 1e-9, hint)


def _check_rejection(attempt: Callable[..., tuple[Tensor, float]]) -> None:
    """On arctan the undamped step overshoots, and is rejected until mu has grown."""
    start = torch.tensor([2.0], dtype=torch.float64)
    got, damping = attempt(torch.atan, start, 1, 1e-3)
    if float(got.abs()) > 2.0:
        raise Wrong(
            f"With r = arctan(theta) at 2 and mu = 0.001, your first trial goes to "
            f"{float(got):.3f}, where |r| is larger. Such a trial must be rejected."
        )
    close("theta after a rejected trial", got, start, 1e-12, "After a failure theta stays.")
    close("mu after a rejected trial", damping, 2e-3, 1e-9 / 2e-3, "After a failure, double mu.")


def _check_unseen(attempt: Callable[..., tuple[Tensor, float]]) -> None:
    """The second of two parameters has no influence on any residual."""

    def residual(theta: Tensor) -> Tensor:
        return torch.stack([theta[0] ** 2 - 2, theta[0] - 1])

    start = torch.tensor([3.0, 7.0], dtype=torch.float64)
    try:
        got, _ = attempt(residual, start, 1, 0.1)
    except torch.linalg.LinAlgError:
        got = torch.full((2,), math.nan, dtype=torch.float64)
    if not got.isfinite().all():
        raise Wrong(
            "One parameter of this problem is seen by no residual: its entry of D is 0, and the "
            "system is singular. Raise small entries of D, as rule 1 says."
        )
    right, _ = _trials(residual, start, 1, 0.1)
    close("theta, where one parameter is seen by no residual", got, right, 1e-7)

    def nearly_blind(theta: Tensor) -> Tensor:
        return torch.stack([theta[0] ** 2 - 2, theta[0] - 1 + 1e-5 * theta[1], theta[0]])

    right, _ = _trials(nearly_blind, start, 1, 0.1)
    got, _ = attempt(nearly_blind, start, 1, 0.1)
    hint = "D is raised to 1e-6 times its own largest entry, where it is smaller."
    close("theta, where one parameter has hardly any influence", got, right, 1e-6, hint)


def _check_against_kanlite(
    attempt: Callable[..., tuple[Tensor, float]], rng: torch.Generator
) -> None:
    model = _random_kan(rng, [2, 2, 1], num_intervals=3, degree=2)
    x = uniform(rng, -1.0, 1.0, 150, 2)
    y = x.prod(-1, keepdim=True)
    named = dict(model.named_parameters())
    theta = torch.cat([p.detach().flatten() for p in named.values()])

    def residual(vector: Tensor) -> Tensor:
        parts = vector.split([p.numel() for p in named.values()])
        values = {
            name: part.reshape(p.shape)
            for (name, p), part in zip(named.items(), parts, strict=True)
        }
        output: Tensor = functional_call(model, values, (x,))
        return (output - y).flatten()

    got, _ = attempt(residual, theta, 1, 0.1)
    kl.LevenbergMarquardt(model, damping=0.1).step(x, y)
    right = torch.cat([p.detach().flatten() for p in model.parameters()])
    close("one step on a KAN, against kl.LevenbergMarquardt", got, right, 1e-6)


# Cost ------------------------------------------------------------------------------------------


def _touched(model: kl.KAN, x: Tensor) -> int:
    """The largest number of entries in a row of the Jacobian that are not zero, by looking."""
    parameters = list(model.parameters())
    most = 0
    for prediction in model(x)[:, 0]:
        row = torch.autograd.grad(prediction, parameters, retain_graph=True)
        most = max(most, sum(int((part != 0).sum()) for part in row))
    return most


@checker("training-a-kan/cost", "random shapes, against counts on the network itself")
def _cost(answer: Callable[..., Any], rng: torch.Generator) -> None:
    tried = [([1, 1], 5, 3, 10), ([2, 5, 1], 6, 3, 100), ([2, 3], 4, 2, 7)]
    tried += [([_draw(rng, 1, 4) for _ in range(4)], _draw(rng, 3, 9), 1 + i, 50) for i in range(3)]
    for widths, num_intervals, degree, samples in tried:
        what = "P, entries touched, products, and the quotient"
        got = _several(answer(list(widths), num_intervals, degree, samples), 4, what)
        where = f"for widths {widths}, G = {num_intervals} and k = {degree}"
        if any(isinstance(v, (float, Tensor)) for v in got):
            raise Wrong(f"{where}: give exact integers (// instead of /).")
        model = _random_kan(rng, widths, num_intervals, degree, residual="silu")
        P = kl.count_parameters(model)
        if got[0] != P:
            raise Wrong(
                f"{where}: P should not be {got[0]}. Each edge has G + k coefficients and one "
                "residual weight."
            )
        x = uniform(rng, -1.0, 1.0, 40, widths[0])
        if got[1] != (seen := _touched(model, x)):
            raise Wrong(
                f"{where}: a row of J has up to {seen} entries that are not zero, as a look at "
                f"the network shows, not {got[1]}. On each edge that leads to this output, k + 1 "
                "B-splines and the residual weight count."
            )
        products = samples * widths[-1] * P * (P + 1) // 2
        if got[2] != products:
            raise Wrong(
                f"{where} and N = {samples}: the multiplications should not be {got[2]}. J has "
                "N n_L rows, and each adds one product to each of P (P + 1) / 2 entries."
            )
        if got[3] != P**2 // (2 * P):
            raise Wrong(f"{where}: P^2 numbers against Adam's 2 P: that is not {got[3]}.")


# Refinement ------------------------------------------------------------------------------------


def _hidden_network(rng: torch.Generator, trial: int) -> kl.KAN:
    """Two or three layers with domains, degrees, intervals and extrapolations of their own."""
    sizes = [_draw(rng, 1, 3) for _ in range(3 + trial % 2)]
    layers = []
    for number, (n, m) in enumerate(itertools.pairwise(sizes)):
        low = -1.0 - 0.5 * float(torch.rand(1, generator=rng))
        extrapolate = "linear" if (trial + number) % 2 else "constant"
        basis = kl.BSpline(_draw(rng, 2, 5), 1 + (trial + number) % 3, low, 1.3,
                           extrapolate=extrapolate).double()  # fmt: skip
        residual = "silu" if trial % 3 else None
        layers.append(kl.KANLayer(n, m, basis, residual=residual, generator=rng).double())
    return kl.KAN.from_layers(layers)


@checker(
    "training-a-kan/finer",
    "random networks with various domains, degrees and residuals, on the domain and off it",
)
def _finer(answer: Callable[[nn.Module, int], Any], rng: torch.Generator) -> None:
    for trial in range(6):
        model, factor = _hidden_network(rng, trial), 2 + trial % 2
        before = copy.deepcopy(model)
        new = answer(model, factor)
        if new is None:
            raise NotImplementedError("finer")
        if not isinstance(new, nn.Module):
            raise Wrong(f"Return a network, not {type(new).__name__}.")
        x = uniform(rng, -1.0, 1.0, 200, model.widths[0])
        _check_untouched(model, before, new, x)
        for number, (old, layer) in enumerate(zip(model, new, strict=True)):
            _check_knots(number, old.basis, layer.basis, factor)
        close("the output on the domain", new(x).detach(), before(x).detach(), 1e-10,
              "Is every layer refined, with its residual branch as it was, and its coefficients "
              "from insert_knots?")  # fmt: skip
        close("the output off the domain", new(4 * x).detach(), before(4 * x).detach(), 1e-9,
              "On the domain it is right. Which `extrapolate` had the old basis?")  # fmt: skip
        if len(list(new.parameters())) != len(list(before.parameters())):
            raise Wrong(
                "Some parameters of the new network cannot be trained: make them nn.Parameter."
            )


def _check_untouched(model: kl.KAN, before: kl.KAN, new: nn.Module, x: Tensor) -> None:
    """The given network is as it was, and is not part of the new one."""
    old, now = before.state_dict(), model.state_dict()
    hint = "Work on a copy (copy.deepcopy)."
    if any(old[name].shape != now[name].shape for name in old) or not all(
        torch.equal(old[name], now[name]) for name in old
    ):
        raise Wrong(f"Your function changes the network that it is given. {hint}")
    own = {p.data_ptr() for p in model.parameters()}
    if any(p.data_ptr() in own for p in new.parameters()):
        raise Wrong(
            "The new network shares parameters with the old one: training one would change the "
            f"other. {hint}"
        )


def _check_knots(number: int, old: kl.BSpline, new: kl.BSpline, factor: int) -> None:
    """The new knots in the domain divide each old interval into equal parts."""
    if new.degree != old.degree:
        raise Wrong(f"Layer {number} had degree {old.degree}, and now has degree {new.degree}.")
    if new.num_intervals != factor * old.num_intervals:
        raise Wrong(
            f"Layer {number} should go from {old.num_intervals} to "
            f"{factor * old.num_intervals} intervals, but has {new.num_intervals}."
        )
    k = old.degree
    breaks = old.knots[k : len(old.knots) - k]
    shares = torch.arange(factor, dtype=torch.float64) / factor
    wanted = (breaks[:-1, None] + breaks.diff()[:, None] * shares).flatten()
    wanted = torch.cat([wanted, breaks[-1:]])
    got = new.knots[k : len(new.knots) - k]
    hint = f"Each old interval should be cut into {factor} equal parts, on its own domain."
    close(f"the knots of layer {number} on its domain", got, wanted, 1e-9, hint)


# Telescoping -----------------------------------------------------------------------------------


@checker("training-a-kan/telescope", "random shapes, against networks that are as bad as can be")
def _telescope(answer: Callable[..., Any], rng: torch.Generator) -> None:
    tried = [([1, 1], [3.0], [0.5]), ([3, 1], [2.0], [0.1]), ([2, 3, 1], [2.0, 3.0], [0.1, 0.01])]
    for depth in (2, 3, 4):
        widths = [_draw(rng, 1, 5) for _ in range(depth + 1)]
        slopes, errors = (uniform(rng, low, 2.0, depth).tolist() for low in (0.3, 0.001))
        tried.append((widths, slopes, errors))
    for widths, slopes, errors in tried:
        right: list[float] = []
        exact = uniform(rng, 0.0, 1.0, widths[0])
        wrong = exact.clone()
        for n_out, slope, error in zip(widths[1:], slopes, errors, strict=True):
            exact = (slope * exact).sum().expand(n_out)
            wrong = (slope * wrong + error).sum().expand(n_out)
            right.append(float((wrong - exact)[0]))
        got = answer(list(widths), list(slopes), list(errors))
        if got is None or got is ...:
            raise NotImplementedError("telescope")
        where = f"for widths {widths}"
        mine = torch.as_tensor(got).double().flatten()
        if len(mine) != len(right):
            raise Wrong(f"{where}: give one number per layer, {len(right)}, not {len(mine)}.")
        for number, (value, truth) in enumerate(zip(mine.tolist(), right, strict=True), 1):
            if value < truth * (1 - 1e-7):
                raise Wrong(
                    f"{where}, d_{number} = {value:.4g} is too small: with straight edges of slope "
                    f"A_l, each shifted by e_l, the units of layer {number} differ by "
                    f"{truth:.4g}. {_TELESCOPE_HINTS[min(number, 2)]}"
                )
            if value > truth * (1 + 1e-7):
                raise Wrong(
                    f"{where}, d_{number} = {value:.4g} is more than is needed: {truth:.4g} is "
                    f"always enough. {_TELESCOPE_HINTS[min(number, 2)]}"
                )


_TELESCOPE_HINTS = {
    1: "The inputs are equal, so no Lipschitz constant enters; n_0 edges lead into a unit.",
    2: "Each of the n_(l-1) edges brings A_l times what came in, and its own error.",
}


# The false step --------------------------------------------------------------------------------


def _square_network(shift: float, extrapolate: str) -> Callable[[Tensor], Tensor]:
    """s_2(x + shift), with s_2 the spline of y^2 on [0, 1]."""
    knots = kl.uniform_knots(1, 2, 0.0, 1.0, dtype=torch.float64)
    coef = knots[1:-2] * knots[2:-1]
    basis = kl.BSpline(degree=2, knots=knots, extrapolate=extrapolate)
    return lambda x: basis(x + shift) @ coef


@checker("training-a-kan/false-step", "the step, and your network run at your point")
def _false_step(answer: Any, rng: torch.Generator) -> None:
    choose(
        _entry(answer, "step"),
        "C",
        {
            "A": "the assumption on s_1 holds at every x of [0, 1].",
            "B": "a number is subtracted and added.",
            "D": "phi_2 is Lipschitz on all of the real line, wherever its arguments lie.",
            "E": "it is the sum of C and D.",
        },
    )
    shift, x = _number(answer, "shift"), _number(answer, "x")
    if not 0 < abs(shift) <= 0.001:
        raise Wrong(f"Your shift {shift:g} should not be 0, and at most 0.001 in size.")
    if not 0 <= x <= 1:
        raise Wrong(f"Your x = {x:g} is not in [0, 1].")
    point = torch.tensor(x, dtype=torch.float64)
    error = float((_square_network(shift, "zero")(point) - point**2).abs())
    if error <= 0.9:
        inside = "inside" if 0 <= x + shift <= 1 else "outside"
        raise Wrong(
            f"At x = {x:g} the network is off by {error:.3g} only: x + shift lies {inside} the "
            "domain of s_2. Where does it leave it, and where is x^2 large?"
        )
    room, gap = _number(answer, "room"), _number(answer, "gap")
    if room < 0.01 - 1e-12:
        raise Wrong(
            f"Room of {room:g} is too little: s_1 may be 1 + 0.01 at x = 1, and this must lie in "
            "the domain."
        )
    if room > 0.01 + 1e-12:
        raise Wrong(f"Room of {room:g} is enough, but not the smallest: see step A.")
    beyond = torch.tensor(1.01, dtype=torch.float64)
    right = float((_square_network(0.0, "linear")(beyond) - beyond**2).abs())
    if abs(gap - right) > 1e-6:
        raise Wrong(
            f"Your 'gap', {gap:g}, is not the distance of the tangent 1 + 2 (y - 1) from y^2 at "
            "y = 1.01. It is the square of something."
        )


# Exponents -------------------------------------------------------------------------------------


def _slope(sizes: Tensor, values: Tensor) -> float:
    """Minus the slope of the least-squares line through the logarithms."""
    design = torch.stack([sizes.log(), torch.ones_like(sizes)], 1)
    return -float(torch.linalg.lstsq(design, values.log()).solution[0])


def _hidden_runs(rng: torch.Generator, exponent: float, floor: float) -> tuple[Tensor, Tensor]:
    """Errors of seven seeds: a power law, some luck, a rounding floor, and runs that broke."""
    sizes = 2.0 ** torch.arange(2, 10, dtype=torch.float64)
    spread = uniform(rng, -0.1, 0.1, 7, 8).exp()
    errors = 3.0 * sizes**-exponent * spread
    lucky = torch.randint(7, (8,), generator=rng)
    errors[lucky, torch.arange(8)] *= uniform(rng, 0.05, 0.5, 8)
    errors = errors + floor * uniform(rng, 0.8, 1.2, 7, 8)
    errors[(lucky + 1) % 7, torch.arange(8)] = math.nan
    errors[(lucky[:4] + 3) % 7, torch.arange(4)] = math.nan
    return sizes, errors


@checker("training-a-kan/exponent", "random runs with luck, failures and a rounding floor")
def _exponent(answer: Callable[[Tensor, Tensor, float], Any], rng: torch.Generator) -> None:
    for exponent, floor in ((4.0, 1e-7), (2.0, 1e-4), (3.3, 1e-6)):
        sizes, errors = _hidden_runs(rng, exponent, floor)
        full = torch.where(errors.isnan(), math.inf, errors)
        typical = full.median(0).values
        kept = typical.isfinite() & (typical > 10 * floor)
        right = _slope(sizes[kept], typical[kept])
        got = float(answer(sizes.clone(), errors.clone(), floor))
        if abs(got - right) <= 1e-6:
            continue
        ignoring = errors.nanmedian(0).values
        every = torch.ones_like(kept)
        mistakes = {
            "That is what the report finds. Which three things does it do wrong?": (
                full.amin(0),
                every,
            ),
            "That is the line through the best seeds. Take medians.": (full.amin(0), kept),
            "That is the line through all sizes, those at the rounding floor included: keep "
            "medians above ten times the floor.": (typical, typical.isfinite()),
            "You left out the runs that broke. They are the worst ones: count them as infinite "
            "before you take the median.": (ignoring, ignoring > 10 * floor),
            "That is the line through means, which one bad run can spoil. Take medians.": (
                errors.nanmean(0),
                kept,
            ),
            "Ten times the floor is the limit, not the floor itself.": (typical, typical > floor),
        }
        for message, (values, mask) in mistakes.items():
            if abs(got - _slope(sizes[mask], values[mask])) <= 1e-6:
                raise Wrong(f"{got:.3f} is not the honest exponent. {message}")
        if abs(got + right) <= 1e-6:
            raise Wrong("The exponent is minus the slope.")
        raise Wrong(
            f"You find {got:.4f}, where the rules give {right:.4f}. Look at the medians that you "
            "keep, and at the logarithms of both sizes and medians."
        )
    _check_few(answer, rng)


def _check_few(answer: Callable[[Tensor, Tensor, float], Any], rng: torch.Generator) -> None:
    sizes, errors = _hidden_runs(rng, 4.0, 1e-7)
    got = float(answer(sizes, errors, 5e-5))
    if not math.isnan(got):
        raise Wrong(
            f"With a floor of 5e-5 only two sizes remain, and you return {got:.3g}. Two "
            "points always lie on a line: return math.nan."
        )
    errors[:4, -5:] = math.nan  # most of the seeds broke on the fine grids
    got = float(answer(sizes, errors, 1e-9))
    right = _slope(sizes[:3], torch.where(errors.isnan(), math.inf, errors).median(0).values[:3])
    hint = "Where most runs broke, the median is infinite, and the size does not count."
    close("the exponent, where most runs on fine grids broke", got, right, 1e-6, hint)


# Two bases -------------------------------------------------------------------------------------


@checker("training-a-kan/powers", "random splines on the domain, degrees 1 to 4")
def _powers(answer: Callable[[Tensor, int], Any], rng: torch.Generator) -> None:
    for k in (1, 2, 3, 4):
        low, length = float(uniform(rng, -2.0, 0.0, 1)), float(uniform(rng, 0.5, 3.0, 1))
        knots = kl.uniform_knots(_draw(rng, 1, 6), k, low, low + length, dtype=torch.float64)
        n, h = len(knots) - k - 1, float(knots[1] - knots[0])
        got = answer(knots.clone(), k)
        if got is None or got is ...:
            raise NotImplementedError("powers")
        A = torch.as_tensor(got).double()
        where = f"degree {k}, {n} functions, spacing {h:.3g}"
        if A.shape != (n, n):
            raise Wrong(f"{where}: A should have shape ({n}, {n}), but has {tuple(A.shape)}.")
        x = low + length * uniform(rng, 0.0, 1.0, 60)
        B = kl.bspline_basis(x, knots, k)
        powers = (x[:, None] - knots[:n]).clamp(min=0) ** k
        if float((powers @ A - B).abs().max()) <= 1e-8:
            continue
        factor = math.factorial(k)
        for message, other in {
            "Your matrix is the transpose of the right one: column i holds B_i.": A.T,
            "A factor 1/k! is missing.": A / factor,
            "A factor h^(-k) is missing: ReLU(u - j)^k = h^(-k) ReLU(x - t_(i+j))^k.": A / h**k,
            "A factor 1/(k! h^k) is missing.": A / (factor * h**k),
            "You have h^(-1) where h^(-k) is needed.": A * h ** (1 - k),
            "The sign is wrong: the term j = 0 is positive.": -A,
        }.items():
            if float((powers @ other - B).abs().max()) <= 1e-8:
                raise Wrong(f"{where}: {message}")
        column = int((powers @ A - B).abs().amax(0).argmax())
        filled = A[:, column].nonzero().flatten().tolist()
        right = list(range(column, min(column + k + 2, n)))
        if filled != right:
            raise Wrong(
                f"{where}: column {column} has entries in rows {filled}; B_{column} begins at its "
                f"own knot and has at most k + 2 of them, so in rows {right}."
            )
        raise Wrong(
            f"{where}: the powers of column {column} do not add up to B_{column} on the domain. "
            "Are the signs alternating, and the sizes binomial coefficients of k + 1?"
        )


@checker("training-a-kan/descent", "random Gauss-Newton matrices whose condition number is known")
def _descent(answer: Callable[[Tensor, float], Any], rng: torch.Generator) -> None:
    for kappa, reduction in ((3.0, 0.4), (40.0, 1e-3), (2.5e3, 0.1), (3e7, 1e-4)):
        size = 5
        turn, _ = torch.linalg.qr(uniform(rng, -1.0, 1.0, size, size))
        inner = uniform(rng, 0.0, 1.0, size - 2)
        values = 0.7 * kappa ** torch.cat([torch.zeros(1), inner, torch.ones(1)]).double()
        gram = turn * values @ turn.T
        gram = (gram + gram.T) / 2
        right = math.ceil(math.log(reduction) / math.log1p(-2 / (kappa + 1)))
        got = answer(gram.clone(), reduction)
        if got is None or got is ...:
            raise NotImplementedError("descent")
        steps = float(got)
        where = f"for a condition number of {kappa:g} and a reduction to {reduction:g}"
        if not math.isfinite(steps) or steps != math.floor(steps):
            raise Wrong(f"{where}: {steps:g} is no whole number of steps.")
        if abs(steps - right) <= 1e-6 * right:
            continue
        if steps < right:
            left = math.exp(steps * math.log1p(-2 / (kappa + 1)))
            raise Wrong(
                f"{where}: after your {steps:.0f} steps an error along the first or the last "
                f"eigenvector is still {left:.3g} of what it was. The factor per step is "
                "(kappa - 1)/(kappa + 1), with eigenvalues of the Gram matrix, not their roots."
            )
        raise Wrong(
            f"{where}: {steps:.0f} steps are enough, but {right} are too. Is kappa the quotient of "
            "the eigenvalues, the rate the best one, and the number rounded up once?"
        )


# Claims ----------------------------------------------------------------------------------------


@checker("training-a-kan/success", "random runs, runs that broke, budgets too small")
def _success(answer: Callable[..., Any], rng: torch.Generator) -> None:
    for count, target, budget in ((10, 0.3, 20.0), (8, 0.6, 5.0), (12, 0.5, 0.2), (6, -1.0, 9.0)):
        errors, seconds = uniform(rng, 0.0, 1.0, count), uniform(rng, 0.5, 2.0, count)
        errors[0] = math.nan
        if target > 0:
            errors[1], errors[2] = target / 2, target  # a success, and one just so
        share, mean = float((errors <= target).double().mean()), float(seconds.mean())
        # Wilson's ends are the p at which the share is 1.96 standard deviations away.
        square = 1.96**2 / count
        half = (share + square / 2) / (1 + square)
        root = math.sqrt(half**2 - share**2 / (1 + square))
        restarts = math.floor(budget / mean)
        what = "share, two ends, probability, expected time"
        got = _several(answer(errors.clone(), seconds.clone(), target, budget), 5, what)
        given = f"for {count} runs and a budget of {budget:g} seconds"
        close(f"{given}, the share", float(got[0]), share, 1e-9,
              "A run that broke is a failure, and stays in the denominator; an error equal to "
              "the target is a success.")  # fmt: skip
        ends = [half - root, half + root]
        close(f"{given}, Wilson's interval", [float(got[1]), float(got[2])], ends, 1e-9,
              "The middle moves by z^2 / 2R, the root holds z^2 / 4R^2, and everything is "
              "divided by 1 + z^2 / R.")  # fmt: skip
        close(f"{given}, the probability", float(got[3]), 1 - (1 - share) ** restarts, 1e-9,
              f"{restarts} restarts fit in, and all fail with probability "
              "(1 - share)^restarts.")  # fmt: skip
        if share == 0:
            if float(got[4]) != math.inf:
                raise Wrong(f"{given}: no run succeeds, so the expected time is math.inf.")
            continue
        close(f"{given}, the expected time", float(got[4]), mean / share, 1e-9,
              "On average 1 / share runs are needed, at the mean time each.")  # fmt: skip


@checker("training-a-kan/referee", "the ten verdicts")
def _referee(answer: Any, rng: torch.Generator) -> None:
    claims = {
        "A": ("false", "which of 25 equally good runs is the best one? Whose are most of them?"),
        "B": ("true", "put J T for J into the step, and see what becomes of T times it."),
        "C": (
            "false",
            "in the other coordinates it is a step along -T T^T g.",
        ),
        "D": (
            "true",
            "theta_i = s theta_i' multiplies a column of J by s: and D?",
        ),
        "E": ("true", "exercise 9 turns each edge into powers of ReLU with biases -t_i."),
        "F": ("false", "whose gradients are Adam's two averages made of?"),
        "G": ("false", "one hidden unit with continuous edges is off by 1/2 somewhere."),
        "H": ("true", "look at the first lines printed above."),
        "I": ("false", "it was selected on the test data."),
        "J": ("false", "the old knots are not among the new ones: what is done instead?"),
    }
    for letter, (right, reason) in claims.items():
        other = "true" if right == "false" else "false"
        given = _entry(answer, letter)
        if isinstance(given, bool):
            given = str(given).lower()
        try:
            choose(given, right, {other: f"claim {letter}: {reason}"})
        except Wrong as wrong:
            raise Wrong(f"Claim {letter}: {wrong}") from None
