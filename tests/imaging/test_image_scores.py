"""The table of scores: real images reach the noise floor, and each fault shows where it should."""

import numpy as np
import pytest
import torch

from meanfluid.imaging import metrics
from meanfluid.imaging.classifier import classifier_accuracy, train_classifier
from meanfluid.imaging.data import Images
from meanfluid.imaging.scores import ImageComparison

CLASSES = 3
PER_CLASS = (0.0, 1.5, -1.5)  # where the bright spot of a class is, along the rows


def spots(count, seed):
    """Images of a bright spot that wanders; its mean row tells the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    place = rng.normal(0, 0.5, (count, 2)) + 3.5
    place[:, 0] += np.array(PER_CLASS)[labels] * 1.5
    row, column = np.mgrid[:8, :8]
    square = (row - place[:, :1, None]) ** 2 + (column - place[:, 1:, None]) ** 2
    noise = 0.1 * rng.standard_normal((count, 8, 8))
    images = torch.as_tensor(2 * np.exp(-square / 2) - 1 + noise, dtype=torch.float32)[:, None]
    return Images(images, torch.as_tensor(labels), ("middle", "low", "high"))


TRAIN, TEST, OTHER = spots(240, 0), spots(90, 1), spots(90, 2)


@pytest.fixture(scope="module")
def classifier():
    return train_classifier(TRAIN, generator=torch.Generator().manual_seed(0), epochs=15)


def comparison(classifier, **options):
    given = {"train": TRAIN, "test": TEST, "generator": np.random.default_rng(3)} | options
    return ImageComparison(classifier=classifier, **given)


@pytest.fixture(scope="module")
def compared(classifier):
    return comparison(classifier)


@pytest.fixture(scope="module")
def real(compared):
    return compared(OTHER.images, OTHER.labels)


def test_the_test_images_score_exactly_the_noise_floor(compared):
    table = compared(TEST.images.clone(), TEST.labels)
    assert set(table.images.values) == {"generated", "test"}
    for name in table:
        generated, test = table[name].values
        np.testing.assert_array_equal(generated, test, err_msg=name)
        assert np.isfinite(generated).all()


def test_scores_are_those_of_the_metrics(real, classifier):
    a, b = OTHER.images, TRAIN.images
    features = classifier.features(b), classifier.features(a)
    components = metrics.pca_features(b, 32)
    expected = {
        "fd_cnn": metrics.frechet_distance(*features),
        "fd_pca": metrics.frechet_distance(components(a), components(b)),
        "energy_distance": metrics.energy_distance(a, b).value,
        "mmd": metrics.mmd(a, b, bandwidth=metrics.median_distance(b)).value,
        **metrics.precision_recall(*features, neighbours=5)._asdict(),
        **metrics.density_coverage(*features)._asdict(),
        "accuracy": classifier_accuracy(classifier, a, OTHER.labels).overall,
        "nearest_training_image": torch.cdist(a.flatten(1), b.flatten(1)).amin(1).median(),
    }
    for name, value in expected.items():
        assert float(real[name].sel(images="generated")) == pytest.approx(float(value), rel=1e-3)
    for c, name in enumerate(TRAIN.classes):
        one, two = features[0][TRAIN.labels == c], features[1][OTHER.labels == c]
        found = real.sel(images="generated").sel({"class": name})
        assert found.class_coverage == metrics.density_coverage(one, two).coverage
        assert found.class_recall == metrics.precision_recall(one, two, neighbours=5).recall


def test_new_real_images_are_near_the_noise_floor(real):
    generated, test = real.sel(images="generated"), real.sel(images="test")
    assert generated.energy_p_value > 0.01
    assert generated.accuracy > 0.95
    assert 0.3 < generated.fd_cnn / test.fd_cnn < 3
    assert 0.9 < generated.nearest_training_image / test.nearest_training_image < 1.1
    np.testing.assert_allclose(generated.class_share.sum(), 1)


def test_noise_shows_in_the_precision_and_blur_in_the_recall(compared, real):
    noisy = compared(OTHER.images + torch.randn(OTHER.images.shape), OTHER.labels)
    flat = 0.3 * OTHER.images + 0.7 * OTHER.images.mean(0)
    blurred = compared(flat, OTHER.labels)
    good = real.sel(images="generated")
    assert noisy.precision[0] < good.precision - 0.1
    assert blurred.recall[0] < good.recall - 0.3
    for bad in (noisy, blurred):
        assert bad.fd_pca[0] > 5 * good.fd_pca
        assert bad.energy_p_value[0] == 0.005
        assert bad.sliced_w2[0] > 1.5 * good.sliced_w2
        assert bad.coverage[0] < good.coverage


def test_the_floor_is_found_once_and_scores_do_not_depend_on_the_order(
    classifier, real, monkeypatch
):
    scored, scores = [], ImageComparison._scores
    monkeypatch.setattr(
        ImageComparison, "_scores", lambda self, *a: scored.append(a[0]) or scores(self, *a)
    )
    compared = comparison(classifier)
    compared(TRAIN.images[:90], TRAIN.labels[:90])
    again = compared(OTHER.images, OTHER.labels)
    assert again.identical(real)
    assert [len(images) for images in scored] == [90, 90, 90]
    features = classifier.features(TRAIN.images), classifier.features(TEST.images)
    expected = metrics.frechet_distance(*features)
    assert compared.floor["fd_cnn"] == pytest.approx(expected, rel=1e-3)


def test_copies_of_training_images_are_found_out(compared):
    table = compared(TRAIN.images[:90], TRAIN.labels[:90])
    near, floor = table.nearest_training_image.values
    assert near < 1e-5 < floor
    assert table.precision[0] == 1


def test_a_class_that_is_never_made_is_missed_where_it_was_asked_for(compared):
    labels = OTHER.labels
    images = OTHER.images.clone()
    images[labels == 2] = images[labels == 1]
    table = compared(images, labels).sel(images="generated")
    assert table.accuracy == pytest.approx(2 / 3, abs=0.05)
    by_class = table.class_accuracy.values
    assert by_class[:2].min() > 0.9 and by_class[2] < 0.1
    assert table.class_share[2] < 0.05 and table.class_coverage[2] < 0.1
    alone = compared(OTHER.images, torch.zeros_like(labels)).sel(images="generated")
    assert alone.class_coverage[1] == 0 and np.isnan(alone.class_accuracy[1])
    assert np.isnan(alone.class_recall[1])


def test_without_labels_the_classes_found_take_their_place(classifier, real):
    table = comparison(classifier, permutations=0)(OTHER.images, None)
    assert np.isnan(table.accuracy[0]) and not np.isnan(table.accuracy[1])
    assert np.isnan(table.class_accuracy[0]).all() and np.isnan(table.energy_p_value).all()
    np.testing.assert_allclose(table.class_coverage[0], real.class_coverage[0], atol=0.1)
    assert table.fd_cnn[0] == real.fd_cnn[0]


def test_every_score_says_what_it_is(real):
    names = [real[name].attrs["long_name"] for name in real]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (OTHER.images[:50], OTHER.labels[:50], "as many images as test, 90, got 50"),
        (OTHER.images[..., :4], OTHER.labels, r"one shape, got \(1, 8, 4\), \(1, 8, 8\)"),
        (OTHER.images, OTHER.labels[:50], r"90 classes from 0 to 2, got shape \(50,\)"),
        (OTHER.images, OTHER.labels + 1, "90 classes from 0 to 2, .* from 1 to 3"),
        (OTHER.images * np.nan, OTHER.labels, "must be finite"),
    ],
)
def test_images_that_do_not_fit_are_refused(images, labels, message, compared):
    with pytest.raises(ValueError, match=message):
        compared(images, labels)


def test_a_class_with_few_training_images_is_refused(classifier):
    few = TRAIN._replace(labels=TRAIN.labels.clamp(max=1))
    few.labels[:5] = 2
    with pytest.raises(ValueError, match=r"more than neighbours=5 images of each .*'high': 5"):
        comparison(classifier, train=few)


def test_sets_of_different_classes_are_refused(classifier):
    with pytest.raises(ValueError, match="the same classes, got"):
        comparison(classifier, test=TEST._replace(classes=("a", "b", "c")))
