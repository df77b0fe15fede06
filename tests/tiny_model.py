"""A tiny detector with known output: it divides the photo into a grid and finds the cells that are red."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

RED = (255, 0, 0)
CARD = {"format": 1, "name": "tiny", "score_threshold": 0.4, "score_floor": 0.02}


def write_tiny_model(folder: Path, name: str = "tiny", grid: int = 4, **card: object) -> Path:
    """Write NAME.onnx and NAME.json, return the model's path.

    It finds those of the grid × grid cells whose middle pixel has no green; the score is its red / 255. So a
    photo of one colour with green gives no detections, and of equal scores the upper left comes first.
    """
    path = folder / f"{name}.onnx"
    onnx.save(tiny_model(grid), path)
    path.with_suffix(".json").write_text(json.dumps(CARD | card))
    return path


def write_judged_model(folder: Path, rmse: float) -> Path:
    """The tiny model, evaluated on val at its count threshold of 0.5."""
    overall = {"photos": 10, "heads": 40, "count": {"rmse": rmse}}
    val = {"at_count_threshold": {"score_threshold": 0.5, "overall": overall}}
    return write_tiny_model(folder, count_threshold=0.5, score_floor=0.1, figures={"val": val})


def tiny_model(grid: int = 4, image_name: str = "image") -> onnx.ModelProto:
    column, row = np.meshgrid(np.arange(grid), np.arange(grid))
    corners = np.stack([column, row, column + 1, row + 1], -1).reshape(-1, 4).astype(np.float32) / grid
    middles = np.stack([row, column], -1).reshape(-1, 2).astype(np.float32) / grid + 0.5 / grid
    constants = {"corners": corners, "middles": middles, "red": np.array(0), "green": np.array(1)}
    constants |= {"zero": np.array(0, np.uint8), "whole": np.array(255, np.float32)}
    constants |= {"hw": np.array([0, 1]), "whwh": np.array([1, 0, 1, 0])}
    nodes = [
        _node("Shape", [image_name], "shape"),
        _node("Cast", ["shape"], "sizes", to=TensorProto.FLOAT),
        _node("Gather", ["sizes", "whwh"], "box_scale"),
        _node("Gather", ["sizes", "hw"], "middle_scale"),
        _node("Mul", ["corners", "box_scale"], "cells"),
        _node("Mul", ["middles", "middle_scale"], "middle_pixels"),
        _node("Cast", ["middle_pixels"], "places", to=TensorProto.INT64),
        _node("GatherND", [image_name, "places"], "colours"),
        _node("Gather", ["colours", "green"], "greens", axis=1),
        _node("Equal", ["greens", "zero"], "found"),
        _node("Gather", ["colours", "red"], "reds", axis=1),
        _node("Cast", ["reds"], "reds_float", to=TensorProto.FLOAT),
        _node("Div", ["reds_float", "whole"], "every_score"),
        _node("Compress", ["every_score", "found"], "some_scores", axis=0),
        _node("Compress", ["cells", "found"], "some_boxes", axis=0),
        _node("Shape", ["some_scores"], "number"),
        helper.make_node("TopK", ["some_scores", "number"], ["scores", "order"]),
        _node("Gather", ["some_boxes", "order"], "boxes"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(image_name, TensorProto.UINT8, ["height", "width", 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["heads", 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["heads"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def red_cells(cells: list[tuple[int, int]], height: int = 80, width: int = 120, grid: int = 4) -> np.ndarray:
    """A green photo (height, width, 3) whose cells (row, column) are red: what the tiny model finds."""
    photo = np.full((height, width, 3), (40, 120, 40), np.uint8)
    for row, column in cells:
        rows = slice(row * height // grid, (row + 1) * height // grid)
        photo[rows, column * width // grid : (column + 1) * width // grid] = RED
    return photo


def _node(op: str, inputs: list[str], output: str, **attributes: int) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], **attributes)
