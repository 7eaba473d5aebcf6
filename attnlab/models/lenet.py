"""LeNet for MNIST (after LeCun et al. 1998): the paper's smallest network (section 5.1)."""

import torch.nn.functional as F
from torch import Tensor, nn

from attnlab.models.grey_conv import GreyConv2d

WIDTHS = (20, 50)
HIDDEN = 500


class LeNet(nn.Module):
    """Grey images of 28x28 pixels to ten logits; pixels in [0, 1] are taken as they are.

    Attention is read off the second convolution after its ReLU, at 8x8: the last maps before the second pool, which
    would leave 4x4. Hidden layers follow, so Grad-CAM has no closed form here.
    """

    input_size = (28, 28)
    attention_layer = "relu2"

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = GreyConv2d(WIDTHS[0], 5)
        self.conv2 = nn.Conv2d(WIDTHS[0], WIDTHS[1], 5)
        self.relu2 = nn.ReLU()
        self.hidden = nn.Linear(WIDTHS[1] * 4 * 4, HIDDEN)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(HIDDEN, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) to logits (N, K)."""
        # the ReLU behind the pool: the same values and gradients to the bit, from a quarter of the numbers
        x = F.relu(F.max_pool2d(self.conv1(x), 2))  # (N, 20, 12, 12)
        x = F.max_pool2d(self.relu2(self.conv2(x)), 2)  # (N, 50, 8, 8), then 4x4
        x = F.relu(self.hidden(x.flatten(1)))
        return self.classifier(self.dropout(x))  # type: ignore[no-any-return]
