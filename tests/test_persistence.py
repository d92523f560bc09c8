"""Files: the same function bit for bit, whole or not at all, and nothing runs from them."""

import math
import os
import pickle
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import default_dtype, same_state, seeded, uniform
from torch import Tensor, nn

import kanlite as kl
from kanlite.architectures import KANGPT, KANAttention, KANConv2d, KANFeedForward
from kanlite.layers import RESIDUALS
from kanlite.persistence import read_file, write_file


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with default_dtype(torch.float64):
        yield


def _repeated(n: int) -> kl.BSpline:
    rows = [[-1.0 - i, -1 - i, -1 - i, 0, 0, 0.5, 1, 1, 1 + i] for i in range(n)]
    return kl.BSpline(degree=2, knots=torch.tensor(rows), extrapolate="zero")


MODELS: dict[str, Callable[[], nn.Module]] = {
    **{
        f"residual {residual}": (
            lambda residual=residual: kl.KAN([2, 3, 1], kl.BSpline(), residual=residual)
        )
        for residual in (*RESIDUALS, None)
    },
    **{
        f"extrapolation {name}": (
            lambda name=name: kl.KAN([2, 1], kl.BSpline(4, 2, 0.1, 0.7, extrapolate=name))
        )
        for name in ("constant", "natural", "zero")
    },
    "degree 0": lambda: kl.KAN([2, 1], kl.BSpline(degree=0)),
    "bias": lambda: kl.KAN([2, 3, 1], kl.BSpline(), bias=True),
    "layer norm": lambda: kl.KAN([2, 3, 1], kl.BSpline(), normalize=nn.LayerNorm),
    "layer norm without weights": lambda: kl.KAN(
        [2, 3, 1],
        kl.BSpline(),
        normalize=lambda n: nn.LayerNorm(n, eps=0.3, elementwise_affine=False),
    ),
    "layer norm without bias": lambda: kl.KAN(
        [2, 3, 1], kl.BSpline(), normalize=lambda n: nn.LayerNorm(n, bias=False)
    ),
    "knots for each feature": lambda: kl.KAN([2, 3, 1], _repeated),
    "one layer": lambda: kl.KANLayer(2, 2, kl.BSpline()),
    "sequential": lambda: nn.Sequential(
        nn.LayerNorm(2), kl.KANLayer(2, 3, kl.BSpline()), kl.KAN([3, 2, 1], kl.BSpline())
    ),
    "products": lambda: nn.Sequential(
        kl.KANLayer(2, 6, kl.BSpline()), kl.Multiply(1, 2, (2, 3)), kl.KANLayer(3, 1, kl.BSpline())
    ),
    "feed-forward": lambda: KANFeedForward(2, kl.BSpline(), hidden_dim=3, bias=True),
    **{
        name: (lambda name=name: getattr(kl.variants, name)([2, 3, 2]))
        for name in kl.variants.__all__
        if name.endswith("_kan") and not name.startswith("from_")
    },
    "float32": lambda: kl.KAN([2, 3, 1], _repeated).float(),
    "bfloat16": lambda: kl.KAN([2, 3, 1], _repeated, bias=True).bfloat16(),
    "knots finer than the weights": lambda: _mixed(kl.KAN([2, 1], _repeated, residual=None)),
}


def _mixed(model: kl.KAN) -> kl.KAN:
    with torch.no_grad():
        model[0].basis.knots.mul_(1 / 3)
    model[0].coef = nn.Parameter(model[0].coef.float())
    return model


@pytest.fixture
def model() -> kl.KAN:
    return kl.KAN([2, 3, 1], kl.BSpline(), bias=True, generator=seeded())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.pt"


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_bit_for_bit(name: str, path: Path) -> None:
    model = MODELS[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(uniform(*parameter.shape, seed=1))
    kl.save(model, path)
    with default_dtype(torch.float32):  # another session may have another default
        same = kl.load(str(path))
    assert type(same) is type(model)
    assert repr(same) == repr(model)
    assert same_state(model, same)
    assert all(parameter.requires_grad for parameter in same.parameters())
    x = uniform(20, 2, low=-1.5, high=1.5).to(next(model.parameters()).dtype)
    assert torch.equal(same(x), model(x))
    for ours, theirs in zip(kl.edge_layers(model), kl.edge_layers(same), strict=True):
        assert (ours.residual, ours.basis.config()) == (theirs.residual, theirs.basis.config())


def _gpt(**options: object) -> KANGPT:
    return KANGPT(7, 5, _repeated, embed_dim=4, num_heads=2, num_layers=2, **options)


TOKENS = torch.randint(7, (3, 5), generator=seeded())
IMAGES, SEQUENCES = ((3, 4, 6, 5), (3, 5, 4))  # shapes of their inputs
ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...] | None]] = {
    "convolution": (
        lambda: KANConv2d(4, 2, (3, 2), _repeated, padding=(1, 0), dilation=2, bias=True),
        IMAGES,
    ),
    "convolutions": (
        lambda: nn.Sequential(
            KANConv2d(4, 2, 3, kl.Rational(), groups=2, padding="same", padding_mode="none"),
            KANConv2d(2, 2, 2, kl.Fourier(2), stride=2, padding_mode="reflect", residual=None),
        ),
        IMAGES,
    ),
    "attention": (lambda: KANAttention(4, 2, _repeated, residual="tanh"), SEQUENCES),
    "linear attention to all": (lambda: KANAttention(4, 2, None, causal=False), SEQUENCES),
    "GPT": (lambda: _gpt(residual="gelu"), None),
    "GPT of KANs alone": (lambda: _gpt(head="kan"), None),
    "plain GPT": (lambda: _gpt(feed_forward="mlp", attention="linear"), None),
    "refined GPT": (lambda: kl.refine(_gpt(attention="linear"), num_intervals=8), None),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_comes_back_bit_for_bit(name: str, path: Path) -> None:
    make, shape = ARCHITECTURES[name]
    model = make()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(uniform(*parameter.shape, seed=1))
    kl.save(model, path)
    before = torch.get_rng_state()
    with default_dtype(torch.float32):
        same = kl.load(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert type(same) is type(model)
    assert repr(same) == repr(model)
    assert same_state(model, same)
    x = TOKENS if shape is None else uniform(*shape, low=-1.5, high=1.5)
    assert torch.equal(same(x), model(x))
    kl.save(same, path)  # nothing that a file needs has been lost
    assert same_state(kl.load(path), model)


def test_a_file_of_the_first_release_is_read(path: Path) -> None:
    """Written out, so that no change of the format forgets it."""
    state = kl.KAN([2, 1], kl.BSpline(), generator=seeded()).state_dict()
    basis = {"type": "BSpline", "degree": 3, "extrapolate": "linear", "knots_shape": [12]}
    norm = {"type": "LayerNorm", "shape": [2], "eps": 0.1, "affine": False, "bias": False}
    layer = {
        "type": "KANLayer",
        "in_features": 2,
        "out_features": 1,
        "residual": "silu",
        "bias": False,
        "normalize": norm,
        "basis": basis,
    }
    content = {"config": {"type": "KAN", "layers": [layer]}, "state": dict(state)}
    torch.save({"format": "kanlite-model", "version": 1, "kanlite": "0.1.0", **content}, path)
    model = kl.load(path)
    assert isinstance(model, kl.KAN)
    assert same_state(model, state)
    assert model[0].normalize.eps == 0.1


def test_a_loaded_network_goes_on_training(model: kl.KAN, path: Path) -> None:
    kl.save(model, path)
    same, x = kl.load(path), uniform(30, 2)
    for network in (model, same):
        kl.fit(network, (x, x[:, :1]), steps=3)
    assert isinstance(same, kl.KAN)
    assert same.widths == model.widths
    assert same_state(model, same)


def test_random_numbers_are_left_alone(model: kl.KAN, path: Path) -> None:
    before = torch.get_rng_state()
    kl.save(model, path)
    kl.load(path)
    assert torch.equal(torch.get_rng_state(), before)


# Written whole or not at all -----------------------------------------------------------------


def test_an_existing_file_is_replaced(model: kl.KAN, path: Path) -> None:
    path.write_bytes(b"something old")
    with open(path, "rb") as reader:
        kl.save(model, path)
        assert reader.read() == b"something old", "who reads the old file must never see half a new"
    assert same_state(kl.load(path), model)
    assert os.listdir(path.parent) == ["model.pt"]


@pytest.mark.parametrize("interruption", [OSError("no space left"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    model: kl.KAN, path: Path, monkeypatch: pytest.MonkeyPatch, interruption: BaseException
) -> None:
    kl.save(model, path)
    old = path.read_bytes()

    def half(content: object, file: Any) -> None:
        file.write(old[: len(old) // 2])
        raise interruption

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(type(interruption)):
        kl.save(model, path)
    assert path.read_bytes() == old
    assert os.listdir(path.parent) == ["model.pt"]


def test_a_folder_that_does_not_exist_is_an_error(model: kl.KAN, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        kl.save(model, tmp_path / "nowhere" / "model.pt")
    assert os.listdir(tmp_path) == []


def test_files_get_the_permissions_of_any_new_file(model: kl.KAN, path: Path) -> None:
    other = path.with_name("other")
    other.touch()
    kl.save(model, path)
    assert path.stat().st_mode == other.stat().st_mode


# What a file cannot describe -----------------------------------------------------------------


class MyLayer(kl.KANLayer):
    """A layer that does something of its own."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kl.KANLayer(2, 1, kl.BSpline(), residual=torch.sin), "custom residual function"),
        (lambda: KANConv2d(1, 1, 2, kl.BSpline(), residual=torch.sin), "custom residual function"),
        (lambda: _gpt(residual=torch.sin), "custom residual function"),
        (lambda: KANAttention(4, 2, kl.BSpline(), residual=torch.sin), "custom residual function"),
        (lambda: nn.Sequential(nn.Linear(2, 1)), "cannot describe a Linear: save knows KAN, "),
        (lambda: MyLayer(2, 1, kl.BSpline()), "cannot describe a MyLayer"),
        (
            lambda: kl.KANLayer(2, 1, kl.BSpline(), normalize=nn.BatchNorm1d),
            "cannot describe a BatchNorm1d",
        ),
    ],
    ids=[
        "custom residual",
        "in a convolution",
        "in a GPT",
        "in attention",
        "other module",
        "subclass",
        "other normalization",
    ],
)
def test_what_a_file_cannot_describe_is_refused(
    make: Callable[[], nn.Module], message: str, path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        kl.save(make(), path)
    assert not path.exists()


# Broken files --------------------------------------------------------------------------------


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model\.pt"):
        kl.load(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.8, 0.99, 0.9999])
def test_truncated_files_are_refused(model: kl.KAN, path: Path, share: float) -> None:
    kl.save(model, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"model\.pt is .*not a kanlite model"):
        kl.load(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_random_bytes_are_refused(path: Path) -> None:
    rng = random.Random(0)
    for length in (1, 2, 10, 100, 5000):
        for first in (b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"}", b"(", b"."):
            path.write_bytes(first + rng.randbytes(length))
            with pytest.raises(ValueError, match=r"model\.pt is .*not a kanlite model"):
                kl.load(path)


def test_flipped_bytes_never_escape_as_another_error(model: kl.KAN, path: Path) -> None:
    """A damaged file is refused; damaged numbers alone may still be a model."""
    kl.save(model, path)
    whole, rng = path.read_bytes(), random.Random(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            assert isinstance(kl.load(path), kl.KAN)
        except ValueError:
            refused += 1
    assert refused > 20


def test_other_files_of_pytorch_are_refused(model: kl.KAN, path: Path) -> None:
    torch.save(model.state_dict(), path)
    with pytest.raises(ValueError, match="is not a kanlite model"):
        kl.load(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="is not a kanlite model"):
        kl.load(path)
    write_file(path, "checkpoint", {})
    with pytest.raises(ValueError, match="is not a kanlite model"):
        kl.load(path)


@pytest.mark.parametrize("version", [2, 99, None, "1"])
def test_files_of_a_newer_format_say_so(model: kl.KAN, path: Path, version: object) -> None:
    kl.save(model, path)
    torch.save({**read_file(path, "model"), "version": version}, path)
    with pytest.raises(ValueError, match=rf"format version {version!r}.* update kanlite"):
        kl.load(path)


def _config(content: dict[str, Any]) -> dict[str, Any]:
    return content["config"]["layers"][0]


TAMPERED: dict[str, Callable[[dict[str, Any]], object]] = {
    "no configuration": lambda c: c.pop("config"),
    "no weights": lambda c: c.pop("state"),
    "weights that are a list": lambda c: c.update(state=[1, 2]),
    "weights that are words": lambda c: c["state"].update({"0.coef": "large"}),
    "configuration that is a list": lambda c: c.update(config=[1]),
    "configuration of another model": lambda c: _config(c).update(out_features=4),
    "fewer layers": lambda c: c["config"]["layers"].pop(),
    "no layers": lambda c: c["config"].update(layers=[]),
    "layers that do not fit": lambda c: c["config"]["layers"].reverse(),
    "a layer that is a basis": lambda c: c["config"]["layers"].insert(0, _config(c)["basis"]),
    "unknown type of model": lambda c: c["config"].update(type="JAN"),
    "unknown type of layer": lambda c: _config(c).update(type="os.system"),
    "unknown residual": lambda c: _config(c).update(residual="__import__"),
    "unknown extrapolation": lambda c: _config(c)["basis"].update(extrapolate="far"),
    "another degree": lambda c: _config(c)["basis"].update(degree=2),
    "negative degree": lambda c: _config(c)["basis"].update(degree=-3),
    "number of knots beyond all numbers": lambda c: _config(c)["basis"].update(
        knots_shape=[10**400]
    ),
    "missing weight": lambda c: c["state"].pop("0.coef"),
    "one weight more": lambda c: c["state"].update(extra=torch.zeros(1)),
    "weight of another shape": lambda c: c["state"].update({"0.coef": torch.zeros(2, 8, 4)}),
    "weight of integers": lambda c: c["state"].update(
        {"0.coef": torch.zeros(2, 8, 3, dtype=torch.long)}
    ),
    "decreasing knots": lambda c: c["state"]["0.basis.knots"].neg_(),
    "knots that are NaN": lambda c: c["state"]["1.basis.knots"].fill_(math.nan),
    "knots that are one point": lambda c: c["state"]["1.basis.knots"].zero_(),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_inconsistent_files_are_refused(model: kl.KAN, path: Path, name: str) -> None:
    kl.save(model, path)
    content = read_file(path, "model")
    TAMPERED[name](content)
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"model\.pt holds no consistent model"):
        kl.load(path)


# Malicious files -----------------------------------------------------------------------------


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.marker,)


def _archive(bomb: Bomb, path: Path) -> None:
    torch.save({"format": "kanlite-model", "version": 1, "config": bomb}, path)


def _old_format(bomb: Bomb, path: Path) -> None:
    content = {"format": "kanlite-model", "version": 1, "state": {"x": bomb}}
    torch.save(content, path, _use_new_zipfile_serialization=False)


def _plain_pickle(bomb: Bomb, path: Path) -> None:
    path.write_bytes(pickle.dumps({"format": "kanlite-model", "bomb": bomb}))


def _smuggled(bomb: Bomb, path: Path) -> None:
    """A true model in which only the pickle has been exchanged."""
    kl.save(kl.KAN([2, 1], kl.BSpline()), path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, part in parts.items():
            archive.writestr(name, pickle.dumps(bomb, 2) if name.endswith("data.pkl") else part)


def _whole_module(bomb: Bomb, path: Path) -> None:
    """As torch.save(model) writes it, which older tutorials recommend."""
    model = nn.Linear(1, 1)
    model.bomb = bomb
    torch.save(model, path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("plant", [_archive, _old_format, _plain_pickle, _smuggled, _whole_module])
def test_nothing_runs_from_a_malicious_file(
    plant: Callable[[Bomb, Path], None], path: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    plant(Bomb(marker), path)
    with pytest.raises(ValueError, match=r"not a kanlite model, or not safe to load"):
        kl.load(path)
    assert not marker.exists()


def test_the_bomb_would_go_off(path: Path, tmp_path: Path) -> None:
    """Else the test above would show nothing."""
    marker = tmp_path / "marker"
    _archive(Bomb(marker), path)
    torch.load(path, weights_only=False)
    assert marker.exists()


def test_written_values_come_back(path: Path) -> None:
    content: dict[str, Any] = {"x": uniform(3), "list": [1, 2.5, "a"], "none": None}
    write_file(path, "checkpoint", content)
    read = read_file(path, "checkpoint")
    assert isinstance(read["x"], Tensor)
    assert torch.equal(read.pop("x"), content.pop("x"))
    assert content.items() <= read.items()
