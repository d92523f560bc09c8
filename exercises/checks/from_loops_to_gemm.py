"""Checks of the exercises to the chapter on fast layers.

Glossary
    s, i, g, j    sample, input, basis function, output
    n_in, n_out   inputs and outputs of a layer
    n             number of basis functions, G + k
    values        basis functions at the inputs, shape (samples, n_in, n)
    coef          shape (n_in, n, n_out)
    weight        residual weights, shape (n_in, n_out)
    low, high, h  ends of the domain, spacing of the knots
    F, X, W       the three operations: outputs, gradients of inputs, gradients of coefficients
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import kanlite as kl
from exercises.checks import Wrong, checker, choose, close, uniform


def _entry(answer: Any, name: str) -> Any:
    """An entry of a dictionary that the exercise asks for."""
    if not isinstance(answer, dict):
        raise Wrong(f"Give a dictionary, not {type(answer).__name__}.")
    if name not in answer:
        raise Wrong(f"The entry {name!r} is missing.")
    return answer[name]


def _parts(got: Any, what: str, number: int) -> tuple[Any, ...]:
    """As many things as the exercise asks for, in a tuple."""
    if not isinstance(got, (tuple, list)) or len(got) != number:
        raise Wrong(f"Return {number} things, {what}.")
    return tuple(got)


def _number(got: Any, what: str) -> float:
    if got is None or got is ...:
        raise NotImplementedError(what)
    try:
        return float(got)
    except (TypeError, ValueError, RuntimeError):
        raise Wrong(f"{what} should be one number, not {type(got).__name__}.") from None


def _whole(rng: torch.Generator, low: int, high: int) -> int:
    """A random whole number from low to high - 1."""
    return int(torch.randint(low, high, (), generator=rng))


class _Watch(TorchDispatchMode):
    """Notes what the code inside it does: matrix products, and the largest new tensor."""

    def __init__(self, *inputs: Tensor) -> None:
        super().__init__()
        self.old = {t.untyped_storage().data_ptr() for t in inputs}
        self.products = 0
        self.numbers = 0
        self.shape: tuple[int, ...] = ()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ("mm", "addmm", "mv", "dot"):
            self.products += 1
        elif name in ("bmm", "baddbmm"):
            self.products += len(result)
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._look_at(tensor)
        return result

    def _look_at(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        numbers = storage.nbytes() // tensor.element_size()
        if storage.data_ptr() not in self.old and numbers > self.numbers:
            self.numbers, self.shape = numbers, tuple(tensor.shape)


def _kept(f: Callable[..., Any], *inputs: Tensor, beside: Any = ()) -> int:
    """Bytes that f(*inputs) keeps for gradients, beside its inputs and given tensors."""
    own = {t.untyped_storage().data_ptr() for t in (*inputs, *beside)}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        result = f(*inputs)
    del result
    return sum(storages.values())


@checker("from-loops-to-gemm/predict", "bytes and growth, against tensors made and kept")
def _predict(answer: Any, rng: torch.Generator) -> None:
    model = kl.KAN([64, 32, 10], kl.BSpline(5, 3), generator=rng).float()
    x = uniform(rng, -1.0, 1.0, 100, 64).float()
    coarse, fine = kl.BSpline(5, 3), kl.BSpline(20, 3)
    values = coarse.float()(x)
    with kl.kernels.use("torch"):
        kept = _kept(model, x, beside=(*model.parameters(), *model.buffers()))
    touched = [int((basis.float()(x) != 0).sum()) for basis in (coarse, fine)]
    right = {
        "basis_bytes": (
            values.nbytes,
            "There is one number for each sample, input and basis function, and n = G + k.",
        ),
        "broadcast_bytes": (
            (values[..., None] * model[0].coef).nbytes,
            "Before anything is summed there is a number for each sample, input, basis function "
            "and output.",
        ),
        "dense_growth": (
            fine.num_basis / coarse.num_basis,
            "The one product multiplies with all n = G + k basis functions of each input.",
        ),
        "local_growth": (
            round(touched[1] / touched[0], 2),
            "How many basis functions are not zero at a point, and does G appear in the answer?",
        ),
        "kept_bytes": (
            kept,
            "Each layer keeps its own input and nothing else. Whose tensor is the input of the "
            "second layer?",
        ),
    }
    for name, (value, hint) in right.items():
        got = _number(_entry(answer, name), name)
        if abs(got / value - 1) > 1e-3:
            raise Wrong(f"{name}: you gave {got:g}. {hint}")


def _gaussians(x: Tensor, n: int) -> Tensor:
    z = (x[..., None] - torch.linspace(-1, 1, n)) * (n / 2)
    return torch.exp(-(z**2))


def _chebyshev(x: Tensor, n: int) -> Tensor:
    values = [torch.ones_like(x), x]
    while len(values) < n:
        values.append((2 * x) * values[-1] - values[-2])
    return torch.stack(values, dim=-1)


@checker("from-loops-to-gemm/kept", "three programs at random sizes, counted by hooks")
def _kept_bytes(answer: Any, rng: torch.Generator) -> None:
    hints = {
        "A": "Kept are the argument of the square and the result of exp; does the matrix product "
        "keep anything that is not one of these?",
        "B": "Count three kinds: the arrays 2 * x, the factors T[-1] that are not x itself, and "
        "what the matrix product keeps.",
        "C": "Nothing before the matrix product is differentiated.",
    }
    for least in (3, 4, 6):
        b, n_in, n_out = (_whole(rng, 2, 12) for _ in range(3))
        n = _whole(rng, least, 2 * least)
        x = uniform(rng, -1.0, 1.0, b, n_in).requires_grad_()
        coef = uniform(rng, -1.0, 1.0, n_in, n, n_out).requires_grad_()
        for name, basis in (
            ("A", _gaussians),
            ("B", _chebyshev),
            ("C", lambda x, n: _gaussians(x.detach(), n)),
        ):
            right = _kept(lambda x, c, f=basis: f(x, c.shape[1]).flatten(1) @ c.flatten(0, 1),
                          x, coef)  # fmt: skip
            got = _number(answer(name, b, n_in, n), f"the answer for {name}")
            if got != right:
                raise Wrong(
                    f"{name} with {b} samples, {n_in} inputs, {n} functions keeps {right} bytes, "
                    f"{right / (8 * b * n_in):g} numbers for each sample and input; you say "
                    f"{got:g} bytes. {hints[name]}"
                )


@checker("from-loops-to-gemm/one-product", "outputs of random layers, and the number of products")
def _one_product(answer: Any, rng: torch.Generator) -> None:
    for n_in, n, n_out in ((5, 8, 3), (4, 3, 4), (1, 6, 2)):
        values = uniform(rng, 0.0, 1.0, 9, n_in, n)
        silu = uniform(rng, -0.3, 1.0, 9, n_in)
        coef, weight = uniform(rng, -1, 1, n_in, n, n_out), uniform(rng, -1, 1, n_in, n_out)
        right = torch.zeros(9, n_out, dtype=torch.float64)
        for i in range(n_in):
            right += values[:, i] @ coef[i] + silu[:, i, None] * weight[i]
        with _Watch(values, silu, coef, weight) as watch:
            got = answer(values, silu, coef, weight)
        close(
            f"the output of a layer with {n_in} inputs, {n} basis functions and {n_out} outputs",
            got, right,
            hint="The residual is basis function number n: are values and coefficients put "
            "together along the same axis, and in the same order?",
        )  # fmt: skip
        if watch.products != 1:
            raise Wrong(
                f"the output is right, but it took {watch.products} matrix products; one is "
                "enough. " + ("A broadcast product and a sum are none: use @." if not
                watch.products else "Join the two branches before you multiply.")
            )  # fmt: skip


@checker(
    "from-loops-to-gemm/blocked",
    "outputs, with blocks that do not fit, and what is asked for",
)
def _blocked(answer: Any, rng: torch.Generator) -> None:
    basis = kl.BSpline(6, 3).double()
    for n_in, block in ((24, 4), (25, 4), (7, 3), (6, 1)):
        x = uniform(rng, -1.0, 1.0, 40, n_in)
        coef = uniform(rng, -1.0, 1.0, n_in, basis.num_basis, 5)
        widths: list[int] = []

        def values_of(part: Tensor, widths: list[int] = widths) -> Tensor:
            widths.append(part.shape[-1])
            return basis(part)

        got = answer(values_of, x, coef, block)
        what = f"{n_in} inputs in blocks of {block}"
        if widths and max(widths) > block:
            raise Wrong(
                f"{what}: values of {max(widths)} inputs at once were asked for. Cut the second "
                "axis of x, the inputs."
            )
        if sum(widths) != n_in:
            raise Wrong(
                f"{what}: values of {sum(widths)} inputs were asked for in all, not of {n_in}. "
                "Mind the last block, which may be smaller, and ask once for each."
            )
        right = torch.einsum("sig,igj->sj", basis(x), coef)
        close(
            f"the output for {what}", got, right,
            hint="Each block adds to the output; does it take its own rows of coef?",
        )  # fmt: skip


@checker("from-loops-to-gemm/local", "outputs at random points and knots, and memory free of G")
def _local(answer: Any, rng: torch.Generator) -> None:
    for size, (low, high), n_in, n_out in ((5, (-1.0, 1.0), 3, 4), (7, (0.5, 4.0), 4, 2)):
        basis = kl.BSpline(size, 3, low=low, high=high).double()
        inner = low + (high - low) * torch.arange(size, dtype=torch.float64) / size
        coef = uniform(rng, -1.0, 1.0, n_in, size + 3, n_out)
        for where, x in (
            ("at random points", uniform(rng, low, high, 11, n_in)),
            ("at knots, without the last", inner[:, None].expand(-1, n_in).contiguous()),
            ("at the right end", torch.full((2, n_in), high, dtype=torch.float64)),
        ):
            right = torch.einsum("sig,igj->sj", basis(x), coef)
            hint = (
                "The right end belongs to the last cell: clamp m to G - 1 before you compute t."
                if "end" in where
                else "Row number m + r of input i has the r-th of the four values, and "
                "h = (high - low) / G with G = n - 3."
            )
            close(
                f"the output {where} on [{low:g}, {high:g}] with G = {size}",
                answer(x, coef, low, high), right, hint=hint,
            )  # fmt: skip
    x, largest = uniform(rng, -1.0, 1.0, 10, 3), []
    for size in (5, 500):
        coef = uniform(rng, -1.0, 1.0, 3, size + 3, 4)
        with _Watch(x, coef) as watch:
            answer(x, coef, -1.0, 1.0)
        largest.append((watch.numbers, watch.shape))
    if largest[1][0] > largest[0][0]:
        raise Wrong(
            f"the outputs are right, but with G = 500 you make a tensor of shape {largest[1][1]}, "
            f"{largest[1][0]} numbers, where {largest[0][0]} were enough with G = 5. Only the "
            "k + 1 weights and the rows that belong to them may be made."
        )


@checker("from-loops-to-gemm/rows", "expectations, against all ways in which samples can lie")
def _rows(answer: Any, rng: torch.Generator) -> None:
    for _ in range(5):
        b, size, k = _whole(rng, 1, 5), _whole(rng, 2, 6), _whole(rng, 1, 5)
        touched = [
            len({m + r for m in cells for r in range(k + 1)})
            for cells in itertools.product(range(size), repeat=b)
        ]
        right = sum(touched) / len(touched)
        got = _number(answer(b, size, k), "the number of rows")
        if not math.isclose(got, right, rel_tol=1e-9):
            bound = min(size + k, (k + 1) * b)
            text = f"{b} samples, G = {size}, k = {k}: {right:.4f} rows on average, not {got:.4f}. "
            if math.isclose(got, bound, rel_tol=1e-9) and right < bound:
                text += "That is the largest number that can be touched, not the mean."
            elif math.isclose(got, (size + k) * (1 - max(0, 1 - (k + 1) / size) ** b)):
                text += "Rows near the ends belong to fewer than k + 1 cells."
            else:
                text += "Row g is missed if all b samples lie in cells that do not touch it."
            raise Wrong(text)


FORMS = ("dense", "local")


@checker("from-loops-to-gemm/roofline", "operations, bytes and times of random layers and machines")
def _roofline(answer: Any, rng: torch.Generator) -> None:
    work, roofline = _parts(answer, "the functions work and roofline", 2)
    for _ in range(4):
        b, n_in, n_out = (_whole(rng, 2, 600) for _ in range(3))
        size, k = _whole(rng, 2, 60), _whole(rng, 1, 6)
        for form in FORMS:
            _work(work, form, b, n_in, n_out, size, k)
    for intensity in (0.3, 3.0, 30.0):
        peak, bandwidth = (float(v) for v in uniform(rng, 1e10, 1e12, 2))
        moved = float(uniform(rng, 1e5, 1e7, 1))
        operations = intensity * moved * peak / bandwidth
        right = (
            operations / moved,
            min(peak, bandwidth * operations / moved),
            max(operations / peak, moved / bandwidth),
        )
        got = _parts(roofline(operations, moved, peak, bandwidth), "intensity, rate and seconds", 3)
        side = "left" if intensity < 1 else "right"
        for name, mine, value in zip(("intensity", "rate", "seconds"), got, right, strict=True):
            found = _number(mine, name)
            if not math.isclose(found, value, rel_tol=1e-9):
                raise Wrong(
                    f"a kernel to the {side} of the corner, intensity {right[0]:.3g} operations a "
                    f"byte, on a machine of {peak:.3g} operations and {bandwidth:.3g} bytes a "
                    f"second: {name} should be {value:.4g}, but is {found:.4g}. The rate is the "
                    "smaller of two bounds, and work = rate times time."
                )


def _work(work: Any, form: str, b: int, n_in: int, n_out: int, size: int, k: int) -> None:
    """Operations and bytes of one form at one size."""
    n = size + k
    terms, read = (n, n) if form == "dense" else (k + 1, 1)
    right = (
        2 * b * n_in * terms * n_out,
        4 * (b * n_in * read + n_in * n * n_out + b * n_out),
    )
    hints = (
        "A multiply-add is two operations; the dense form has G + k of them for each "
        "sample, input and output, local support k + 1.",
        "4 bytes a number. Read: the matrix of basis functions if dense, x if local; "
        "in both, all of coef, and the output is written.",
    )
    got = _parts(work(form, b, n_in, n_out, size, k), "operations and bytes", 2)
    for name, mine, value, hint in zip(("operations", "bytes"), got, right, hints, strict=True):
        if _number(mine, name) != value:
            raise Wrong(
                f"{form}, {b} samples, {n_in} inputs, {n_out} outputs, G = {size}, "
                f"k = {k}: {name} should be {value}, but is {mine}. {hint}"
            )


@checker("from-loops-to-gemm/queue", "the end of random rows of kernels, launched and replayed")
def _queue(answer: Any, rng: torch.Generator) -> None:
    launched, replayed = _parts(answer, "the functions launched and replayed", 2)
    for what, low, high in (
        ("kernels shorter than a launch", 0.1, 0.9),
        ("kernels longer than a launch", 1.1, 5.0),
        ("kernels of all lengths", 0.1, 3.0),
    ):
        launch = float(uniform(rng, 2e-6, 8e-6, 1))
        durations = [launch * float(v) for v in uniform(rng, low, high, _whole(rng, 3, 30))]
        durations[-1] = launch  # not all that happens at the end is short or long
        done, total = 0.0, sum(durations)
        for number, seconds in enumerate(durations, start=1):
            done = max(done, number * launch) + seconds
        for name, mine, value, hint in (
            (
                "launched", launched(list(durations), launch), done,
                "A kernel starts when it is in the queue (number n after n launches) and the one "
                "before it is done, whichever is later.",
            ),
            (
                "replayed", replayed(list(durations), launch), launch + total,
                "One launch, then every kernel follows the one before it at once.",
            ),
        ):  # fmt: skip
            found = _number(mine, name)
            if math.isclose(found, total + len(durations) * launch, rel_tol=1e-9):
                hint = "The processor does not wait for a kernel before it launches the next one. "
                hint += "Launching and running go on at the same time."
            if not math.isclose(found, value, rel_tol=1e-9):
                raise Wrong(
                    f"{what}: {len(durations)} of them, {total:.4g} s in all, {launch:.3g} s for "
                    f"a launch: {name} should be {value:.4g} s, but is {found:.4g} s. {hint}"
                )


# The layer whose backward pass is to be mended: constant beyond the domain, SiLU residual ------


def _layer_output(x: Tensor, coef: Tensor, weight: Tensor, low: float, h: float) -> Tensor:
    size = coef.shape[1] - 3
    knots = low + h * torch.arange(-3, size + 4, dtype=torch.float64)
    inside = x.clamp(low, low + size * h)
    values = kl.bspline_basis(inside, knots, 3)
    return torch.einsum("sig,igj->sj", values, coef) + nn.functional.silu(x) @ weight


def _as_function(gradients: Callable[..., Any], low: float, h: float) -> Callable[..., Tensor]:
    """The layer with the student's gradients as its backward pass."""

    class Layer(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, coef: Tensor, weight: Tensor) -> Tensor:
            ctx.save_for_backward(x, coef, weight)
            return _layer_output(x, coef, weight, low, h)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Any:
            return gradients(*ctx.saved_tensors, grad, low, h)

    return Layer.apply  # type: ignore[no-any-return]


SITUATIONS = (  # words, spacing, scale of the residual weights, whether some x are off the domain
    ("spacing 1, residual weights 0, all x on the domain", 1.0, 0.0, False, "Sum over j."),
    (
        "spacing 0.37, residual weights 0, all x on the domain", 0.37, 0.0, False,
        "By which factor do you differ, and what is du/dx for u = (x - low) / h?",
    ),
    (
        "spacing 1, any residual weights, all x on the domain", 1.0, 1.0, False,
        "y has two terms that depend on x.",
    ),
    (
        "spacing 1, residual weights 0, some x off the domain", 1.0, 0.0, True,
        "Beyond the domain the splines are constant; what is their slope there?",
    ),
    ("everything at once", 0.6, 1.0, True, "The residual goes on beyond the domain."),
)  # fmt: skip


@checker("from-loops-to-gemm/mend", "gradients for any spacing, weight and place; gradgradcheck")
def _mend(answer: Any, rng: torch.Generator) -> None:
    size, n_in, n_out, samples = 4, 2, 3, 5
    coef = uniform(rng, -1.0, 1.0, n_in, size + 3, n_out)
    weight = uniform(rng, -1.0, 1.0, n_in, n_out)
    grad = uniform(rng, -1.0, 1.0, samples, n_out)
    inside = uniform(rng, 0.02, 0.98, samples, n_in)
    outside = torch.where(torch.arange(samples)[:, None] % 2 == 0, inside, 2.5 * inside + 1.05)
    outside[1::4] = -outside[1::4]
    low = -0.7
    for what, h, scale, off, hint in SITUATIONS:
        x = (low + size * h * (outside if off else inside)).requires_grad_()
        inputs = (x, coef.clone().requires_grad_(), (scale * weight).requires_grad_())
        right = torch.autograd.grad(_layer_output(*inputs, low, h), inputs, grad_outputs=grad)
        got = _parts(answer(*(t.detach() for t in inputs), grad, low, h), "one for each input", 3)
        names = ("the gradient of x", "the gradient of coef", "the gradient of weight")
        for name, mine, value in zip(names, got, right, strict=True):
            close(
                f"{name}, {what},", mine, value, tol=1e-8,
                hint=hint if name.endswith("x") else "This gradient was right in the broken one.",
            )  # fmt: skip
    x = low + 0.6 * size * outside[:3, :1]
    small = (x, coef[:1, :, :2].clone(), weight[:1, :2].clone())
    _second_derivatives(answer, small, uniform(rng, -1.0, 1.0, 3, 2), low, 0.6)


def _second_derivatives(
    answer: Any, inputs: tuple[Tensor, ...], pull: Tensor, low: float, h: float
) -> None:
    """Whether the student's gradients can be differentiated."""
    layer = _as_function(answer, low, h)
    try:
        torch.autograd.gradgradcheck(
            layer, tuple(t.requires_grad_() for t in inputs), pull.requires_grad_()
        )
    except RuntimeError as error:
        raise Wrong(
            "all gradients are right, but gradgradcheck fails: "
            f"{str(error).strip().splitlines()[0]} Compute with operations that autograd can "
            "follow: nothing detached, no no_grad, nothing turned into a number."
        ) from None


# The three operations -----------------------------------------------------------------------------


def _operations(knots: Tensor) -> tuple[Callable[..., Tensor], ...]:
    """F, X and W for cubic splines on given knots."""

    def values(x: Tensor, d: int) -> Tensor:
        return kl.bspline_basis(x, knots, 3, derivative=d)

    def F(d: int, x: Tensor, coef: Tensor, h: Tensor) -> Tensor:
        return torch.einsum("si,sig,igj->sj", h, values(x, d), coef)

    def X(d: int, x: Tensor, coef: Tensor, delta: Tensor) -> Tensor:
        return torch.einsum("sj,sig,igj->si", delta, values(x, d), coef)

    def W(d: int, x: Tensor, delta: Tensor, h: Tensor) -> Tensor:
        return torch.einsum("si,sig,sj->igj", h, values(x, d), delta)

    return F, X, W


@checker("from-loops-to-gemm/closed", "both backward passes for d = 0 and 1, against autograd")
def _closed(answer: Any, rng: torch.Generator) -> None:
    back_of_x, back_of_w = _parts(answer, "the functions back_of_X and back_of_W", 2)
    operations = _operations(kl.uniform_knots(4, 3, dtype=torch.float64))
    _, X, W = operations
    for d in (0, 1):
        x, h, v = (uniform(rng, -1.0, 1.0, 6, 3).requires_grad_() for _ in range(3))
        coef, table = (uniform(rng, -1.0, 1.0, 3, 7, 2).requires_grad_() for _ in range(2))
        delta = uniform(rng, -1.0, 1.0, 6, 2).requires_grad_()
        of_x, of_w = {"x": x, "coef": coef, "delta": delta}, {"x": x, "delta": delta, "h": h}
        for name, inputs, last, back, value in (
            ("X", of_x, v, back_of_x, (v * X(d, x, coef, delta)).sum()),
            ("W", of_w, table, back_of_w, (table * W(d, x, delta, h)).sum()),
        ):
            right = torch.autograd.grad(value, list(inputs.values()))
            got = back(*operations, d, *inputs.values(), last)
            mine = _parts(got, f"the gradients of {', '.join(inputs)}", 3)
            for letter, one, other in zip(inputs, mine, right, strict=True):
                hint = (
                    "Write the sum with all its indices and leave out the factor by which you "
                    "differentiate; which of F, X, W is what is left?"
                )
                if letter == "x":
                    hint += " The derivative by x raises the order of the basis."
                close(
                    f"the gradient of {letter} from {name} of order {d}",
                    one, other, tol=1e-8, hint=hint,
                )  # fmt: skip


# A kernel in Triton, emulated: a mask, where there is one, keeps memory from being read -----------


def _silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


@checker("from-loops-to-gemm/no-mask", "outputs of the kernel, for blocks that fit and that do not")
def _no_mask(answer: Any, rng: torch.Generator) -> None:
    for rows, n_in, block in ((5, 6, 4), (3, 8, 4), (4, 3, 8), (2, 1, 2)):
        memory = uniform(rng, -2.0, 2.0, rows * n_in + 2 * block)
        right = torch.zeros(rows, dtype=torch.float64)
        for b in range(rows):
            for start in range(0, n_in, block):
                right[b] += _silu(memory[b * n_in + start :][:block]).sum()
        got = answer(memory.clone(), rows, n_in, block)
        what = f"the kernel's output for {rows} samples, {n_in} inputs, tiles of {block}"
        masked = _silu(memory[: rows * n_in]).view(rows, n_in).sum(1)
        alike = torch.is_tensor(got) and got.shape == masked.shape
        if n_in % block and alike and torch.allclose(got.double(), masked):
            raise Wrong(
                f"{what}: you give what the kernel with its mask computes. Which addresses "
                "does the last block of a row read without it?"
            )
        close(
            what, got, right,
            hint="Sample s begins at s * N, and its lanes run to the end of the last block, "
            "whatever lies there.",
        )  # fmt: skip


SLIPS = {
    "A": {"load x: i < N"},
    "B": {"load r: i < N"},
    "C": {"load x: i < N", "load r: i < N"},
    "D": {"load x: s < B"},
    "E": {"store: s < B"},
}
EXPLAINED = {
    "A": "the lanes beyond N read foreign numbers; by what are they multiplied?",
    "B": "the lanes beyond N read foreign weights; by what are they multiplied, silu(0) being 0?",
    "C": "now both factors of the lanes beyond N are foreign.",
    "D": "lanes with s >= B compute something from foreign numbers; where does it go?",
    "E": "the last program has TB lanes; where do those with s >= B write?",
}


def _run_kernel(slip: set[str], strange: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """y and the memory behind it, as the kernel leaves them with these masks missing."""
    rows, n_in, width, rest = 5, 6, 4, 64
    x = torch.cat([uniform(rng, -1.0, 1.0, rows * n_in), torch.full((rest,), strange)])
    r = torch.cat([uniform(rng, -1.0, 1.0, n_in), torch.full((rest,), strange)])
    y = torch.cat([torch.zeros(rows), torch.full((rest,), -7.0)]).double()
    for first in range(0, rows, width):
        s = first + torch.arange(width)
        total = torch.zeros(width, dtype=torch.float64)
        for start in range(0, n_in, width):
            i = start + torch.arange(width)
            columns, lines = i < n_in, s < rows
            seen = columns | torch.tensor("load x: i < N" in slip)
            read = (lines | torch.tensor("load x: s < B" in slip))[:, None] & seen
            tile = x[s[:, None] * n_in + i].double().where(read, 0.0)
            weights = r[i].double().where(columns | torch.tensor("load r: i < N" in slip), 0.0)
            total += (weights * _silu(tile)).sum(1)
        kept = (s < rows) | torch.tensor("store: s < B" in slip)
        y[s[kept]] = total[kept]
    return y[:rows], y[rows:]


def _consequence(slip: set[str], seed: int) -> str:
    """What the missing masks do, found by running the kernel with and without them."""

    def run(masks: set[str], strange: float) -> tuple[Tensor, Tensor]:
        return _run_kernel(masks, strange, torch.Generator().manual_seed(seed))

    right, behind = run(set(), 3.0)
    y, after = run(slip, 3.0)
    if not torch.equal(after, behind):
        return "overwrites"
    if not torch.allclose(y, right):
        return "wrong"
    y, _ = run(slip, math.nan)
    return "right" if torch.allclose(y, right) else "NaN"


@checker("from-loops-to-gemm/slips", "five slips, each against a run of the kernel that has it")
def _slips(answer: Any, rng: torch.Generator) -> None:
    seed = _whole(rng, 0, 1000)
    for letter, slip in SLIPS.items():
        right = _consequence(slip, seed)
        others = dict.fromkeys(("right", "NaN", "wrong", "overwrites"), EXPLAINED[letter])
        others.pop(right)
        try:
            choose(_entry(answer, letter), right, others)
        except Wrong as error:
            raise Wrong(f"{letter}: {error}") from None


# Precision ------------------------------------------------------------------------------------


def _stall(dtype: torch.dtype) -> int:
    """Where a sum of ones stops growing."""
    total, one = torch.zeros((), dtype=dtype), torch.ones((), dtype=dtype)
    while bool(total + one > total):
        total = total + one
    return int(total)


@checker("from-loops-to-gemm/stall", "two sums of ones, and the cells that numbers can reach")
def _stalls(answer: Any, rng: torch.Generator) -> None:
    x = torch.linspace(0.5, 1.0, 100_001, dtype=torch.float64)[:-1].to(torch.bfloat16).double()
    reached = len((x[x < 1.0] * 1000 + 1e-9).floor().unique())
    right = {
        "bfloat16": (
            _stall(torch.bfloat16),
            "It has 8 significant bits: which is the first whole number whose successor needs 9?",
        ),
        "float16": (_stall(torch.float16), "It has 11 significant bits."),
        "cells": (
            reached,
            "With 8 significant bits, how far apart are two neighbors in [0.5, 1)? Is that more "
            "or less than a cell?",
        ),
    }
    for name, (value, hint) in right.items():
        got = _number(_entry(answer, name), name)
        if got != value:
            raise Wrong(f"{name}: you gave {got:g}. {hint}")


@checker("from-loops-to-gemm/mixed", "products of random matrices, to the rounding of float32")
def _mixed(answer: Any, rng: torch.Generator) -> None:
    for samples, terms, outputs in ((4, 3000, 3), (3, 40, 2)):
        left = uniform(rng, 0.0, 1.0, samples, terms).float()
        right = uniform(rng, 0.5, 1.5, terms, outputs).float()
        expected = left.bfloat16().double() @ right.bfloat16().double()
        got = answer(left.clone(), right.clone())
        what = f"the product with {terms} terms"
        if torch.is_tensor(got) and got.dtype != torch.float32:
            raise Wrong(
                f"{what} has dtype {got.dtype}. The factors are rounded, their sum is not: it is "
                "a float32."
            )
        close(what, got, expected.float(), tol=1e9)  # the shape
        error = float(((got.double() - expected) / expected).abs().max())
        unrounded = left.double() @ right.double()
        if error > 1e-5 and torch.allclose(got.double(), unrounded, rtol=2e-6):
            raise Wrong(f"{what} is that of the factors as they came: round them to bfloat16.")
        if error > 1e-2:
            raise Wrong(
                f"{what} is off by {100 * error:.0f} %: what is added to a large sum in bfloat16 "
                "gets lost. Add up in float32."
            )
        if error > 1e-5:
            raise Wrong(
                f"{what} is off by {error:.1e} of itself, about one rounding to bfloat16: is the "
                "result or a factor rounded once more, or not at all?"
            )


# Two processes -----------------------------------------------------------------------------------


@checker("from-loops-to-gemm/communicated", "three numbers of bytes, for random models and parties")
def _communicated(answer: Any, rng: torch.Generator) -> None:
    for processes, dtype, frozen in (
        (2, torch.float32, False),
        (8, torch.float64, False),
        (4, torch.float32, True),
    ):
        widths = [_whole(rng, 1, 9) for _ in range(3)]
        model = kl.KAN(widths, kl.BSpline(_whole(rng, 2, 9), 3), generator=rng).to(dtype)
        if frozen:
            model[0].coef.requires_grad_(False)
        trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
        right = (
            trained,
            2 * (processes - 1) / processes * trained,
            sum(t.nbytes for t in model.buffers()),
        )
        got = _parts(answer(model, processes), "gradients, sent and buffers", 3)
        which = f"widths {widths}, {dtype}, {processes} processes"
        which += ", first layer's coef frozen" if frozen else ""
        hints = (
            "Every parameter that is trained has a gradient of its own size and dtype; a frozen "
            "one has none.",
            "A ring sends (p - 1)/p of the buffer to add up, and as much again to hand out.",
            "The knots are buffers: model.buffers().",
        )
        for name, mine, value, hint in zip(
            ("gradients", "sent", "buffers"), got, right, hints, strict=True
        ):
            if not math.isclose(_number(mine, name), value, rel_tol=1e-9):
                raise Wrong(f"{which}: {name} should be {value:g} bytes, but is {mine}. {hint}")


@checker("from-loops-to-gemm/share", "the mean of the gradients, for even and uneven shares")
def _share(answer: Any, rng: torch.Generator) -> None:
    for cuts in ((4, 4), (6, 5), (1, 7, 2), (3, 0)):
        total, p = sum(cuts), len(cuts)
        weight = uniform(rng, -1.0, 1.0, 3, 1).requires_grad_()
        x, y = uniform(rng, -1.0, 1.0, total, 3), uniform(rng, -1.0, 1.0, total, 1)
        (right,) = torch.autograd.grad((x @ weight - y).square().mean(), weight)
        mean = torch.zeros_like(right)
        for part, target in zip(x.split(list(cuts)), y.split(list(cuts)), strict=True):
            loss = answer(part @ weight, target, total, p)
            if not torch.is_tensor(loss) or loss.shape != ():
                raise Wrong("Return a scalar tensor, the loss of this process.")
            if not loss.isfinite():
                raise Wrong(
                    f"the loss of a process with {len(part)} of {total} samples is {loss.item()}. "
                    "A sum over no samples is 0; a mean over none is not a number."
                )
            (gradient,) = torch.autograd.grad(loss, weight)
            mean += gradient / p
        close(
            f"the mean of {p} processes' gradients, with {' and '.join(map(str, cuts))} samples,",
            mean, right,
            hint="DDP adds the gradients and divides by p, whatever the shares are. Start from "
            "the sum over the share, and divide it by what makes the total right.",
        )  # fmt: skip


# A benchmark on trial ----------------------------------------------------------------------------


class _Machine:
    """A computer with a clock that only its own programs move."""

    def __init__(
        self, seed: int, *, cold: float = 1.0, drift: float = 0.0, spike: float = 1.0, after=1.0
    ) -> None:
        self.rng = torch.Generator().manual_seed(seed)
        self.cold, self.drift, self.spike, self.after = cold, drift, spike, after
        self.time, self.calls, self.last = 0.0, {"first": 0, "second": 0}, ""

    def clock(self) -> float:
        return self.time

    def program(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            cost = seconds * (1 + self.drift * sum(self.calls.values()))
            cost *= 1 + 0.02 * float(uniform(self.rng, -1.0, 1.0, 1))
            if self.calls["first"] < 2 and name == "first":
                cost *= self.cold
            if float(uniform(self.rng, 0.0, 1.0, 1)) < 0.12:
                cost *= self.spike
            if self.last == "first":
                cost *= self.after
            self.calls[name] += 1
            self.last = name
            self.time += cost

        return run


MACHINES: tuple[tuple[str, dict[str, float], str], ...] = (
    ("a quiet machine", {}, "Time of the first, divided by that of the second."),
    (
        "a machine on which the first program compiles itself at first", {"cold": 30.0},
        "Call each a few times before you look at the clock.",
    ),
    (
        "a machine that gets slower with every call", {"drift": 0.02},
        "Do not run all calls of one and then all of the other: let them take turns, and "
        "divide within a turn.",
    ),
    (
        "a machine that is interrupted now and then", {"spike": 12.0},
        "A mean is carried away by one interruption; a median is not.",
    ),
    (
        "a machine on which whoever runs after the first program is slower", {"after": 1.4},
        "If the order is always the same, one of them always follows the other: change the "
        "order from turn to turn.",
    ),
    (
        "a machine with all these faults",
        {"cold": 30.0, "drift": 0.005, "spike": 12.0, "after": 1.4},
        "Each remedy alone works; use them together, and enough turns.",
    ),
)  # fmt: skip


@checker("from-loops-to-gemm/compare", "ratios on simulated machines that are not quiet")
def _compare(answer: Any, rng: torch.Generator) -> None:
    for what, faults, hint in MACHINES:
        a, b = (float(v) for v in uniform(rng, 1.0, 9.0, 2))
        machine = _Machine(_whole(rng, 0, 10_000), **faults)
        got = _number(
            answer(machine.program("first", a), machine.program("second", b), machine.clock),
            "the ratio",
        )
        if min(machine.calls.values()) == 0:
            raise Wrong("Run both programs, first() and second().")
        if abs(got * a / b - 1) < 0.05 < abs(got * b / a - 1):
            raise Wrong(f"on {what} you return the ratio upside down. {hint}")
        if abs(got * b / a - 1) > 0.05:
            raise Wrong(
                f"on {what} the ratio is {a / b:.3f}, but you find {got:.3f}, with "
                f"{machine.calls['first']} and {machine.calls['second']} calls. {hint}"
            )


@checker("from-loops-to-gemm/script", "seven steps of a benchmark, fair or not")
def _script(answer: Any, rng: torch.Generator) -> None:
    why = {
        "A": "what do the random numbers of a batch do to the time, as long as both get the same?",
        "B": "how many bytes do the parameters of each have?",
        "C": "what does the very first call of a kernel do that later ones do not?",
        "D": "if the machine slows down after ten seconds, whom does it hit?",
        "E": "which of the two statistics does an interruption change?",
        "F": "is a training step a forward pass?",
        "G": "does it help to know where and with what a number was measured?",
    }
    right = dict.fromkeys(why, "unfair") | {"A": "fair", "G": "fair"}
    _verdicts(answer, right, why)


def _verdicts(answer: Any, right: dict[str, str], why: dict[str, str]) -> None:
    """Each letter's verdict, of two, with its reason."""
    words = sorted(set(right.values()))
    for letter, verdict in right.items():
        other = next(word for word in words if word != verdict)
        try:
            choose(_entry(answer, letter), verdict, {other: why[letter]})
        except Wrong as error:
            raise Wrong(f"{letter}: {error}") from None


@checker("from-loops-to-gemm/referee", "the eight verdicts")
def _referee(answer: Any, rng: torch.Generator) -> None:
    size, k = _whole(rng, 5, 40), 3
    why = {
        "A": f"with G = {size} and k = {k}: one product multiplies with {size + k} numbers, local "
        f"support with {k + 1}.",
        "B": "for what does it wait?",
        "C": "what does it cost to write a large tensor to memory and to read it back?",
        "D": "think of the broken backward pass, and of its author's test.",
        "E": "what does a graph replay, and what does it save?",
        "F": "does a compiler know which entries of a tensor will be zero?",
        "G": "which tensors are added up over the processes, and what are their shapes?",
        "H": f"if forward takes 1 and backward 2, the new step takes {2 + 1 / 88:.3f}.",
    }
    right = dict.fromkeys(why, "false") | {"A": "true", "F": "true", "H": "true"}
    _verdicts(answer, right, why)
