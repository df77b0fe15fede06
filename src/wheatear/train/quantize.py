"""A detector that computes with 8-bit integers (Jacob et al. 2018), by onnxruntime's static quantization.

A layer's weights are integer multiples of a step, one step per output channel, and so are the activations
between the layers, whose range is calibrated on some photos. Convolutions and the RoI head's hidden layers
are quantized. The first convolution, whose input is the pixels, and the last layers, which give scores and
deltas, stay in float32.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from wheatear.data.sample import Sample
from wheatear.images import open_photo

SEEN = 48  # photos; with 19 or with 61 the Kaggle metric of small moved by less than 0.001
LAYERS = ["Conv", "Gemm"]
# What follows the layers: if it were not listed, outputs would be rounded both before and after it.
ACTIVATIONS = ["Relu", "Clip"]
LAST = ("objectness", "deltas", "scores")  # layers


class Photos(CalibrationDataReader):  # type: ignore[misc]
    """Calibration photos, opened one by one, as the graph's input "image"."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.images: Iterator[np.ndarray] = (open_photo(sample.path) for sample in samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.images, None)
        return None if image is None else {"image": np.ascontiguousarray(image)}


def quantize(model: onnx.ModelProto, samples: Sequence[Sample], path: Path) -> None:
    """Write a float32 graph as an 8-bit one, calibrated on up to SEEN evenly spaced samples."""
    layers = [node for node in model.graph.node if node.op_type in LAYERS]
    kept = [node.name for node in layers if any(part in node.input[1].split(".") for part in LAST)]
    kept.append(next(node.name for node in layers if node.op_type == "Conv"))
    logging.disable(logging.WARNING)  # it asks for preprocessing that the exporter has already done
    try:
        quantize_static(
            model,
            path,
            Photos(samples[:: -(-len(samples) // SEEN)]),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=LAYERS + ACTIVATIONS,
            nodes_to_exclude=kept,
            per_channel=True,
            # 7-bit weights: processors without VNNI (before about 2019) add the products of two pairs in 16
            # bits, which 8-bit weights could overflow.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    finally:
        logging.disable(logging.NOTSET)
