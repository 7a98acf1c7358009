"""All metrics of generated images in one table, beside what they say of real images held back."""

from typing import TYPE_CHECKING, Any, NamedTuple

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


class _Reference(NamedTuple):
    """What both sets are compared with."""

    train: Images
    features: Array
    components: PCAFeatures
    bandwidth: float
    classifier: Classifier
    neighbours: int
    permutations: int
    seed: int


def compare_images(
    generated: Tensor,
    labels: Tensor | None,
    *,
    train: Images,
    test: Images,
    classifier: Classifier,
    generator: np.random.Generator,
    neighbours: int = 5,
    permutations: int = 199,
) -> "xr.Dataset":
    """Compare generated images with the training images, and so the test images.

    What the metrics say of the test images is the noise floor. A model that has learned the
    distribution reaches it. So does one that repeats training images, which shows in
    `nearest_training_image`: it is then far below that of the test images.

    Parameters
    ----------
    generated : (n, channels, height, width)
        On any device; features are found on that of the classifier, scores on the CPU. As many as
        test images, since most metrics depend on how many there are. Of more, compare
        one part after another and average.
    labels : (n,), int64, or None
        The classes asked for. None if there was no condition: then the classes that the classifier
        finds take their place, and accuracy is NaN.
    train, test : Images
        Real images, for instance of `digits`.
    classifier : Classifier
        Trained on the training images by `train_classifier`.
    generator : numpy.random.Generator
        Draws directions and permutations, the same for both sets.
    neighbours : int
        Of precision, recall, density and coverage.
    permutations : int
        Of the p-value; 0 for none, which is then NaN.

    Returns
    -------
    xarray.Dataset
        Over `images`, which is "generated" or "test", and over `class` where the name begins with
        ``class_``. Each metric says what it is in its attribute `long_name`. Of a class without
        images the accuracy is NaN and the coverage zero; recall is NaN for no more images than
        `neighbours`.

    Raises
    ------
    ValueError
        If images or labels do not fit, there are not as many generated as test images, or a class
        of theirs has no more than `neighbours` training images.
    """
    import xarray as xr

    device = classifier.scale.device
    generated = generated.detach().to(device)
    labels = None if labels is None else labels.to(device)
    train, test = (
        real._replace(images=real.images.to(device), labels=real.labels.to(device))
        for real in (train, test)
    )
    _check(generated, labels, train, test, classifier)
    asked = [test.labels] if labels is None else [test.labels, labels]
    _check_classes(train, asked, neighbours)
    with torch.no_grad():
        features = points("train", classifier.features(train.images))
    reference = _Reference(
        train, features, _components(train), median_distance(train.images), classifier, neighbours,
        permutations, int(generator.integers(2**63)),
    )  # fmt: skip
    sets = {"generated": (generated, labels), "test": (test.images, test.labels)}
    found = [_scores(images, classes, reference) for images, classes in sets.values()]
    table = xr.Dataset(coords={"images": list(sets), "class": list(train.classes)})
    for name, first in found[0].items():
        dimensions = ("images", "class") if np.ndim(first) else ("images",)
        table[name] = dimensions, np.array([scores[name] for scores in found])
        table[name].attrs["long_name"] = MEANINGS[name]
    table.attrs.update(reference=f"{len(train.images)} training images", number=len(generated))
    return table


def _scores(images: Tensor, labels: Tensor | None, reference: _Reference) -> dict[str, Any]:
    real, classifier = reference.train.images, reference.classifier
    with torch.no_grad():
        features = points("images", classifier.features(images))
    random, turned = (np.random.default_rng([reference.seed, k]) for k in range(2))
    energy = energy_distance(images, real, permutations=reference.permutations, generator=random)
    near = precision_recall(reference.features, features, neighbours=reference.neighbours)
    met = density_coverage(reference.features, features, neighbours=reference.neighbours)
    return {
        "fd_cnn": frechet_distance(features, reference.features),
        "fd_pca": frechet_distance(*map(reference.components, (images, real))),
        "energy_distance": energy.value,
        "energy_p_value": np.nan if energy.p_value is None else energy.p_value,
        "sliced_w2": sliced_wasserstein(images, real, generator=turned),
        "mmd": mmd(images, real, bandwidth=reference.bandwidth).value,
        **near._asdict(),
        **met._asdict(),
        "nearest_training_image": _nearest(images, real),
        **_by_class(images, features, labels, reference),
    }


def _by_class(
    images: Tensor, features: Array, labels: Tensor | None, reference: _Reference
) -> dict[str, Any]:
    """Accuracy, and the metrics of `labels` class by class."""
    count, k = len(reference.train.classes), reference.neighbours
    seen = reference.classifier.predict(images)
    accuracy, recall, coverage = np.full(count, np.nan), np.full(count, np.nan), np.zeros(count)
    overall = np.nan
    if labels is not None:
        overall, by_class = classifier_accuracy(reference.classifier, images, labels)
        accuracy[list(by_class)] = list(by_class.values())
    asked = seen if labels is None else labels
    for c in range(count):
        real = reference.features[(reference.train.labels == c).cpu().numpy()]
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


def _check(
    generated: Tensor, labels: Tensor | None, train: Images, test: Images, classifier: Classifier
) -> None:
    if len(generated) != len(test.images):
        raise ValueError(
            f"generated must hold as many images as test, {len(test.images)}, got "
            f"{len(generated)}: most metrics depend on how many there are; compare one part after "
            "another and average"
        )
    shapes = [tuple(x.shape[1:]) for x in (generated, train.images, test.images)]
    if len(set(shapes)) > 1:
        raise ValueError(
            "generated, train and test must hold images of one shape, got "
            + ", ".join(map(str, shapes))
        )
    count = len(train.classes)
    if test.classes != train.classes or classifier.classes != count:
        raise ValueError(
            f"train, test and classifier must know the same classes, got {train.classes}, "
            f"{test.classes} and a classifier of {classifier.classes}"
        )
    if labels is not None and (
        labels.shape != (len(generated),) or labels.min() < 0 or labels.max() >= count
    ):
        raise ValueError(
            f"labels must be {len(generated)} classes from 0 to {count - 1}, got shape "
            f"{tuple(labels.shape)} and values from {labels.min()} to {labels.max()}"
        )


def _check_classes(train: Images, asked: list[Tensor], neighbours: int) -> None:
    found = sorted(set(torch.cat(asked).tolist()))
    few = {
        train.classes[c]: n for c in found if (n := int((train.labels == c).sum())) <= neighbours
    }
    if few:
        raise ValueError(
            f"train must hold more than neighbours={neighbours} images of each class that is "
            f"compared, got {few}"
        )
