"""`convert`: weights from elsewhere."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ..interop.convert import INTERPRETER, convert, difference
from ..zoo.registry import read_options
from ._flags import new_verb


def add_parser(verbs: Any) -> None:
    parser = new_verb(
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
    parser.add_argument("name", metavar="NAME", help="of a network, see gluon-attention list")
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="file to write")
    parser.add_argument("--classes", type=int, metavar="N", help="if the file does not tell")
    parser.add_argument(
        "--options", default="", metavar="TEXT", help="of the network, such as glimpses=7,patch=12"
    )
    parser.add_argument(
        "--compare",
        metavar="MODULE:CALLABLE",
        help="run this PyTorch module of yours with the same weights and print the largest "
        f"difference; {INTERPRETER} names the Python that does, if it is another",
    )
    parser.add_argument("--json", action="store_true", help="for scripts")


def run(flags: argparse.Namespace) -> None:
    options = read_options(flags.options)
    made = convert(flags.source, flags.name, flags.output, flags.classes, options)
    filled, net = made.filled, made.net
    numbers = sum(parameter.data().size for parameter in net.collect_params().values())
    found = difference(made, flags.source, flags.compare) if flags.compare else {}
    if flags.json:
        told = dict(origin=filled.origin, tensors=filled.tensors, unused=filled.unused)
        told.update(parameters=filled.parameters, numbers=numbers, network=made.call, **found)
        print(json.dumps(told))
        return
    used = filled.tensors - len(filled.unused)
    print(f"{flags.source}: {filled.origin}, {filled.tensors} tensors")
    print(f"  {used} fill all {filled.parameters} parameters ({numbers:,} numbers)")
    if filled.unused:
        print(f"  {len(filled.unused)} have no use there either, such as {filled.unused[0]}")
    words = [repr(made.call["name"])]
    words += [f"{key}={value!r}" for key, value in made.call.items() if key != "name"]
    print(f"{flags.output}: get_model({', '.join(words)})")
    if found:
        print(f"  outputs differ by {found['difference']:.2g} at most, of {found['largest']:.2g}")
