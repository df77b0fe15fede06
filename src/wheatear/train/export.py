"""Export a run folder, or a detector that was exported before, to model.onnx and its card, model.json."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from wheatear.data.sample import Sample
from wheatear.files import whole, write_json
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.quantize import quantize
from wheatear.train.recipe import Recipe
from wheatear.train.rescale import REFERENCE
from wheatear.train.run_card import trained
from wheatear.train.storage import round_weights, shrink


class OneImage(nn.Module):
    """The detector as it is exported: one photo in, its boxes and scores out."""

    def __init__(self, model: FasterRCNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(H, W, 3) uint8 RGB -> boxes (N, 4) xyxy pixels, scores (N,), descending."""
        ((boxes, scores),) = self.model(image.permute(2, 0, 1)[None])
        return boxes, scores


def export_detector(
    source: Path, path: Path, seen: Sequence[Sample] = (), settings: Recipe | None = None
) -> None:
    """Write the model.onnx of a finished run, or of an exported detector, to `path`, and its card beside it.

    seen: training photos to quantize it with to 8 bits (`quantize`), if any. settings: as in `load_run`.
    """
    model, card = trained(source, settings)
    if not seen:
        round_weights(model)
    if seen:
        card = card.model_copy(update={"arithmetic": "int8"})
    described = path.with_suffix(".json")
    with whole(described) as card_part:
        write_json(card_part, card.model_dump(mode="json"))
        with whole(path) as part:
            write_graph(graph_of(model), part, seen)
            # If the program is killed now, a model without a card is left, not one with another model's thresholds.
            described.unlink(missing_ok=True)


def write_graph(plain: onnx.ModelProto, path: Path, seen: Sequence[Sample] = ()) -> None:
    """Write a graph, which may be modified in the process.

    seen: photos to quantize it with; without them, weights are stored as float16 and used as float32.
    """
    if seen:
        quantize(plain, seen, path)
    else:
        onnx.save(shrink(plain), path)


def graph_of(model: FasterRCNN) -> onnx.ModelProto:
    """The float32 model as a graph: "image" (H, W, 3) uint8, any H and W -> "boxes" (N, 4), "scores" (N,)."""
    # A map of one cell would be traced as a special case; the graph accepts such maps all the same.
    two_cells = max(model.backbone.out_channels) * REFERENCE // model.recipe.image_size + 1
    example = torch.zeros(max(256, two_cells), max(320, two_cells + 64), 3, dtype=torch.uint8)
    sides = {i: torch.export.Dim(name, min=two_cells) for i, name in enumerate(("height", "width"))}
    # Without gradients, as `roi_align` takes another path for maps that need them.
    with torch.no_grad(), warnings.catch_warnings():  # torchvision's nms uses a deprecated name in torch
        warnings.filterwarnings("ignore", ".*create_unbacked_symint", FutureWarning)
        program = torch.export.export(
            OneImage(model).eval(),
            (example,),
            dynamic_shapes=(sides,),
            prefer_deferred_runtime_asserts_over_guards=True,
        )
        exported = torch.onnx.export(
            program, input_names=["image"], output_names=["boxes", "scores"], verbose=False
        )
    assert exported is not None
    return without_notes(exported.model_proto)


def without_notes(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph without the exporter's metadata, which holds this machine's paths and outweighs a small graph."""
    del model.graph.metadata_props[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    return model
