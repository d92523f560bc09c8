r"""KANs as scikit-learn estimators: :class:`KANRegressor` and :class:`KANClassifier`.

Both train the network of :mod:`kanlite.tables`, which lives in the units of the data: ``model_``
takes the columns as they are and gives y (or logits) itself, because its knots lie where the
columns' values lie and its last layer has the scale of y. So ``kl.save(estimator.model_, path)``
keeps all of a regressor, and plots and formulas speak the user's units. The arithmetic is float64,
whatever the dtype of the input.

Glossary
    X, y      table (rows, n_features), targets (rows,) or (rows, outputs)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor

from kanlite.discovery import find_formula
from kanlite.layers import KAN
from kanlite.pruning import prune
from kanlite.symbolic import Formula, to_formula
from kanlite.tables import (
    Recipe,
    Task,
    Trained,
    fit_rows,
    importances,
    merge_rows,
    probabilities,
    split_rows,
)
from kanlite.training import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["KANClassifier", "KANRegressor"]

KEPT_ROWS = 1000  # of the training rows, for plots and formulas


class _KANEstimator(BaseEstimator):  # type: ignore[misc]
    """What both estimators share; subclasses say what y is."""

    _task: Task
    model_: KAN
    history_: History
    smoothness_: list[float]
    shrinkage_: list[float]
    _formula: Formula | None
    _sample: tuple[Tensor, Tensor]

    def __init__(
        self,
        widths: tuple[int, ...] | Literal["auto"] = "auto",
        *,
        num_intervals: int = 5,
        degree: int = 3,
        uniform_fraction: float = 0.5,
        optimizer: Literal["auto", "lm", "lbfgs", "adam"] = "auto",
        steps: int | None = None,
        batch_size: int = 256,
        smoothness: float | Literal["auto"] = "auto",
        shrinkage: float | Literal["auto"] = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 20,
        warm_start: bool = False,
        progress: bool | Literal["auto"] = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.widths = widths
        self.num_intervals = num_intervals
        self.degree = degree
        self.uniform_fraction = uniform_fraction
        self.optimizer = optimizer
        self.steps = steps
        self.batch_size = batch_size
        self.smoothness = smoothness
        self.shrinkage = shrinkage
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.warm_start = warm_start
        self.progress = progress
        self.random_state = random_state

    @property
    def feature_importances_(self) -> np.ndarray:
        """Share of each feature in the outputs over the training rows, shape (n_features,).

        The attribution of :func:`kanlite.node_scores`, scaled to the sum 1 (zeros where the
        network is constant).
        """
        check_is_fitted(self, "model_")
        return self._importances.copy()

    @property
    def formula_(self) -> Formula:
        """What ``formula`` gives for the training rows (at most 1,000 of them); kept once computed.

        Needs SymPy. Formulas take longer than fits, so it is computed when it is first asked for.
        """
        check_is_fitted(self, "model_")
        if self._formula is None:
            x, y = self._sample
            self._formula = self._read(x, y)
        return self._formula

    def formula(self, X: Any, y: Any) -> Formula:
        """A formula for the data, in their units.

        Args:
            X: Table, shape (rows, n_features); see the class for how many rows.
            y: Targets.

        Returns:
            The formula; ``.found`` tells whether it explains the data, ``.expr`` is SymPy's.

        Raises:
            ValueError: If X or y breaks a rule.
            ImportError: If SymPy is not installed.
        """
        check_is_fitted(self, "model_")
        rows = merge_rows(*self._checked(X, y, reset=False))
        return self._read(rows.x, rows.y)

    def plot(self, X: Any = None) -> Figure:
        """Draw the network, its edges over the values that X (or the training rows) has.

        Args:
            X: Table, shape (rows, n_features); training rows, at most 1,000, if None.

        Returns:
            A Matplotlib figure; see :func:`kanlite.plot_kan`.

        Raises:
            ValueError: If the network is too wide to draw.
            ImportError: If Matplotlib is not installed.
        """
        check_is_fitted(self, "model_")
        from kanlite.plotting import plot_kan

        x = self._sample[0] if X is None else torch.tensor(self._checked_x(X, reset=False))
        return plot_kan(self.model_, x, names=self._names())

    def _fit(self, x: np.ndarray, y: np.ndarray, weight: Any, outputs: int) -> None:
        """Train on checked arrays, and set what training gives."""
        if not 0.0 < self.validation_fraction < 1.0:
            raise ValueError(
                f"validation_fraction must be in (0, 1), got {self.validation_fraction}"
            )
        recipe = self._recipe()
        weight = _check_sample_weight(weight, x, dtype=np.float64, ensure_non_negative=True)
        rows = merge_rows(x, y, weight)
        state = check_random_state(self.random_state)
        generator = torch.Generator().manual_seed(int(state.randint(2**31 - 1)))
        training, validation = rows, None
        if self.early_stopping:
            training, validation = split_rows(rows, self.validation_fraction, generator)
        trained = fit_rows(
            training,
            recipe,
            outputs=outputs,
            validation=validation,
            start=self._start(outputs),
            generator=generator,
            progress=self.progress,
        )
        self.model_, self.history_ = trained.model, trained.history
        self.smoothness_, self.shrinkage_ = trained.smoothness, trained.shrinkage
        self.n_iter_ = len(trained.history.train_loss)
        self._importances, self._formula = importances(self.model_, rows.x).numpy(), None
        chosen = torch.randperm(len(rows), generator=generator)[:KEPT_ROWS]
        self._sample = rows.x[chosen], rows.y[chosen]

    def _recipe(self) -> Recipe:
        return Recipe(
            task=self._task,
            widths="auto" if isinstance(self.widths, str) else tuple(self.widths),
            num_intervals=self.num_intervals,
            degree=self.degree,
            uniform_fraction=self.uniform_fraction,
            optimizer=self.optimizer,
            steps=self.steps,
            batch_size=self.batch_size,
            smoothness=self.smoothness,
            shrinkage=self.shrinkage,
            patience=self.patience,
        )

    def _start(self, outputs: int) -> Trained | None:
        """The network to go on from, if that is wanted and there is one."""
        if not self.warm_start or not hasattr(self, "model_"):
            return None
        widths = self._recipe().all_widths(self.n_features_in_, outputs)
        if self.model_.widths != widths:
            raise ValueError(
                f"warm_start must find the widths it left, {self.model_.widths}, got {widths}: "
                "fit a clone instead"
            )
        return Trained(self.model_, self.history_, self.smoothness_, self.shrinkage_)

    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        """X as finite float64, y as :func:`kanlite.tables.merge_rows` takes it."""
        raise NotImplementedError

    def _checked_x(self, X: Any, *, reset: bool) -> np.ndarray:
        """X, checked by scikit-learn, and finite."""
        x = validate_data(self, X, reset=reset, dtype=np.float64, ensure_all_finite=False)
        return self._finite(x)

    def _checked_pair(
        self, X: Any, y: Any, *, reset: bool, numbers: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """X and y, checked by scikit-learn, and finite; training takes two rows at least."""
        x, target = validate_data(
            self,
            X,
            y,
            reset=reset,
            dtype=np.float64,
            ensure_all_finite=False,
            ensure_min_samples=2 if reset else 1,
            multi_output=numbers,
            y_numeric=numbers,
        )
        return self._finite(x), target

    def _finite(self, x: np.ndarray) -> np.ndarray:
        """The same table; what is not finite is named by its column."""
        bad = ~np.isfinite(x)
        if bad.any():
            column = int(bad.any(0).argmax())
            what = "NaN" if np.isnan(x[bad[:, column], column]).any() else "infinity"
            raise ValueError(
                f"X must be finite, got {what} in column {self._names()[column]!r} "
                f"({int(bad[:, column].sum())} of {len(x)} rows)"
            )
        return x

    def _outputs(self, X: Any) -> Tensor:
        """What the network gives, (rows, outputs)."""
        check_is_fitted(self, "model_")
        x = torch.tensor(self._checked_x(X, reset=False))
        with torch.no_grad():
            values: Tensor = self.model_(x)
        return values

    def _names(self) -> list[str]:
        names = getattr(self, "feature_names_in_", None)
        return [f"x{i + 1}" for i in range(self.n_features_in_)] if names is None else list(names)

    def _read(self, x: Tensor, y: Tensor) -> Formula:
        raise NotImplementedError


class KANRegressor(RegressorMixin, _KANEstimator):  # type: ignore[misc]
    r"""Regression by a Kolmogorov-Arnold network, with scikit-learn's interface.

    .. math:: \hat y = \sum_j \Phi_j\Big( \sum_i \phi_{ji}(x_i) \Big) + a

    for one hidden layer, trained on squared errors with penalties on curvature and size whose
    strengths are found from the training rows themselves, by maximizing their evidence: there is
    no validation split unless one is asked for. The module ``kanlite.tables`` holds the method.

    Args:
        widths: Hidden widths, such as ``(5,)``; ``()`` for a sum of functions of one feature each;
            "auto" for one layer of 5, or of twice the number of outputs if that is more.
        num_intervals: Intervals of each spline, at least 1.
        degree: Degree of each spline, at least 0.
        uniform_fraction: Share of equal spacing in the first knots, in (0, 1]; the rest follows
            the (weighted) quantiles of each feature.
        optimizer: "lm" (Levenberg-Marquardt), "lbfgs", "adam", or "auto": "lm" where its steps are
            cheap, "adam" for very large tables, else "lbfgs".
        steps: Most parameter updates; 50, 100 and 2000 for the three if None.
        batch_size: Rows in an update of "adam".
        smoothness: Strength of the penalty on curvature, to be divided by the weights' sum; "auto"
            for the evidence (with "lm") or a small constant.
        shrinkage: Strength of the penalty on coefficients, likewise.
        early_stopping: Whether to hold out rows, stop when their loss no longer falls, and keep
            the network that was best on them.
        validation_fraction: Share of (distinct) rows to hold out, in (0, 1).
        patience: Looks at the held-out rows without progress before it stops: after each update
            of "lm", 10 of "lbfgs", 50 of "adam".
        warm_start: Whether fit goes on from the network of the last fit, knots included.
        progress: A bar: True, False, or "auto" (on a terminal).
        random_state: Seed of the first weights and of whatever else is drawn.

    Attributes:
        model_: The :class:`kanlite.KAN`, (rows, n_features) -> (rows, outputs), float64. Keep it
            with :func:`kanlite.save`, which is safe to load; a pickle of the estimator keeps all.
        history_: Losses, with y in units of its standard deviation.
        n_iter_: Number of updates.
        smoothness_, shrinkage_: Strengths of the penalties of each layer, as they ended.
        feature_importances_: Shares, shape (n_features,).
        formula_: A formula for the training rows, see ``formula``. It and ``plot`` need
            rows, so the estimator (not ``model_``) carries up to 1,000 of those it was fit on.
        n_features_in_, feature_names_in_: As in scikit-learn.

    Raises:
        ValueError: On fit, naming the argument, the rule and the value.

    Rows of weight 2 and rows that stand there twice are the same to the last bit, and so are rows
    in another order: equal rows are merged before anything else happens. Sparse tables and
    missing values are refused.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.uniform(-1, 1, size=(200, 2))
        >>> y = np.exp(np.sin(np.pi * X[:, 0]) + X[:, 1] ** 2)
        >>> KANRegressor(random_state=0).fit(X[:150], y[:150]).score(X[150:], y[150:]) > 0.999
        True

    Book: *Reading a network* tells how formulas are read.
    """

    _task: Task = "regression"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> KANRegressor:
        """Train a network.

        Args:
            X: Table, shape (rows, n_features), finite, at least 2 rows.
            y: Targets, shape (rows,) or (rows, outputs), finite.
            sample_weight: Shape (rows,), at least 0; ones if None.

        Returns:
            The estimator.

        Raises:
            ValueError: If X, y, the weights or an argument of the class breaks its rule.
        """
        x, target = self._checked_pair(X, y, reset=True, numbers=True)
        self._flat = target.ndim == 1
        target = target.reshape(len(x), -1).astype(np.float64)
        self._fit(x, target, sample_weight, target.shape[1])
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predictions, shape (rows,) or (rows, outputs) as y was."""
        values = self._outputs(X).numpy()
        return values[:, 0] if self._flat else values

    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        x, target = self._checked_pair(X, y, reset=reset, numbers=True)
        return x, target.reshape(len(target), -1).astype(np.float64)

    def _read(self, x: Tensor, y: Tensor) -> Formula:
        """Networks of growing size, by :func:`kanlite.find_formula`, on features that vary."""
        varies = (x.amax(0) > x.amin(0)).tolist()
        names = [name for name, keep in zip(self._names(), varies, strict=True) if keep]
        return find_formula(x[:, torch.tensor(varies)], y, names=names).formula


class KANClassifier(ClassifierMixin, _KANEstimator):  # type: ignore[misc]
    r"""Classification by a Kolmogorov-Arnold network, with scikit-learn's interface.

    .. math:: P(y = k \mid x) = \mathrm{softmax}_k\, f(x)

    with a KAN f, trained on cross-entropy with penalties on curvature and size; for two classes
    f is one number, the log-odds of the second.

    Args:
        widths: Hidden widths, such as ``(5,)``; ``()`` for a sum of functions of one feature each;
            "auto" for one layer of 5, or of twice the number of outputs if that is more.
        num_intervals: As in :class:`KANRegressor`, like all arguments that are not named here.
        optimizer: "lbfgs", "adam", or "auto": "lbfgs" but for very large tables.
        steps: Most parameter updates; 100 and 2000 if None.
        smoothness: Strength of the penalty on curvature, to be divided by the weights' sum; a
            small constant if "auto".
        shrinkage: Strength of the penalty on coefficients, likewise.

    Attributes:
        model_: The :class:`kanlite.KAN`, (rows, n_features) -> (rows, n_classes), or to (rows, 1)
            for two classes.
        classes_: The classes, sorted; that is the order of the model's outputs.
        history_: As in :class:`KANRegressor`, like all attributes that are not named here.
        formula_: A formula of the network's outputs, of log-odds for two classes.

    Raises:
        ValueError: On fit, naming the argument, the rule and the value.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> X = rng.uniform(-1, 1, size=(200, 2))
        >>> y = np.where((X**2).sum(1) < 0.5, "inside", "outside")
        >>> KANClassifier(random_state=0).fit(X[:150], y[:150]).score(X[150:], y[150:]) > 0.9
        True

    Book: *Reading a network* tells how formulas are read.
    """

    _task: Task = "classification"
    classes_: np.ndarray

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> KANClassifier:
        """Train a network.

        Args:
            X: Table, shape (rows, n_features), finite, at least 2 rows.
            y: Classes, shape (rows,), at least two different ones.
            sample_weight: Shape (rows,), at least 0; ones if None.

        Returns:
            The estimator.

        Raises:
            ValueError: If X, y, the weights or an argument of the class breaks its rule.
        """
        x, labels = self._checked_pair(X, y, reset=True, numbers=False)
        check_classification_targets(labels)
        classes, indices = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y must hold at least two classes, got one class: {classes[0]}")
        if self.warm_start and not np.array_equal(classes, getattr(self, "classes_", classes)):
            raise ValueError(
                f"warm_start must find the classes it left, {list(self.classes_)}, "
                f"got {list(classes)}: fit a clone instead"
            )
        self.classes_ = classes
        self._fit(x, indices, sample_weight, 1 if len(classes) == 2 else len(classes))
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits, shape (rows, n_classes); log-odds, shape (rows,), for two classes."""
        values = self._outputs(X).numpy()
        return values[:, 0] if values.shape[1] == 1 else values

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities, shape (rows, n_classes)."""
        return probabilities(self._outputs(X)).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Classes, shape (rows,)."""
        chosen = probabilities(self._outputs(X)).argmax(1).numpy()
        labels: np.ndarray = self.classes_[chosen]
        return labels

    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        x, labels = self._checked_pair(X, y, reset=reset, numbers=False)
        unknown = sorted(set(np.unique(labels)) - set(self.classes_))
        if unknown:
            raise ValueError(f"y must hold classes of the fit, got {str(unknown[0])!r}")
        return x, np.searchsorted(self.classes_, labels)

    def _read(self, x: Tensor, y: Tensor) -> Formula:
        """The trained network itself, pruned: classes alone tell little about its outputs."""
        small, kept = prune(self.model_, x, drop_inputs=True)
        names = self._names()
        with torch.no_grad():
            values = self.model_(x)
        return to_formula(small, x[:, kept], values, names=[names[i] for i in kept])
