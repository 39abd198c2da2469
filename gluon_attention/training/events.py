"""TensorBoard event files by mxboard, with any version of protobuf.

TensorBoard draws the curves of one tag from several folders in one card: here the folders of
training and of validation.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Dict, Iterator, Mapping

import numpy as np

from ..errors import UserError

if TYPE_CHECKING:
    from io import BufferedWriter

    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from mxboard import SummaryWriter


class Events:
    """The events of a run: curves by tag, pictures of the attention, histograms, settings."""

    def __init__(self, folder: str) -> None:
        self.writers = {
            name: event_writer(os.path.join(folder, name)) for name in ("train", "validation")
        }

    def settings(self, settings: Mapping[str, Any]) -> None:
        """Write the settings as a table."""
        rows = [f"| {name} | `{value}` |" for name, value in settings.items()]
        table = "\n".join(["| setting | value |", "|---|---|", *rows])
        from mxboard.summary import text_summary

        summary = text_summary("settings", table)
        summary.value[0].tag = "settings"  # mxboard's `add_text` leaves it empty
        self.writers["train"]._file_writer.add_summary(summary, 0)

    def scalars(self, section: str, values: Mapping[str, float], step: int) -> None:
        """Write points of curves, by tag, of `train` or `validation`."""
        for tag, value in values.items():
            # mxboard converts a number to an array (1,), which newer numpy does not convert back.
            self.writers[section].add_scalar(tag, np.array(value), step)

    def picture(self, tag: str, picture: np.ndarray, step: int) -> None:
        """Write a picture (H, W, 3) uint8."""
        self.writers["validation"].add_image(tag, picture.transpose(2, 0, 1), step)

    def histogram(self, tag: str, values: np.ndarray, step: int) -> None:
        self.writers["train"].add_histogram(tag, values, step, bins=64)

    def flush(self) -> None:
        """Write buffered events; a `UserError` says why that is impossible."""
        for writer in self.writers.values():
            writer.flush()
            if writer.file.failure:
                raise UserError(f"cannot write {writer.file.name}: {writer.file.failure}")

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()


def event_writer(folder: str) -> SummaryWriter:
    """A writer of a new event file in a folder; its attribute `file` is the `EventFile`."""
    _load_messages()
    from mxboard import SummaryWriter

    writer = SummaryWriter(logdir=folder, filename_suffix="", verbose=False)
    records = writer._file_writer._event_writer._ev_writer._recordio_writer
    writer.file = records._writer = EventFile(records._writer)
    return writer


class EventFile:
    """A file that stores the error of a failed write.

    mxboard writes it in a thread, which an exception would end, and the run would wait forever.
    """

    def __init__(self, buffered: BufferedWriter) -> None:
        self.raw, self.failure = buffered.detach(), ""
        self.name = self.raw.name

    def write(self, content: bytes) -> None:
        try:
            while content:
                content = content[self.raw.write(content) :]
        except OSError as error:
            self.failure = error.strerror

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        self.raw.close()


def _load_messages() -> None:
    """Build mxboard's messages from the descriptors in its generated code.

    protobuf 4 and later refuse that code, which protoc generated for protobuf 3, but still read
    the serialized descriptors in it. The modules built here take the place of the generated ones,
    in a pool of their own so that TensorBoard's messages of the same names can be loaded, too.
    """
    import google.protobuf
    from google.protobuf import descriptor_pool, message_factory

    if int(google.protobuf.__version__.split(".")[0]) < 4 or "mxboard" in sys.modules:
        return
    folder = Path(importlib.util.find_spec("mxboard").origin).parent / "proto"
    modules = {}  # file name of a descriptor: name of its Python module
    descriptors = {}
    for path in sorted(folder.glob("*_pb2.py")):
        descriptor = _descriptor(path)
        modules[descriptor.name] = f"mxboard.proto.{path.stem}"
        descriptors[descriptor.name] = descriptor
    pool = descriptor_pool.DescriptorPool()
    for name in _dependencies_first(descriptors):
        pool.AddSerializedFile(descriptors[name].SerializeToString())
    for name, module in modules.items():
        sys.modules[module] = ModuleType(module)
        for message, kind in pool.FindFileByName(name).message_types_by_name.items():
            setattr(sys.modules[module], message, message_factory.GetMessageClass(kind))


def _descriptor(path: Path) -> FileDescriptorProto:
    """The descriptor that a generated module holds as a literal."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.keyword) and node.arg == "serialized_pb":
            text = ast.literal_eval(node.value.args[0])
            return FileDescriptorProto.FromString(text.encode("latin1"))
    raise ImportError(f"{path} holds no protobuf descriptor; reinstall mxboard 0.1.0")


def _dependencies_first(descriptors: Dict[str, FileDescriptorProto]) -> Iterator[str]:
    """Names in an order in which each follows the names that it imports."""
    pending = dict(descriptors)
    while pending:
        for name in list(pending):
            if not set(pending[name].dependency) & set(pending):
                del pending[name]
                yield name
