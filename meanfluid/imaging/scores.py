"""All metrics of generated images in one table, beside what they say of real images held back."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from meanfluid.fields.velocity_field import Array
from meanfluid.imaging.classifier import Classifier, classifier_accuracy
from meanfluid.imaging.data import Images
from meanfluid.imaging.distances import energy_distance, median_distance, mmd, sliced_wasserstein
from meanfluid.imaging.manifolds import (
    PCAFeatures,
    density_coverage,
    frechet_distance,
    pca_features,
    precision_recall,
)
from meanfluid.imaging.points import distances, points

if TYPE_CHECKING:
    import xarray as xr

COMPONENTS = 32  # principal components of fd_pca

MEANINGS = {
    "fd_cnn": "Frechet distance in features of the classifier",
    "fd_pca": "Frechet distance in principal components of the training images",
    "energy_distance": "energy distance of the pixels",
    "energy_p_value": "p-value of the energy distance by permutations",
    "sliced_w2": "sliced Wasserstein distance of order 2 of the pixels",
    "mmd": "squared maximum mean discrepancy of the pixels, Gaussian kernel",
    "precision": "share within the manifold of the training images, by features",
    "recall": "share of the training images within their manifold, by features",
    "density": "how densely training images surround them, by features",
    "coverage": "share of the training images that are met, by features",
    "nearest_training_image": "median distance of the pixels from the nearest training image",
    "accuracy": "share that the classifier finds to be of their class",
    "class_accuracy": "accuracy within a class",
    "class_recall": "recall within a class",
    "class_coverage": "coverage within a class",
    "class_share": "share that the classifier finds to be of a class",
}


class ImageComparison:
    """What generated images are compared with: real ones, and a classifier trained on them.

    What the metrics say of real images held back is the noise floor. A model that has learned the
    distribution reaches it. So does one that repeats training images, which shows in
    `nearest_training_image`: it is then far below that of the test images.

    Parameters
    ----------
    train, test : Images
        Real images, for instance of `digits`.
    classifier : Classifier
        Trained on the training images by `train_classifier`.
    generator : numpy.random.Generator
        Draws directions and permutations once, the same for all images that are compared: an
        average over several sets of images is not one over these.
    neighbours : int
        Of precision, recall, density and coverage.
    permutations : int
        Of the p-value; 0 for none, which is then NaN.

    Attributes
    ----------
    floor : dict
        Scores of the test images, by name.

    Raises
    ------
    ValueError
        If images do not fit, or a class of the test images has no more than `neighbours` training
        images.
    """

    def __init__(
        self,
        *,
        train: Images,
        test: Images,
        classifier: Classifier,
        generator: np.random.Generator,
        neighbours: int = 5,
        permutations: int = 199,
    ) -> None:
        self._device = classifier.scale.device
        self._train, self._test = (
            real._replace(images=real.images.to(self._device), labels=real.labels.to(self._device))
            for real in (train, test)
        )
        self._classifier, self._neighbours = classifier, neighbours
        self._permutations = permutations
        _check(self._train, self._test, classifier)
        _check_classes(self._train, self._test.labels, neighbours)
        with torch.no_grad():
            self._features = points("train", classifier.features(self._train.images))
        self._components = _components(self._train)
        self._bandwidth = median_distance(self._train.images)
        self._seed = int(generator.integers(2**63))
        self.floor = self._scores(self._test.images, self._test.labels)

    def __call__(self, generated: Tensor, labels: Tensor | None) -> "xr.Dataset":
        """Compare generated images with the training images, beside the test images.

        Parameters
        ----------
        generated : (n, channels, height, width)
            On any device; features are found on that of the classifier, scores on the CPU. As many
            as test images, since most metrics depend on how many there are. Of more, compare one
            part after another and average.
        labels : (n,), int64, or None
            The classes asked for. None if there was no condition: then the classes that the
            classifier finds take their place, and accuracy is NaN.

        Returns
        -------
        xarray.Dataset
            Over `images`, which is "generated" or "test", and over `class` where the name begins
            with ``class_``. Each metric says what it is in its attribute `long_name`. Of a class
            without images the accuracy is NaN and the coverage zero; recall is NaN for no more
            images than `neighbours`.

        Raises
        ------
        ValueError
            If images or labels do not fit, there are not as many as test images, or a class of
            theirs has no more than `neighbours` training images.
        """
        import xarray as xr

        generated = generated.detach().to(self._device)
        labels = None if labels is None else labels.to(self._device)
        _check_generated(generated, labels, self._train, self._test)
        if labels is not None:
            _check_classes(self._train, labels, self._neighbours)
        found = {"generated": self._scores(generated, labels), "test": self.floor}
        classes = list(self._train.classes)
        table = xr.Dataset(coords={"images": list(found), "class": classes})
        for name, first in self.floor.items():
            dimensions = ("images", "class") if np.ndim(first) else ("images",)
            table[name] = dimensions, np.array([scores[name] for scores in found.values()])
            table[name].attrs["long_name"] = MEANINGS[name]
        reference = f"{len(self._train.images)} training images"
        return table.assign_attrs(reference=reference, number=len(generated))

    def _scores(self, images: Tensor, labels: Tensor | None) -> dict[str, Any]:
        real = self._train.images
        with torch.no_grad():
            features = points("images", self._classifier.features(images))
        random, turned = (np.random.default_rng([self._seed, k]) for k in range(2))
        energy = energy_distance(images, real, permutations=self._permutations, generator=random)
        near = precision_recall(self._features, features, neighbours=self._neighbours)
        met = density_coverage(self._features, features, neighbours=self._neighbours)
        return {
            "fd_cnn": frechet_distance(features, self._features),
            "fd_pca": frechet_distance(*map(self._components, (images, real))),
            "energy_distance": energy.value,
            "energy_p_value": np.nan if energy.p_value is None else energy.p_value,
            "sliced_w2": sliced_wasserstein(images, real, generator=turned),
            "mmd": mmd(images, real, bandwidth=self._bandwidth).value,
            **near._asdict(),
            **met._asdict(),
            "nearest_training_image": _nearest(images, real),
            **self._by_class(images, features, labels),
        }

    def _by_class(self, images: Tensor, features: Array, labels: Tensor | None) -> dict[str, Any]:
        """Accuracy, and the metrics of `labels` class by class."""
        count, k = len(self._train.classes), self._neighbours
        seen = self._classifier.predict(images)
        accuracy, recall, coverage = np.full(count, np.nan), np.full(count, np.nan), np.zeros(count)
        overall = np.nan
        if labels is not None:
            overall, by_class = classifier_accuracy(self._classifier, images, labels)
            accuracy[list(by_class)] = list(by_class.values())
        asked = seen if labels is None else labels
        for c in range(count):
            real = self._features[(self._train.labels == c).cpu().numpy()]
            made = features[(asked == c).cpu().numpy()]
            if len(made):
                coverage[c] = density_coverage(real, made, neighbours=k).coverage
            if len(made) > k:
                recall[c] = precision_recall(real, made, neighbours=k).recall
        share = torch.bincount(seen, minlength=count).cpu().numpy() / len(seen)
        return {
            "accuracy": overall, "class_accuracy": accuracy, "class_recall": recall,
            "class_coverage": coverage, "class_share": share,
        }  # fmt: skip


def _components(train: Images) -> PCAFeatures:
    count = min(COMPONENTS, len(train.images) - 1, train.images[0].numel())
    return pca_features(train.images, count)


def _nearest(images: Tensor, real: Tensor) -> float:
    x, y = points("images", images), points("train", real)
    return float(np.median(np.concatenate([d.min(axis=1) for _, d in distances(x, y)])))


def _check(train: Images, test: Images, classifier: Classifier) -> None:
    _check_shapes(train=train.images, test=test.images)
    count = len(train.classes)
    if test.classes != train.classes or classifier.classes != count:
        raise ValueError(
            f"train, test and classifier must know the same classes, got {train.classes}, "
            f"{test.classes} and a classifier of {classifier.classes}"
        )


def _check_generated(generated: Tensor, labels: Tensor | None, train: Images, test: Images) -> None:
    if len(generated) != len(test.images):
        raise ValueError(
            f"generated must hold as many images as test, {len(test.images)}, got "
            f"{len(generated)}: most metrics depend on how many there are; compare one part after "
            "another and average"
        )
    _check_shapes(generated=generated, train=train.images)
    count = len(train.classes)
    if labels is not None and (
        labels.shape != (len(generated),) or labels.min() < 0 or labels.max() >= count
    ):
        raise ValueError(
            f"labels must be {len(generated)} classes from 0 to {count - 1}, got shape "
            f"{tuple(labels.shape)} and values from {labels.min()} to {labels.max()}"
        )


def _check_shapes(**images: Tensor) -> None:
    shapes = [tuple(x.shape[1:]) for x in images.values()]
    if len(set(shapes)) > 1:
        raise ValueError(
            f"{' and '.join(images)} must hold images of one shape, got "
            + ", ".join(map(str, shapes))
        )


def _check_classes(train: Images, asked: Tensor, neighbours: int) -> None:
    found = sorted(set(asked.tolist()))
    few = {
        train.classes[c]: n for c in found if (n := int((train.labels == c).sum())) <= neighbours
    }
    if few:
        raise ValueError(
            f"train must hold more than neighbours={neighbours} images of each class that is "
            f"compared, got {few}"
        )
