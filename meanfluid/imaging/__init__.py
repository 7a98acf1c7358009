"""Images: data that come without downloads, networks for them, and metrics of generated samples.

Training and sampling are those of `meanfluid.learning`. Single metrics are in `metrics`;
`ImageComparison` puts them all in one table, beside what they say of real images held back.
"""

from meanfluid.imaging import metrics as metrics
from meanfluid.imaging.classifier import Classifier as Classifier
from meanfluid.imaging.classifier import classifier_accuracy as classifier_accuracy
from meanfluid.imaging.classifier import train_classifier as train_classifier
from meanfluid.imaging.data import Images as Images
from meanfluid.imaging.data import Snapshots as Snapshots
from meanfluid.imaging.data import Split as Split
from meanfluid.imaging.data import digits as digits
from meanfluid.imaging.data import load_images as load_images
from meanfluid.imaging.data import split as split
from meanfluid.imaging.data import turbulence_snapshots as turbulence_snapshots
from meanfluid.imaging.networks import ResidualMLP as ResidualMLP
from meanfluid.imaging.scores import ImageComparison as ImageComparison
from meanfluid.imaging.spectral import Filtered as Filtered
from meanfluid.imaging.transformer import DiT as DiT
from meanfluid.imaging.unet import UNet as UNet
