"""Tables of README and docs/, drawn from the rows."""

from __future__ import annotations

import re
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from figures.rows import TTA, Row

_BLOCK = re.compile(r"(<!-- results:(\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def latest(rows: Sequence[Row]) -> List[Row]:
    """The last row of each figure, in order: later measurements replace earlier ones."""
    last = {(r.name, r.dataset, r.metric, r.against, r.samples, r.machine, r.seed): r for r in rows}
    kept = set(map(id, last.values()))
    return [r for r in rows if id(r) in kept]


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; columns after the first two are aligned right."""
    rule = ["---" if column < 2 else "---:" for column in range(len(header))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines]) + "\n"


def errors_table(rows: Sequence[Row]) -> str:
    """Errors as means over seeds, with the rows of a network next to each other.

    Errors with mirror images have a column of their own, where there are any.
    """
    names = list(dict.fromkeys(r.name for r in rows))
    runs: Dict[Tuple[str, ...], List[Row]] = {}
    mirrored: Dict[Tuple[str, ...], List[Row]] = {}
    for r in sorted(rows, key=lambda r: names.index(r.name)):
        key = (r.name, r.dataset, r.samples or "-", r.epochs, f"{int(r.parameters):,}")
        (mirrored if r.metric == TTA else runs).setdefault(key, []).append(r)
    lines = []
    for key, seeds in runs.items():
        name, dataset, samples, epochs, parameters = key
        line = [name, dataset, samples, mean_error(seeds)]
        line += [mean_error(mirrored[key]) if key in mirrored else "-"] * bool(mirrored)
        lines.append([*line, parameters, epochs, ", ".join(sorted(r.seed for r in seeds))])
    header = ["network", "data", "samples", "error", *["with mirror image"] * bool(mirrored)]
    return markdown([*header, "parameters", "epochs", "seeds"], lines)


def mean_error(seeds: Sequence[Row]) -> str:
    """The mean over seeds, with the smallest and the largest of several."""
    values = [float(r.value) for r in seeds]
    error = f"{sum(values) / len(values):.2f} %"
    return error + f" ({min(values):.2f} to {max(values):.2f})" * (len(values) > 1)


PEERS = {
    "gluoncv": "GluonCV",
    "torch": "PyTorch",
    "torch_compile": "torch.compile",
    "onnxruntime": "ONNX Runtime",
}
_SPEED = "images_per_second|peak_mb|peak_share|ratio"
LIMITED = ", limited to "  # in the data set of rows: oneDNN used fewer instructions than there are


class SpeedCase(NamedTuple):
    """A step of one of our networks."""

    network: str
    work: str  # train or inference, with the type where it is not float32
    batch: str


def step_of(metric: str, figures: str) -> Optional[Tuple[str, str, str]]:
    """Work, batch size and figure of a metric of a step; None for other metrics.

    Args:
        figures: regular expression of the figures.
    """
    step = r"(train|inference)(?:_(bfloat16|int8))?_b(\d+)_"
    match = re.fullmatch(f"{step}({figures})", metric)
    if not match:
        return None
    mode, dtype, batch, figure = match.groups()
    return f"{mode}, {dtype}" if dtype else mode, batch, figure


def speeds(rows: Sequence[Row]) -> Dict[SpeedCase, Dict[str, float]]:
    """Ratio to each peer, and our own figures, by case; those of the last machine alone.

    The machine names the instructions of the native library where that was used, so figures with
    and without it are never mixed in a line. Figures of limited instructions are left out.
    """
    cases: Dict[SpeedCase, Dict[str, float]] = {}
    machines: Dict[SpeedCase, str] = {}
    for r in rows:
        step = step_of(r.metric, _SPEED)
        if LIMITED in r.dataset:
            continue
        if step and r.name.split()[0] not in (*PEERS, "mxnet"):  # which is ours, see cases.py
            work, batch, figure = step
            case = SpeedCase(r.name, work, batch)
            if machines.setdefault(case, r.machine) != r.machine:
                cases[case], machines[case] = {}, r.machine
            cases.setdefault(case, {})[r.against or figure] = float(r.value)
    return dict(sorted(cases.items(), key=lambda item: (item[0].network, item[0].work)))


def speed_table(rows: Sequence[Row]) -> str:
    """Our speed in every case, and the ratio to each peer."""
    header = ["network", "", "batch", "images/s", "peak MB", "of peak"]
    header += [f"x {peer}" for peer in PEERS.values()]
    formats = {"images_per_second": ",.0f", "peak_mb": ",.0f", "peak_share": ".0f"}
    formats.update(dict.fromkeys(PEERS, ".2f"))
    lines = []
    for case, figures in speeds(rows).items():
        texts = [f"{figures[f]:{style}}" if f in figures else "-" for f, style in formats.items()]
        if figures.get("images_per_second", 10) < 10:
            texts[0] = f"{figures['images_per_second']:.1f}"
        texts[2] += " %" if texts[2] != "-" else ""
        lines.append([*case, *texts])
    return markdown(header, lines)


SUMMARY = (  # a common case of each family
    SpeedCase("cifar_residual_attention92", "train", "32"),
    SpeedCase("cifar_residual_attention92", "inference", "32"),
    SpeedCase("residual_attention56", "inference", "8"),
    SpeedCase("ram_28", "train", "128"),
    SpeedCase("racnn_mobilenet_v2", "train", "4"),
    SpeedCase("glimpse_resnet50", "inference", "2"),
)


def speed_summary_table(rows: Sequence[Row]) -> str:
    """A case of each family, and the ratio to the fastest of its peers."""
    cases, lines = speeds(rows), []
    for case in SUMMARY:
        figures = cases[case]
        ratio, peer = min(
            (figures[name], label) for name, label in PEERS.items() if name in figures
        )
        speed = figures["images_per_second"]
        speed = f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}"
        lines.append(
            [f"`{case.network}`", f"{case.work}, batch {case.batch}", speed, f"{ratio:.2f}", peer]
        )
    return markdown(["network", "work", "images/s", "ratio", "to the fastest peer"], lines)


def eight_bits_table(rows: Sequence[Row]) -> str:
    """Accuracy in float32 and in 8 bits."""
    runs: Dict[Tuple[str, str], Dict[str, str]] = {}
    metrics = ("float32_accuracy", "int8_accuracy", "int8_agreement")
    for r in rows:
        if r.metric in metrics:
            runs.setdefault((r.name, r.dataset), {})[r.metric] = f"{float(r.value):.2f} %"
    header = ["network", "data", "float32", "8 bits", "same class"]
    return markdown(header, [[*run, *(values[m] for m in metrics)] for run, values in runs.items()])


def scales_table(rows: Sequence[Row]) -> str:
    """Accuracy of every scale of RA-CNN, and how its last box covers the object."""
    columns = {f"accuracy_{scale}": f"scale {scale}" for scale in (1, 2, 3)}
    columns.update(
        accuracy="all",
        box_holds_region="box holds it",
        box_centre_in_region="box hits it",
        box_overlaps_region="overlaps it",
    )
    columns.update(side_2="side 2", side_3="side 3")
    runs: Dict[Tuple[str, ...], Dict[str, str]] = {}
    for r in rows:
        if r.metric in columns:
            run = runs.setdefault((r.name, r.dataset, r.seed, r.epochs), {})
            run[r.metric] = f"{float(r.value):.1f}"
    lines = [
        [*run, *(values.get(metric, "-") for metric in columns)] for run, values in runs.items()
    ]
    return markdown(["network", "data", "seed", "epochs", *columns.values()], lines)


def closer_look_table(rows: Sequence[Row]) -> str:
    """Accuracy of a linear classifier on each view of birds, and the views that overlap birds."""
    header, views = ["alone", "with the whole image", "overlaps the bird"], {}
    for r in rows:
        if r.metric in ("linear_accuracy", "overlaps_bird"):
            view = r.name.partition(", ")[2]
            alone = view.rpartition(" and ")[2]
            column = 2 if r.metric == "overlaps_bird" else int(alone != view)
            views.setdefault(alone, ["-"] * 3)[column] = f"{float(r.value):.1f} %"
    return markdown(["view", *header], [[view, *values] for view, values in views.items()])


def scaling_table(rows: Sequence[Row]) -> str:
    """Measured speed of several workers, and the speed that docs/scaling.md predicts."""
    header = ["network", "engine", "workers x batch", "images/s", "model", "model / measured"]
    header += ["MB a step, counted", "carried"]
    cases: Dict[Tuple[str, str, str], Dict[str, float]] = {}
    for r in rows:
        match = re.fullmatch(
            r"scaling_(.+)_(\d+x\d+)_((?:model_)?images|(?:carried_)?bytes).*", r.metric
        )
        if match:
            engine, workers, figure = match.groups()
            cases.setdefault((r.name, engine, workers), {})[figure] = float(r.value)
    lines = []
    for (name, engine, workers), figures in cases.items():
        model, measured = figures["model_images"], figures["images"]
        megabytes = (f"{figures[key] / 1e6:.2f}" for key in ("bytes", "carried_bytes"))
        lines.append([name, engine, workers, f"{measured:,.1f}", f"{model:,.1f}"])
        lines[-1] += [f"{model / measured:.2f}", *megabytes]
    return markdown(header, lines)


def machines_table(rows: Sequence[Row]) -> str:
    """Bytes of a step of workers on machines of their own, and those of docs/scaling.md."""
    header = ["network", "workers x batch", "images/s", "MB a step, counted", "carried"]
    header += ["busiest card", "model"]
    cases: Dict[Tuple[str, str], Dict[str, float]] = {}
    for r in rows:
        match = re.fullmatch(r"machines_(\d+x\d+)_(\w+)_per_(?:step|second)", r.metric)
        if match:
            cases.setdefault((r.name, match[1]), {})[match[2]] = float(r.value)
    lines = []
    for (name, workers), figures in cases.items():
        count = int(workers.partition("x")[0])
        # The server is on a worker's machine, whose card serves the others; each moves 2 G.
        model = figures["bytes"] * (count - 1)
        speed = f"{figures['images']:,.1f}" if "images" in figures else "-"
        megabytes = (figures["bytes"], figures["carried_bytes"], figures["card_bytes"], model)
        lines.append([name, workers, speed, *(f"{number / 1e6:.2f}" for number in megabytes)])
    return markdown(header, lines)


# The network that trains on each data set.
NETWORKS = {
    "cifar10": "cifar_residual_attention92",
    "mnist_28": "ram_28",
    "cub200": "racnn_mobilenet_v2",
    "dogs": "glimpse_resnet50",
    "imagenet": "residual_attention56",
}


def inputs_table(rows: Sequence[Row]) -> str:
    """Images per second that one core decodes, beside those that training on all cores needs."""
    trained: Dict[str, float] = {}
    for case, figures in speeds(rows).items():
        if case.work.startswith("train") and "images_per_second" in figures:
            speed = figures["images_per_second"]
            trained[case.network] = max(trained.get(case.network, 0), speed)
    lines = []
    for r in rows:
        if r.name == "input":
            decoded, network = float(r.value), NETWORKS.get(r.dataset, "")
            need, cells = trained.get(network), ["-"] * 3
            if need:
                cells = [f"`{network}`", f"{need:,.0f}", f"{decoded / need:,.0f}"]
            lines.append([r.dataset, f"{decoded:,.0f}", *cells])
    header = ["data set", "images/s of one core", "network", "trains on images/s", "ratio"]
    return markdown(header, lines)


TABLES: Dict[str, Callable[[Sequence[Row]], str]] = {
    "speed": speed_table,
    "speed_summary": speed_summary_table,
    "eight_bits": eight_bits_table,
    "closer_look": closer_look_table,
    "scaling": scaling_table,
    "machines": machines_table,
    "inputs": inputs_table,
}


def rendered(text: str, rows: Sequence[Row]) -> str:
    """The text with every table between markers redrawn."""

    def draw(match: re.Match[str]) -> str:
        start, name, end = match.groups()
        if name not in TABLES:
            raise ValueError(f"no table '{name}'; there are {', '.join(TABLES)}")
        return start + TABLES[name](latest(rows)) + end

    return _BLOCK.sub(draw, text)
