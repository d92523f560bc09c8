"""Checks of the exercises to the chapter on refining a spline.

Glossary
    t, knots  knots, shape (K,)
    k, degree polynomial power
    n         number of basis functions, K - k - 1
    c, coef   coefficients, shape (n,)
    T         change of basis, shape (new n, old n)
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import kanlite as kl
from exercises.checks import Wrong, checker, choose, close, uniform


def _entry(answer: Any, name: str) -> Any:
    """An entry of a dictionary that the exercise asks for."""
    if not isinstance(answer, dict):
        raise Wrong(f"Give a dictionary, not {type(answer).__name__}.")
    if name not in answer:
        raise Wrong(f"The entry {name!r} is missing.")
    return answer[name]


def _numbers(answer: Any, name: str, length: int | None = None) -> Tensor:
    """A vector of finite floats from a dictionary, of the right length if one is given."""
    got = torch.as_tensor(_entry(answer, name)).double()
    if got.dim() != 1 or (length is not None and len(got) != length):
        count = "a vector" if length is None else f"{length} numbers"
        raise Wrong(f"{name!r} should hold {count}, but has shape {tuple(got.shape)}.")
    if not got.isfinite().all():
        raise Wrong(f"{name!r} should hold finite numbers.")
    return got


def _truth(got: Any) -> bool:
    """A truth value, NumPy's and PyTorch's own included."""
    if isinstance(got, (Tensor, np.bool_)) and got.ndim == 0:
        got = got.item()
    if not isinstance(got, (bool, int)):
        raise Wrong(f"Return True or False, not {type(got).__name__}.")
    return bool(got)


def _normal(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def _random_knots(rng: torch.Generator, degree: int, repeat: int = 1) -> Tensor:
    """Random knots with simple padding; interior multiplicities from 1 to `repeat`."""
    breaks = uniform(rng, 0.2, 1.0, 7 + 2 * degree).cumsum(0) - 2.0
    copies = torch.ones(len(breaks), dtype=torch.long)
    inner = slice(degree + 1, len(breaks) - degree - 1)
    copies[inner] = torch.randint(1, repeat + 1, copies[inner].shape, generator=rng)
    return breaks.repeat_interleave(copies)


def _misfit(old: Tensor, coef: Tensor, new: Tensor, degree: int) -> float:
    """Largest error of the least-squares refit on a fine grid of the domain of the old knots."""
    low, high = float(old[degree]), float(old[len(old) - degree - 1])
    x = torch.linspace(low, high, 2001, dtype=torch.float64)
    target = kl.bspline_basis(x, old, degree) @ coef
    basis = kl.bspline_basis(x, new, degree)
    fit = basis @ torch.linalg.lstsq(basis, target, driver="gelsd").solution
    return float((fit - target).abs().max())


@checker("refining-a-spline/predict", "which steps are exact, two counts and a mask, each measured")
def _predict(answer: Any, rng: torch.Generator) -> None:
    nests = _entry(answer, "nests")
    if isinstance(nests, str) or not all(isinstance(step, str) for step in nests):
        raise Wrong("'nests' should be a list of strings such as \"3-5\".")
    for step in ("3-5", "4-8", "6-9", "5-15", "2-7"):
        G, new = (int(part) for part in step.split("-"))
        coef = _normal(rng, G + 3)
        knots = [kl.uniform_knots(size, 3, dtype=torch.float64) for size in (G, new)]
        exact = _misfit(knots[0], coef, knots[1], 3) < 1e-9
        if exact and step not in nests:
            raise Wrong(f"{step} is exact: is one of the old knots missing among the new ones?")
        if not exact and step in nests:
            raise Wrong(f"{step} is not exact. Write down both lists of knots inside the domain.")
    knots = kl.uniform_knots(9, 3, dtype=torch.float64)
    coef = _normal(rng, 12)
    _, inserted = kl.insert_knots(knots, coef, 3, torch.tensor([0.05], dtype=torch.float64))
    right = {
        "averages": (
            float((~torch.isin(inserted, coef)).sum()),
            "For how many i is c - k < i <= c?",
        ),
        "size": (float(len(kl.uniform_knots(20, 3)) - 4), "G + k, with the new G."),
        "middle": (
            float(_halved(torch.eye(12, dtype=torch.float64)[6], 3).max()),
            "The mask is the fourth row of Pascal's triangle, divided by 8.",
        ),
    }
    for name, (value, hint) in right.items():
        close(f"your {name!r}", float(_entry(answer, name)), value, 1e-6, hint)


def _halved(coef: Tensor, degree: int) -> Tensor:
    """Coefficients on half the spacing, by inserting all midpoints and reading the values off."""
    G = len(coef) - degree
    old, new = (kl.uniform_knots(size, degree, dtype=torch.float64) for size in (G, 2 * G))
    x = torch.linspace(-1, 1, 40 * G + 1, dtype=torch.float64)
    target = kl.bspline_basis(x, old, degree) @ coef
    return torch.linalg.lstsq(kl.bspline_basis(x, new, degree), target).solution


@checker("refining-a-spline/by-hand", "four coefficients and one value")
def _by_hand(answer: Any, rng: torch.Generator) -> None:
    knots = torch.tensor([0.0, 1.0, 2.0, 4.0, 5.0, 6.0], dtype=torch.float64)
    coef = torch.tensor([4.0, 0.0, 8.0], dtype=torch.float64)
    three = torch.tensor([3.0], dtype=torch.float64)
    _, right = kl.insert_knots(knots, coef, 2, three)
    hints = (
        "The first coefficient is kept.",
        "w_1 = (3 - 1) / (4 - 1) is the weight of c_1, and 1 - w_1 that of c_0.",
        "w_2 = (3 - 2) / (5 - 2) is the weight of c_2, and 1 - w_2 that of c_1.",
        "The last coefficient is kept.",
    )
    got = _numbers(answer, "coef", 4)
    for i, hint in enumerate(hints):
        close(f"your new coefficient {i}", got[i], right[i], 1e-6, hint)
    value = kl.bspline_basis(three, knots, 2) @ coef
    hint = "Insert 3 again: one average, with a weight of one half."
    close("your 'value'", float(_entry(answer, "value")), float(value), 1e-6, hint)


@checker("refining-a-spline/insert", "simple and repeated knots, a knot on a knot, every cell")
def _insert(
    answer: Callable[[Tensor, Tensor, int, float], tuple[Tensor, Tensor]], rng: torch.Generator
) -> None:
    for degree in range(1, 5):
        for repeat in (1, degree):
            knots = _random_knots(rng, degree, repeat)
            n = len(knots) - degree - 1
            coef = _normal(rng, n)
            inside = knots[degree + 1 : n]
            low, high = float(knots[degree]), float(knots[n])
            between = [*uniform(rng, low, high, 8).tolist(), *inside.unique().tolist()]
            for new in between:
                if int((knots == new).sum()) > degree:
                    continue
                got = answer(knots.clone(), coef.clone(), degree, new)
                if not isinstance(got, (tuple, list)) or len(got) != 2:
                    raise Wrong("Return two things, the knots and the coefficients.")
                where = "on a knot" if new in inside else "inside a cell"
                what = f"degree {degree}, a new knot {where}: the"
                extra = torch.tensor([new], dtype=torch.float64)
                right_knots, right = kl.insert_knots(knots, coef, degree, extra)
                close(f"{what} knots", got[0], right_knots, 1e-12, "Old and new, ascending.")
                hint = "Check the range c - k < i <= c, and which neighbor gets the weight w."
                close(f"{what} coefficients", got[1], right, 1e-9, hint)


@checker("refining-a-spline/halve", "random splines of degree 1 to 6, on twice as many intervals")
def _halve(answer: Callable[[Tensor, int], Tensor], rng: torch.Generator) -> None:
    for degree in range(1, 7):
        for G in (1, 4, 7):
            coef = _normal(rng, G + degree)
            hint = "Twice each, then k averages of neighbors; the mask is 2^-k binom(k + 1, j)."
            what = f"degree {degree}, {G} to {2 * G} intervals: your result"
            close(what, answer(coef, degree), _halved(coef, degree), 1e-7, hint)


@checker("refining-a-spline/nests", "random multiplicities, other padding, against the ranks")
def _nests(answer: Callable[[Tensor, Tensor, int], Any], rng: torch.Generator) -> None:
    seen = {True: 0, False: 0}
    places = torch.arange(-2, 3, dtype=torch.float64) / 4
    for trial in range(60):
        degree = 1 + trial % 3
        copies = torch.randint(0, degree + 1, (2, 5), generator=rng)
        if trial % 2:
            copies[1] = torch.maximum(copies[0], copies[1])
        if trial % 4 == 3 and bool((copies[0] > 0).any()):
            at = int((copies[0] > 0).nonzero()[0])
            copies[1, at] = copies[0, at] - 1  # one copy is missing, and all else is there
        knots = []
        for row in copies:
            pad = uniform(rng, 0.1, 1.0, 2, degree).cumsum(1) * float(trial % 3 > 0)
            ends = [-1 - pad[0].flip(0), torch.tensor([-1.0]), places.repeat_interleave(row)]
            knots.append(torch.cat([*ends, torch.tensor([1.0]), 1 + pad[1]]).double())
        x = torch.linspace(-1, 1, 801, dtype=torch.float64)
        bases = [kl.bspline_basis(x, t, degree) for t in knots]
        both = torch.linalg.matrix_rank(torch.cat(bases, 1), rtol=1e-9)
        right = bool(both == bases[1].shape[1])
        seen[right] += 1
        got = _truth(answer(knots[0], knots[1], degree))
        if got != right:
            old, new = ([int((t == tau).sum()) for tau in places.tolist()] for t in knots)
            raise Wrong(
                f"You say {got}, but that is not so: degree {degree}, copies at five places "
                f"inside the domain {old} (old) and {new} (new). Only what is strictly inside "
                "counts, and each copy does."
            )
    if min(seen.values()) < 10:
        raise RuntimeError("the check drew too few cases of one kind")


@checker("refining-a-spline/false-step", "the step, and the error of your refit")
def _false_step(answer: Any, rng: torch.Generator) -> None:
    choose(
        _entry(answer, "step"),
        "B",
        {
            "A": "this is the count n = G + k, and it is right.",
            "C": "this would follow from B.",
            "D": "this would follow from C.",
            "E": "this holds: a spline that vanishes at enough points of every cell is zero.",
        },
    )
    G, new = int(_entry(answer, "G")), int(_entry(answer, "new"))
    if not 1 <= G < new <= 20:
        raise Wrong(f"The claim is about G < G', at most 20 here; you give {G} and {new}.")
    coef = _numbers(answer, "coef", G + 2)
    if coef.abs().max() > 1:
        raise Wrong("The coefficients should be at most 1 in size.")
    knots = [kl.uniform_knots(size, 2, dtype=torch.float64) for size in (G, new)]
    if (error := _misfit(knots[0], coef, knots[1], 2)) <= 0.02:
        text = f"Your refit is off by {error:.1e} only."
        if new % G == 0:
            raise Wrong(f"{text} {G} divides {new}, so these two grids nest.")
        raise Wrong(f"{text} Make the second derivative jump more at the missing knots.")


@checker("refining-a-spline/copies", "your knots, and the error of the best fit")
def _copies(answer: Any, rng: torch.Generator) -> None:
    old, new = _numbers(answer, "old"), _numbers(answer, "new")
    for name, knots in (("old", old), ("new", new)):
        ends = torch.tensor([0.0] * 3 + [1.0] * 3, dtype=torch.float64)
        if len(knots) < 6 or not torch.equal(torch.cat([knots[:3], knots[-3:]]), ends):
            raise Wrong(f"{name!r} should begin with three zeros and end with three ones.")
        if (knots.diff() < 0).any():
            raise Wrong(f"{name!r} is not in ascending order.")
        if not (knots[:-3] < knots[3:]).all():
            raise Wrong(f"{name!r} has a knot more than three times.")
    if not len(new) > len(old):
        raise Wrong("The new list should be longer than the old one.")
    if not bool(torch.isin(old, new).all()):
        missing = float(old[~torch.isin(old, new)][0])
        raise Wrong(f"The old knot {missing:g} does not occur in the new list at all.")
    coef = _numbers(answer, "coef", len(old) - 3)
    if coef.abs().max() > 1:
        raise Wrong("The coefficients should be at most 1 in size.")
    if (error := _misfit(old, coef, new, 2)) <= 0.05:
        raise Wrong(
            f"The best fit on the new knots is off by {error:.1e} only. Which copies are missing "
            "there, and does your spline need them?"
        )


@checker("refining-a-spline/two-levels", "one step on a random quadratic loss, by autograd")
def _two_levels(answer: Callable[[Tensor, Tensor, float], Tensor], rng: torch.Generator) -> None:
    for fine, coarse, alpha in ((11, 7, 0.1), (20, 5, 0.03), (9, 3, 1.0)):
        T, root, target = _normal(rng, fine, coarse), _normal(rng, fine, fine), _normal(rng, fine)
        z = [torch.zeros(size, dtype=torch.float64, requires_grad=True) for size in (fine, coarse)]
        c = z[0] + T @ z[1]
        c.retain_grad()
        (root @ c - target).square().sum().backward()
        moved = [z_l.detach() - alpha * z_l.grad for z_l in z]
        right = moved[0] + T @ moved[1]
        hint = "The change of z_1 is -alpha T^T g, and it changes c by T times that; z_0 moves too."
        got = answer(c.grad.detach(), T, alpha)
        close(f"the change of c ({fine} fine, {coarse} coarse)", got, right, 1e-9, hint)


@checker("refining-a-spline/referee", "the eight verdicts")
def _referee(answer: Any, rng: torch.Generator) -> None:
    claims = {
        "A": ("true", "this is what Boehm's rule is made for."),
        "B": ("false", "the curve is the same, so its residuals are."),
        "C": ("false", "look at the errors in the cell above."),
        "D": ("true", "which data enter Boehm's rule?"),
        "E": ("false", "natural extrapolation uses the padding, which is new."),
        "F": ("true", "all entries of T are averages."),
        "G": ("true", "the bound contains the jump J of the highest derivative."),
        "H": ("true", "look at the figure on local refinement in the chapter."),
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
