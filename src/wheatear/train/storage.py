"""How weights lie in a model.onnx: rounded to float16 or int8, and widened to float32 when the model is loaded.

The file is half or a quarter as large; the arithmetic stays that of float32. torch, too, is given the rounded weights
wherever the two are compared.
"""

from typing import Literal

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

Storage = Literal["float16", "int8"]
SMALLEST_ROUNDED = 1024  # values; smaller tensors weigh nothing and may be indices or limits
INT8_MAX = 127  # -128 has no counterpart


def round_weights(model: nn.Module, storage: Storage = "float16") -> None:
    """Round, in place, the tensors of a model to what is stored of them."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point() and tensor.numel() >= SMALLEST_ROUNDED:
            tensor.copy_(rounded_to_int8(tensor) if as_int8(tensor.ndim, storage) else tensor.half())


def as_int8(ndim: int, storage: Storage) -> bool:
    """Kernels and matrices alone: their rows, one for each channel that comes out, share a scale."""
    return storage == "int8" and ndim > 1


def rounded_to_int8(weight: Tensor) -> Tensor:
    """The nearest of 255 evenly spaced values for each row of (O, …)."""
    scale = weight.flatten(1).abs().amax(1).clamp(min=1e-12) / INT8_MAX
    scale = scale.view(-1, *[1] * (weight.ndim - 1))
    return (weight / scale).round() * scale


def shrink(model: onnx.ModelProto, storage: Storage = "float16") -> onnx.ModelProto:
    """Store, in place, the large float32 tensors of a graph as `storage` says, each with nodes that widen it."""
    graph, widened = model.graph, []
    for tensor in list(graph.initializer):
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= SMALLEST_ROUNDED:
            stored, nodes = in_int8(tensor) if as_int8(len(tensor.dims), storage) else in_float16(tensor)
            graph.initializer.remove(tensor)
            graph.initializer.extend(stored)
            widened += nodes
    nodes = [*widened, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def in_float16(tensor: TensorProto) -> tuple[list[TensorProto], list[NodeProto]]:
    """A tensor's halves, and the node that makes it of them."""
    half = f"{tensor.name}.half"
    stored = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), half)
    return [stored], [helper.make_node("Cast", [half], [tensor.name], to=TensorProto.FLOAT)]


def in_int8(tensor: TensorProto) -> tuple[list[TensorProto], list[NodeProto]]:
    """A tensor's bytes and their scales, and the nodes that make it of them."""
    values, name = numpy_helper.to_array(tensor), tensor.name
    rows = tuple(range(1, values.ndim))
    scale = np.abs(values).max(rows, keepdims=True).clip(1e-12) / np.float32(INT8_MAX)
    stored = {f"{name}.int8": np.rint(values / scale).astype(np.int8), f"{name}.scale": scale}
    return [numpy_helper.from_array(array, key) for key, array in stored.items()], [
        helper.make_node("Cast", [f"{name}.int8"], [f"{name}.wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}.wide", f"{name}.scale"], [name]),
    ]
