"""How weights are stored in a model.onnx: rounded to float16, widened to float32 when the model is loaded.

The file is half as large; the arithmetic stays float32. To compare the two, torch's weights
are rounded too, though before batch norms are folded into them.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

SMALLEST_ROUNDED = 1024  # values; smaller tensors take hardly any space and may be indices or limits


def round_weights(model: nn.Module) -> None:
    """Round a model's large tensors, in place, to float16."""
    for tensor in model.state_dict().values():
        if tensor.is_floating_point() and tensor.numel() >= SMALLEST_ROUNDED:
            tensor.copy_(tensor.half())


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
