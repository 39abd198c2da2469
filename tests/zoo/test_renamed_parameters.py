"""Files of older versions, whose parameters had other names, still load."""

from __future__ import annotations

from pathlib import Path

from gluon_attention import get_model, load_weights
from gluon_attention.zoo.registry import entry

import mxnet as mx
import numpy as np
import pytest

OLD = {
    "glimpse_mobilenet_v2": {
        "body.controller.first_score.": "body.mind.first.",
        "body.controller.key.": "body.mind.region.",
        "body.controller.query.": "body.mind.state.",
        "body.controller.score.": "body.mind.weigh.",
        "body.controller.head.": "body.mind.answer.",
        "body.controller.": "body.mind.",
        "body.encoder.": "body.eye.",
    },
    "ram_28": {
        "body.head.": "body.answer.",
        "body.step_head.": "body.guess.",
        "body.locator.mean.": "body.locator.place.",
    },
    "racnn_mobilenet_v2": {".classifier.": ".answer.", ".conv.": ".look.", ".heatmaps.": ".heat."},
}


@pytest.mark.parametrize("name", OLD)
def test_old_parameter_names_load(name: str, tmp_path: Path) -> None:
    options = {} if name == "ram_28" else {"backbone": "tiny"}
    net, same = (get_model(name, classes=5, **options) for _ in range(2))
    net.initialize()
    net(mx.nd.zeros((1, *entry(name).shape)))
    arrays = {}
    for current, parameter in net._collect_params_with_prefix().items():
        for new, old in OLD[name].items():
            current = current.replace(new, old)
        arrays[current] = parameter.data()
    file = str(tmp_path / "old.params")
    mx.nd.save(file, arrays)
    load_weights(same, file)
    for one, other in zip(net.collect_params().values(), same.collect_params().values()):
        np.testing.assert_array_equal(one.data().asnumpy(), other.data().asnumpy())
