"""The snip classifier: its input, and where it finds heads (stage cnn).

N snips of S px, C H W features.
"""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from wheatear.data.sample import Sample
from wheatear.explain.colours import BACKGROUND, HEAD, HEAT, INK, TRUTH
from wheatear.explain.drawing import bare, caption, draw_boxes, nothing, panel_for, sheet, show
from wheatear.explain.look import Look, Network
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.recipe_stages import CNNStage
from wheatear.train.snips import all_snips

SHOWN = 8  # snips per row: as many as can be made out on a phone
AT_ONCE = 32  # snips per batch


def snips(run: Network, sample: Sample) -> Figure:
    """Snips of this photo, cut as in training, with the classifier's probability that each holds a head."""
    look = run.look(sample)
    size = snip_size(run.model)
    cut, labels = cut_snips(look, size)
    probability = head_probability(run.model, cut)
    order = np.random.default_rng(run.model.recipe.seed).permutation(len(labels))
    wrong = np.flatnonzero((probability > 0.5) != labels)
    worst = wrong[np.abs(probability - labels)[wrong].argsort()[::-1]]
    rows = [order[labels[order] == 1][:SHOWN], order[labels[order] == 0][:SHOWN], worst[:SHOWN]]
    figure, axes = sheet(3, SHOWN, (1.3, 1.5))
    for start, row, name in zip(
        (0, SHOWN, 2 * SHOWN), rows, ("with a head", "background", "wrong"), strict=True
    ):
        _show_row(axes[start : start + SHOWN], [(cut[i], labels[i], probability[i]) for i in row], name)
    return caption(figure, _describe_snips(size, len(look.boxes), labels, len(wrong)))


def class_map(run: Network, sample: Sample) -> Figure:
    """The classifier slid over the last map: the probability of a head in snips a cell apart."""
    look = run.look(sample)
    stride, size = max(look.maps), snip_size(run.model)
    probability = slide(run.model, look.maps[stride], size // stride)
    figure, axes = sheet(1, 2, panel_for(look.image, 4.5))
    show(axes[0], look.image, "photo")
    draw_boxes(axes[0], look.boxes, TRUTH, width=1)
    if not probability.size:
        nothing(axes[1], f"the photo is smaller than a snip of {size} px")
        return caption(
            figure, f"A map of {stride}-px cells, too small for a snip of {size} px: nothing to classify."
        )
    show(axes[1], look.image, "probability of a head")
    rows, columns = probability.shape
    edge = (size - stride) / 2
    place = (edge, edge + columns * stride, edge + rows * stride, edge)
    heat = axes[1].imshow(probability, cmap=HEAT, vmin=0, vmax=1, alpha=0.75, extent=place)
    axes[1].set(xlim=axes[0].get_xlim(), ylim=axes[0].get_ylim())
    figure.colorbar(heat, ax=axes[1], shrink=0.7)
    return caption(
        figure,
        f"Each of {rows}×{columns} cells is drawn at the middle of the {size}-px snip that it judges, "
        f"{size // stride}×{size // stride} cells of the map. {(probability > 0.5).mean():.0%} of them predict a "
        "head. The class map shows that a head is near, but not where it begins or how many there are; the later "
        "stages add that.",
    )


def snip_size(model: FasterRCNN) -> int:
    """The side in pixels of the snips that the recipe's cnn stage is trained on."""
    return next(stage.snip_size for stage in model.recipe.stages if isinstance(stage, CNNStage))


def cut_snips(look: Look, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, S, S, 3) uint8 and labels (N,) 1 or 0: all head snips and empty windows of this photo; N may be 0.

    Training draws from these. The hard negatives that a recipe may add are not among them.
    """
    found = all_snips([look.sample], look.model.recipe.image_size, size)
    cut = [look.image[w.y : w.y + size, w.x : w.x + size] for w in found]
    return np.array(cut, np.uint8).reshape(-1, size, size, 3), np.array([w.label for w in found], np.int64)


@torch.no_grad()
def head_probability(model: FasterRCNN, cut: np.ndarray) -> np.ndarray:
    """(N, S, S, 3) -> (N,) in 0..1."""
    parts = torch.split(torch.from_numpy(cut).permute(0, 3, 1, 2), AT_ONCE)
    return torch.cat(
        [model.classify(part).softmax(1)[:, 1] for part in parts if len(part)] or [torch.zeros(0)]
    ).numpy()


@torch.no_grad()
def slide(model: FasterRCNN, maps: Tensor, cells: int) -> np.ndarray:
    """(1, C, H, W) -> (H - cells + 1, W - cells + 1) probabilities of a head; (0, 0) if the map is too small.

    The classifier's linear layer over the cells² flattened cells of a snip is a convolution with that window.
    """
    if min(maps.shape[2:]) < cells:
        return np.zeros((0, 0))
    assert model.snip_head is not None
    kernel = model.snip_head.weight.view(2, maps.shape[1], cells, cells)
    return F.conv2d(maps, kernel, model.snip_head.bias).softmax(1)[0, 1].numpy()


def _describe_snips(size: int, heads: int, labels: np.ndarray, wrong: int) -> str:
    right = f"{len(labels) - wrong} of {len(labels)} right at p > 0.5" if len(labels) else "nothing to judge"
    return (
        f"Snips of {size} px from this photo: {labels.sum()} centred on a head (of {heads}; the others would leave the "
        f"photo) and {(labels == 0).sum()} background windows that touch no head. p: the classifier's probability of a "
        f"head; {right}. Last row: the worst of the {wrong} that it gets wrong."
    )


def _show_row(axes: list[Axes], shown: list[tuple[np.ndarray, int, float]], name: str) -> None:
    for panel in axes:
        bare(panel)
    axes[0].text(
        -0.08, 0.5, name, transform=axes[0].transAxes, rotation=90, ha="right", va="center", color=INK
    )
    for panel, (snip, label, probability) in zip(axes, shown, strict=False):
        show(panel, snip)
        panel.set_title(f"p = {probability:.2f}", fontsize=8)
        draw_boxes(
            panel, np.array([[0, 0, *snip.shape[1::-1]]]), HEAD if label else BACKGROUND, width=4, rim=False
        )
    if not shown:
        nothing(axes[0], "none")
