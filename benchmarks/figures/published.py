"""The table of our errors beside published ones."""

from __future__ import annotations

from statistics import mean
from typing import Dict, List, NamedTuple, Sequence, Tuple

from figures.rows import Row
from figures.tables import markdown


class Published(NamedTuple):
    """One of our results, and published errors of the same network in percent."""

    network: str  # as in the rows
    dataset: str
    data: str  # name of the data in the table; {epochs} is that of the rows
    paper: str
    others: str


RACNN = "racnn_mobilenet_v2, shared backbone, last epoch"
ACTIVATION = "racnn_mobilenet_v2_activation"
CIFAR = "CIFAR-10, {epochs} epochs"
BIRDS = "CUB-200-2011, 20 classes"
GLIMPSES = "cub200, 20 classes, learned, patches=2, start_size=1, 3 glimpses, noise 0.2"

PUBLISHED = (
    Published("cifar_residual_attention56_slim", "cifar10", CIFAR, "5.52", "-"),
    Published("cifar_residual_attention92_slim", "cifar10", CIFAR, "4.99", "-"),
    Published(
        "cifar_residual_attention56",
        "cifar10",
        CIFAR,
        "-",
        "3.50 haoxintong, best test epoch",
    ),
    Published("ram_28", "mnist-28", "MNIST", "1.29, 1.12", "0.67 dHonerkamp"),
    Published("ram_translated_60", "mnist-translated60", "translated", "1.86, 1.22", "0.94 tfRAM"),
    Published(
        "ram_cluttered_60", "mnist-cluttered60", "cluttered", "5.23, 4.04", "2.13 bentrevett"
    ),
    Published(
        "ram_cluttered_100",
        "mnist-cluttered100",
        "cluttered, 100 pixels, 8 pieces",
        "10.83, 8.11",
        "5.9 tfRAM",
    ),
    Published(
        "ram_cluttered_100",
        "mnist-cluttered100, 4 pieces",
        "cluttered, 100 pixels, 4 pieces",
        "-",
        "2.68 PrincipalComponent",
    ),
    Published(RACNN, BIRDS, BIRDS, "14.7 of all 200", "20.1 of all 200, klrc"),
    Published(ACTIVATION, BIRDS, BIRDS, "-", "-"),
    Published("glimpse_resnet50", GLIMPSES, BIRDS, "23.2 of 120 breeds of dogs", "-"),
    Published("glimpse_detail", "detail", "generated scenes", "-", "-"),
)


def published_table(rows: Sequence[Row]) -> str:
    """Means over seeds; with several numbers of episodes, the largest number first."""
    errors: Dict[Tuple[str, str], Dict[int, List[float]]] = {}
    epochs = {(r.name, r.dataset): r.epochs for r in rows if r.metric == "test_error"}
    for r in rows:
        of_network = errors.setdefault((r.name, r.dataset), {})
        if r.metric in ("test_error", "kept_features_error"):
            of_network.setdefault(int(r.samples or 0), []).append(float(r.value))
        elif r.metric == "accuracy":
            of_network.setdefault(0, []).append(100 - float(r.value))
    lines = []
    for network, dataset, data, *others in PUBLISHED:
        samples = sorted(errors.get((network, dataset), {}).items(), reverse=True)
        if samples:
            ours = ", ".join(f"{mean(values):.2f}" for _, values in samples)
            name = network.split(",")[0]
            data = data.format(epochs=epochs.get((network, dataset)))
            lines.append([f"`{name}`", data, ours, *others])
    header = ["network", "data", "error here, %", "in its paper", "best elsewhere"]
    return markdown(header, lines)
