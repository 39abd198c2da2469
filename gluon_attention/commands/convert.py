"""`convert`: weights of other frameworks as files of this package."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..command_line import printable
from ..fields import number
from ..interop.convert import INTERPRETER, convert, difference
from ..zoo.registry import read_options
from ._flags import add_json, add_verb


def add_parser(verbs: Any) -> None:
    parser = add_verb(
        verbs,
        "convert",
        "weights of PyTorch or GluonCV as a .params file",
        run,
        "model_92.pkl cifar_residual_attention92 -o model.params",
        "ckpt.pth.tar ram_28 -o ram.params --options glimpses=7",
        description=(
            "Write the weights of a PyTorch or GluonCV file as a .params file, and beside it a "
            ".json that says of which network they are. No code in a file is run."
        ),
    )
    parser.add_argument("source", metavar="SOURCE", help="file of PyTorch or GluonCV")
    parser.add_argument("name", metavar="NAME", help="registered name (gluon-attention list)")
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help=".params file to write"
    )
    parser.add_argument(
        "--classes",
        type=number(int, 1),
        metavar="N",
        help="number of classes, if the file does not tell",
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
        help="PyTorch module of yours to run with the same weights, to print the largest "
        f"difference; {INTERPRETER} names the Python that has PyTorch",
    )
    add_json(parser)


def run(flags: argparse.Namespace) -> None:
    options = read_options(flags.options)
    converted = convert(flags.source, flags.name, flags.output, flags.classes, options)
    report, parameters = converted.report, converted.net.collect_params().values()
    numbers = sum(parameter.data().size for parameter in parameters)
    apart = difference(converted, flags.source, flags.compare) if flags.compare else {}
    if flags.json:
        document = dict(report._asdict(), numbers=numbers, network=converted.arguments)
        print(json.dumps({**document, "assumed": converted.assumed, **apart}))
        return
    used = report.tensors - len(report.unused)
    print(printable(f"{flags.source}: {report.origin}, {report.tensors} tensors"))
    print(f"  all {report.parameters} parameters ({numbers:,} numbers) come from {used} of them")
    if report.unused:
        print(printable(f"  {len(report.unused)} are of no use there, such as {report.unused[0]}"))
    name, *others = converted.arguments.items()
    arguments = [repr(name[1]), *(f"{key}={value!r}" for key, value in others)]
    print(printable(f"{flags.output}: get_model({', '.join(arguments)})"))
    if converted.assumed:
        options = ", ".join(f"{key}={value!r}" for key, value in converted.assumed.items())
        print(f"  assumed, as the file does not tell: {options}; --options says otherwise")
    if converted.note:
        print(f"  assumed: {converted.note}")
    if apart:
        print(f"  outputs differ by up to {apart['difference']:.2g}, of {apart['largest']:.2g}")
