"""The report of a run: figures, curves, confusion matrix and the worst mistakes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict

from gluon_attention.training import engine, report
from gluon_attention.training.config import Config

import numpy as np
from builders import small_ram, toy_splits
from mxnet import nd


def data_of(file: Path) -> Dict[str, Any]:
    text = file.read_text(encoding="utf-8")
    return json.loads(re.findall(r'<script id="data"[^>]*>(.*?)</script>', text)[0])


def train_ram(folder: Path, **settings: Any) -> Dict[str, Any]:
    kind = dict(epochs=2, batch_size=8, optimizer="sgd", lr=0.001, num_gpus=0)
    config = Config(**{**kind, **settings}, log_dir=str(folder))
    return engine.train(config, "ram", lambda classes: small_ram(classes=classes), toy_splits)


def test_a_run_reports_what_its_result_says(tmp_path: Path) -> None:
    result = train_ram(tmp_path, name="a")
    page = data_of(tmp_path / "a" / "report.html")
    figures = dict(page["report"]["figures"])
    assert page["title"] == f"ram_28: test error {result['test_error']:.2f} %"
    assert figures["test images"] == "10" and figures["parameters"] == f"{result['parameters']:,}"
    assert ["batch_size", "8"] in page["report"]["settings"]
    counts = np.array(page["report"]["confusion"]["counts"])
    right = counts.trace() / counts.sum()
    assert counts.sum() == 10 and 100 * (1 - right) - result["test_error"] < 1e-6
    charts = {chart["title"]: chart["series"] for chart in page["report"]["curves"]}
    assert list(charts) == ["loss", "accuracy", "other scores", "speed"]
    assert [s["name"] for s in charts["accuracy"]][:2] == ["train accuracy", "validation accuracy"]
    assert all([epoch for epoch, _ in s["points"]] == [1, 2] for s in charts["loss"])


def test_mistakes_are_shown_with_their_label_and_steps(tmp_path: Path) -> None:
    net, splits = small_ram(classes=3), toy_splits()
    net(nd.array(splits.test.first(1)))
    labels = splits.test.labels
    predicted = [nd.array((labels + (np.arange(10) < 4)) % 3)]  # the first four are wrong
    result = dict(test_error=40, test_images=10, best_epoch=1, parameters=5, seconds=3.0)
    result.update(images_per_second=9.0, peak_mb=100, test={"accuracy": 0.6})
    history = [{"epoch": 1, "images_per_second": 9.0, "train/cross_entropy": 1.5}]
    report.write_report(
        str(tmp_path / "r.html"), net, splits, {"lr": 1}, result, history, predicted
    )
    page = data_of(tmp_path / "r.html")
    names = {f"test image {row}": splits.classes[labels[row]] for row in range(4)}
    assert {p["name"]: p["label"] for p in page["pictures"]} == names
    assert all(len(picture["steps"]) == 3 for picture in page["pictures"])
    shares = nd.softmax(net(nd.array(splits.test.first(4)))).asnumpy()[np.arange(4), labels[:4]]
    assert [p["name"] for p in page["pictures"]] == [f"test image {k}" for k in np.argsort(shares)]


def test_a_run_without_attention_reports_its_curves(train_toy: Any, tmp_path: Path) -> None:
    train_toy(epochs=1)
    page = data_of(tmp_path / "toy" / "report.html")
    assert page["pictures"] == [] and page["report"]["curves"] and page["report"]["confusion"]


def test_figures_that_are_not_finite_are_left_out() -> None:
    record = {"images_per_second": 5.0, "validation/accuracy": 0.5}
    history = [{"epoch": 1, **record}, {"epoch": 2, **record, "validation/accuracy": float("nan")}]
    series = {chart["title"]: chart["series"] for chart in report.curves(history)}
    assert series["accuracy"] == [{"name": "validation accuracy", "points": [[1, 0.5]]}]


def test_of_many_classes_the_worst_are_reported() -> None:
    counts = np.diag(np.full(200, 10))
    counts[7, 9], counts[50, 1] = 40, 3
    table = report.confusion(counts)
    assert table["counts"] is None and len(table["accuracies"]) == report.MOST_ROWS
    assert table["accuracies"][0] == [7, 0.2, 50] and table["pairs"] == [[7, 9, 40], [50, 1, 3]]


def test_mistakes_of_cached_features_are_read_from_their_images() -> None:
    net, splits = small_ram(classes=3), toy_splits()
    net(nd.array(splits.test.first(1)))
    features = replace(splits.test, load=lambda rows, rng: None, images=splits.test)
    rows, images = report.worst(net, splits._replace(test=features), np.array([3, 5]))
    assert sorted(rows) == [3, 5] and images.shape == (2, 6, 6, 1)
