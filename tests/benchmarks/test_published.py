"""Our errors beside those that others published."""

from __future__ import annotations

from figures import published, rows


def row(name: str, dataset: str, metric: str, value: str, **facts: str) -> rows.Row:
    common = dict(epochs="2", parameters="9", machine="m", date="2026-01-01", commit="0123abc")
    fields = dict(common, name=name, dataset=dataset, metric=metric, value=value, **facts)
    return rows.Row(**{**dict.fromkeys(rows.Row._fields, ""), **fields})


def test_ours_stand_beside_what_others_published() -> None:
    slim = "cifar_residual_attention56_slim"
    table_rows = [
        row(slim, "cifar10", "test_error", "6", epochs="7"),
        row("ram_28", "mnist-28", "test_error", "1.5", samples="1"),
        row("ram_28", "mnist-28", "test_error", "0.5", samples="10"),
        row("ram_28", "mnist-28, 2 glimpses", "test_error", "9", samples="10"),
        row(published.RACNN, published.BIRDS, "accuracy", "80", seed="0"),
        row(published.RACNN, published.BIRDS, "accuracy", "90", seed="1"),
        row(published.RACNN, published.BIRDS, "accuracy_1", "70", seed="1"),
    ]
    lines = published.published_table(table_rows).splitlines()[2:]
    assert lines[0].startswith(f"| `{slim}` | CIFAR-10, 7 epochs | 6.00 | 5.52 |")
    assert lines[1].startswith("| `ram_28` | MNIST | 0.50, 1.50 | 1.29, 1.12 |")
    assert lines[2].startswith("| `racnn_mobilenet_v2` | CUB-200-2011, 20 classes | 15.00 |")
    assert len(lines) == 3
