"""Images: data that come without downloads, and metrics of generated samples.

`data` returns tensors and labels, `metrics` compares sets of samples. The networks and the training
of generative models are those of `meanfluid.learning`.
"""

from meanfluid.imaging import data as data
from meanfluid.imaging import metrics as metrics
