"""`convert`: weights of other frameworks as files of this package."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, Dict

from ..command_line import printable
from ..errors import UserError
from ..fields import number
from ..installation import INTERPRETER
from ..training.config import BEST
from ..zoo.registry import read_options
from ._flags import add_json, add_verb
from .description import read_description


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "convert",
        "conversion of weights: from PyTorch or GluonCV, between .params and .safetensors",
        run,
        "model_92.pkl cifar_residual_attention92 -o model.params",
        "ckpt.pth.tar ram_28 -o ram.params --options glimpses=7",
        "ram_28 -o ram.safetensors",
        description=(
            "Write weights as a .params file, with a .json beside it that names the network, or "
            "as a .safetensors file that contains both. No code in a file is run."
        ),
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="file of PyTorch or GluonCV; .params or .safetensors file, run, or name with weights",
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="registered name (gluon-attention list), if SOURCE does not contain it",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="file to write, in the format of .safetensors if it ends so, else of .params",
    )
    parser.add_argument(
        "--classes",
        type=number(int, 1),
        metavar="N",
        help="number of classes, if SOURCE does not contain it",
    )
    parser.add_argument(
        "--options",
        default="",
        metavar="TEXT",
        help="options of the network (gluon-attention info), such as glimpses=7,patch=12",
    )
    parser.add_argument(
        "--compare",
        metavar="MODULE:CALLABLE",
        help="PyTorch module of yours that runs with the same weights, to print the largest "
        f"difference; {INTERPRETER} names the Python with PyTorch",
    )
    add_json(parser)


def _source(flags: argparse.Namespace) -> Dict[str, Any]:
    """Arguments of `convert` for a file, a run or a name, from its description."""
    from ..zoo.pretrained import all_weights
    from .open_model import shipped_description

    word = flags.source
    if not os.path.exists(word) and not flags.name and word.lower() in all_weights():
        name = word.lower()
        data = shipped_description(name).data
        return dict(source=all_weights()[name]["file"], name=name, data=data)
    file = os.path.join(word, BEST) if os.path.isdir(word) else word
    if flags.name:  # a description beside it may be of another file
        return dict(source=file, name=flags.name)
    description = read_description(file)
    network = description.network
    name = network.get("name")
    if not name:
        raise UserError(f"the network of {word} is unknown: give its registered name after it")
    return dict(
        source=file,
        name=name,
        classes=network.get("classes"),
        options=network.get("options") or {},
        data=description.data,
    )


def run(flags: argparse.Namespace) -> None:
    from ..interop.convert import convert, difference

    source = _source(flags)
    source["options"] = {**source.get("options", {}), **read_options(flags.options)}
    if flags.classes:
        source["classes"] = flags.classes
    converted = convert(target=flags.output, **source)
    flags.source = source["source"]
    report, parameters = converted.report, converted.net.collect_params().values()
    numbers = sum(parameter.data().size for parameter in parameters)
    apart = difference(converted, flags.source, flags.compare) if flags.compare else {}
    if flags.json:
        document = dict(report._asdict(), numbers=numbers, network=converted.arguments)
        print(json.dumps({**document, "assumed": converted.assumed, **apart}))
        return
    used_tensors = report.tensors - len(report.unused)
    print(printable(f"{flags.source}: {report.origin}, {report.tensors} tensors"))
    print(f"  all {report.parameters} parameters ({numbers:,} numbers) from {used_tensors} of them")
    if report.unused:
        print(printable(f"  {len(report.unused)} are unused, such as {report.unused[0]}"))
    name, *others = converted.arguments.items()
    arguments = [repr(name[1]), *(f"{key}={value!r}" for key, value in others)]
    print(printable(f"{flags.output}: get_model({', '.join(arguments)})"))
    if converted.assumed:
        options = ", ".join(f"{key}={value!r}" for key, value in converted.assumed.items())
        print(f"  assumed, as the file does not contain them: {options}; --options changes them")
    if converted.note:
        print(f"  assumed: {converted.note}")
    if apart:
        print(f"  outputs differ by up to {apart['difference']:.2g}, of {apart['largest']:.2g}")
