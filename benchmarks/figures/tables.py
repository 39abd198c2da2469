"""Tables of a README, drawn from the rows."""

from __future__ import annotations

import re
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from figures.rows import Row

_BLOCK = re.compile(r"(<!-- results:(\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def latest(rows: Sequence[Row]) -> List[Row]:
    """The last row of each figure: later measurements replace earlier ones."""
    keyed = {
        (r.name, r.dataset, r.metric, r.against, r.samples, r.machine, r.seed): r for r in rows
    }
    return list(keyed.values())


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table; columns after the first two are aligned right."""
    rule = ["---" if column < 2 else "---:" for column in range(len(header))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, rule, *lines]) + "\n"


def errors_table(rows: Sequence[Row]) -> str:
    """Errors as means over seeds, the rows of a network together."""
    names = list(dict.fromkeys(r.name for r in rows))
    runs: Dict[Tuple[str, ...], List[Row]] = {}
    for r in sorted(rows, key=lambda r: names.index(r.name)):
        key = (r.name, r.dataset, r.samples or "-", r.epochs, f"{int(r.parameters):,}")
        runs.setdefault(key, []).append(r)
    lines = []
    for (name, dataset, samples, epochs, parameters), seeds in runs.items():
        values = [float(r.value) for r in seeds]
        shown = f"{sum(values) / len(values):.2f} %"
        if len(values) > 1:
            shown += f" ({min(values):.2f} to {max(values):.2f})"
        drawn = ", ".join(sorted(r.seed for r in seeds))
        lines.append([name, dataset, samples, shown, parameters, epochs, drawn])
    header = ["network", "data", "samples", "error", "parameters", "epochs", "seeds"]
    return markdown(header, lines)


PEERS = {
    "gluoncv": "GluonCV",
    "torch": "PyTorch",
    "torch_compile": "torch.compile",
    "onnxruntime": "ONNX Runtime",
}
_SPEED = "images_per_second|peak_mb|peak_share|ratio"


class SpeedCase(NamedTuple):
    """One of our networks at work."""

    network: str
    work: str  # train or inference, and in which type
    batch: str


def step_of(metric: str, figures: str) -> Optional[Tuple[str, str, str]]:
    """Work, batch and figure of a metric that is one of some figures of a step."""
    step = r"(train|inference)(?:_(bfloat16|int8))?_b(\d+)_"
    found = re.fullmatch(f"{step}({figures})", metric)
    if not found:
        return None
    mode, dtype, batch, what = found.groups()
    return f"{mode}, {dtype}" if dtype else mode, batch, what


def speeds(rows: Sequence[Row]) -> Dict[SpeedCase, Dict[str, float]]:
    """Ratios by peer, and our own figures by name, of every case."""
    cases: Dict[SpeedCase, Dict[str, float]] = {}
    for r in rows:
        found = step_of(r.metric, _SPEED)
        if found and r.name.split()[0] not in PEERS:
            work, batch, what = found
            case = SpeedCase(r.name, work, batch)
            cases.setdefault(case, {})[r.against or what] = float(r.value)
    return dict(sorted(cases.items(), key=lambda item: (item[0].network, item[0].work)))


def speed_table(rows: Sequence[Row]) -> str:
    """Ours in every case, and how many times faster than each peer."""
    header = ["network", "", "batch", "images/s", "peak MB", "of peak"]
    header += [f"x {peer}" for peer in PEERS.values()]
    shown = {"images_per_second": ",.0f", "peak_mb": ",.0f", "peak_share": ".0f"}
    shown.update(dict.fromkeys(PEERS, ".2f"))
    lines = []
    for case, known in speeds(rows).items():
        texts = [f"{known[w]:{style}}" if w in known else "-" for w, style in shown.items()]
        if known.get("images_per_second", 10) < 10:
            texts[0] = f"{known['images_per_second']:.1f}"
        texts[2] += " %" if texts[2] != "-" else ""
        lines.append([*case, *texts])
    return markdown(header, lines)


SUMMARY = (  # a case of each family, as a user meets it
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
    """Accuracies in both types."""
    runs: Dict[Tuple[str, str], Dict[str, str]] = {}
    metrics = ("float32_accuracy", "int8_accuracy", "int8_agreement")
    for r in rows:
        if r.metric in metrics:
            runs.setdefault((r.name, r.dataset), {})[r.metric] = f"{float(r.value):.2f} %"
    header = ["network", "data", "float32", "8 bits", "same answers"]
    return markdown(header, [[*run, *(known[m] for m in metrics)] for run, known in runs.items()])


def scales_table(rows: Sequence[Row]) -> str:
    """What every scale of a network that zooms in answers, and how its last box lies."""
    shown = {f"accuracy_{scale}": f"scale {scale}" for scale in (1, 2, 3)}
    shown.update(
        accuracy="all", box_holds_region="box holds it", box_centre_in_region="box hits it"
    )
    shown.update(side_2="side 2", side_3="side 3")
    runs: Dict[Tuple[str, ...], Dict[str, str]] = {}
    for r in rows:
        if r.metric in shown:
            run = runs.setdefault((r.name, r.dataset, r.seed, r.epochs), {})
            run[r.metric] = f"{float(r.value):.1f}"
    lines = [[*run, *(known.get(metric, "-") for metric in shown)] for run, known in runs.items()]
    return markdown(["network", "data", "seed", "epochs", *shown.values()], lines)


def closer_look_table(rows: Sequence[Row]) -> str:
    """What a linear classifier makes of each view of birds, and of it and the whole image."""
    views: Dict[str, Dict[bool, str]] = {}
    for r in rows:
        if r.metric == "linear_accuracy":
            view = r.name.partition(", ")[2]
            alone = view.rpartition(" and ")[2]
            views.setdefault(alone, {})[alone == view] = f"{float(r.value):.1f} %"
    lines = [[view, told[True], told.get(False, "-")] for view, told in views.items()]
    return markdown(["what is seen", "by itself", "and the whole image"], lines)


def scaling_table(rows: Sequence[Row]) -> str:
    """Workers of every engine: what they did, and what the model of docs/scaling.md says."""
    header = ["network", "engine", "workers x batch", "images/s", "model", "model / measured"]
    header += ["MB a step, counted", "carried"]
    cases: Dict[Tuple[str, str, str], Dict[str, float]] = {}
    for r in rows:
        found = re.fullmatch(
            r"scaling_(.+)_(\d+x\d+)_((?:model_)?images|(?:carried_)?bytes).*", r.metric
        )
        if found:
            engine, workers, what = found.groups()
            cases.setdefault((r.name, engine, workers), {})[what] = float(r.value)
    lines = []
    for (name, engine, workers), known in cases.items():
        model, measured = known["model_images"], known["images"]
        megabytes = (f"{known[what] / 1e6:.2f}" for what in ("bytes", "carried_bytes"))
        lines.append([name, engine, workers, f"{measured:,.1f}", f"{model:,.1f}"])
        lines[-1] += [f"{model / measured:.2f}", *megabytes]
    return markdown(header, lines)


# The network that is trained on the images of a data set.
NETWORKS = {
    "cifar10": "cifar_residual_attention92",
    "mnist_28": "ram_28",
    "cub200": "racnn_mobilenet_v2",
    "dogs": "glimpse_resnet50",
    "imagenet": "residual_attention56",
}


def inputs_table(rows: Sequence[Row]) -> str:
    """Images that one core makes, beside those that the fastest training of all cores takes."""
    trained: Dict[str, float] = {}
    for case, known in speeds(rows).items():
        if case.work.startswith("train") and "images_per_second" in known:
            trained[case.network] = max(trained.get(case.network, 0), known["images_per_second"])
    lines = []
    for r in rows:
        if r.name == "input":
            made, network = float(r.value), NETWORKS.get(r.dataset, "")
            need = trained.get(network)
            shown = [f"`{network}`", f"{need:,.0f}", f"{made / need:,.0f}"] if need else ["-"] * 3
            lines.append([r.dataset, f"{made:,.0f}", *shown])
    header = ["data set", "images/s of one core", "network", "trains on images/s", "times"]
    return markdown(header, lines)


TABLES: Dict[str, Callable[[Sequence[Row]], str]] = {
    "speed": speed_table,
    "speed_summary": speed_summary_table,
    "eight_bits": eight_bits_table,
    "closer_look": closer_look_table,
    "scaling": scaling_table,
    "inputs": inputs_table,
}


def rendered(text: str, rows: Sequence[Row]) -> str:
    """The text with every table between its markers drawn anew."""

    def draw(block: re.Match[str]) -> str:
        if block.group(2) not in TABLES:
            raise ValueError(f"no table '{block.group(2)}'; there are {', '.join(TABLES)}")
        return block.group(1) + TABLES[block.group(2)](latest(rows)) + block.group(3)

    return _BLOCK.sub(draw, text)
