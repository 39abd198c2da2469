"""The JSON document beside a file of parameters, read with every value checked.

Dataclasses declare the keys of a document, and the types and bounds of its values.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Dict, NamedTuple, Optional, Tuple

from .. import fields
from ..errors import UserError
from ..fields import field
from ..storage.atomic import read_bytes
from ..storage.document import parse_json, read_json
from ..storage.safetensors_file import is_safetensors, read_metadata

SMALLEST_STD = 1e-6  # a smaller one overflows float32
LARGEST_MEAN = 1e6
LARGEST_SIDE = 4096  # pixels of an input
CONFIG = "config.json"


def per_channel(quantity: str, low: float) -> Any:
    return field(None, f"{quantity} of each channel", low=low, high=LARGEST_MEAN)


@dataclass(frozen=True)
class ViewDocument:
    """The preprocessing of pictures; a random view is read as its fixed counterpart."""

    size: int = field(fields.REQUIRED, "side of the inputs", low=1, high=LARGEST_SIDE)
    short: Optional[int] = field(None, "short side before the crop", low=1, high=4 * LARGEST_SIDE)
    mean: Optional[Tuple[float, ...]] = per_channel("mean", -LARGEST_MEAN)
    std: Optional[Tuple[float, ...]] = per_channel("deviation", SMALLEST_STD)
    random: bool = field(False, "random crops and flips in training")
    area: Tuple[float, ...] = field((), "range of areas in training", low=0)
    aspect: Tuple[float, ...] = field((), "range of aspects in training", low=0)
    jitter: float = field(0.0, "change of colours in training", low=0)
    lighting: float = field(0.0, "noise of colours in training", low=0)


@dataclass(frozen=True)
class SourceDocument:
    """A function of `datasets` and its options, which `commands._data` checks."""

    name: Optional[str] = field(None, "name of the data set")
    options: Optional[Dict[str, Any]] = field(None, "options of the data set")


@dataclass(frozen=True)
class DataDocument:
    """The data that a network was trained on."""

    classes: Optional[Tuple[str, ...]] = field(None, "names of the classes", any_text=True)
    mean: Optional[Tuple[float, ...]] = per_channel("mean", -LARGEST_MEAN)
    std: Optional[Tuple[float, ...]] = per_channel("deviation", SMALLEST_STD)
    view: Optional[ViewDocument] = field(None, "how pictures become inputs")
    source: Optional[SourceDocument] = field(None, "data set")


@dataclass(frozen=True)
class NetworkDocument:
    """The arguments of `get_model`, which checks the options."""

    name: Optional[str] = field(None, "registered name")
    classes: Optional[int] = field(None, "number of classes", low=0, high=10**6)
    options: Optional[Dict[str, Any]] = field(None, "options of the network")


@dataclass(frozen=True)
class SettingsDocument:
    """The flags of a run that verbs read; `evaluate` checks those that it uses."""

    data_dir: Optional[str] = field(None, "folder of the data set")


@dataclass(frozen=True)
class Document:
    """`config.json` of a run, or `x.json` beside `x.params`."""

    network: Optional[NetworkDocument] = field(None, "network")
    data: Optional[DataDocument] = field(None, "data")
    settings: Optional[SettingsDocument] = field(None, "flags of the run", open=True)
    data_folder: Optional[str] = field(None, "folder of the data set, from that of the run")


class Description(NamedTuple):
    """The content of such a document."""

    network: Dict[str, Any] = {}  # name, classes and options of `get_model`
    data: Dict[str, Any] = {}  # classes, view, source, or mean and std alone
    settings: Dict[str, Any] = {}  # flags of the training run
    unregistered: bool = False  # whether the network is none of `get_model`


def read_description(file: str) -> Description:
    """The description inside or beside a file of parameters; empty if there is none."""
    if os.path.isfile(file) and is_safetensors(read_bytes(file, 9)):
        metadata = read_metadata(file)
        parts = {
            key: parse_json(metadata[key], f"'{key}' in the metadata of {file}")
            for key in ("network", "data")
            if key in metadata
        }
        if parts:
            return describe(file, parts)
    for path in (os.path.splitext(file)[0] + ".json", os.path.join(os.path.dirname(file), CONFIG)):
        if os.path.isfile(path):
            document = read_json(path)
            if isinstance(document, dict) and {"network", "data"} & set(document):
                return describe(path, document)
    return Description()


def describe(origin: str, document: Dict[str, Any]) -> Description:
    """A document as a description; a value of the wrong kind is refused."""
    values = fields.check_document(Document, document, f"{origin}: ", open=True)
    unregistered = "network" in document and document["network"] is None
    settings = values.get("settings", {})
    if values.get("data_folder"):
        folder = os.path.join(os.path.dirname(os.path.realpath(origin)), values["data_folder"])
        if os.path.isdir(folder):
            settings["data_dir"] = os.path.normpath(folder)
    return Description(values.get("network", {}), values.get("data", {}), settings, unregistered)


def check_sides(view: Dict[str, Any]) -> Dict[str, Any]:
    """The keys of a checked `view` that a fixed crop uses."""
    crop = {key: view[key] for key in ("size", "short", "mean", "std") if key in view}
    crop.setdefault("short", crop["size"])
    if crop["short"] < crop["size"]:
        raise UserError(f"view: short must be size, {crop['size']}, or more, not {crop['short']}")
    return crop
