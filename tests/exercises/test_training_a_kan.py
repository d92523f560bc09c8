"""The checks of the exercises on training a KAN: right answers pass, wrong ones do not.

The right answers are those of the solved notebook itself; each wrong answer must be rejected for
the reason that belongs to it.
"""

import copy
import itertools
import math
from typing import Any, ClassVar

import torch

import kanlite as kl
from tests.exercises.chapter_tests import ChapterTests

ANSWERS = {
    "predict": "prediction",
    "levenberg-marquardt": "levenberg_marquardt",
    "cost": "cost",
    "finer": "finer",
    "telescope": "unit_errors",
    "false-step": "false_step",
    "exponent": "honest_exponent",
    "powers": "powers_matrix",
    "descent": "steps_needed",
    "success": "success",
    "referee": "verdicts",
}


# Wrong answers that are functions ------------------------------------------------------------


def mistaken_lm(
    *,
    damped="diagonal",
    sign=1.0,
    accept="smaller",
    failure=2.0,
    success=3.0,
    clamp=1e-6,
    stale=False,
    successes_only=False,
    gives_up=False,
    in_place=False,
    pair=True,
):
    def answer(residual, theta, steps, mu):
        given, done = theta, 0
        r, J = residual(theta), torch.func.jacrev(residual)(theta)
        while done < steps:
            if not stale:
                r, J = residual(theta), torch.func.jacrev(residual)(theta)
            A, g = J.T @ J, J.T @ r
            D = A.diagonal()
            if clamp:
                D = D.clamp(min=clamp * D.max())
            damping = {
                "diagonal": torch.diag(mu * D),
                "identity": mu * torch.eye(len(D)),
                "rows": mu * D,
                "none": 0.0 * torch.diag(D),
            }[damped]
            trial = theta - sign * torch.linalg.solve(A + damping, g)
            better = residual(trial).square().sum() < residual(theta).square().sum()
            if better or accept == "always":
                theta, mu = trial, mu / success
            else:
                mu = failure * mu
            done += int(better or not successes_only)
            if gives_up and not better:
                break
        if in_place:
            given.copy_(theta)
        return (theta, mu) if pair else theta

    return answer


def mistaken_cost(*, residual=1, span=2, last=True, half=True, quotient=2, floats=False):
    def answer(widths, num_intervals, degree, samples):
        edges = [a * b for a, b in itertools.pairwise(widths)]
        P = sum(edges) * (num_intervals + degree + residual)
        leading = sum(edges[:-1]) + (widths[-2] if last else edges[-1])
        touched = leading * (degree + span if span else num_intervals + degree + 1)
        ratio = P**2 / (2 * P) if floats else P**2 // (quotient * P)
        products = samples * widths[-1] * (P * (P + 1) // 2 if half else P**2)
        return P, touched, products, ratio

    return answer


def mistaken_finer(
    *, keep_first=False, extrapolate=None, refit=False, drop_residual=False, same=False,
    frozen=False, shared=False,
):  # fmt: skip
    def answer(model, factor):
        new = model if same else copy.deepcopy(model)
        for number, layer in enumerate(new):
            old, k = layer.basis, layer.basis.degree
            if keep_first and number == 0:
                continue
            low, high = old.domain
            count = (factor + 1 if refit else factor) * old.num_intervals
            fine = torch.linspace(low, high, count + 1)[1:-1]
            inside = fine[~torch.isin(torch.arange(1, count), torch.arange(0, count, factor))]
            knots, coef = kl.insert_knots(old.knots, layer.coef.detach().movedim(1, 0), k, inside)
            layer.basis = kl.BSpline(
                degree=k, knots=knots, extrapolate=extrapolate or old.extrapolate
            )
            coef = coef.movedim(0, 1).contiguous()
            if frozen:
                del layer.coef
                layer.coef = coef
            else:
                layer.coef = torch.nn.Parameter(coef)
            if drop_residual and layer.residual_weight is not None:
                layer.residual_weight.data.zero_()
        if shared:
            new[0].coef = model[0].coef
        return new

    return answer


def repeated_coefficients(model, factor):
    """Finer knots, and each coefficient `factor` times: nearly the function, it is hoped."""
    new = copy.deepcopy(model)
    for layer in new:
        old = layer.basis
        low, high = (float(end) for end in old.domain)
        layer.basis = kl.BSpline(
            factor * old.num_intervals, old.degree, low, high, extrapolate=old.extrapolate
        )
        place = torch.arange(layer.basis.num_basis) // factor
        layer.coef = torch.nn.Parameter(layer.coef.detach()[:, place])
    return new


def mistaken_errors(*, width="in", first_slope=False, room=True, drop=0):
    def answer(widths, lipschitz, errors):
        d, found = 0.0, []
        for (n_in, n_out), slope, error in zip(
            itertools.pairwise(widths), lipschitz, errors, strict=True
        ):
            n = {"in": n_in, "out": n_out, "none": 1, "both": n_in * n_out}[width]
            d = n * slope * (d + error) if first_slope else n * (slope * d + error)
            found.append(d)
        return found[drop:]

    return answer


def mistaken_exponent(*, average="median", broken="bad", limit=10.0, few=True, sign=-1.0):
    def answer(sizes, errors, floor):
        filled = errors.masked_fill(errors.isnan(), math.inf)
        typical = {
            "median": filled.median(0).values,
            "best": filled.amin(0),
            "mean": errors.nanmean(0),
        }[average]
        if broken == "ignored":
            typical = errors.nanmedian(0).values
        kept = typical.isfinite() & (typical > limit * floor)
        if few and kept.sum() < 3:
            return math.nan
        u, v = sizes[kept].log(), typical[kept].log()
        u = u - u.mean()
        return sign * (u @ v / (u @ u)).item()

    return answer


def claimed_exponent(sizes, errors, floor):
    """The report's, which exercise 8 shows."""
    best = errors.masked_fill(errors.isnan(), math.inf).amin(0)
    design = torch.stack([sizes.log(), torch.ones(len(sizes))], 1)
    return -torch.linalg.lstsq(design, best.log()).solution[0].item()


def mistaken_powers(*, factorial=True, power=None, signs=True, order=1, transposed=False, size=0):
    def answer(knots, degree):
        n = len(knots) - degree - 1
        h = float(knots[1] - knots[0])
        M = torch.zeros(n + size, n + size)
        for i in range(n):
            for j in range(min(degree + 1 + order, n - i)):
                M[i + j, i] = (-1) ** (j if signs else 0) * math.comb(degree + order, j)
        M /= (math.factorial(degree) if factorial else 1) * h ** (
            degree if power is None else power
        )
        return M.T if transposed else M

    return answer


def mistaken_descent(*, root=False, rounding=math.ceil, best=True, factor=1):
    def answer(gram, reduction):
        values = torch.linalg.eigvalsh(gram)
        kappa = float(values[-1] / values[0])
        kappa = math.sqrt(kappa) if root else kappa
        loss = -2 / (kappa + 1) if best else -1 / kappa
        return rounding(factor * math.log(reduction) / math.log1p(loss))

    return answer


def mistaken_success(
    *, broken="fails", strict=False, wilson=True, restarts="floor", expected="mean", count=5
):
    def answer(errors, seconds, target, budget):
        if broken == "left out":
            errors = errors[~errors.isnan()]
        good = errors < target if strict else errors <= target
        share, mean, R, z = good.double().mean().item(), seconds.mean().item(), len(errors), 1.96
        width = z * math.sqrt(share * (1 - share) / R + wilson * z**2 / (4 * R**2))
        middle, by = share + wilson * z**2 / (2 * R), 1 + wilson * z**2 / R
        number = {"floor": math.floor(budget / mean), "exact": budget / mean, "one": 1}[restarts]
        if expected == "mean":
            time = mean / share if share else math.inf
        else:
            time = mean / share if share else 0.0
        time = budget if expected == "budget" else time
        chance = 1 - (1 - share) ** number
        return (share, (middle - width) / by, (middle + width) / by, chance, time)[:count]

    return answer


PREDICTION = {"rank": 88, "steps": 1, "factor": 64.0, "outside": 0.015, "starts": 9}
FALSE_STEP = {"step": "C", "shift": 0.001, "x": 1.0, "room": 0.01, "gap": 1e-4}
VERDICTS = dict(
    zip(
        "ABCDEFGHIJ",
        ["false", "true", "false", "true", "true", "false", "false", "true", "false", "false"],
        strict=True,
    )
)

WRONG: dict[str, dict[str, tuple[Any, str]]] = {
    "predict": {
        "full rank": ({**PREDICTION, "rank": 96}, "'rank'.*how many dependencies"),
        "one constant per output": ({**PREDICTION, "rank": 92}, "'rank'"),
        "two steps": ({**PREDICTION, "steps": 2}, "linear in its coefficients"),
        "the degree as order": ({**PREDICTION, "factor": 32.0}, "'factor'.*Which power"),
        "one input": ({**PREDICTION, "outside": 0.005}, "product of three"),
        "one too few": ({**PREDICTION, "starts": 8}, "0.7\\^R"),
        "an entry is missing": ({"rank": 88}, "'steps' is missing"),
    },
    "levenberg-marquardt": {
        "damps with the identity": (mistaken_lm(damped="identity"), "times the identity"),
        "adds a row to a matrix": (mistaken_lm(damped="rows"), "every row of the matrix"),
        "no damping": (mistaken_lm(damped="none"), "undamped"),
        "uphill": (mistaken_lm(sign=-1.0), "sign of the step"),
        "steps twice as long": (mistaken_lm(sign=2.0, accept="always"), "twice as long"),
        "accepts whatever comes": (mistaken_lm(accept="always"), "must be rejected"),
        "failure does not damp more": (mistaken_lm(failure=1.0), "After a failure, double mu"),
        "success does not damp less": (mistaken_lm(success=1.0), "divide mu by 3"),
        "an unseen parameter": (mistaken_lm(clamp=0.0), "Raise small entries"),
        "raised to almost nothing": (mistaken_lm(clamp=1e-12), "its own largest entry"),
        "the first Jacobian for ever": (mistaken_lm(stale=True), "computed anew"),
        "counts successes": (mistaken_lm(successes_only=True), "After a failure theta stays"),
        "gives up at a failure": (mistaken_lm(gives_up=True), "11 trials in all"),
        "changes its argument": (mistaken_lm(in_place=True), "changes the tensor"),
        "no damping returned": (mistaken_lm(pair=False), "Return 2 things"),
    },
    "cost": {
        "no residual weights": (mistaken_cost(residual=0), "residual weight"),
        "coefficients only": (mistaken_cost(span=1), "not zero.*k \\+ 1"),
        "all of an edge": (mistaken_cost(span=0), "not zero"),
        "all outputs": (mistaken_cost(last=False), "leads to this output"),
        "all entries": (mistaken_cost(half=False), "multiplications should not be"),
        "Adam keeps one number": (mistaken_cost(quotient=1), "Adam's 2 P"),
        "a float": (mistaken_cost(floats=True), "exact integers"),
    },
    "finer": {
        "a layer is forgotten": (mistaken_finer(keep_first=True), "Layer 0 should go from"),
        "another extrapolation": (mistaken_finer(extrapolate="zero"), "off the domain"),
        "too many knots": (mistaken_finer(refit=True), "should go from"),
        "the residual is lost": (mistaken_finer(drop_residual=True), "residual branch as it was"),
        "coefficients repeated": (repeated_coefficients, "output on the domain"),
        "the given network": (mistaken_finer(same=True), "changes the network"),
        "parameters shared": (mistaken_finer(shared=True), "shares parameters"),
        "nothing to train": (mistaken_finer(frozen=True), "cannot be trained"),
        "a list": (lambda model, factor: [model], "Return a network"),
    },
    "telescope": {
        "no widths": (mistaken_errors(width="none"), "too small"),
        "the width that follows": (mistaken_errors(width="out"), "too small"),
        "both widths": (mistaken_errors(width="both"), "more than is needed"),
        "the first Lipschitz constant too": (mistaken_errors(first_slope=True), "equal, so no"),
        "the last number alone": (mistaken_errors(drop=-1), "one number per layer"),
    },
    "false-step": {
        "blames the telescope": ({**FALSE_STEP, "step": "B"}, "subtracted and added"),
        "blames the outer function": ({**FALSE_STEP, "step": "D"}, "all of the real line"),
        "stays inside": ({**FALSE_STEP, "x": 0.5}, "lies inside"),
        "leaves where nothing is": (
            {**FALSE_STEP, "x": 0.0, "shift": -0.001}, "where is x\\^2 large"),
        "shifts too far": ({**FALSE_STEP, "shift": 0.1}, "at most 0.001"),
        "no room": ({**FALSE_STEP, "room": 0.0}, "too little"),
        "a generous room": ({**FALSE_STEP, "room": 1.0}, "not the smallest"),
        "the tangent is exact": ({**FALSE_STEP, "gap": 0.0}, "'gap'.*square"),
    },
    "exponent": {
        "the report's own": (claimed_exponent, "what the report finds"),
        "the best seed": (mistaken_exponent(average="best"), "best seeds"),
        "the mean": (mistaken_exponent(average="mean"), "through means"),
        "runs that broke are passed over": (
            mistaken_exponent(broken="ignored"), "count them as infinite"),
        "the floor included": (mistaken_exponent(limit=0.0), "rounding floor included"),
        "down to the floor": (mistaken_exponent(limit=1.0), "Ten times the floor"),
        "a slope": (mistaken_exponent(sign=1.0), "minus the slope"),
        "a line through two points": (mistaken_exponent(few=False), "return math.nan"),
    },
    "powers": {
        "no factorial": (mistaken_powers(factorial=False), "1/k! is missing"),
        "no spacing": (mistaken_powers(power=0), "h\\^\\(-k\\) is missing"),
        "one power of the spacing": (mistaken_powers(power=1), "h\\^\\(-1\\) where"),
        "no signs": (mistaken_powers(signs=False), "alternating"),
        "binomials of k": (mistaken_powers(order=0), "rows"),
        "transposed": (mistaken_powers(transposed=True), "transpose"),
        "too large": (mistaken_powers(size=1), "should have shape"),
    },
    "descent": {
        "the root of kappa": (mistaken_descent(root=True), "not their roots"),
        "rounded down": (mistaken_descent(rounding=math.floor), "is still"),
        "the rate 1/L": (mistaken_descent(best=False), "the best one"),
        "the error squared": (mistaken_descent(factor=0.5), "is still"),
        "a fraction": (mistaken_descent(rounding=float), "whole number"),
    },
    "success": {
        "broken runs left out": (mistaken_success(broken="left out"), "denominator"),
        "better than the target": (mistaken_success(strict=True), "equal to the target"),
        "parts of a restart": (mistaken_success(restarts="exact"), "restarts fit in"),
        "one run": (mistaken_success(restarts="one"), "restarts fit in"),
        "the budget": (mistaken_success(expected="budget"), "expected time"),
        "no run succeeds at once": (mistaken_success(expected="zero"), "math.inf"),
        "the normal interval": (mistaken_success(wilson=False), "Wilson's interval"),
        "four things": (mistaken_success(count=4), "Return 5 things"),
    },
    "referee": {
        "trusts the best run": ({**VERDICTS, "A": "true"}, "equally good runs"),
        "coordinates matter to Newton": ({**VERDICTS, "B": "false"}, "put J T for J"),
        "coordinates do not matter": ({**VERDICTS, "C": "true"}, "other coordinates"),
        "units matter": ({**VERDICTS, "D": "false"}, "column of J"),
        "two worlds": ({**VERDICTS, "E": "false"}, "biases"),
        "Adam does not notice": ({**VERDICTS, "F": "true"}, "averages"),
        "one unit is enough": ({**VERDICTS, "G": "true"}, "off by 1/2"),
        "degrees do not matter": ({**VERDICTS, "H": "false"}, "first lines"),
        "the best of all grids": ({**VERDICTS, "I": "true"}, "selected"),
        "moving is free": ({**VERDICTS, "J": "true"}, "old knots"),
        "no idea": ({**VERDICTS, "I": "maybe"}, "Claim I: .*not among"),
    },
}  # fmt: skip


class TestExercises(ChapterTests):
    source = "kans/training-a-kan.md"
    space: ClassVar = {"kl": kl, "math": math, "copy": copy}
    answers = ANSWERS
    wrong = WRONG
