"""How weights are stored in a model.onnx: rounded to float16, widened to float32 when the model is loaded.

The file is half as large; the arithmetic stays float32. To compare the two, torch's weights are rounded in
the same way: after batch norms are folded into them, as the export does.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

SMALLEST_ROUNDED = 1024  # values; smaller tensors take hardly any space and may be indices or limits


def round_weights(model: nn.Module) -> None:
    """Fold the batch norms of a model in evaluation mode, and round its large tensors to float16, in place."""
    fold_norms(model)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point() and tensor.numel() >= SMALLEST_ROUNDED:
            tensor.copy_(tensor.half())


@torch.no_grad()
def fold_norms(model: nn.Module) -> None:
    """Move the factor of each batch norm, in place, into the convolution before it; only its bias remains."""
    for _, convolution, _, norm in normed_convolutions(model):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        weight, bias = fuse_conv_bn_weights(
            convolution.weight, None, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        convolution.weight.copy_(weight)
        norm.load_state_dict(bias_alone(bias, norm.eps), strict=False)


def bias_alone(bias: Tensor, eps: float) -> dict[str, Tensor]:
    """The tensors of a batch norm, of this eps, that adds a bias (C,) and otherwise changes nothing."""
    ones, zeros = torch.ones_like(bias), torch.zeros_like(bias)
    return {"weight": ones, "bias": bias, "running_mean": zeros, "running_var": ones - eps}


def normed_convolutions(model: nn.Module) -> Iterator[tuple[str, nn.Conv2d, str, nn.BatchNorm2d]]:
    """The convolutions that leave the bias to a batch norm right after them, and that norm, with their names."""
    layers = [pair for pair in model.named_modules() if isinstance(pair[1], nn.Conv2d | nn.BatchNorm2d)]
    for (name, layer), (after, norm) in pairwise(layers):
        if isinstance(layer, nn.Conv2d) and layer.bias is None and isinstance(norm, nn.BatchNorm2d):
            yield name, layer, after, norm


def shrink(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store the large float32 tensors of a graph, in place, as float16, each with a node that widens it."""
    graph, widened = model.graph, []
    for tensor in list(graph.initializer):
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= SMALLEST_ROUNDED:
            half = f"{tensor.name}.half"
            stored = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), half)
            graph.initializer.remove(tensor)
            graph.initializer.append(stored)
            widened.append(helper.make_node("Cast", [half], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*widened, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model
