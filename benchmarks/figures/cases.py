"""Cases of the speed benchmark: networks, contestants, and the types they compute in."""

from __future__ import annotations

from typing import Any, Dict, NamedTuple, Optional, Tuple

MODES = ("train", "inference")
TYPES = ("float32", "bfloat16", "int8")
NAMES = ("ours", "mxnet", "gluoncv", "torch", "torch_compile", "onnxruntime")
PRODUCT = "product"  # a contestant that measures the speed of a large matrix product


class Case(NamedTuple):
    """One network, and its name for each contestant that has it."""

    shape: Tuple[int, int, int]
    classes: int
    networks: Dict[str, str]
    options: Dict[str, Any] = {}  # options of our network
    settings: Dict[str, Any] = {}  # settings of its task
    types: Tuple[str, ...] = ("float32", "int8")
    passes: int = 3  # cost of a training step in forward passes: backward costs two

    @property
    def dataset(self) -> str:
        """The data set in the rows."""
        return "random " + "x".join(map(str, self.shape))


def step_name(mode: str, dtype: str, batch: int) -> str:
    """Prefix of the metrics of a step, which `tables.step_of` parses."""
    return f"{mode}_b{batch}" if dtype == "float32" else f"{mode}_{dtype}_b{batch}"


def type_of(peer: str, mode: str, dtype: str) -> Optional[str]:
    """The type that a contestant computes in where ours uses `dtype`; None if it takes no part.

    Eight bits are compared with the shortest type that a peer offers.
    """
    if peer == PRODUCT:
        return dtype
    if peer == "mxnet":  # ours without the native library, which has no 8 bits
        return dtype if dtype != "int8" else None
    if peer == "onnxruntime":  # runs exported graphs, and has no bfloat16 on a CPU
        return dtype if mode == "inference" and dtype != "bfloat16" else None
    if dtype != "int8":
        return dtype
    if mode == "train":
        return None
    return {"ours": "int8", "gluoncv": "float32", "torch_compile": "bfloat16"}.get(peer)


def _case(ours: str, torch: str, gluoncv: str = "", **options: Any) -> Case:
    shape = options.pop("shape", (3, 32, 32))
    networks = {"ours": ours, "gluoncv": gluoncv, "torch": torch, "torch_compile": torch}
    networks["mxnet"] = ours if options.pop("native", False) else ""
    networks.update(onnxruntime=ours, product="matrix product")
    networks = {peer: name for peer, name in networks.items() if name}
    return Case(shape, options.pop("classes", 10), networks, **options)


def _racnn(size: int) -> Case:
    """Two crops of half the size; a step trains classifiers, then boxes, by the same gradient."""
    return _case(
        "racnn_mobilenet_v2",
        f"ra_cnn:{size // 2}",
        shape=(3, size, size),
        classes=200,
        options=dict(crops=(size // 2, size // 2)),
        settings=dict(stages=(0, 0, 0), gradient="sampler"),
        native=True,
        passes=5,  # the pass for the boxes needs no gradient of weights
    )


def _glimpse(patch: int) -> Case:
    """Three glimpses of two patches; the encoder is frozen."""
    return _case(
        "glimpse_resnet50",
        f"glimpse:{patch}",
        shape=(3, 4 * patch, 4 * patch),
        classes=120,
        options=dict(patch=patch),
        passes=1,
    )


def _residual(layers: int) -> Case:
    return _case(
        f"cifar_residual_attention{layers}",
        f"residual_attention:{layers}",
        f"cifar_residualattentionnet{layers}",
        types=TYPES,
        native=True,
    )


CASES = {
    "residual92": _residual(92),
    "residual56": _residual(56),
    "residual56_slim": _case(
        "cifar_residual_attention56_slim", "residual_attention:56:slim", types=TYPES, native=True
    ),
    "residual56_224": _case(
        "residual_attention56",
        "residual_attention:56:224",
        "residualattentionnet56",
        shape=(3, 224, 224),
        classes=1000,
        types=TYPES,
        native=True,
    ),
    "ram28": _case("ram_28", "recurrent_attention:28", shape=(1, 28, 28)),
    "racnn": _racnn(448),
    "racnn128": _racnn(128),
    "glimpse": _glimpse(96),
    "glimpse32": _glimpse(32),
}
