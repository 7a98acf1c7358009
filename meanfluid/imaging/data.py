r"""Images as tensors with labels: bundled digits, snapshots of turbulence, data sets, folders.

Images are float32 (n, channels, height, width). Bytes are scaled from 0 .. 255 to [-1, 1], floats
are taken as they are.
"""

import importlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from meanfluid.errors import missing_extra
from meanfluid.fields.modal import PlaneModes, kinematic_simulation, von_karman_pao
from meanfluid.fields.velocity_field import Array, VelocityField
from meanfluid.imaging.snapshots import ShellSpectrum, shell_spectrum

_SUFFIXES = (".png", ".npy")


class Images(NamedTuple):
    """Images and their classes.

    Attributes
    ----------
    images : (n, channels, height, width), float32
    labels : (n,), int64
        Indices of `classes`; zero if there is one class only.
    classes : tuple of str
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]


class Split(NamedTuple):
    """Images to train with, and images held back."""

    train: Images
    test: Images


class Snapshots(NamedTuple):
    """Snapshots of vorticity with zero mean and unit variance over the whole set.

    Attributes
    ----------
    images : (count, 1, n, n), float32
    scale : float, 1 / time
        Images times it are vorticity.
    spectrum : ShellSpectrum
        Of the images in float64, averaged over them: density (shells,).
    """

    images: Tensor
    scale: float
    spectrum: ShellSpectrum


def digits(*, seed: int, test_share: float = 0.2) -> Split:
    """Return the 1797 handwritten digits of 8 x 8 pixels that come with scikit-learn.

    Grey levels 0 .. 16 are scaled to [-1, 1].

    Parameters
    ----------
    seed : int
        Of the division into training and test images, which is random within each class.
    test_share : float
        Share of each class that is held back, rounded to whole images.

    Raises
    ------
    MissingExtraError
        If scikit-learn is not installed.

    References
    ----------
    Alpaydin & Kaynak (1998), Optical recognition of handwritten digits, UCI Machine Learning
    Repository.
    """
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise missing_extra("scikit-learn", "images") from error
    loaded = datasets.load_digits()
    images = torch.as_tensor(loaded.images / 8 - 1, dtype=torch.float32)[:, None]
    labels = torch.as_tensor(loaded.target, dtype=torch.int64)
    return split(Images(images, labels, tuple("0123456789")), seed=seed, test_share=test_share)


def split(images: Images, *, seed: int, test_share: float) -> Split:
    """Divide images at random, with the same share of each class in both parts.

    Raises
    ------
    ValueError
        If a part would have no images of some class.
    """
    rng, test = np.random.default_rng(seed), np.zeros(len(images.labels), dtype=bool)
    for c in range(len(images.classes)):
        members = np.flatnonzero(images.labels.numpy() == c)
        count = round(test_share * len(members))
        if not 0 < count < len(members):
            raise ValueError(
                f"test_share={test_share} leaves a part without images of class "
                f"{images.classes[c]}, which has {len(members)}"
            )
        test[rng.permutation(members)[:count]] = True
    parts = (
        Images(images.images[rows], images.labels[rows], images.classes)
        for rows in (np.flatnonzero(~test), np.flatnonzero(test))
    )
    return Split(*parts)


def turbulence_snapshots(
    count: int,
    size: int,
    *,
    seed: int,
    spectrum: Callable[[Array], Array] | None = None,
    modes: int = 64,
    length: float = 2 * math.pi,
) -> Snapshots:
    """Return vorticity of kinematic simulations on a periodic square, each drawn anew.

    The flows are those of `meanfluid.fields.kinematic_simulation` made periodic by
    `periodic_simulation`. All wavenumbers are resolved: the largest is a third of `size`, in
    units of 2 pi / length.

    Parameters
    ----------
    count, size : int
        Number of snapshots, and of points along each side, at least 8.
    seed : int
        Of directions and phases.
    spectrum : callable, optional
        Energy spectrum E(k); by default von Karman's with Pao's cut-off, energetic at two waves
        and dissipative at size / 6 of them.
    modes : int
        Fourier modes of each snapshot.
    length : float
        Side of the square.

    Raises
    ------
    ValueError
        If the numbers are too small.
    """
    if count < 1 or size < 8:
        raise ValueError(f"count must be at least 1 and size at least 8, got {count} and {size}")
    step = 2 * math.pi / length
    energy = spectrum
    if energy is None:
        energy = von_karman_pao(1.0, k_energy=2 * step, k_eta=size / 6 * step, dimension=2)
    rng = np.random.default_rng(seed)
    band = (step, size / 3 * step)
    vorticity = np.stack(
        [
            _vorticity(
                periodic_simulation(energy, seed=rng, modes=modes, wavenumbers=band, length=length),
                size,
                step,
            )
            for _ in range(count)
        ]
    )
    scale = float(vorticity.std())  # every mode has zero mean over the square
    vorticity /= scale
    k, density = shell_spectrum(vorticity, length=length)
    images = torch.as_tensor(vorticity[:, None], dtype=torch.float32)
    return Snapshots(images, scale, ShellSpectrum(k, density.mean(axis=0)))


def periodic_simulation(
    spectrum: Callable[[Array], Array],
    *,
    seed: int | np.random.Generator,
    modes: int = 64,
    wavenumbers: tuple[float, float],
    length: float = 2 * math.pi,
) -> VelocityField:
    """Return a steady kinematic simulation whose wavevectors are moved to the nearest periodic one.

    Each mode keeps its energy and its phase, and its amplitude stays normal to its wavevector.

    Parameters
    ----------
    spectrum, seed, modes, wavenumbers
        As of `meanfluid.fields.kinematic_simulation`; the smallest wavenumber is at least
        2 pi / length.
    length : float
        Period along both axes.

    Raises
    ------
    ValueError
        If a wavelength is longer than the period.
    """
    step = 2 * math.pi / length
    if not wavenumbers[0] >= step * (1 - 1e-12):
        raise ValueError(
            f"the smallest wavenumber must be at least 2 pi / length = {step}, got {wavenumbers[0]}"
        )
    field = kinematic_simulation(
        spectrum, seed=seed, modes=modes, wavenumbers=wavenumbers, unsteadiness=0.0
    )
    k, frequency, (cosine, sine) = (
        field.table[:, :2], field.table[:, 2], field.table[:, 3:].reshape(-1, 2, 2).swapaxes(0, 1),
    )  # fmt: skip
    moved = np.rint(k / step) * step
    normal, old = (_unit_normal(wavevector) for wavevector in (moved, k))
    turned = [(a * old).sum(axis=1, keepdims=True) * normal for a in (cosine, sine)]
    return VelocityField(
        body=field.body,
        parameters=PlaneModes(*np.column_stack([moved, frequency, *turned]).T),
        dimension=2,
        name="periodic_simulation",
        source=field.source,
        steady=True,
        divergence_free=True,
    )


def _unit_normal(wavevector: Array) -> Array:
    normal = np.stack([-wavevector[:, 1], wavevector[:, 0]], axis=-1)
    return np.asarray(normal / np.linalg.norm(normal, axis=1, keepdims=True))


def _vorticity(field: VelocityField, size: int, step: float) -> Array:
    """Vorticity (y, x) of a periodic simulation on the grid, by its Fourier coefficients.

    A cos + B sin of a phase is the real part of (A - iB) exp(i phase), of which the curl is
    i k x (A - iB).
    """
    k, amplitude = field.table[:, :2], field.table[:, 3:5] - 1j * field.table[:, 5:7]
    curl = 1j * (k[:, 0] * amplitude[:, 1] - k[:, 1] * amplitude[:, 0])
    column, row = np.rint(k / step).astype(int).T % size
    coefficients = np.zeros((size, size), dtype=complex)
    np.add.at(coefficients, (row, column), curl)
    return np.asarray(np.fft.ifft2(coefficients).real * size**2)


def load_images(source: Any) -> Images:
    """Return the images of a folder, or of a torch data set, as tensors.

    Parameters
    ----------
    source : path, or a data set with ``len`` and items ``image`` or ``(image, label)``
        A folder holds .png and .npy files; if it holds folders, each is a class. An image is
        (height, width), or (height, width, channels) if a PIL image or from a file, or
        (channels, height, width) if a tensor or array of a data set.

    Raises
    ------
    ValueError
        If there are no images, they differ in shape, or a label is not a whole number.
    """
    if isinstance(source, str | Path):
        return _from_folder(Path(source))
    if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        raise ValueError(
            "source must be the path of a folder, or a data set with len(source) and source[i], "
            f"got {type(source).__name__}"
        )
    images, labels = [], []
    for i in range(len(source)):
        item = source[i]
        image, label = item if isinstance(item, tuple | list) else (item, 0)
        if int(label) != label:
            raise ValueError(f"label {i} must be a whole number, got {label!r}")
        pil = hasattr(image, "getbands")
        image = _of_pil(image) if pil else image
        images.append(_image(image, f"image {i}", channels_last=pil))
        labels.append(int(label))
    values = sorted(set(labels))
    names = getattr(source, "classes", None)
    if names is not None and set(values) <= set(range(len(names))):
        classes = tuple(map(str, names))
    else:
        labels, classes = [values.index(c) for c in labels], tuple(map(str, values))
    return _stacked(images, labels, classes, [f"image {i}" for i in range(len(images))])


def _from_folder(folder: Path) -> Images:
    if not folder.is_dir():
        raise ValueError(f"source must be a folder of images, got {folder}")
    inner = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    groups = inner or [folder]
    files = [(c, path) for c, group in enumerate(groups) for path in sorted(group.iterdir())
             if path.suffix.lower() in _SUFFIXES]  # fmt: skip
    images = [_image(_read(path), str(path), channels_last=True) for _, path in files]
    names = [str(path) for _, path in files]
    if not images:
        raise ValueError(f"no images ({', '.join(_SUFFIXES)}) in {folder}")
    empty = set(range(len(groups))) - {c for c, _ in files}
    if empty:
        raise ValueError(f"no images ({', '.join(_SUFFIXES)}) in {groups[min(empty)]}")
    return _stacked(images, [c for c, _ in files], tuple(g.name for g in groups), names)


def _read(path: Path) -> Any:
    if path.suffix.lower() == ".npy":
        return np.load(path, allow_pickle=False)
    try:
        from PIL import Image
    except ImportError as error:
        raise missing_extra("Pillow", "images") from error
    with Image.open(path) as image:
        return _of_pil(image)


def _of_pil(image: Any) -> Any:
    """Grey levels or colours of a PIL image, not the numbers of a palette."""
    return np.asarray(image.convert("RGB") if image.mode == "P" else image)


def _image(image: Any, name: str, *, channels_last: bool) -> Tensor:
    """Return one image as float32 (channels, height, width)."""
    array = image.detach().cpu().numpy() if isinstance(image, Tensor) else np.asarray(image)
    if array.dtype.kind not in "uifb" or array.ndim not in (2, 3):
        raise ValueError(
            f"{name} must hold numbers on two or three axes, got dtype {array.dtype} and shape "
            f"{array.shape}"
        )
    if array.dtype.kind == "b":
        array = array * 2.0 - 1
    elif array.dtype in (np.uint8, np.uint16):
        array = array / (np.iinfo(array.dtype).max / 2) - 1
    elif array.dtype.kind != "f":
        raise ValueError(f"{name} must be bytes, booleans or floats, got dtype {array.dtype}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    if array.ndim == 2:
        array = array[None]
    elif channels_last:
        array = np.moveaxis(array, -1, 0)
    return torch.tensor(array, dtype=torch.float32)


def _stacked(
    images: Sequence[Tensor], labels: Sequence[int], classes: tuple[str, ...], names: Sequence[str]
) -> Images:
    if not images:
        raise ValueError("source holds no images")
    for name, image in zip(names, images, strict=True):
        if image.shape != images[0].shape:
            raise ValueError(
                f"images must have one shape (channels, height, width), got "
                f"{tuple(images[0].shape)} and, in {name}, {tuple(image.shape)}"
            )
    return Images(torch.stack(list(images)), torch.tensor(labels, dtype=torch.int64), classes)
