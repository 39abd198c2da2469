"""The glimpse network: patches, locations and logits of an episode, against numpy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Tuple

from gluon_attention import UserError
from gluon_attention.zoo.glimpse.controller import GlimpseController
from gluon_attention.zoo.glimpse.network import GlimpseOptions

import numpy as np
import pytest
from builders import images_of, small_glimpse
from mxnet import autograd, gluon, nd

KINDS = (
    dict(),
    dict(location="sampled", dropout=0.5),
    dict(policy="random", patches=1, start_size=4),
    dict(policy="center", glimpses=1, frozen=False),
    dict(patches=3, start_size=1, regions=3, glimpses=4, stem_stride=None),
)


def parts_of(trace: Any) -> Any:
    return {k: v.asnumpy() for k, v in trace._asdict().items() if not isinstance(v, list)}


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def patch_of(image: np.ndarray, pitch: int, middle: np.ndarray, side: int) -> np.ndarray:
    """Boxes of `pitch` pixels averaged, then bilinear samples around a point, zeros outside."""
    c, h, w = image.shape
    small = image.reshape(c, h // pitch, pitch, w // pitch, pitch).mean(axis=(2, 4))
    length = h // pitch
    out = np.zeros((c, side, side))
    x0, y0 = (middle + 1) / 2 * length - 0.5 - (side - 1) / 2
    for row in range(side):
        for column in range(side):
            y, x = y0 + row, x0 + column
            for yy in (int(np.floor(y)), int(np.floor(y)) + 1):
                for xx in (int(np.floor(x)), int(np.floor(x)) + 1):
                    if 0 <= yy < length and 0 <= xx < length:
                        weights = (1 - abs(y - yy)) * (1 - abs(x - xx))
                        out[:, row, column] += weights * small[:, yy, xx]
    return out


def reference(net: Any, image: np.ndarray) -> Tuple[Any, ...]:
    """Answers, locations, attention and patches of one image, step by step."""
    p = {n: v.data().asnumpy() for n, v in net.controller._collect_params_with_prefix().items()}
    size, regions = net.controller.core.width, net.controller.regions

    def encode(view: np.ndarray) -> np.ndarray:
        return net.encoder(nd.array(view[None])).asnumpy()[0]

    cells = encode(patch_of(image, 4, np.zeros(2), 16))
    part = cells.shape[1] // regions
    areas = cells.reshape(len(cells), regions, part, regions, part).mean(axis=(2, 4))
    flat = areas.reshape(len(cells), -1)  # (C, R * R), row by row
    middles = (2 * np.arange(regions) + 1) / regions - 1
    hidden, cell, logits, locations, attention = np.zeros(size), np.zeros(size), [], [], []
    patches = []
    for step in range(net.controller.glimpses):
        scores = p["first_score.weight"][0, :, 0, 0] @ flat
        if step:
            query = p["query.weight"] @ hidden
            keys = p["key.weight"][:, :, 0, 0] @ flat
            scores = p["score.weight"][0, :, 0, 0] @ np.tanh(keys + query[:, None])
        weights = softmax(scores).reshape(regions, regions)
        location = np.array([weights.sum(axis=0) @ middles, weights.sum(axis=1) @ middles])
        views = [patch_of(image, round(4 * s), location, 16) for s in net.encoder.sides]
        means = np.concatenate([encode(view).mean(axis=(1, 2)) for view in views])
        gates = p["core.step.weight"] @ np.concatenate([means, hidden]) + p["core.step.bias"]
        enter, keep, leave, fresh = np.split(gates, 4)
        cell = sigmoid(keep + 1) * cell + sigmoid(enter) * np.tanh(fresh)
        hidden = sigmoid(leave) * np.tanh(cell)
        logits.append(p["head.weight"] @ hidden + p["head.bias"])
        locations.append(location)
        attention.append(weights)
        patches.append(views)
    return np.array(logits), np.array(locations), np.array(attention), np.array(patches)


@pytest.mark.parametrize("options", [dict(), dict(patches=3, start_size=1), dict(start_size=1)])
def test_an_episode_equals_numpy(options: dict) -> None:
    net, images = small_glimpse(3, **options), images_of(2, 64)
    trace = parts_of(net.trace(images))
    for row, image in enumerate(images.asnumpy()):
        logits, locations, attention, patches = reference(net, image)
        np.testing.assert_allclose(trace["locations"][row], locations, atol=1e-4)
        np.testing.assert_allclose(trace["attention"][row], attention, atol=1e-4)
        np.testing.assert_allclose(trace["step_logits"][row], logits, atol=1e-3)
        np.testing.assert_allclose(trace["patches"][row], patches, atol=1e-3)
        for number, side in enumerate(net.encoder.sides):
            box = np.column_stack([locations, np.full(len(locations), side)])
            np.testing.assert_allclose(trace["glimpse_boxes"][row, :, number], box, atol=1e-4)
    assert np.ptp(trace["locations"]) > 0.05
    np.testing.assert_array_equal(trace["logits"], trace["step_logits"][:, -1])


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_hybridized_equals_imperative(options: dict) -> None:
    net, images = small_glimpse(3, **options), images_of(2, 64)
    plain, cached = net.trace(images), net.trace(net.encode(images))
    net.hybridize(static_alloc=True, static_shape=True)
    pairs = ((plain, net.trace(images)), (cached, net.trace(net.encode(images))))
    for one, other in pairs:
        one, other = parts_of(one), parts_of(other)
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(net(images).asnumpy(), plain.logits.asnumpy(), rtol=1e-4, atol=1e-5)


def test_shapes_of_a_trace() -> None:
    net = small_glimpse(3, patches=3, start_size=1, regions=3, glimpses=5)
    trace = net.trace(images_of(2, 96))
    shapes = {name: part.shape for name, part in parts_of(trace).items()}
    assert shapes == dict(
        logits=(2, 5),
        step_logits=(2, 5, 5),
        locations=(2, 5, 2),
        means=(2, 5, 2),
        baselines=(2, 5),
        attention=(2, 5, 3, 3),
        glimpse_boxes=(2, 5, 3, 3),
        patches=(2, 5, 3, 3, 16, 16),
    )
    assert trace.glimpse_boxes[0, 0, :, 2].asnumpy().tolist() == [0.25, 0.5, 1.0]
    assert net.controller.reach == pytest.approx(
        2 / 3
    )  # where the middles of the outer regions are


def test_scores_are_of_the_last_glimpse_and_of_each() -> None:
    net, steps = small_glimpse(3), np.eye(5)[[[0, 1, 1], [2, 2, 3]]] * 4  # (N, T, classes)
    parts = dict(logits=nd.array(steps[:, -1]), step_logits=nd.array(steps))
    net.trace = lambda images: SimpleNamespace(**parts)
    task = net.objective(SimpleNamespace(label_smoothing=0.1))
    assert task.smoothing == 0.1
    scores = task.scores(None, nd.array([1, 2], dtype="int32"))
    cross_entropy = np.log(np.exp(4) + 4) - np.array([4, 0])
    np.testing.assert_allclose(scores.pop("cross_entropy").asnumpy(), cross_entropy, rtol=1e-3)
    expected = dict(
        accuracy=[1, 0], predicted=[1, 3], accuracy_1=[0, 1], accuracy_2=[1, 1], accuracy_3=[1, 0]
    )
    assert {name: part.asnumpy().tolist() for name, part in scores.items()} == expected


def test_mirrored_locations_have_a_tanh_and_y_upwards() -> None:
    net = small_glimpse(3, location="mirrored")
    noise = nd.random.normal(shape=(2, 3, 2))
    trace = parts_of(net.episode(net.encode(images_of(2, 64)), noise))
    expected = np.tanh((trace["means"] + noise.asnumpy()) * [1, -1])
    np.testing.assert_allclose(trace["locations"], expected, rtol=1e-5)


def test_locations_beyond_the_feature_grid_read_its_edge() -> None:
    net = small_glimpse(3, patches=1, policy="random", glimpses=1)
    features, reach = net.encode(images_of(1, 64)), net.controller.reach
    beyond, rim = (
        net.episode(features, nd.array([[[by * reach, -by * reach]]])).step_logits.asnumpy()
        for by in (1.5, 1)
    )
    np.testing.assert_allclose(beyond, rim, rtol=1e-4)


@pytest.mark.parametrize(
    "option", [{"patch": 32, "size": 64}, {"size": 128}, {"stem_stride": 2}], ids=str
)
def test_feature_specs_name_what_features_depend_on(option: dict) -> None:
    """Files of features are named by them: one network must not read those of another."""
    for one, other in zip(*(small_glimpse(3, **kind).feature_specs() for kind in ({}, option))):
        assert {**one, "shape": None} != {**other, "shape": None}


def controller_of(**options: Any) -> GlimpseController:
    kind = dict(patches=1, glimpses=1, regions=2, reach=0.5, hidden=4, attention=2)
    controller = GlimpseController(3, 2, GlimpseOptions(**{**kind, **options}))
    controller.initialize()
    return controller


@pytest.mark.parametrize("x", [-1, 1])
@pytest.mark.parametrize("y", [-1, 1])
def test_attention_and_patches_agree_on_coordinates(x: int, y: int) -> None:
    context, image = np.zeros((1, 2, 4, 4)), np.zeros((1, 3, 64, 64))
    rows, columns = (slice(2, 4) if side > 0 else slice(0, 2) for side in (y, x))
    context[0, 0, rows, columns] = 1
    image[0, :, 32 * (y > 0) : 32 * (y > 0) + 32, 32 * (x > 0) : 32 * (x > 0) + 32] = 1
    controller, locations = controller_of(), []
    controller.first_score.weight.set_data(nd.array([[[[50]], [[0]]]]))

    def encode(location: nd.NDArray) -> nd.NDArray:
        locations.append(location.asnumpy())
        return nd.zeros((1, 2))

    controller.unroll(nd, nd.array(context), encode, nd.zeros((1, 1, 2)))
    np.testing.assert_allclose(locations[0], [[0.5 * x, 0.5 * y]], atol=1e-5)
    encoder = small_glimpse(3, patches=1, start_size=1).encoder
    view = encoder.crop_patch(nd, nd.array(image), nd.array(locations[0]), 0.25)
    assert abs(view.asnumpy() - 1).max() < 1e-5


def unrolled(controller: GlimpseController, features: float, noise: float = 0.0) -> Any:
    encode = lambda location: nd.full((1, 2), features)  # noqa: E731
    return controller.unroll(nd, nd.ones((1, 2, 4, 4)), encode, nd.full((1, 2, 2), noise))


def test_a_baseline_is_of_what_was_seen_before_its_glimpse_and_trains_itself_alone() -> None:
    controller = controller_of(glimpses=2)
    one, other = (unrolled(controller, features).baselines.asnumpy() for features in (1, 2))
    assert one[0, 0] == other[0, 0] and one[0, 1] != other[0, 1]
    with autograd.record():
        total = unrolled(controller, 1).baselines.sum()
    total.backward()
    assert not any(p.grad().asnumpy().any() for p in controller.core.collect_params().values())
    assert controller.baseline.weight.grad().asnumpy().any()


def test_a_fresh_controller_looks_at_the_centre_and_none_looks_outside() -> None:
    controller = controller_of(glimpses=2)
    context = nd.array(np.random.randn(1, 2, 4, 4))
    encode = lambda location: nd.ones((1, 2))  # noqa: E731
    trace = controller.unroll(nd, context, encode, nd.zeros((1, 2, 2)))
    assert (trace.attention.asnumpy() == 0.25).all() and not trace.locations.asnumpy().any()
    assert (unrolled(controller, 1, noise=5).locations.asnumpy() == 1).all()


def test_dropout_is_of_glimpses_and_of_what_is_classified() -> None:
    controller = controller_of(glimpses=2, dropout=0.5, hidden=64)
    for name, parameter in controller.core.collect_params().items():
        if name.endswith("bias"):  # hidden states of no features are not 0
            parameter.set_data(nd.ones(parameter.shape))
    with autograd.train_mode():
        glimpses = [unrolled(controller, 1).baselines.asnumpy()[0, 1] for _ in range(8)]
        logits = [unrolled(controller, 0).step_logits.asnumpy().tobytes() for _ in range(4)]
    assert len(set(glimpses)) > 1 and len(set(logits)) > 1


def test_patches_of_images_that_are_not_square_are_centred_at_their_location() -> None:
    middles = [(2 * np.arange(length) + 1) / length - 1 for length in (48, 80)]
    down, across = np.meshgrid(*middles, indexing="ij")  # what bilinear sampling is exact on
    image, encoder = (
        nd.array([[across, down, 0 * down]]),
        small_glimpse(3, patches=1, start_size=1).encoder,
    )
    view = encoder.crop_patch(nd, image, nd.array([[0.2, -0.4]]), 0.25).asnumpy()[0]
    steps = 0.25 * ((2 * np.arange(16) + 1) / 16 - 1)
    np.testing.assert_allclose(view[0], np.tile(0.2 + steps, (16, 1)), atol=1e-5)
    np.testing.assert_allclose(view[1].T, np.tile(steps - 0.4, (16, 1)), atol=1e-5)


def test_patches_are_zero_outside_of_the_image() -> None:
    encoder = small_glimpse(3).encoder
    view = encoder.crop_patch(nd, nd.ones((1, 3, 64, 64)), nd.array([[-1.0, 0.0]]), 0.25).asnumpy()[
        0
    ]
    assert abs(view[:, :, :8]).max() < 1e-5 and abs(view[:, :, 8:] - 1).max() < 1e-5


@pytest.mark.parametrize("pair", [(3, 2), (2, 4), (4, 1), (1, 3), (0, 1), (1, 8)])
def test_impossible_patches_are_refused(pair: Tuple[int, int]) -> None:
    with pytest.raises(UserError, match="patches|start_size"):
        small_glimpse(3, patches=pair[0], start_size=pair[1])


@pytest.mark.parametrize(
    "option",
    [
        {"location": "x"},
        {"policy": "x"},
        {"regions": 1},
        {"glimpses": 0},
        {"hidden": 0},
        {"patch": 15},
        {"reach": 2.0},
        {"reach": 0.0},
        {"std": -1.0},
        {"std": 0.0, "location": "sampled"},
        {"overlap": 0},
        {"dropout": -1.0},
        {"dropout": 1.0},
        {"size": -4},
        {"stem_stride": -1},
    ],
    ids=str,
)
def test_impossible_options_are_refused(option: dict) -> None:
    with pytest.raises(UserError, match=next(iter(option))):
        small_glimpse(3, **option)


@pytest.mark.filterwarnings("ignore:Cannot decide type")  # of the input, until it comes
def test_export_gives_the_same_numbers(tmp_path: Any) -> None:
    net, images = small_glimpse(3), images_of(2, 64)
    net.hybridize()
    expected = net(images).asnumpy()
    net.export(str(tmp_path / "net"))
    again = gluon.SymbolBlock.imports(
        str(tmp_path / "net-symbol.json"), ["data"], str(tmp_path / "net-0000.params")
    )
    np.testing.assert_allclose(again(images).asnumpy(), expected, rtol=1e-4, atol=1e-5)
