"""TensorBoard event files by mxboard, with any protobuf."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Dict, Iterator

if TYPE_CHECKING:
    from io import BufferedWriter

    from google.protobuf.descriptor_pb2 import FileDescriptorProto
    from mxboard import SummaryWriter


def event_writer(folder: str) -> SummaryWriter:
    """A writer of a new event file in a folder; its attribute `file` is the `EventFile`."""
    _load_messages()
    from mxboard import SummaryWriter

    writer = SummaryWriter(logdir=folder, filename_suffix="", verbose=False)
    records = writer._file_writer._event_writer._ev_writer._recordio_writer
    writer.file = records._writer = EventFile(records._writer)
    return writer


class EventFile:
    """A file that remembers why it could not be written.

    mxboard writes it in a thread: an error would end the thread, and the run would wait forever.
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
    """Names in an order in which each comes after those that it imports."""
    pending = dict(descriptors)
    while pending:
        for name in list(pending):
            if not set(pending[name].dependency) & set(pending):
                del pending[name]
                yield name
