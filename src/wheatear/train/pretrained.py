"""ImageNet classifiers as backbones, divided into stages that end at the strides 4, 8, 16 and 32.

Shapes: B images, C channels, H × W pixels. Images are padded as in `backbone`, to a multiple of 32.
"""

import torch
from torch import Tensor, nn
from torchvision import models

from wheatear.train.backbone import pad_to_multiple
from wheatear.train.efficientnet_lite import EfficientNetLite
from wheatear.train.recipe import PRETRAINED_STRIDES, PretrainedBackboneRecipe


class PretrainedCNN(nn.Module):
    """The stages of an ImageNet classifier, with random weights until `published.load_backbone`.

    coarsest: the stride of the last map that is used; later stages are left out.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, recipe: PretrainedBackboneRecipe, coarsest: int = PRETRAINED_STRIDES[-1]) -> None:
        super().__init__()
        strides = [stride for stride in PRETRAINED_STRIDES if stride <= coarsest]
        self.stages = nn.ModuleList(stages(classifier(recipe), recipe.last_blocks)[: len(strides)])
        self.register_buffer("mean", 255 * torch.tensor(recipe.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(recipe.std).view(1, 3, 1, 1), persistent=False)
        self.out_channels = dict(zip(strides, map(last_channels, self.stages), strict=True))
        self.frozen = recipe.frozen

    def requires_grad_(self, requires_grad: bool = True) -> "PretrainedCNN":
        """As for any module, except that frozen stages are never trained."""
        super().requires_grad_(requires_grad)
        self.stages[: self.frozen].requires_grad_(False)
        return self

    def train(self, mode: bool = True) -> "PretrainedCNN":
        """As for any module, but frozen stages stay in eval mode, with the batch norm statistics that were loaded."""
        super().train(mode)
        self.stages[: self.frozen].eval()
        return self

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """(B, 3, H, W) RGB in 0..255, any dtype -> {stride: map} for strides from 4 to the coarsest."""
        x = pad_to_multiple((images.to(self.mean.dtype) - self.mean) / self.std, PRETRAINED_STRIDES[-1])
        x = x.contiguous(memory_format=torch.channels_last)
        maps = {}
        for stride, stage in zip(self.out_channels, self.stages, strict=True):
            x = stage(x)
            maps[stride] = x
        return maps


def classifier(recipe: PretrainedBackboneRecipe) -> nn.Module:
    """The whole ImageNet classifier, with random weights."""
    if recipe.name.startswith("efficientnet_lite"):
        return EfficientNetLite(recipe.name)
    network: nn.Module = models.get_model(recipe.name, weights=None)
    if recipe.stride_in_1x1:
        assert isinstance(network, models.ResNet)
        for layer in (network.layer2, network.layer3, network.layer4):
            layer[0].conv1.stride, layer[0].conv2.stride = layer[0].conv2.stride, layer[0].conv1.stride
    return network


def stages(network: nn.Module, last_blocks: int | None = None) -> list[nn.Sequential]:
    """The parts of a classifier that end at the strides 4, 8, 16 and 32.

    Left out are its final pooling and layers, and all but the first `last_blocks` of a ResNet's fourth stage.
    """
    match network:
        case EfficientNetLite(stem=stem, stages=s):
            return [
                nn.Sequential(stem, s[0], s[1]),
                nn.Sequential(s[2]),
                nn.Sequential(s[3], s[4]),
                nn.Sequential(s[5], s[6]),
            ]
        case models.MobileNetV2(features=f):
            # The last 1×1 convolution, to 1280 channels, costs as much as a stage and is for classification.
            return [f[:4], f[4:7], f[7:14], f[14:18]]
        case models.ResNet():
            stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool, network.layer1)
            last = network.layer4[:last_blocks]
            return [stem, *(nn.Sequential(layer) for layer in (network.layer2, network.layer3, last))]
    raise AssertionError(network)


def last_channels(stage: nn.Module) -> int:
    """The number of a stage's output channels: those of its last batch norm."""
    return [m.num_features for m in stage.modules() if isinstance(m, nn.BatchNorm2d)][-1]
