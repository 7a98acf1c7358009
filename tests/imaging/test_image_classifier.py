"""The classifier of images: what it reaches, what it depends on, what its features are."""

import pytest
import torch

from meanfluid.imaging.classifier import Classifier, classifier_accuracy, train_classifier
from meanfluid.imaging.data import Images, Split, digits


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bars(count=64, *, size=8, seed=0):
    """Noisy images of a bright row or, with class 1, a bright column."""
    generator = seeded(seed)
    labels = torch.arange(count) % 2
    images = 0.3 * torch.randn(count, 1, size, size, generator=generator) - 1
    for image, label, place in zip(
        images, labels, torch.randint(0, size, (count,), generator=generator), strict=True
    ):
        image[0, :, place] += 2 * label
        image[0, place] += 2 * (1 - label)
    return Images(images, labels, ("row", "column"))


@pytest.fixture(scope="module")
def split():
    pytest.importorskip("sklearn")
    return digits(seed=0)


def test_the_classes_of_digits_held_back_are_found(split):
    classifier = train_classifier(split, generator=seeded(), epochs=16)
    found = classifier_accuracy(classifier, *split.test[:2])
    assert found.overall > 0.95
    assert sorted(found.by_class) == list(range(10))
    assert min(found.by_class.values()) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_98_in_100_digits_held_back_are_found(seed):
    pytest.importorskip("sklearn")
    split = digits(seed=seed)
    classifier = train_classifier(split, generator=seeded(seed))
    assert classifier_accuracy(classifier, *split.test[:2]).overall >= 0.98


@pytest.mark.parametrize("size", [4, 11, 16])
def test_simple_images_of_any_size_are_told_apart(size):
    classifier = train_classifier(bars(512, size=size), generator=seeded(), epochs=12)
    test = bars(size=size, seed=1)
    assert classifier_accuracy(classifier, test.images, test.labels).overall > 0.95


def test_the_generator_decides_the_weights():
    state = torch.random.get_rng_state()
    one, same, other = (
        train_classifier(bars(), generator=seeded(k), epochs=2).scores.weight for k in (0, 0, 1)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_features_of_the_training_images_have_mean_variance_one_and_determine_the_class():
    images = bars().images
    classifier = train_classifier(bars(), generator=seeded(), features=6, epochs=4)
    features = classifier.features(images)
    assert features.shape == (64, 6)
    torch.testing.assert_close(features.var(dim=0).mean(), torch.tensor(1.0))
    scores = classifier.scores(features * classifier.scale)
    torch.testing.assert_close(scores, classifier(images))
    assert torch.equal(classifier.predict(images), scores.argmax(dim=1))
    assert not features.requires_grad and not classifier.training


def test_accuracy_is_counted_class_by_class():
    test = bars(10)
    classifier = train_classifier(bars(512), generator=seeded(), epochs=12)
    assert classifier_accuracy(classifier, test.images, test.labels).overall == 1
    wrong = test.labels.clone()
    wrong[:4] = 0  # images 1 and 3 are columns
    found = classifier_accuracy(classifier, test.images, wrong)
    assert found == (pytest.approx(0.8), {0: pytest.approx(5 / 7), 1: 1.0})


def test_a_split_is_trained_on_its_training_images():
    one = train_classifier(Split(bars(), bars(seed=1)), generator=seeded(), epochs=1)
    same = train_classifier(bars(), generator=seeded(), epochs=1)
    assert torch.equal(one.scores.weight, same.scores.weight)


@pytest.mark.parametrize(
    "images, options, message",
    [
        (bars()._replace(classes=("one",)), {}, r"at least two classes, got \('one',\)"),
        (bars()._replace(labels=torch.zeros(3)), {}, r"labels \(n,\), got \(64, 1, 8, 8\) and"),
        (bars()._replace(labels=torch.full((64,), 2)), {}, "classes from 0 to 1, got .* 2 to 2"),
        (bars(), {"epochs": 0}, "at least 1, got 0 and 32"),
    ],
)
def test_training_that_makes_no_sense_is_refused(images, options, message):
    with pytest.raises(ValueError, match=message):
        train_classifier(images, generator=seeded(), **options)


def test_images_that_the_classifier_does_not_know_are_refused():
    classifier = Classifier((1, 8, 8), 2, generator=seeded())
    with pytest.raises(ValueError, match=r"images of shape \(n, 1, 8, 8\), got \(3, 2, 8, 8\)"):
        classifier.predict(torch.zeros(3, 2, 8, 8))
    with pytest.raises(ValueError, match="float32 like the classifier, got torch"):
        classifier.features(torch.zeros(3, 1, 8, 8).double())
    with pytest.raises(ValueError, match=r"at least one image, got shape \(2,\) for 3 images"):
        classifier_accuracy(classifier, torch.zeros(3, 1, 8, 8), torch.zeros(2))
