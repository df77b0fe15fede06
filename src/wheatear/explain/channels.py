"""The contents of the backbone's last map, or of the pyramid's levels.

C H W features.
"""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from wheatear.data.sample import Sample
from wheatear.explain.colours import HEAT
from wheatear.explain.drawing import bare, caption, panel_for, sheet
from wheatear.explain.look import Network

ALONE = 16  # channels shown of the only map, in four rows
COLUMNS = 4  # channels shown of each level of a pyramid, in one row


def feature_maps(run: Network, sample: Sample) -> Figure:
    """The channels that vary most over the photo, in the backbone's last map or in each level of the pyramid."""
    look = run.look(sample)
    strides = [max(look.maps)] if run.model.pyramid is None else sorted(look.maps)
    shown = ALONE if len(strides) == 1 else COLUMNS
    figure, axes = sheet(len(strides) * shown // COLUMNS, COLUMNS, panel_for(look.image, 1.9))
    texts = []
    for i, stride in enumerate(strides):
        level = "" if len(strides) == 1 else f"stride {stride}, "
        maps = look.maps[stride][0]
        show_channels(axes[i * shown : (i + 1) * shown], maps, level)
        texts.append(describe(maps, stride, shown))
    return caption(
        figure, f"{' '.join(texts)} Bright means a strong response. Each channel has its own scale."
    )


def show_channels(axes: list[Axes], maps: Tensor, level: str) -> None:
    """The strongest of (C, H, W) channels, one per panel."""
    for panel in axes:
        bare(panel)
    for panel, channel in zip(axes, strongest_channels(maps, len(axes)).tolist(), strict=False):
        panel.imshow(maps[channel].numpy(), cmap=HEAT)
        panel.set_title(f"{level}channel {channel}", fontsize=8)


def strongest_channels(maps: Tensor, count: int) -> Tensor:
    """Indices of the channels of (C, H, W) that vary most over the cells: at most `count`, most varied first."""
    return maps.flatten(1).std(1, correction=0).argsort(descending=True)[:count]


def describe(maps: Tensor, stride: int, shown: int) -> str:
    """A sentence with the figures for a map (C, H, W)."""
    count, height, width = maps.shape
    spread = maps.flatten(1).std(1, correction=0)
    strongest = strongest_channels(maps, shown)
    return (
        f"{len(strongest)} of the {count} channels of the map of stride {stride}, {height}×{width} cells: those that "
        f"vary most (standard deviation {spread[strongest[0]]:.2f} to {spread[strongest[-1]]:.2f}; median of all "
        f"{spread.median():.2f})."
    )
