"""The checks of the exercises on fast layers: right answers pass, plausible wrong ones do not.

The right answers are those of the solved notebook itself; each wrong answer must be rejected for
the reason that belongs to it.
"""

import statistics
from typing import Any, ClassVar

import jupytext
import pytest
import torch
from torch.nn.functional import silu

import kanlite as kl
from tests.exercises.chapter_tests import SOURCES, ChapterTests, run_solutions

SOURCE = "kans/from-loops-to-gemm.md"
ANSWERS = {
    "predict": "prediction",
    "kept": "kept",
    "one-product": "one_product",
    "blocked": "blocked",
    "local": "local_layer",
    "rows": "expected_rows",
    "roofline": "work_and_roofline",
    "queue": "launched_and_replayed",
    "mend": "mended",
    "closed": "both_backs",
    "no-mask": "without_mask",
    "slips": "slips",
    "stall": "stall",
    "mixed": "mixed",
    "communicated": "communicated",
    "share": "share_loss",
    "script": "steps",
    "compare": "compare",
    "referee": "verdicts",
}


def given(name: str) -> dict[str, Any]:
    """What the notebook gives to the student in the cell that defines `name`."""
    cells = jupytext.read(SOURCES / SOURCE, fmt="md:myst").cells
    (source,) = (c.source for c in cells if f"\ndef {name}(" in c.source)
    made: dict[str, Any] = {"torch": torch, "silu": silu}
    exec(source.split("\nx = ")[0], made)  # without the test that the cell ends with
    return made


BROKEN = given("broken")
arguments, cardinal, cardinal_slope = (
    BROKEN[name] for name in ("arguments", "cardinal", "cardinal_slope")
)


# Wrong answers that are functions ------------------------------------------------------------


def mistaken_kept(*, a=2, doubles=0, factors=-3, stack=1, c=1, size=8, out=0):
    """The bytes that three programs keep, with one mistake switched on."""

    def answer(program, b, n_in, n):
        arrays = {"A": a * n, "B": (n - 2 - doubles) + (n + factors) + stack * n, "C": c * n}
        return size * b * n_in * (arrays[program] + out)

    return answer


def mistaken_product(*, products=1, residual=True, first=False, broadcast=False):
    def answer(values, b, coef, weight):
        if broadcast:
            y = (values[..., None] * coef).sum((1, 2))
            return y + (b[..., None] * weight).sum(1)
        if products == 2:
            return values.flatten(1) @ coef.flatten(0, 1) + b @ weight
        if not residual:
            return values.flatten(1) @ coef.flatten(0, 1)
        left = torch.cat([b[..., None], values] if first else [values, b[..., None]], -1)
        right = torch.cat([coef, weight[:, None]], 1)
        return left.flatten(1) @ right.flatten(0, 1)

    return answer


def flattened_apart(values, b, coef, weight):
    """Values of all inputs first, then all residuals: not the order of the coefficients."""
    left = torch.cat([values.flatten(1), b], 1)
    return left @ torch.cat([coef, weight[:, None]], 1).flatten(0, 1)


def mistaken_blocks(*, last=True, add=True, whole=False, rows=True, samples=False, twice=False):
    def answer(values_of, x, coef, block):
        if whole:
            return values_of(x).flatten(1) @ coef.flatten(0, 1)
        y = 0
        n_in = x.shape[1]
        for start in range(0, n_in if last else n_in - block + 1, block):
            part = slice(start, start + block)
            values = values_of(x[part] if samples else x[:, part])
            if twice:
                values = values_of(x[:, part])
            table = coef[part] if rows else coef[: values.shape[1]]
            new = values.flatten(1) @ table.flatten(0, 1)
            y = y + new if add else new
        return y

    return answer


def mistaken_local(*, clamp=True, late=False, size=3, reverse=False, shift=0, dense=False):
    def answer(x, coef, low, high):
        n_in, n, _ = coef.shape
        if dense:
            knots = kl.uniform_knots(n - 3, 3, low, high, dtype=x.dtype)
            return torch.einsum("sig,igj->sj", kl.bspline_basis(x, knots, 3), coef)
        u = (x - low) / (high - low) * (n - size)
        cell = u.floor()
        t = u - cell
        if clamp:
            cell = cell.clamp(0, n - 4)
            t = t if late else u - cell
        s = 1 - t
        weights = [s**3, 3 * t**3 - 6 * t**2 + 4, 3 * s**3 - 6 * s**2 + 4, t**3]
        weights = torch.stack(weights[::-1] if reverse else weights, -1) / 6
        rows = (cell.long()[..., None] + torch.arange(4) + shift).clamp(max=n - 1 + (not clamp))
        touched = coef[torch.arange(n_in)[:, None], rows]
        return torch.einsum("sir,sirj->sj", weights, touched)

    return answer


def mistaken_rows(*, ends=True, independent=True, bound=False, one=False):
    def answer(b, G, k):
        n = G + k
        if bound:
            return min(n, (k + 1) * b)
        cells = [min(g, G - 1) - max(g - k, 0) + 1 if ends else min(k + 1, G) for g in range(n)]
        if one:
            return sum(z / G for z in cells)
        if not independent:
            return sum(min(1, b * z / G) for z in cells)
        return sum(1 - (1 - z / G) ** b for z in cells)

    return answer


def mistaken_roofline(*, pairs=2, size=4, local=1, table=True, rate=min, time=True, tuples=True):
    def work(form, b, n_in, n_out, G, k):
        n, terms = G + k, G + k if form == "dense" else k + local
        read = b * n_in * (n if form == "dense" else 1)
        coef = n_in * (n if table else terms) * n_out
        return pairs * b * n_in * terms * n_out, size * (read + coef + b * n_out)

    def roofline(operations, moved, peak, bandwidth):
        best = rate(peak, bandwidth * operations / moved)
        return operations / moved, best, operations / (best if time else peak)

    return (work, roofline) if tuples else work


def mistaken_queue(*, serial=False, bounds=False, early=False, graph="one", tuples=True):
    def launched(durations, launch):
        if serial:
            return sum(durations) + launch * len(durations)
        if bounds:
            return max(sum(durations), launch * len(durations))
        done = 0.0
        for number, seconds in enumerate(durations, start=0 if early else 1):
            done = max(done, number * launch) + seconds
        return done

    def replayed(durations, launch):
        return sum(durations) + {"one": 1, "none": 0, "all": len(durations)}[graph] * launch

    return (launched, replayed) if tuples else launched


def mistaken_gradients(
    *, h=True, residual=True, inside=True, mean=False, detached=False, cut=False
):
    def answer(x, coef, weight, grad, low, spacing):
        n = coef.shape[1]
        s = arguments(x.detach() if detached else x, low, spacing, n)
        values, slopes = cardinal(s), cardinal_slope(s)
        if h:
            slopes = slopes / spacing
        on = (x >= low) & (x <= low + (n - 3) * spacing)
        if inside:
            slopes = slopes * on[..., None]
        sigma = torch.sigmoid(x)
        slope = sigma * (1 + x * (1 - sigma))
        if cut:
            slope = slope * on
        d_x = (torch.einsum("sj,igj->sig", grad, coef) * slopes).sum(-1)
        if residual:
            d_x = d_x + slope * (grad @ weight.T)
        d_coef = torch.einsum("sig,sj->igj", values, grad) / (len(x) if mean else 1)
        return d_x, d_coef, silu(x).T @ grad

    return answer


def mistaken_backs(*, raised=True, weighted=True, swapped=False, plain=False):
    def back_of_x(F, X, W, d, x, coef, delta, v):
        by_x = X(d + raised, x, coef, delta)
        by_delta = F(d, x, coef, torch.ones_like(v) if plain else v)
        by_coef = W(d, x, delta, v)
        by_x = v * by_x if weighted else by_x
        return (by_x, by_delta, by_coef) if swapped else (by_x, by_coef, by_delta)

    def back_of_w(F, X, W, d, x, delta, h, table):
        by_x = h * X(d + 1, x, table, delta)
        return by_x, F(d, x, table, h), X(d, x, table, delta)

    return back_of_x, back_of_w


def back_of_w_without_h(F, X, W, d, x, delta, h, table):
    return X(d + 1, x, table, delta), F(d, x, table, h), X(d, x, table, delta)


def mistaken_mask(*, mask=False, down=False, wrap=False, act=True):
    def answer(memory, B, N, BI):
        lanes = N if mask else (N // BI if down else -(-N // BI)) * BI
        address = torch.arange(B)[:, None] * (lanes if wrap else N) + torch.arange(lanes)
        numbers = memory[address.clamp(max=len(memory) - 1)]
        return (silu(numbers) if act else numbers).sum(1)

    return answer


def in_bfloat16(A, W):
    total = torch.zeros(len(A), W.shape[1], dtype=torch.bfloat16)
    for m in range(A.shape[1]):
        total = total + A.bfloat16()[:, m, None] * W.bfloat16()[m]
    return total.float()


def mistaken_bytes(*, frozen=True, ring=2, size=None, buffers=True, share=True):
    def answer(model, p):
        trained = [t for t in model.parameters() if t.requires_grad or not frozen]
        gradients = sum(t.numel() * (size or t.element_size()) for t in trained)
        sent = ring * (p - 1) / p * gradients if share else ring * gradients
        return gradients, sent, sum(t.nbytes for t in model.buffers()) if buffers else 0

    return answer


def mistaken_compare(*, turns=40, warm=3, alternate=True, middle=statistics.median, apart=False):
    def answer(first, second, clock):
        def seconds(program):
            begin = clock()
            program()
            return clock() - begin

        for program in (first, second) * warm:
            program()
        if apart:
            above = [seconds(first) for _ in range(turns)]
            return middle(above) / middle([seconds(second) for _ in range(turns)])
        ratios = []
        for turn in range(turns):
            if alternate and turn % 2:
                below, above = seconds(second), seconds(first)
            else:
                above, below = seconds(first), seconds(second)
            ratios.append(above / below)
        return middle(ratios)

    return answer


PREDICTION = {
    "basis_bytes": 204800,
    "broadcast_bytes": 6553600,
    "dense_growth": 2.875,
    "local_growth": 1,
    "kept_bytes": 12800,
}
SLIPS = {"A": "NaN", "B": "NaN", "C": "wrong", "D": "right", "E": "overwrites"}
STALL = {"bfloat16": 256, "float16": 2048, "cells": 128}
STEPS = dict.fromkeys("BCDEF", "unfair") | {"A": "fair", "G": "fair"}
VERDICTS = dict.fromkeys("BCDEG", "false") | {"A": "true", "F": "true", "H": "true"}

WRONG: dict[str, dict[str, tuple[Any, str]]] = {
    "predict": {
        "G for the number of functions": (
            {**PREDICTION, "basis_bytes": 128000}, r"basis_bytes: .* n = G \+ k"),
        "float64": ({**PREDICTION, "basis_bytes": 409600}, "basis_bytes"),
        "one output": ({**PREDICTION, "broadcast_bytes": 204800}, "and output"),
        "G alone grows": ({**PREDICTION, "dense_growth": 4}, "dense_growth: .*all n"),
        "local grows too": ({**PREDICTION, "local_growth": 2.875}, "does G appear"),
        "nothing is kept": ({**PREDICTION, "kept_bytes": 0}, "input of the second layer"),
        "an entry is missing": ({"basis_bytes": 204800}, "'broadcast_bytes' is missing"),
    },
    "kept": {
        "exp's result twice": (mistaken_kept(a=3), "A with .*that is not one of these"),
        "the product's factor only": (mistaken_kept(a=1), "A with .*argument of the square"),
        "x counted too": (mistaken_kept(factors=-2), "B with .*not x itself"),
        "2 * x once": (mistaken_kept(doubles=1), "B with .*the arrays 2"),
        "no stacked array": (mistaken_kept(stack=0), "B with .*the matrix product keeps"),
        "C as A": (mistaken_kept(c=2), "C with .*is differentiated"),
        "float32": (mistaken_kept(size=4), "A with .*argument of the square"),
    },
    "one-product": {
        "two products": (mistaken_product(products=2), "took 2 matrix products.*Join"),
        "broadcast": (mistaken_product(broadcast=True), "took 0 matrix products.*use @"),
        "no residual": (mistaken_product(residual=False), "is off in"),
        "residual first": (mistaken_product(first=True), "same order"),
        "flattened apart": (flattened_apart, "is off in"),
        "coef not joined": (
            lambda values, b, coef, weight: torch.cat([values, b[..., None]], -1).flatten(1)
            @ coef.flatten(0, 1),
            "your code stopped with RuntimeError",
        ),
    },
    "blocked": {
        "the last block is left out": (mistaken_blocks(last=False), "24 inputs were asked for"),
        "overwrites": (mistaken_blocks(add=False), "Each block adds"),
        "all at once": (mistaken_blocks(whole=True), "24 inputs at once.*Cut the second axis"),
        "always the first rows": (mistaken_blocks(rows=False), "its own rows of coef"),
        "cuts the samples": (mistaken_blocks(samples=True), "stopped with RuntimeError"),
        "asks twice": (mistaken_blocks(twice=True), "ask once for each"),
    },
    "local": {
        "the right end": (mistaken_local(late=True), "at the right end .*clamp m"),
        "no clamp at all": (mistaken_local(clamp=False), "at the right end|stopped with"),
        "G + 3 cells": (mistaken_local(size=0), "at random points .*G = n - 3|stopped with"),
        "weights reversed": (mistaken_local(reverse=True), "r-th of the four"),
        "one row too far": (mistaken_local(shift=1), "at random points"),
        "all basis functions": (mistaken_local(dense=True), "with G = 500 you make a tensor"),
    },
    "rows": {
        "the upper bound": (mistaken_rows(bound=True), "the largest number that can be"),
        "every row like an inner one": (mistaken_rows(ends=False), "near the ends"),
        "probabilities added": (mistaken_rows(independent=False), "Row g is missed if all"),
        "one sample": (mistaken_rows(one=True), "rows on average"),
        "nothing": (lambda b, G, k: 0, "rows on average, not 0.0000"),
    },
    "roofline": {
        "a multiply-add as one": (mistaken_roofline(pairs=1), "two operations"),
        "float64": (mistaken_roofline(size=8), "4 bytes a number"),
        "k functions": (mistaken_roofline(local=0), r"local support k \+ 1"),
        "coef in part": (mistaken_roofline(table=False), "all of coef"),
        "the larger bound": (mistaken_roofline(rate=max), "left of the corner.*: rate should"),
        "always at peak": (mistaken_roofline(time=False), "left of the corner.*: seconds should"),
        "only the memory": (
            mistaken_roofline(rate=lambda peak, memory: memory), "right of the corner.*: rate"),
        "one function": (mistaken_roofline(tuples=False), "Return 2 things"),
    },
    "queue": {
        "waits for every kernel": (mistaken_queue(serial=True), "does not wait for a kernel"),
        "the larger of two sums": (mistaken_queue(bounds=True), "launched should be"),
        "the first is free": (mistaken_queue(early=True), "whichever is later"),
        "a graph is free": (mistaken_queue(graph="none"), "replayed should be .*One launch"),
        "a graph launches all": (mistaken_queue(graph="all"), "replayed .*at the same time"),
        "one function": (mistaken_queue(tuples=False), "Return 2 things"),
    },
    "mend": {
        "as broken as before": (BROKEN["broken"], "spacing 0.37.*By which factor"),
        "spacing forgotten": (mistaken_gradients(h=False), "spacing 0.37"),
        "residual forgotten": (mistaken_gradients(residual=False), "two terms that depend on x"),
        "slope beyond the domain": (mistaken_gradients(inside=False), "what is their slope there"),
        "residual cut off": (mistaken_gradients(cut=True), "residual goes on beyond"),
        "a mean": (mistaken_gradients(mean=True), "gradient of coef.*was right in the broken"),
        "detached": (mistaken_gradients(detached=True), "gradgradcheck fails"),
        "one gradient": (lambda *args: args[0], "Return 3 things"),
    },
    "closed": {
        "order not raised": (mistaken_backs(raised=False), "gradient of x from X of order 0"),
        "weight forgotten": (mistaken_backs(weighted=False), "gradient of x from X"),
        "order of the three": (mistaken_backs(swapped=True), "coef from X .*should have shape"),
        "ones for v": (mistaken_backs(plain=True), "gradient of delta from X"),
        "h forgotten": (
            (mistaken_backs()[0], back_of_w_without_h), "gradient of x from W of order 0"),
        "one function": (mistaken_backs()[0], "Return 2 things"),
    },
    "no-mask": {
        "as if masked": (mistaken_mask(mask=True), "Which addresses does the last block"),
        "whole blocks only": (mistaken_mask(down=True), "to the end of the last block"),
        "rows as long as blocks": (mistaken_mask(wrap=True), r"Sample s begins at s \* N"),
        "no SiLU": (mistaken_mask(act=False), "5 samples, 6 inputs"),
        "all rows in one": (lambda memory, B, N, BI: memory.sum(), "should have shape"),
    },
    "slips": {
        "one mask is enough": ({**SLIPS, "A": "right"}, "A: .*by what are they multiplied"),
        "foreign weights count": ({**SLIPS, "B": "wrong"}, r"B: .*silu\(0\) being 0"),
        "still saved": ({**SLIPS, "C": "NaN"}, "C: .*both factors"),
        "foreign rows count": ({**SLIPS, "D": "NaN"}, "D: .*where does it go"),
        "nothing behind y": ({**SLIPS, "E": "right"}, r"E: .*where do those"),
        "no idea": ({**SLIPS, "C": "maybe"}, "C: .*not among"),
    },
    "stall": {
        "one bit too few": ({**STALL, "bfloat16": 128}, "bfloat16: you gave 128.*successor"),
        "stored bits": ({**STALL, "float16": 1024}, "float16: .*11 significant"),
        "no stall": ({**STALL, "bfloat16": 3.4e38}, "bfloat16: .*8 significant"),
        "all cells": ({**STALL, "cells": 500}, "cells: .*neighbors"),
        "those that are missed": ({**STALL, "cells": 372}, "cells: you gave 372"),
        "an entry is missing": ({"bfloat16": 256}, "'float16' is missing"),
    },
    "mixed": {
        "nothing rounded": (lambda A, W: A @ W, "round them to bfloat16"),
        "one factor rounded": (lambda A, W: A.bfloat16().float() @ W, "not at all"),
        "the sum rounded": (lambda A, W: A.bfloat16() @ W.bfloat16(), "The factors are rounded"),
        "rounded and turned back": (
            lambda A, W: (A.bfloat16() @ W.bfloat16()).float(), "about one rounding"),
        "added up in bfloat16": (in_bfloat16, "gets lost. Add up in float32"),
        "transposed": (lambda A, W: (A @ W).T, "should have shape"),
    },
    "communicated": {
        "frozen ones too": (mistaken_bytes(frozen=False), "frozen: gradients should be"),
        "always float32": (mistaken_bytes(size=4), "torch.float64.*: gradients"),
        "half of the ring": (mistaken_bytes(ring=1), "sent should be .*as much again"),
        "everything to everyone": (mistaken_bytes(share=False), "sent should be"),
        "no buffers": (mistaken_bytes(buffers=False), "The knots are buffers"),
        "numbers, not bytes": (mistaken_bytes(size=1), "2 processes: gradients should be"),
    },
    "share": {
        "the mean": (lambda y, t, N, p: (y - t).square().mean(), "6 and 5 samples"),
        "the sum over N": (lambda y, t, N, p: (y - t).square().sum() / N, "4 and 4 samples"),
        "the bare sum": (lambda y, t, N, p: (y - t).square().sum(), "divides by p"),
        "the mean, scaled": (
            lambda y, t, N, p: (y - t).square().mean() * len(y) * p / N, "0 of 3 samples is nan"),
        "one loss a sample": (lambda y, t, N, p: (y - t).square() * p / N, "Return a scalar"),
    },
    "script": {
        "inputs must differ": ({**STEPS, "A": "unfair"}, "A: .*both get the same"),
        "sizes do not matter": ({**STEPS, "B": "fair"}, "B: .*how many bytes"),
        "no warm-up needed": ({**STEPS, "C": "fair"}, "C: .*very first call"),
        "order does not matter": ({**STEPS, "D": "fair"}, "D: .*slows down"),
        "mean and minimum": ({**STEPS, "E": "fair"}, "E: .*statistics"),
        "forward only": ({**STEPS, "F": "fair"}, "F: .*a forward pass"),
        "no idea": ({**STEPS, "G": "maybe"}, "G: .*not among"),
    },
    "compare": {
        "one call each, cold": (mistaken_compare(turns=1, warm=0), "before you look at the clock"),
        "one after the other": (mistaken_compare(apart=True), "let them take turns"),
        "a mean": (mistaken_compare(middle=statistics.mean), "a median is not"),
        "always the same order": (mistaken_compare(alternate=False), "change the order"),
        "upside down": (
            lambda first, second, clock: mistaken_compare()(second, first, clock), "upside down"),
        "the fastest of both": (
            mistaken_compare(middle=min, apart=True), "gets slower with every call"),
        "looks at no clock": (lambda first, second, clock: 1.0, "Run both programs"),
    },
    "referee": {
        "dense is as good": ({**VERDICTS, "A": "false"}, "A: .*local support with 4"),
        "peak helps": ({**VERDICTS, "B": "true"}, "B: .*for what does it wait"),
        "operations are time": ({**VERDICTS, "C": "true"}, "C: .*read it back"),
        "on the domain": ({**VERDICTS, "D": "true"}, "D: .*its author's test"),
        "graphs are kernels": ({**VERDICTS, "E": "true"}, "E: .*replay"),
        "compilers know": ({**VERDICTS, "F": "false"}, "F: .*which entries"),
        "samples travel": ({**VERDICTS, "G": "true"}, "G: .*which tensors"),
        "88 is 88": ({**VERDICTS, "H": "false"}, "H: .*takes 2.011"),
    },
}  # fmt: skip


class TestExercises(ChapterTests):
    source = SOURCE
    space: ClassVar = {"kl": kl, "statistics": statistics, **BROKEN}
    answers = ANSWERS
    wrong = WRONG

    @pytest.fixture(scope="class")
    @classmethod
    def solutions(cls) -> dict[str, Any]:
        """Three checks take a pair of functions."""
        made = run_solutions(cls.source, cls.space)
        pairs = {
            "work_and_roofline": (made["work"], made["roofline"]),
            "launched_and_replayed": (made["launched"], made["replayed"]),
            "both_backs": (made["back_of_X"], made["back_of_W"]),
        }
        return made | pairs
