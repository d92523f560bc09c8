"""scikit-learn's own checks, and what users of its estimators expect beyond them."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_wine
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split
from sklearn.utils.estimator_checks import parametrize_with_checks

import kanlite as kl

Array = np.ndarray


@parametrize_with_checks([kl.KANRegressor(), kl.KANClassifier()])
def test_scikit_learn_checks(estimator: Any, check: Any) -> None:
    """All of them, with the defaults."""
    check(estimator)


@pytest.fixture
def table() -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(150, 2))
    return x, np.exp(np.sin(np.pi * x[:, 0]) + x[:, 1] ** 2)


def quick(**options: Any) -> kl.KANRegressor:
    return kl.KANRegressor(**{"widths": (2,), "steps": 10, "random_state": 0} | options)


def test_small_noisy_tables_are_not_overfit() -> None:
    """Diabetes: as good as a linear model nearly, which is about the best that one can do."""
    x, y = load_diabetes(return_X_y=True)
    parts = train_test_split(x, y, random_state=0)
    score = kl.KANRegressor(random_state=0).fit(parts[0], parts[2]).score(parts[1], parts[3])
    linear = LinearRegression().fit(parts[0], parts[2]).score(parts[1], parts[3])
    assert score > linear - 0.1


def test_classes_of_wine() -> None:
    x, y = load_wine(return_X_y=True)
    parts = train_test_split(x, y, random_state=0, stratify=y)
    model = kl.KANClassifier(random_state=0).fit(parts[0], parts[2])
    assert model.score(parts[1], parts[3]) > 0.95
    assert model.predict_proba(parts[1]).shape == (45, 3)


def test_the_network_speaks_the_units_of_the_data(
    table: tuple[Array, Array], tmp_path: Path
) -> None:
    x, y = 1000 + 50 * table[0], 1e-3 * table[1]
    model = quick().fit(x, y)
    kl.save(model.model_, tmp_path / "model.pt")
    again = kl.load(tmp_path / "model.pt")
    with torch.no_grad():
        assert np.array_equal(again(torch.from_numpy(x))[:, 0].numpy(), model.predict(x))
    assert model.score(x, y) > 0.8


def test_pickle_and_clone(table: tuple[Array, Array]) -> None:
    model = quick().fit(*table)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict(table[0]), model.predict(table[0]))
    fresh = clone(model)
    assert not hasattr(fresh, "model_")
    assert np.array_equal(fresh.fit(*table).predict(table[0]), model.predict(table[0]))


def test_precision_of_the_input_is_of_no_effect(table: tuple[Array, Array]) -> None:
    x, y = (a.astype(np.float32) for a in table)
    single, double = quick().fit(x, y), quick().fit(x.astype(float), y.astype(float))
    assert single.predict(x).dtype == np.float64
    assert np.array_equal(single.predict(x), double.predict(x))


def test_pandas_names(table: tuple[Array, Array]) -> None:
    frame = pd.DataFrame(table[0], columns=["wind", "rain"])
    model = quick().fit(frame, pd.Series(table[1]))
    assert model.feature_names_in_.tolist() == ["wind", "rain"]
    assert model.predict(frame).shape == (150,)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["rain", "wind"]])
    frame.loc[[3, 5], "rain"] = np.nan
    with pytest.raises(ValueError, match=r"got NaN in column 'rain' \(2 of 150 rows\)"):
        model.predict(frame)
    frame["rain"] = np.inf
    with pytest.raises(ValueError, match=r"got infinity in column 'rain' \(150 of 150 rows\)"):
        quick().fit(frame, table[1])


def test_sparse_tables_are_refused(table: tuple[Array, Array]) -> None:
    with pytest.raises(TypeError, match="Sparse data was passed"):
        quick().fit(sparse.csr_array(table[0]), table[1])


def test_several_targets(table: tuple[Array, Array]) -> None:
    x, y = table
    both = np.stack([y, -3 * x[:, 0]], 1)
    model = quick(widths=(3,)).fit(x, both)
    assert model.predict(x).shape == (150, 2)
    assert model.score(x, both) > 0.8
    assert quick().fit(x, y[:, None]).predict(x).shape == (150, 1)


def test_binary_constant_and_few(table: tuple[Array, Array]) -> None:
    x = np.column_stack([table[0][:, 0] > 0, np.full(150, 7.0), table[0][:, 1]])
    model = quick().fit(x, 2.0 * x[:, 0] + x[:, 2])
    assert model.score(x, 2.0 * x[:, 0] + x[:, 2]) > 0.99
    assert model.feature_importances_[1] == 0
    moved = x + np.array([0, 100.0, 0])
    np.testing.assert_allclose(model.predict(moved), model.predict(x))
    tiny = quick().fit([[0.0], [1.0], [2.0]], [1.0, 2.0, 3.0])
    assert np.isfinite(tiny.predict([[-5.0], [5.0]])).all()
    constant = quick().fit([[0.0], [1.0], [2.0]], [4.0, 4.0, 4.0])
    np.testing.assert_allclose(constant.predict([[0.5], [9.0]]), 4.0)


def test_importances(table: tuple[Array, Array]) -> None:
    x = np.column_stack([table[0], np.random.default_rng(1).normal(size=150)])
    model = kl.KANRegressor(random_state=0).fit(x, table[1])
    shares = model.feature_importances_
    assert shares.argmin() == 2
    assert shares.sum() == pytest.approx(1.0)
    shares[:] = 0  # a copy
    assert model.feature_importances_.sum() == pytest.approx(1.0)


def test_early_stopping_holds_rows_out_only_if_asked(table: tuple[Array, Array]) -> None:
    assert quick().fit(*table).history_.validation_loss == []
    model = quick(early_stopping=True, patience=2, steps=40).fit(*table)
    assert len(model.history_.validation_loss) == model.n_iter_
    with pytest.raises(ValueError, match=r"validation_fraction must be in \(0, 1\), got 1.5"):
        quick(validation_fraction=1.5).fit(*table)


def test_warm_start_goes_on(table: tuple[Array, Array]) -> None:
    model = quick(steps=8, warm_start=True).fit(*table)
    before = model.history_.train_loss[-1]
    assert model.fit(*table).history_.train_loss[0] < 1.5 * before
    model.set_params(widths=(3,))
    with pytest.raises(ValueError, match=r"warm_start must find the widths it left, \(2, 2, 1\)"):
        model.fit(*table)
    labels = np.where(table[1] > 1, "high", "low")
    classifier = kl.KANClassifier((2,), steps=10, warm_start=True).fit(table[0], labels)
    with pytest.raises(ValueError, match="warm_start must find the classes it left"):
        classifier.fit(table[0], np.where(table[1] > 1, "high", "tiny"))


def test_formula_and_plot(table: tuple[Array, Array]) -> None:
    from matplotlib import pyplot as plt

    x = np.column_stack([table[0], np.full(150, 2.0)])
    frame = pd.DataFrame(x, columns=["a", "b", "fixed"])
    model = quick().fit(frame, 3 * x[:, 0] - x[:, 1] ** 2)
    assert model.formula_.found
    assert str(model.formula_.expr) == "3*a - b**2"
    assert model.formula_ is model.formula_  # computed once
    assert str(model.formula(frame, x[:, 0] / 2).expr) == "a/2"
    for figure in (model.plot(), model.plot(frame)):
        texts = [text.get_text() for text in figure.axes[0].texts]
        assert texts == ["a", "b", "fixed"]
        plt.close(figure)


def test_formula_of_log_odds() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(200, 2))
    y = np.where(rng.random(200) < 1 / (1 + np.exp(-4 * x[:, 0])), "yes", "no")
    model = kl.KANClassifier((), random_state=0).fit(x, y)
    formula = model.formula(x, y)
    assert formula.relative_error < 0.2
    with pytest.raises(ValueError, match="y must hold classes of the fit, got 'maybe'"):
        model.formula(x, np.where(y == "yes", "maybe", "no"))


def test_one_class_is_no_problem_to_learn() -> None:
    with pytest.raises(ValueError, match="y must hold at least two classes, got one class: 1"):
        kl.KANClassifier().fit([[0.0], [1.0]], [1, 1])


def test_arguments_are_checked_on_fit(table: tuple[Array, Array]) -> None:
    with pytest.raises(ValueError, match="degree must be at least 0, got -1"):
        quick(degree=-1).fit(*table)
