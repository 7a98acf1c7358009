"""Images as tensors: bundled digits, snapshots of turbulence, data sets and folders."""

import math
import sys

import matplotlib.image
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from meanfluid import fields
from meanfluid.errors import MissingExtraError
from meanfluid.imaging import data, metrics

SPECTRUM = fields.gaussian_spectrum(1.3, k_energy=3.0)
TURN = 2 * math.pi


def test_the_digits_are_divided_within_each_class_by_their_seed():
    pytest.importorskip("sklearn")
    train, test = data.digits(seed=3, test_share=0.25)
    assert train.images.dtype == torch.float32
    assert train.images.shape[1:] == (1, 8, 8)
    assert len(train.images) + len(test.images) == 1797
    assert (train.images.min(), train.images.max()) == (-1, 1)
    whole = torch.bincount(torch.cat([train.labels, test.labels]))
    assert (torch.bincount(test.labels) - whole / 4).abs().max() <= 0.5
    again, other = data.digits(seed=3, test_share=0.25), data.digits(seed=4, test_share=0.25)
    assert torch.equal(again.test.images, test.images)
    assert not torch.equal(other.test.images, test.images)
    rows = {image.numpy().tobytes() for image in train.images}
    assert sum(image.numpy().tobytes() in rows for image in test.images) == 0  # no copies


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'meanfluid\[images\]'"):
        data.digits(seed=0)


def test_images_are_split_without_loss_and_repetition():
    labels = torch.tensor([0] * 10 + [1] * 5)
    images = data.Images(torch.arange(15.0).reshape(15, 1, 1, 1), labels, ("a", "b"))
    train, test = data.split(images, seed=1, test_share=0.2)
    assert sorted(torch.cat([train.images, test.images]).ravel().tolist()) == list(range(15))
    assert torch.bincount(test.labels).tolist() == [2, 1]
    assert torch.equal(train.labels, labels[train.images.ravel().long()])
    with pytest.raises(ValueError, match="without images of class b, which has 5"):
        data.split(images, seed=1, test_share=0.08)


def grid(n):
    x = np.arange(n) / n * TURN
    return np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)


def test_a_periodic_simulation_keeps_energies_and_is_periodic_and_incompressible():
    options = {"seed": 5, "modes": 12, "wavenumbers": (1.0, 9.0)}
    free = fields.kinematic_simulation(SPECTRUM, unsteadiness=0.0, **options)
    field = data.periodic_simulation(SPECTRUM, **options)
    k = field.table[:, :2]
    np.testing.assert_array_equal(k, np.rint(free.table[:, :2]))
    assert (np.hypot(*k.T) >= 1).all()
    amplitudes = field.table[:, 3:].reshape(-1, 2, 2)
    np.testing.assert_allclose(np.einsum("nij,nj->ni", amplitudes, k), 0, atol=1e-14)
    np.testing.assert_allclose(
        (amplitudes**2).sum(axis=2), (free.table[:, 3:].reshape(-1, 2, 2) ** 2).sum(axis=2)
    )
    x = grid(5)
    np.testing.assert_allclose(
        field.velocity(0.0, x + np.array([TURN, -2 * TURN])), field.velocity(0.0, x), atol=1e-12
    )
    velocity = field.velocity(0.0, grid(24)).T.reshape(2, 24, 24)
    assert metrics.rms_divergence(velocity) < 1e-13


def test_snapshots_are_the_vorticity_of_the_simulation_standardised():
    """The curl by spectral derivatives of the velocity on the same grid, axes (y, x)."""
    n, length = 24, 3.0
    made = data.turbulence_snapshots(3, n, seed=11, spectrum=SPECTRUM, modes=20, length=length)
    rng, step = np.random.default_rng(11), TURN / length
    wave = 1j * np.fft.fftfreq(n, 1 / n) * step
    for image in made.images[:, 0]:
        field = data.periodic_simulation(
            SPECTRUM, seed=rng, modes=20, wavenumbers=(step, n / 3 * step), length=length
        )
        u, v = field.velocity(0.0, grid(n) / step).T.reshape(2, n, n)
        curl = np.fft.ifft2(wave * np.fft.fft2(v) - wave[:, None] * np.fft.fft2(u)).real
        np.testing.assert_allclose(image.numpy() * made.scale, curl, rtol=0, atol=1e-5 * made.scale)
    assert made.images.shape == (3, 1, n, n)
    assert made.images.double().var(correction=0).item() == pytest.approx(1, rel=1e-6)
    k, density = made.spectrum
    np.testing.assert_allclose(k, step * np.arange(1, len(k) + 1))
    assert density.sum() * step == pytest.approx(0.5, rel=1e-12)
    assert abs(density[n // 2 :]).max() < 1e-25


def test_snapshots_have_the_enstrophy_spectrum_asked_for():
    """k^2 E(k), in bands wide against the moves of the wavevectors; and they come back by seed."""
    spectrum = fields.gaussian_spectrum(1.0, k_energy=6.0)
    made = data.turbulence_snapshots(60, 48, seed=2, spectrum=spectrum, modes=200)
    k, density = made.spectrum
    smooth = np.linspace(1, 16, 4001)
    for low, high in ((4, 8), (8, 12)):
        inside = (smooth >= low) & (smooth < high)
        expected = np.trapezoid((smooth**2 * spectrum(smooth))[inside], smooth[inside])
        shells = (k >= low + 0.5) & (k < high)
        found = density[shells].sum() + (density[k == low][0] + density[k == high][0]) / 2
        assert found * made.scale**2 == pytest.approx(expected, rel=0.05)
    again = data.turbulence_snapshots(60, 48, seed=2, spectrum=spectrum, modes=200)
    assert torch.equal(made.images, again.images)
    first = data.turbulence_snapshots(2, 16, seed=1).images
    assert not torch.equal(first[0], first[1])


class Pairs(Dataset):
    classes = ("cat", "dog")

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def test_a_torch_data_set_is_taken_with_its_labels():
    pictures, labels = torch.rand(6, 3, 4, 5), torch.tensor([2, 7, 2, 2, 7, 9])
    found = data.load_images(TensorDataset(pictures, labels))
    assert torch.equal(found.images, pictures)
    assert found.labels.tolist() == [0, 1, 0, 0, 1, 2]
    assert found.classes == ("2", "7", "9")
    named = data.load_images(Pairs([(pictures[0], 1), (pictures[1], 1)]))
    assert (named.labels.tolist(), named.classes) == ([1, 1], ("cat", "dog"))
    bare = data.load_images(list(pictures))
    assert torch.equal(bare.images, pictures)
    assert bare.classes == ("0",)


def test_pictures_of_bytes_are_scaled_and_palettes_are_colours():
    grey = np.array([[0, 255], [51, 204]], dtype=np.uint8)
    found = data.load_images([Image.fromarray(grey), Image.fromarray(255 - grey)])
    np.testing.assert_allclose(found.images[0, 0], [[-1, 1], [-0.6, 0.6]], rtol=1e-6)
    np.testing.assert_allclose(found.images[1], -found.images[0], rtol=0, atol=1e-6)
    colours = np.random.default_rng(0).integers(0, 2, (4, 4, 3), dtype=np.uint8) * 255
    paletted = Image.fromarray(colours).convert("P", palette=Image.Palette.ADAPTIVE)
    found = data.load_images([paletted]).images[0]
    np.testing.assert_array_equal(found, np.moveaxis(colours, -1, 0) / 127.5 - 1)


def test_a_folder_of_folders_is_a_set_of_classes(tmp_path):
    rng = np.random.default_rng(3)
    written = {}
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        for i in range(2):
            written[name, i] = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
            matplotlib.image.imsave(tmp_path / name / f"{i}.png", written[name, i])
    (tmp_path / "a" / "notes.txt").write_text("no image")
    found = data.load_images(tmp_path)
    assert found.classes == ("a", "b")
    assert found.labels.tolist() == [0, 0, 1, 1]
    for image, key in zip(found.images, [("a", 0), ("a", 1), ("b", 0), ("b", 1)], strict=True):
        expected = np.moveaxis(written[key], -1, 0) / 127.5 - 1
        np.testing.assert_allclose(image[:3], expected, rtol=0, atol=1e-6)


def test_arrays_in_a_folder_are_taken_as_they_are(tmp_path):
    arrays = np.random.default_rng(1).standard_normal((2, 5, 5))
    for i, array in enumerate(arrays):
        np.save(tmp_path / f"{i}.npy", array)
    found = data.load_images(str(tmp_path))
    np.testing.assert_array_equal(found.images[:, 0], arrays.astype(np.float32))
    assert found.classes == (tmp_path.name,)


@pytest.mark.parametrize(
    "source, message",
    [
        ([np.zeros((3, 3)), np.zeros((3, 4))], r"\(1, 3, 3\) and, in image 1, \(1, 3, 4\)"),
        ([np.zeros((3, 3), dtype=int)], "bytes, booleans or floats, got dtype int64"),
        ([np.full((3, 3), np.nan)], "image 0 must be finite"),
        ([np.zeros(3)], "two or three axes, got dtype float64"),
        ([(np.zeros((3, 3)), 0.5)], "label 0 must be a whole number, got 0.5"),
        ([], "source holds no images"),
        (iter([]), "a folder, or a data set with"),
        ("/nowhere/at/all", "must be a folder of images, got /nowhere"),
    ],
)
def test_sources_that_are_no_images_are_refused(source, message):
    with pytest.raises(ValueError, match=message):
        data.load_images(source)


def test_folders_without_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no images \(.png, .npy\) in"):
        data.load_images(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    np.save(tmp_path / "a" / "0.npy", np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"no images .* in .*b"):
        data.load_images(tmp_path)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: data.turbulence_snapshots(0, 16, seed=0), "count must be at least 1 and size"),
        (lambda: data.turbulence_snapshots(1, 4, seed=0), "size at least 8, got 1 and 4"),
        (
            lambda: data.periodic_simulation(SPECTRUM, seed=0, wavenumbers=(0.5, 2.0)),
            "smallest wavenumber must be at least 2 pi / length",
        ),
    ],
)
def test_impossible_snapshots_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
