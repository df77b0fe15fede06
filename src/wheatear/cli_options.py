"""Arguments and options that several commands share; `--tta` is in cli_tta."""

from pathlib import Path
from typing import Annotated

import typer

DatasetArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="Photos with boxes: Kaggle, GWHD 2021, COCO, YOLO or VOC.")
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE", help="A shipped detector, or a model.onnx.", show_default="the shipped one"
    ),
]
ImagesOption = Annotated[
    Path | None,
    typer.Option(metavar="CSV", help="Split by this file of `data split --out`, not by DIR/images.csv."),
]
