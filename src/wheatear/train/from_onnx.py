"""From a model.onnx back to torch: the network of its card's recipe, with the weights of the graph.

The export keeps the names that tensors have in torch. What it changes is undone here: large tensors are
stored with fewer bits and widened by nodes, and a batch norm right after a convolution is folded into it. The
weights of a quantized graph (`quantize`) come back rounded, but torch rounds nothing between the layers. The
snip classifier, which only serves to train the backbone, is not exported.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import GraphProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from wheatear.detector import Card, find, load
from wheatear.errors import InputError, last_line
from wheatear.train.faster_rcnn import FasterRCNN
from wheatear.train.recipe import validated
from wheatear.train.storage import bias_alone, normed_convolutions
from wheatear.tta import ONCE

ROOT = "model."  # the detector's attribute in `OneImage`
INPUTS = {  # torch's names for a node's inputs, from the second on
    "Conv": ("weight", "bias"),
    "Gemm": ("weight", "bias"),
    "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
}
DEQUANTIZED = "_DequantizeLinear_Output"  # the suffix that onnxruntime's quantization adds to a tensor's name
NOT_EXPORTED = "num_batches_tracked"  # of a batch norm; unused once it is trained


def exported_network(
    name: str | Path, settings: Mapping[str, object] | None = None
) -> tuple[FasterRCNN, Card]:
    """The network inside a shipped detector or any other model.onnx, and its card.

    settings: top-level parts of a recipe that replace its own. Raises InputError if there is no such
    detector, or if its card has no recipe from which the network can be rebuilt.
    """
    card, (weights, _) = load(name, tta=ONCE).card, find(name)
    return load_exported(weights.read_bytes(), card.recipe | dict(settings or {}), str(name)), card


def load_exported(content: bytes, recipe: object, name: str) -> FasterRCNN:
    """The network of a model.onnx, given its bytes and its card's recipe, in evaluation mode.

    Except for rounding, its detections are those of the graph. Raises InputError, naming `name`, if the
    recipe is invalid or the graph is not that of such a network.
    """
    model = FasterRCNN(validated(recipe, f"{name}, recipe"))
    model.snip_head = None
    try:
        tensors = dict(stored_tensors(onnx.load_model_from_string(content).graph))
        tensors |= unfolded(model, tensors)
        tensors |= zero_biases(model, tensors)
        result = model.load_state_dict(tensors, strict=False)
    except (KeyError, RuntimeError) as error:
        raise InputError(f"{name}: is not the network of its card ({last_line(error)})") from None
    idle = model.idle_groups()  # not exported, as no map of theirs is used
    missing = [
        key for key in result.missing_keys if not key.endswith(NOT_EXPORTED) and not key.startswith(idle)
    ]
    if missing or result.unexpected_keys:
        raise InputError(
            f"{name}: is not the network of its card ({[*missing, *result.unexpected_keys][0]} is in one alone)"
        )
    return model.eval()


def stored_tensors(graph: GraphProto) -> Iterator[tuple[str, Tensor]]:
    """The weights of all layers in the graph, by their names in torch. KeyError if one depends on the photo."""
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    makers = {output: node for node in graph.node for output in node.output}

    def value(name: str) -> np.ndarray:
        if name in initializers:
            return numpy_helper.to_array(initializers[name])
        node = makers[name]
        inputs = {each: value(each) for each in node.input}
        (made,) = ReferenceEvaluator(node).run(None, inputs)
        return np.asarray(made)

    for node in graph.node:
        layer = node.input[1].removesuffix(DEQUANTIZED) if node.op_type in INPUTS else ""
        if layer.startswith(ROOT) and layer.endswith(".weight"):
            prefix = layer.removeprefix(ROOT).removesuffix("weight")
            for part, name in zip(INPUTS[node.op_type], node.input[1:], strict=False):
                yield prefix + part, torch.from_numpy(value(name).copy())


def unfolded(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rebuild the batch norms that the export folded away, and remove their substitutes from `tensors`.

    A convolution with a folded batch norm has no bias in torch, but one in the graph. The batch norm after it
    takes over that bias and otherwise changes nothing.
    """
    found: dict[str, Tensor] = {}
    for name, _, after, norm in normed_convolutions(model):
        weight = tensors.get(f"{name}.weight")
        if weight is None or f"{after}.weight" in tensors:
            continue
        # Of a norm that was never trained, the bias is 0 throughout, and the export leaves it out.
        bias = tensors.pop(f"{name}.bias", weight.new_zeros(len(weight)))
        found |= {f"{after}.{part}": tensor for part, tensor in bias_alone(bias, norm.eps).items()}
    return found


def zero_biases(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The biases of layers that the export left out, as they are 0 throughout: of layers never trained."""
    return {
        f"{name}.bias": torch.zeros_like(layer.bias)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
        and layer.bias is not None
        and f"{name}.weight" in tensors
        and f"{name}.bias" not in tensors
    }
