"""A small classifier of images: the features of `fd_cnn`, and the judge of class and variety.

It is trained in seconds on the data at hand. Its features are not those of Inception, and its
Frechet distance is not the published FID.
"""

import itertools
import math
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from meanfluid.imaging.data import Images, Split
from meanfluid.imaging.layers import Convolution, linear

CHANNELS = (32, 64)  # before and after the first halving; as many after the others
SMALLEST = 4  # halvings stop when a side has no more points than this
GAIN = math.sqrt(2)  # keeps the size of activations through relu
BATCH = 128
RATE = 3e-3  # of Adam, falling to zero along a cosine
WEIGHT_DECAY = 1e-2
SMOOTHING = 0.1  # share of the probability that is spread over all classes
SHARE_OF_WARMUP = 0.1


class ClassAccuracy(NamedTuple):
    """Share of images whose class is found.

    Attributes
    ----------
    overall : float
    by_class : dict of int to float
        Of the images of each class that occurs.
    """

    overall: float
    by_class: dict[int, float]


class Classifier(nn.Module):
    """Convolutions that halve the image until it is small, features, and scores of classes.

    Parameters
    ----------
    shape : (int, int, int)
        Channels, height and width of an image.
    classes : int
        Number of classes.
    features : int
        Number of features.
    generator : torch.Generator
        Draws the initial weights; on the CPU.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        *,
        features: int = 32,
        generator: Generator,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.shape, self.classes = shape, classes
        options: dict[str, Any] = {"generator": generator, "dtype": dtype, "gain": GAIN}
        side = [shape[1], shape[2]]
        channels, strides = [shape[0], CHANNELS[0]], [1]
        while min(side) > SMALLEST or len(strides) == 1:
            side = [(length + 1) // 2 for length in side]
            channels.append(CHANNELS[1])
            strides.append(2)
        self.convolutions = nn.ModuleList(
            Convolution(before, after, stride=stride, **options)
            for (before, after), stride in zip(itertools.pairwise(channels), strides, strict=True)
        )
        self.narrow = linear(channels[-1] * math.prod(side), features, **options)
        self.scores = linear(features, classes, **options)
        self.scale: Tensor
        self.register_buffer("scale", torch.ones((), dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Scores (n, classes) of images (n, channels, height, width): log-odds up to a constant."""
        return self.scores(self._hidden(x))  # type: ignore[no-any-return]

    def features(self, x: Tensor) -> Tensor:
        """Features (n, features): the last layer before the scores, of mean variance one.

        One common factor makes it so for the training images.
        """
        return self._hidden(x) / self.scale

    def predict(self, x: Tensor) -> Tensor:
        """Most likely classes (n,), int64."""
        with torch.no_grad():
            return self(x).argmax(dim=1)  # type: ignore[no-any-return]

    def _hidden(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"x must be images of shape (n, {', '.join(map(str, self.shape))}), got "
                f"{tuple(x.shape)}"
            )
        if x.dtype != self.scale.dtype:
            raise ValueError(
                f"x must be {self.scale.dtype} like the classifier, got {x.dtype}; convert x with "
                f"x.to({self.scale.dtype})"
            )
        for layer in self.convolutions:
            x = functional.relu(layer(x))
        hidden: Tensor = self.narrow(x.flatten(1))
        return functional.relu(hidden)


def train_classifier(
    images: Images | Split, *, generator: Generator, features: int = 32, epochs: int = 40
) -> Classifier:
    """Return a classifier trained on images, in evaluation mode and without gradients.

    By Adam on smoothed labels, on images of which half are shifted by up to one pixel; what comes
    in repeats the border. On one machine, with one number of threads, the same images, generator
    and keywords give the same weights.

    Parameters
    ----------
    images : Images or Split
        Of a split, the training images only. The classifier is on their device.
    generator : torch.Generator
        On the CPU; draws weights, order and shifts.
    features : int
        Number of features; fewer than the images that a Frechet distance compares.
    epochs : int
        How often each image is seen; 40 take about 6 s for the digits on one core.

    Raises
    ------
    ValueError
        If there are fewer than two classes, or images and labels do not fit.

    References
    ----------
    Szegedy, Vanhoucke, Ioffe, Shlens & Wojna (2016), arXiv:1512.00567 (smoothed labels).
    """
    train = images.train if isinstance(images, Split) else images
    x, labels, count = train.images, train.labels, len(train.classes)
    if count < 2:
        raise ValueError(f"a classifier needs at least two classes, got {train.classes}")
    if x.ndim != 4 or labels.shape != (len(x),):
        raise ValueError(
            f"images must be (n, channels, height, width) with labels (n,), got {tuple(x.shape)} "
            f"and {tuple(labels.shape)}"
        )
    if len(x) and (labels.min() < 0 or labels.max() >= count):
        raise ValueError(
            f"labels must be classes from 0 to {count - 1}, got values from {labels.min()} to "
            f"{labels.max()}"
        )
    if epochs < 1 or features < 1:
        raise ValueError(f"epochs and features must be at least 1, got {epochs} and {features}")
    channels, height, width = x.shape[1:]
    classifier = Classifier(
        (channels, height, width), count, features=features, generator=generator, dtype=x.dtype
    ).to(x.device)
    steps = epochs * math.ceil(len(x) / BATCH)
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step / steps))
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(BATCH):  # type: ignore[no-untyped-call]
            found = classifier(_shifted(x[rows], generator))
            loss = functional.cross_entropy(found, labels[rows], label_smoothing=SMOOTHING)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    classifier.requires_grad_(False).eval()
    classifier.scale.copy_(classifier.features(x).var(dim=0).mean().sqrt())
    return classifier


def classifier_accuracy(classifier: Classifier, images: Tensor, labels: Tensor) -> ClassAccuracy:
    """Return how many images the classifier finds to be of their class, also class by class.

    Of generated images, labels are the classes asked for.

    Raises
    ------
    ValueError
        If there are no images, or labels do not fit.
    """
    if len(images) < 1 or labels.shape != (len(images),):
        raise ValueError(
            f"labels must hold one class for each of at least one image, got shape "
            f"{tuple(labels.shape)} for {len(images)} images"
        )
    right = (classifier.predict(images) == labels).double()
    by_class = {
        int(c): float(right[labels == c].mean())
        for c in range(int(labels.max()) + 1)
        if (labels == c).any()
    }
    return ClassAccuracy(float(right.mean()), by_class)


def _rate(progress: float) -> float:
    """Factor of the learning rate: a linear rise, then a cosine."""
    warm = min(1.0, (progress + 1e-3) / SHARE_OF_WARMUP)
    return warm * (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def _shifted(x: Tensor, generator: Generator) -> Tensor:
    """Half of the images, at random, moved by -1, 0 or 1 pixels along each axis."""
    n, _, height, width = x.shape
    moves = torch.randint(0, 2, (n, 1), generator=generator)
    shift = torch.randint(-1, 2, (2, n, 1), generator=generator) * moves
    rows = (torch.arange(height) + shift[0]).clamp(0, height - 1)
    columns = (torch.arange(width) + shift[1]).clamp(0, width - 1)
    image = torch.arange(n)
    return x[image[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
