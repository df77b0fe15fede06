"""EfficientNet-Lite 0, 1 and 2 (Tan & Le 2019; the Lite versions by Liu 2020), as TensorFlow's weights expect them.

"Lite" means no squeeze-and-excitation, and ReLU6, so every layer is fast on a CPU. torchvision has no such
network: its `MBConv` has SiLU built in and lacks TensorFlow's padding, on which the weights depend.
"""

import math

from torch import Tensor, nn
from torch.nn import functional as F

# Kernel, stride of the first block, expansion, channels and blocks of each stage before scaling (the paper's table 1).
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
SCALES = {  # width, depth
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}
STEM, HEAD, CLASSES = 32, 1280, 1000  # the Lite versions do not scale the first and last layers
EPS = 1e-3  # of the batch norms, as in TensorFlow


class Shrink(nn.Module):
    """TensorFlow's "same" padding at stride 2, for even sides: the odd pixel goes to the right and bottom."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        before, after = (kernel - 2) // 2, (kernel - 1) // 2
        self.sides = (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same with zeros around it."""
        return F.pad(x, self.sides)


def convolution(
    channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution without bias, padded as in TensorFlow, and its batch norm."""
    padding = kernel // 2 if stride == 1 else 0
    layer = nn.Conv2d(channels, out, kernel, stride, padding, groups=groups, bias=False)
    return [*([Shrink(kernel)] if stride > 1 else []), layer, nn.BatchNorm2d(out, EPS)]


class Block(nn.Module):
    """An inverted residual: 1×1 up, depthwise, 1×1 down; added to its input if the shapes agree."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        expand = [*convolution(channels, wide), nn.ReLU6(inplace=True)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            *convolution(wide, wide, kernel, stride, groups=wide),
            nn.ReLU6(inplace=True),
            *convolution(wide, out),
        )
        self.residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out, H/stride, W/stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    """The stem, seven stages of blocks, and the head; a detector uses only what comes before the head.

    Parameters and buffers are in the order of the published weights, though under other names.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        width, depth = SCALES[name]
        self.stem = nn.Sequential(*convolution(3, STEM, 3, 2), nn.ReLU6(inplace=True))
        self.stages, channels = nn.ModuleList(), STEM
        for i, (kernel, stride, expansion, filters, blocks) in enumerate(STAGES):
            out = divisible(filters * width)
            if 0 < i < len(STAGES) - 1:  # the Lite versions do not deepen these two either
                blocks = math.ceil(blocks * depth)
            stage = []
            for block in range(blocks):
                stage.append(Block(channels, out, kernel, 1 if block else stride, expansion))
                channels = out
            self.stages.append(nn.Sequential(*stage))
        self.head = nn.Sequential(*convolution(channels, HEAD), nn.ReLU6(inplace=True))
        self.classifier = nn.Linear(HEAD, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in -1..1, sides even at every stride -> (B, 1000) logits of the ImageNet classes."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        return self.classifier(self.head(x).mean((2, 3)))


def divisible(channels: float) -> int:
    """The nearest multiple of 8, but never less than 90 % of `channels` (MobileNet's rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
