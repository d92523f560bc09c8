r"""The Kolmogorov-Arnold theorem as a program, in exact arithmetic.

Every continuous f on the unit cube is a sum of m + 1 functions of one variable, each applied to
a sum of functions of one variable. In Sprecher's form all the inner functions are shifted and
scaled copies of a single one, which does not depend on f. This is equation (1):

.. math:: f(x) = \sum_{q=0}^{m} \Phi_q(\xi_q(x)), \qquad
          \xi_q(x) = \sum_{p=1}^{n} \alpha_p\, \psi(x_p + q a), \qquad m \ge 2n.

Equation (2), constants (:class:`InnerSums`). With a base :math:`\gamma \ge m + 2`,

.. math:: a = \frac{1}{\gamma(\gamma-1)} = \sum_{r \ge 2} \gamma^{-r}, \qquad
          \alpha_1 = 1, \quad \alpha_p = \sum_{r \ge 1} \gamma^{-(p-1)\beta(r)}, \qquad
          \beta(r) = \frac{n^r - 1}{n - 1} = 1 + n + \dots + n^{r-1}.

Equation (3), the inner function (:func:`inner_function`, :func:`inner_grid`). Let
:math:`d_k = \sum_{r=1}^{k} i_r \gamma^{-r}` have k digits in base :math:`\gamma`. Then
:math:`\psi(d_1) = d_1`, and with :math:`d_{k-1}` the same number without its last digit

.. math::
    \psi(d_k) = \begin{cases}
        \psi(d_{k-1}) + i_k\, \gamma^{-\beta(k)} & i_k \le \gamma - 2, \\
        \tfrac12 \big(\psi(d_k - \gamma^{-k}) + \psi(d_k + \gamma^{-k})\big) & i_k = \gamma - 1.
    \end{cases}

The halving is Koeppen's correction: Sprecher's own formula is not increasing. By (3) the steps
between neighbors on the k-digit grid are :math:`\gamma^{-\beta(k)}` at least and
:math:`2^{-(k-1)}/\gamma` at most, so :math:`\psi` increases strictly and is Hoelder continuous
with exponent :math:`\log 2 / \log \gamma`.

Equation (4), cubes and their images (:meth:`InnerSums.covered`, :meth:`InnerSums.images`). Let d
have k digits, and put :math:`\delta_k = (\gamma - 2) \sum_{r>k} \gamma^{-r}`. On the interval
:math:`[d, d + \delta_k]`, whose right end continues d with the digit :math:`\gamma - 2` forever,
:math:`\psi` grows by as little as :math:`(\gamma - 2)\sum_{r>k} \gamma^{-\beta(r)}`. With the
shifted corner :math:`d^q = d + q \sum_{r=2}^{k} \gamma^{-r}`, family q covers the coordinate x_p
where :math:`x_p + q a \in [d^q, d^q + \delta_k]` for some d. What it leaves out are gaps of length
:math:`\gamma^{-k}/(\gamma - 1)`, and the gaps of different families do not meet. Hence a point x
is in a cube of each of the m + 1 families but n: at most one is lost for each coordinate. By
monotonicity the image of a cube lies in the interval

.. math:: T_q(d) = [\xi(d^q),\; \xi(d^q + \delta_k)],

and for one q these intervals are disjoint. This is checked, in integers, for each
level that is used (:meth:`OuterStep.from_images`): nothing rests on a lemma.

Equation (5), the outer functions (:class:`OuterStep`). Given the residual e of the iterations
before, and a level k, :math:`\Phi_q` is constant on each image and falls to zero beside it,
linearly, on ramps so short (at most :math:`\gamma^{-\beta(k+1)}`) that they do not meet:

.. math:: \Phi_q(y) = \frac{1}{m+1} \sum_{d} e(d)\, \theta_d(y), \qquad
          \theta_d = 1 \text{ on } T_q(d).

Equation (6), the outer iteration (:func:`superpose`). :math:`e_0 = f`, and
:math:`e_r = e_{r-1} - \sum_q \Phi_q^r \circ \xi_q` at a level :math:`k_r > k_{r-1}`. Where family
q covers x it contributes :math:`e(d)/(m+1)`, which misses :math:`e(x)/(m+1)` by
:math:`\varepsilon \lVert e \rVert/(m+1)` at most, :math:`\varepsilon` being the largest
oscillation over a cube, relative to :math:`\lVert e \rVert`. The other families, n at most, miss
it by :math:`2 \lVert e \rVert/(m+1)` at most. So

.. math:: \lVert e_r \rVert \le \eta\, \lVert e_{r-1} \rVert, \qquad
          \eta = \frac{(m + 1 - n)\,\varepsilon + 2n}{m + 1}.

As :math:`\varepsilon \to 0` with m = 2n this is 4/5 for two variables and 6/7 for three. It is
below 1 as long as :math:`\varepsilon < (m+1-2n)/(m+1-n)`, that is 1/(n+1) for m = 2n.

What is computed here, and what is not
    - Everything happens on the grid of the points with `digits` = K digits. There the series in
      (2) are cut after K terms, which makes a and the alphas rational and (3) to (6) exact
      statements on the grid: :math:`\psi`, :math:`\xi_q`, the images, the ramps and every
      comparison are integers over one common denominator. The values of f are floats, or
      fractions where asked for.
    - f lives on the unit cube, t in [0, 1]^n, and is represented at
      :math:`x = (1 - 1/\gamma)\, t`. The room keeps x + qa below 1. Without it no family would
      cover x_p = 1, unless by a cube at d = 1, whose image meets others.
    - (6) is a promise only where :math:`\varepsilon` is small, and each iteration leaves a
      rougher residual: inside a gap :math:`\xi` runs through the images of far-off cubes. The
      ramps of level k are seen as smooth only where :math:`2^{-K}` is below their width
      :math:`\gamma^{-\beta(k+1)}` (:meth:`Superposition.sufficient_level`), a tower of powers. So
      a first iteration at a level fine enough for f contracts as promised, and by that bound a
      second promise asks for more digits than any grid in memory has. Each iteration reports
      :math:`\varepsilon`, the factor that (6) gives, and the factor measured. At level K each
      point has its own plateau, and the residual on the grid is zero.

Glossary
    n, q, p    dimension; family 0..m; coordinate 1..n
    t, x       points of the unit cube; the same points times 1 - 1/base
    K, k       digits of the grid; level: digits of the cubes' corners
    index      x in units of base^-K: 0..side, with side = (base - 1) base^(K-1), so t = index/side
    scale      common denominator of all values of psi, xi and y
    y          values of an inner sum, integers, in units of 1/scale
    e          residual on the grid, shape (side + 1,) * n

Book: *The theorem as a program*. Sources: Sprecher, A numerical implementation of Kolmogorov's
superpositions, I (1996), doi:10.1016/0893-6080(95)00081-X, and II (1997),
doi:10.1016/S0893-6080(96)00073-1; Koeppen, On the training of a Kolmogorov network (2002),
doi:10.1007/3-540-46084-5_77; Braun and Griebel, On a constructive proof of Kolmogorov's
superposition theorem (2009), doi:10.1007/s00365-009-9054-2.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "MAX_POINTS",
    "InnerSums",
    "Iteration",
    "OuterStep",
    "Superposition",
    "inner_function",
    "inner_grid",
    "superpose",
]

Array = npt.NDArray[Any]

MAX_POINTS = 2**22
"""The most grid points that :func:`superpose` takes on."""


# Inner function ------------------------------------------------------------------------------


def inner_function(
    x: Fraction | int, *, dimension: int, base: int | None = None, corrected: bool = True
) -> Fraction:
    r"""The inner function psi at a number with finitely many digits, exactly.

    Digit by digit: each digit below :math:`\gamma - 1` adds itself, far further right; the digit
    :math:`\gamma - 1` goes half way to the next number,

    .. math::
        \psi(d_k) = \begin{cases}
            \psi(d_{k-1}) + i_k\, \gamma^{-\beta(k)} & i_k \le \gamma - 2, \\
            \tfrac12 \big(\psi(d_k - \gamma^{-k}) + \psi(d_k + \gamma^{-k})\big)
            & i_k = \gamma - 1.
        \end{cases}

    Sprecher's original, which is not increasing, is

    .. math::
        \psi(d_k) = \sum_{r=1}^{k} (i_r - (\gamma - 2) \langle i_r \rangle)\,
                    2^{-m_r} \gamma^{-\beta(r - m_r)}, \qquad
        m_r = \langle i_r \rangle \Big(1 + \sum_{s=1}^{r-1} [i_s] \cdots [i_{r-1}]\Big),

    where for r > 1 :math:`\langle i_r \rangle = 1` if :math:`i_r = \gamma - 1`,
    :math:`[i_r] = 1` if :math:`i_r \ge \gamma - 2`, and both are 0 otherwise and for r = 1.

    Args:
        x: In [0, 1], a fraction whose denominator divides a power of the base.
        dimension: n, at least 2.
        base: :math:`\gamma`, at least 2n + 2, which is the default.
        corrected: Whether to use Koeppen's correction; False gives Sprecher's original.

    Returns:
        psi(x), in [0, 1].

    Raises:
        ValueError: If an argument is out of its range, or x has no finite expansion.

    Example:
        >>> inner_function(Fraction(59, 100), dimension=2, base=10)
        Fraction(277, 500)
        >>> before, at = Fraction("0.58999"), Fraction("0.59")
        >>> [float(inner_function(x, dimension=2, base=10, corrected=False)) for x in (before, at)]
        [0.55175, 0.55]

    Book: *The theorem as a program*. Sources: Koeppen (2002), doi:10.1007/3-540-46084-5_77;
    Sprecher (1996), doi:10.1016/0893-6080(95)00081-X.
    """
    base = _check_base(dimension, base)
    digits = _digits(x, base)
    if x == 1:
        return Fraction(1)
    if not corrected:
        return _sprecher(digits, dimension, base)
    low, high = Fraction(0), Fraction(1)  # psi at the ends of the cell that holds x
    for k, digit in enumerate(digits, start=1):
        unit = Fraction(1, base ** _beta(k, dimension))
        steps = [low + i * unit for i in (digit, digit + 1)]
        if k > 1 and digit >= base - 2:
            middle = (low + (base - 2) * unit + high) / 2
            steps = [steps[0], middle] if digit == base - 2 else [middle, high]
        low, high = steps
    return low


def inner_grid(digits: int, *, dimension: int, base: int | None = None) -> tuple[Array, int]:
    r"""The inner function on all numbers with K digits in [0, 1], exactly and at once.

    The recursion of :func:`inner_function`, level by level, in integers: on the grid with k digits
    all values are multiples of :math:`1 / (2^{k-1} \gamma^{\beta(k)})`.

    Args:
        digits: K, at least 1.
        dimension: n, at least 2.
        base: :math:`\gamma`, at least 2n + 2, which is the default.

    Returns:
        Integers, shape (base^K + 1,), and their denominator: psi(j / base^K) is entry j over the
        denominator. The integers are int64 where they fit, Python's where not.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> values, scale = inner_grid(2, dimension=2, base=6)
        >>> values[:8].tolist(), scale  # 0.04, 0.05 and 0.10 in base 6 are entries 4, 5 and 6
        ([0, 2, 4, 6, 8, 40, 72, 74], 432)

    Book: *The theorem as a program*. Source: Koeppen (2002), doi:10.1007/3-540-46084-5_77.
    """
    base = _check_base(dimension, base)
    if digits < 1:
        raise ValueError(f"digits must be at least 1, got {digits}")
    scale = 2 ** (digits - 1) * base ** _beta(digits, dimension)
    values: Array = np.arange(base + 1, dtype=_integers(scale))
    for k in range(2, digits + 1):
        unit = 2 ** (k - 1)  # base^-beta(k) at this level's denominator
        values = values * (2 * base ** (dimension ** (k - 1)))  # beta(k) - beta(k-1) = n^(k-1)
        cells = np.empty((len(values) - 1, base), dtype=values.dtype)
        cells[:, :-1] = values[:-1, None] + unit * np.arange(base - 1, dtype=values.dtype)
        cells[:, -1] = (cells[:, -2] + values[1:]) // 2  # both are even
        values = np.append(cells.ravel(), values[-1:])
    return values, scale


def _sprecher(digits: Sequence[int], dimension: int, base: int) -> Fraction:
    """Sprecher's original inner function, for the record."""
    total, run = Fraction(0), 0  # run: how many digits >= base - 2 end just before this one
    for r, digit in enumerate(digits, start=1):
        last = r > 1 and digit == base - 1
        m = 1 + run if last else 0
        power = Fraction(1, 2**m * base ** _beta(r - m, dimension))
        total += (digit - (base - 2) * last) * power
        run = run + 1 if r > 1 and digit >= base - 2 else 0
    return total


def _digits(x: Fraction | int, base: int) -> list[int]:
    """The digits of x in [0, 1) after the point, as many as it needs."""
    if not isinstance(x, Fraction | int) or not 0 <= x <= 1:
        raise ValueError(f"x must be a Fraction in [0, 1], got {x!r}")
    count, rest = 0, Fraction(x).denominator
    while rest > 1:
        common = math.gcd(rest, base)
        if common == 1:
            raise ValueError(f"x must have finitely many digits in base {base}, got {x}")
        rest, count = rest // common, count + 1
    whole = int(x * base**count)
    return [whole // base ** (count - r) % base for r in range(1, count + 1)]


# Inner sums ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class InnerSums:
    r"""The inner half of the superposition on a grid: it knows nothing of f.

    .. math:: \xi_q(x) = \sum_{p=1}^{n} \alpha_p\, \psi(x_p + q a)

    with :math:`\alpha_p` and a of equation (2) of the module, cut after K terms. Points are given
    by indices: :math:`x = \mathrm{index} / \gamma^K`, from 0 to `side` (t from 0 to 1).

    Args:
        dimension: n, at least 2.
        base: :math:`\gamma`, at least `terms` + 1.
        terms: m + 1, the number of families, at least 2n + 1.
        digits: K, at least 1.

    Attributes:
        side: The largest index, (base - 1) base^(K-1); the grid has side + 1 points per axis.
        scale: The common denominator of all inner sums.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> inner = InnerSums(dimension=2, base=6, terms=5, digits=2)
        >>> Fraction(int(inner.sums([np.array(6), np.array(0)], q=0)), inner.scale)  # psi(1/6)
        Fraction(1, 6)

    Book: *The theorem as a program*. Source: Braun and Griebel (2009),
    doi:10.1007/s00365-009-9054-2.
    """

    dimension: int
    base: int
    terms: int
    digits: int

    def __post_init__(self) -> None:
        _check_base(self.dimension, self.base)
        if self.digits < 1:
            raise ValueError(f"digits must be at least 1, got {self.digits}")
        if self.terms < 2 * self.dimension + 1:
            raise ValueError(
                f"terms must be at least 2 * dimension + 1 = {2 * self.dimension + 1}, "
                f"got {self.terms}"
            )
        if self.base < self.terms + 1:
            raise ValueError(f"base must be at least terms + 1 = {self.terms + 1}, got {self.base}")

    @functools.cached_property
    def side(self) -> int:
        """The largest index: x = 1 - 1/base, t = 1."""
        return int((self.base - 1) * self.base ** (self.digits - 1))

    @functools.cached_property
    def alphas(self) -> tuple[Fraction, ...]:
        """The coefficients alpha_1 = 1, alpha_2, ..., alpha_n, cut after K terms."""
        return (
            Fraction(1),
            *(
                sum(
                    (
                        Fraction(1, self.base ** ((p - 1) * _beta(r, self.dimension)))
                        for r in range(1, self.digits + 1)
                    ),
                    Fraction(0),
                )
                for p in range(2, self.dimension + 1)
            ),
        )

    @functools.cached_property
    def scale(self) -> int:
        """The common denominator of the inner sums; even, so that gaps can be halved."""
        return 2 * self._alpha_scale * self._psi[1]

    @functools.cached_property
    def grid(self) -> tuple[Array, ...]:
        """Indices of all grid points: n arrays that broadcast to (side + 1,) * n."""
        return np.ix_(*[np.arange(self.side + 1)] * self.dimension)

    def sums(self, index: Sequence[Array], q: int, *, level: int | None = None) -> Array:
        """Inner sums of one family, in units of 1/scale.

        Args:
            index: n integer arrays that broadcast together; entries 0..side.
            q: The family, 0..terms - 1, that is the shift by q a.
            level: Cut the shift after this many digits (all K if None).

        Returns:
            Integers (int64 where they fit, Python's where not), of the broadcast shape.
        """
        shift = q * self._shift(self.digits if level is None else level)
        return _sum(table[i + shift] for table, i in zip(self._tables, index, strict=True))

    def anchors(self, level: int) -> Array:
        """Indices of the numbers d with `level` digits: (base - 1) base^(level-1) + 1 of them."""
        return np.arange(0, self.side + 1, self.base ** (self.digits - level))

    def images(self, level: int, q: int) -> tuple[Array, Array]:
        """Ends of the images T_q(d) of all cubes of one family, equation (4) of the module.

        Args:
            level: k, 1..digits.
            q: The family, 0..terms - 1.

        Returns:
            Left and right ends in units of 1/scale, each of shape (number of anchors,) * n.
        """
        corners = np.ix_(*[self.anchors(level)] * self.dimension)
        far = [i + self._length(level) for i in corners]
        return self.sums(corners, q, level=level), self.sums(far, q, level=level)

    def covered(self, level: int) -> npt.NDArray[np.bool_]:
        """Which families cover which index, along one axis.

        Args:
            level: k, 1..digits.

        Returns:
            Shape (terms, side + 1). No column holds more than one False.

        Example:
            >>> covered = InnerSums(dimension=2, base=6, terms=5, digits=3).covered(level=1)
            >>> covered.sum(0).min(), covered.sum(0).max()
            (np.int64(4), np.int64(5))
        """
        return np.stack([self._cell(level, q)[1] for q in range(self.terms)])

    def ramp_limit(self, level: int) -> int:
        """The widest ramp of a level, base^-beta(level + 1), in units of 1/scale (at least 1)."""
        return max(1, self.scale // int(self.base ** _beta(level + 1, self.dimension)))

    def _cell(self, level: int, q: int) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Per index of one axis: the anchor whose cell holds it, and whether its cube does."""
        shift = q * (self._shift(self.digits) - self._shift(level))
        moved = np.arange(self.side + 1) + shift
        unit = self.base ** (self.digits - level)
        return moved // unit, moved % unit <= self._length(level)

    def _shift(self, level: int) -> int:
        """The sum of base^-r for r = 2..level, in units of base^-K."""
        first, last = (int(self.base ** (self.digits - r)) for r in (1, level))
        return (first - last) // (self.base - 1)

    def _length(self, level: int) -> int:
        """delta_k in units of base^-K: digits base - 2 after the first `level` ones."""
        unit = int(self.base ** (self.digits - level))
        return (self.base - 2) * (unit - 1) // (self.base - 1)

    @functools.cached_property
    def _alpha_scale(self) -> int:
        return int(self.base ** ((self.dimension - 1) * _beta(self.digits, self.dimension)))

    @functools.cached_property
    def _psi(self) -> tuple[Array, int]:
        return inner_grid(self.digits, dimension=self.dimension, base=self.base)

    @functools.cached_property
    def _tables(self) -> list[Array]:
        """alpha_p psi on the grid, in units of 1/scale, for each p."""
        dtype = _integers(math.ceil(self.scale * sum(self.alphas)))
        psi: Array = self._psi[0].astype(dtype)
        return [psi * int(2 * self._alpha_scale * alpha) for alpha in self.alphas]


# Outer functions -----------------------------------------------------------------------------


@dataclass(frozen=True)
class OuterStep:
    r"""What one iteration adds to one outer function: plateaus with linear ramps.

    .. math:: \Phi(y) = \sum_d v_d\, \theta_d(y), \qquad
              \theta_d(y) = \max\Big(0,\; 1 - \frac{\mathrm{dist}(y, T(d))}{w}\Big),

    with disjoint intervals T(d) = [left, right] and a ramp width w of at most half of the
    smallest distance between two of them.

    Attributes:
        left, right: Ends of the intervals, increasing integers, shape (plateaus,).
        value: v, shape (plateaus,); float64, or object for exact fractions.
        ramp: w, a positive integer.

    Example:
        >>> step = OuterStep.from_images(np.array([0, 20]), np.array([4, 24]), np.ones(2), 4)
        >>> step(np.array([0, 4, 5, 8, 16, 18, 24])).tolist()
        [1.0, 1.0, 0.75, 0.0, 0.0, 0.5, 1.0]

    Book: *The theorem as a program*. Source: Braun and Griebel (2009),
    doi:10.1007/s00365-009-9054-2.
    """

    left: Array
    right: Array
    value: Array
    ramp: int

    @classmethod
    def from_images(cls, left: Array, right: Array, value: Array, ramp_limit: int) -> OuterStep:
        """Sort the intervals, check that they are disjoint and choose the ramps' width.

        Args:
            left: Left ends of the intervals, integers, any shape.
            right: Right ends, the same shape.
            value: Plateau heights, the same shape.
            ramp_limit: The widest ramp allowed, at least 1.

        Raises:
            ValueError: If two of the intervals meet.
        """
        order = np.argsort(left, axis=None, kind="stable")
        left, right, value = (array.ravel()[order] for array in (left, right, value))
        gap = int(np.min(left[1:] - right[:-1]))
        if gap < 2:
            raise ValueError(f"the images of different cubes must be disjoint, got a gap of {gap}")
        return cls(left, right, value, min(ramp_limit, gap // 2))

    def __call__(self, y: Array) -> Array:
        """The function's values.

        Args:
            y: Integers in the units of the intervals, any shape.

        Returns:
            Values of the same shape.
        """
        flat = np.ravel(y)
        below = np.searchsorted(self.left, flat, side="right") - 1  # the last that begins by y
        last = len(self.left) - 1
        first, second = np.maximum(below, 0), np.minimum(below + 1, last)
        after = np.where(below >= 0, flat - self.right[first], self.ramp)
        before = np.where(below < last, self.left[second] - flat, self.ramp)
        one: Array = self.value[first] * self._theta(after)
        other: Array = self.value[second] * self._theta(before)
        return (one + other).reshape(np.shape(y))

    def _theta(self, distance: Array) -> Array:
        """1 on the plateau, 0 from the ramp's end on."""
        theta = (distance <= 0).astype(self.value.dtype)
        ramp = (distance > 0) & (distance < self.ramp)
        theta[ramp] = _ratio(self.ramp - distance[ramp], self.ramp, self.value.dtype)
        return theta


# Superposition -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Iteration:
    """One step of the outer iteration, as promised and as measured on the grid.

    Attributes:
        level: k, the digits of the cubes' corners.
        oscillation: epsilon, the largest difference between the residual in a cube and at its
            corner, relative to `before`.
        guaranteed: eta of equation (6) of the module; a promise of contraction where below 1.
        before: Sup norm of the residual on the grid before this iteration.
        error: Sup norm of the residual on the grid after it.
    """

    level: int
    oscillation: float
    guaranteed: float
    before: float
    error: float

    @property
    def measured(self) -> float:
        """The factor by which the sup norm changed; 0 where nothing was left to do."""
        return self.error / self.before if self.before else 0.0


@dataclass(frozen=True)
class Superposition:
    r"""A function of n variables as sums and compositions of functions of one variable.

    .. math:: g(t) = \sum_{q=0}^{m} \Phi_q(\xi_q((1 - 1/\gamma)\, t)), \qquad
              \Phi_q = \sum_r \Phi_q^r.

    Made by :func:`superpose`.

    Attributes:
        inner: The inner sums; they do not depend on f.
        steps: steps[r][q] is what iteration r added to the outer function q.
        iterations: What each iteration promised and did.
        residual: f - g on the grid, shape (side + 1,) * n.
    """

    inner: InnerSums
    steps: tuple[tuple[OuterStep, ...], ...]
    iterations: tuple[Iteration, ...]
    residual: Array

    def __call__(self, t: npt.ArrayLike) -> Array:
        """The superposition's values at points of the unit cube.

        Points are rounded to the grid: t to the nearest multiple of 1/side, ties to even.

        Args:
            t: Points, floats or fractions, shape (..., n), in [0, 1].

        Returns:
            Values, shape (...).

        Raises:
            ValueError: If the shape or a point is out of range.
        """
        points = np.asarray(t)
        if points.ndim == 0 or points.shape[-1] != self.inner.dimension:
            raise ValueError(
                f"t must have last dimension {self.inner.dimension}, got shape {points.shape}"
            )
        if not ((points >= 0) & (points <= 1)).all():
            raise ValueError("t must lie in [0, 1], got points outside")
        rounded = _each(round, points * self.inner.side)  # of fractions, if they are
        index = list(np.moveaxis(rounded.astype(np.int64), -1, 0))
        values = (self.outer(q, self.inner.sums(index, q)) for q in range(self.inner.terms))
        return _sum(values)

    def outer(self, q: int, y: Array) -> Array:
        """The outer function Phi_q.

        Args:
            q: The family, 0..terms - 1.
            y: Integers in units of 1/scale, as ``inner.sums`` gives them, any shape.

        Returns:
            Values of the same shape.
        """
        return _sum(steps[q](y) for steps in self.steps)

    def sufficient_level(self, oscillation: float | None = None) -> int:
        r"""How many digits the next iteration would need before its guarantee holds.

        An outer step has slope :math:`\lVert e_{r-1} \rVert / ((m+1) w_r)` at most, and over a
        cube of level k each :math:`\xi_q` varies by :math:`2 \cdot 2^{-(k-1)}/\gamma \sum_p
        \alpha_p` at most. The ramps laid so far thus make the residual vary by no more than

        .. math:: \frac{4 \sum_p \alpha_p}{2^{k} \gamma}
                  \sum_r \frac{\lVert e_{r-1} \rVert}{w_r}
                  \overset{!}{\le} \varepsilon \lVert e \rVert

        over a cube. (How f itself varies comes on top.) The bound is sufficient, not necessary.

        Args:
            oscillation: :math:`\varepsilon`, above 0; half of the largest with a guarantee if None.

        Returns:
            The smallest such level k, at least one above the last.

        Raises:
            ValueError: If the oscillation is not positive, or the residual is zero on the grid.
        """
        inner, last = self.inner, self.iterations[-1]
        if oscillation is None:
            spare = inner.terms - 2 * inner.dimension
            oscillation = spare / (inner.terms - inner.dimension) / 2
        if oscillation <= 0:
            raise ValueError(f"oscillation must be positive, got {oscillation}")
        if last.error == 0:
            raise ValueError("there must be a residual for another iteration, got zero on the grid")
        slopes = sum(
            Fraction(iteration.before) * inner.scale / min(step.ramp for step in steps)
            for iteration, steps in zip(self.iterations, self.steps, strict=True)
        )
        varies = 4 * sum(inner.alphas) / inner.base * slopes
        allowed = Fraction(oscillation) * Fraction(last.error)
        return max(last.level + 1, (math.ceil(varies / allowed) - 1).bit_length())


def superpose(
    f: Callable[[Array], npt.ArrayLike],
    dimension: int,
    *,
    digits: int = 3,
    levels: Sequence[int] | None = None,
    terms: int | None = None,
    base: int | None = None,
    exact: bool = False,
) -> Superposition:
    r"""Write a function of n variables with functions of one variable and addition.

    The outer iteration, starting from e_0 = f, subtracts one superposition after the other,

    .. math:: e_r = e_{r-1} - \sum_{q=0}^{m} \Phi_q^r \circ \xi_q, \qquad
              \Phi_q^r = \frac{e_{r-1}(d)}{m + 1} \text{ on the image of each cube of level } k_r.

    Each iteration multiplies the sup norm by :math:`\eta = ((m+1-n)\,\varepsilon + 2n)/(m+1)` at
    most, where :math:`\varepsilon` is the oscillation of :math:`e_{r-1}` over a cube, relative to
    its norm; see the module for the proof, and for what is exact.

    Args:
        f: Takes points of the unit cube, shape (..., n), to finite values of shape (...).
        dimension: n, at least 2.
        digits: K, digits of the grid that all is computed on, at least 1. The grid has
            (base - 1) base^(K-1) + 1 points per axis, at most ``MAX_POINTS`` in all.
        levels: k_1 < k_2 < ..., one for each iteration, from 1 to K; 1, 2, ..., K - 1 if None. At
            level K each grid point has its own plateau.
        terms: m + 1, at least 2n + 1, which is the default. More of them contract faster.
        base: :math:`\gamma`, at least m + 2, which is the default.
        exact: Hand f fractions (dtype object) and keep its values, which must be fractions or
            integers, as such.

    Returns:
        A :class:`Superposition`.

    Raises:
        ValueError: If an argument is out of its range, or f returns what does not fit.

    Example:
        >>> g = superpose(lambda t: t[..., 0] * t[..., 1], 2, digits=3, levels=[2])
        >>> first = g.iterations[0]
        >>> round(first.oscillation, 2), round(first.guaranteed, 2), round(first.measured, 2)
        (0.04, 0.83, 0.39)

    Book: *The theorem as a program*. Source: Braun and Griebel (2009),
    doi:10.1007/s00365-009-9054-2.
    """
    terms = 2 * dimension + 1 if terms is None else terms
    inner = InnerSums(dimension, terms + 1 if base is None else base, terms, digits)
    levels = list(range(1, digits)) or [1] if levels is None else list(levels)
    if not levels or levels != sorted(set(levels)) or levels[0] < 1 or levels[-1] > digits:
        raise ValueError(f"levels must increase from 1 to digits = {digits} at most, got {levels}")
    points = (inner.side + 1) ** dimension
    if points > MAX_POINTS:
        raise ValueError(
            f"digits must leave at most {MAX_POINTS} grid points, got {digits} and {points} points"
        )
    residual = _sample(f, inner, exact)
    steps: list[tuple[OuterStep, ...]] = []
    iterations: list[Iteration] = []
    for level in levels:
        residual, step, iteration = _iterate(inner, residual, level)
        steps.append(step)
        iterations.append(iteration)
    return Superposition(inner, tuple(steps), tuple(iterations), residual)


def _iterate(
    inner: InnerSums, residual: Array, level: int
) -> tuple[Array, tuple[OuterStep, ...], Iteration]:
    """One outer iteration: the new residual, the outer steps, the record."""
    corners = residual[np.ix_(*[inner.anchors(level)] * inner.dimension)]  # e(d)
    before = np.abs(residual).max()
    steps, after, varies = [], residual, 0
    for q in range(inner.terms):
        cell, inside = inner._cell(level, q)
        cubes = residual[np.ix_(*[inside] * inner.dimension)]
        at_corner = corners[np.ix_(*[cell[inside]] * inner.dimension)]
        varies = max(varies, np.abs(cubes - at_corner).max())
        left, right = inner.images(level, q)
        step = OuterStep.from_images(left, right, corners / inner.terms, inner.ramp_limit(level))
        after = after - step(inner.sums(inner.grid, q))
        steps.append(step)
    oscillation = float(varies / before) if before else 0.0
    spread = (inner.terms - inner.dimension) * oscillation
    guaranteed = (spread + 2 * inner.dimension) / inner.terms
    error = float(np.abs(after).max())
    return after, tuple(steps), Iteration(level, oscillation, guaranteed, float(before), error)


def _sample(f: Callable[[Array], npt.ArrayLike], inner: InnerSums, exact: bool) -> Array:
    """f on the grid, shape (side + 1,) * n: float64, or object where exact."""
    if exact:
        axis = np.array([Fraction(i, inner.side) for i in range(inner.side + 1)], dtype=object)
    else:
        axis = np.arange(inner.side + 1) / inner.side
    points = np.stack(np.meshgrid(*[axis] * inner.dimension, indexing="ij"), axis=-1)
    values = np.asarray(f(points))
    if values.shape != points.shape[:-1]:
        raise ValueError(
            f"f must take points of shape {points.shape} to values of shape {points.shape[:-1]}, "
            f"got {values.shape}"
        )
    if exact:
        if not all(isinstance(value, Fraction | int) for value in values.flat):
            raise ValueError("f must return fractions or integers where exact is True")
        return _each(Fraction, values)
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("f must be finite on the unit cube, got a NaN or an infinity")
    return values


def _sum(arrays: Iterable[Array]) -> Array:
    return functools.reduce(operator.add, arrays)


def _beta(r: int, dimension: int) -> int:
    """beta(r) = 1 + n + ... + n^(r-1)."""
    return int((dimension**r - 1) // (dimension - 1))


def _check_base(dimension: int, base: int | None) -> int:
    if dimension < 2:
        raise ValueError(f"dimension must be at least 2, got {dimension}")
    least = 2 * dimension + 2
    if base is not None and base < least:
        raise ValueError(f"base must be at least 2 * dimension + 2 = {least}, got {base}")
    return base or least


def _integers(bound: int) -> np.dtype[Any]:
    """int64 where numbers up to the bound, and their sums and differences, fit; else Python's."""
    return np.dtype(np.int64 if bound < 2**61 else object)


def _ratio(numerator: Array, denominator: int, dtype: np.dtype[Any]) -> Array:
    """Quotients of integers: fractions for dtype object, floats otherwise."""
    if dtype.kind == "O":
        return _each(lambda i: Fraction(int(i), denominator), numerator)
    quotient: Array = (numerator / denominator).astype(dtype)
    return quotient


def _each(function: Callable[[Any], Any], values: Array) -> Array:
    """A function of one number applied to each entry; dtype object."""
    result: Array = np.frompyfunc(function, 1, 1)(values)
    return result
