"""The page in which one explores attention: its data, its size, and what it does in a browser."""

from __future__ import annotations

import base64
import html
import io
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, List

from gluon_attention import UserError, get_model
from gluon_attention.explain.looks import Layer
from gluon_attention.explain.page import MOST_PICTURES, Entry, Page, encode_layer

import mxnet as mx
import numpy as np
import pytest
from builders import Toy, small_glimpse, small_racnn, small_ram
from PIL import Image

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
HOSTILE = "</script><script>document.title = 'broken'</script><img src=x onerror=alert(1)>&amp;"


def photos(count: int, side: int, channels: int = 3) -> np.ndarray:
    coarse = np.random.randint(256, size=(count, 8, 8, channels)).astype("uint8")
    return coarse.repeat(side // 8, axis=1).repeat(side // 8, axis=2)


def masks_net() -> Any:
    net = get_model("cifar_residual_attention56_slim")
    net.initialize(net.initializer)
    net(mx.nd.zeros((1, 3, 32, 32)))
    return net


def page_of(net: Any, images: np.ndarray, label: Any = None, title: str = "a net") -> Page:
    page = Page(title, [f"{HOSTILE}{number}" for number in range(net.classes)])
    entries = [Entry(f"{HOSTILE}.png", label) for _ in images]
    channels = images.shape[3]
    page.add(net, entries, images, [0.5] * channels, [0.25] * channels)
    return page


def saved(page: Page, tmp_path: Path) -> str:
    page.save(str(tmp_path / "look.html"))
    return (tmp_path / "look.html").read_text(encoding="utf-8")


def data_of(text: str) -> Dict[str, Any]:
    (payload,) = re.findall(r'<script id="data"[^>]*>(.*?)</script>', text)
    return json.loads(payload)


def pixels_of(url: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_text_of_strangers_cannot_end_the_data(tmp_path: Path) -> None:
    page = page_of(small_ram(), photos(1, 24, 1), HOSTILE + "0", title=HOSTILE)
    text = saved(page, tmp_path)
    data = data_of(text)
    assert HOSTILE not in text and html.escape(HOSTILE) in text
    assert data["title"] == HOSTILE and data["pictures"][0]["name"] == HOSTILE + ".png"
    namespace = "http://www.w3.org/2000/svg"  # of charts, which nothing loads
    assert not re.search(r"https?://", text.replace(namespace, ""))


def test_steps_have_the_boxes_and_probabilities_of_the_trace(tmp_path: Path) -> None:
    net, images = small_racnn(), photos(2, 32)
    trace = net.trace(mx.nd.array((images.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25))
    picture = page_of(net, images).pictures[1]
    assert [len(step["boxes"]) for step in picture["steps"]] == [0, 1, 1]
    x, y, half = trace.boxes[1, 0].asnumpy()
    (box,) = picture["steps"][1]["boxes"]
    edges = (np.array([x - half, y - half, x + half, y + half]) + 1) / 2 * 31 + 0.5
    np.testing.assert_allclose(box, edges / 32, atol=1e-3)
    share = mx.nd.softmax(trace.scale_logits)[1, 2].max().asscalar()
    assert picture["steps"][2]["predictions"][0][1] == pytest.approx(share, abs=1e-3)


def test_a_step_of_the_glimpse_network_has_attention_and_patches() -> None:
    (picture,) = page_of(small_glimpse(1), photos(1, 64)).pictures
    for step in picture["steps"]:
        assert len(step["boxes"]) == len(step["views"]) > 1
        assert step["heat"]["channels"] == [None] and step["heat"]["ranges"][0][1] <= 1


def test_layers_hold_the_mean_and_the_channels_that_vary_most() -> None:
    net, images = masks_net(), photos(2, 32)
    page = page_of(net, images)
    trace = net.trace(mx.nd.array((images.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25))
    for number, layer in enumerate(page.pictures[1]["layers"]):
        masks = trace.masks[number].asnumpy()
        spread = masks.std(axis=(2, 3)).mean(axis=0)
        assert layer["channels"] == [None, *sorted(np.argsort(-spread)[:7].tolist())]
        mask = masks[1, layer["channels"][3]]
        width, height = layer["shape"]
        low, high = layer["ranges"][3]
        pixels = pixels_of(layer["map"])[3 * height : 4 * height] / 255 * (high - low) + low
        np.testing.assert_allclose(pixels, mask, atol=(high - low) / 250)


def test_large_layers_are_stored_small() -> None:
    layer = encode_layer(Layer("A1", np.random.rand(3, 112, 56)), [2])
    assert layer["size"] == [56, 112] and layer["shape"] == (16, 32)
    assert pixels_of(layer["map"]).shape == (2 * 32, 16)


@pytest.mark.parametrize("kind", ["masks", "ram", "racnn", "glimpse"])
def test_sixteen_pictures_take_less_than_five_megabytes(kind: str, tmp_path: Path) -> None:
    nets = dict(masks=masks_net, ram=small_ram, racnn=small_racnn, glimpse=small_glimpse)
    images = photos(
        4, dict(masks=32, ram=96, racnn=448, glimpse=448)[kind], 1 + 2 * (kind != "ram")
    )
    assert len(saved(page_of(nets[kind](), images), tmp_path)) < 5e6 / 4


def test_a_network_without_attention_has_no_page() -> None:
    with pytest.raises(UserError, match="no attention to show on a page"):
        page_of(Toy(3), photos(1, 8, 1))


@pytest.mark.parametrize(
    "words, message",
    [
        ([], f"65 pictures are too many for a page; give up to {MOST_PICTURES}"),
        (["--gif"], "--gif excludes .html"),
        (["--channel", "3"], "--channel is for networks with masks"),
    ],
)
def test_explain_refuses_before_it_reads_pictures(
    shell: Any, tmp_path: Path, words: List[str], message: str
) -> None:
    page = tmp_path / "look.html"
    paths = [f"{number}.png" for number in range(65)]
    status, out, err = shell("explain", "ram_28", *paths, "-o", page, *words)
    assert status == 2 and not out and len(err) == 1 and message in err[0]
    assert not list(tmp_path.iterdir())


def test_explain_writes_a_page(shell: Any, tmp_path: Path) -> None:
    file = tmp_path / "<script>.png"
    Image.fromarray(photos(1, 32)[0]).save(file)
    status, out, _ = shell("explain", "ram_28", file, "-o", tmp_path / "look.html", "--json")
    assert status == 0 and json.loads(out[0])["file"] == str(tmp_path / "look.html")
    (picture,) = data_of((tmp_path / "look.html").read_text())["pictures"]
    assert picture["name"] == "<script>.png" and len(picture["steps"]) == 6


PROBE = """
<script>
const problems = [];
addEventListener("error", event => problems.push(String(event.message)));
addEventListener("unhandledrejection", event => problems.push(String(event.reason)));
addEventListener("securitypolicyviolation", event => problems.push(event.violatedDirective));
const pause = () => new Promise(resolve => setTimeout(resolve, 200));
const press = key => document.dispatchEvent(new KeyboardEvent("keydown", { key }));
const look = () => ({
  picture: byId("canvas").toDataURL(), state: { ...state }, text: document.body.innerText });
addEventListener("load", async () => {
  const seen = {};
  const after = async (name, act) => { act(); await pause(); seen[name] = look(); };
  await after("start", () => {});
  ACTIONS
  const result = document.body.appendChild(document.createElement("pre"));
  result.id = "result";
  const report = JSON.stringify({ seen, problems, title: document.title });
  result.textContent = btoa(encodeURIComponent(report));
});
</script>
"""


def explore(page: Page, tmp_path: Path, actions: str) -> Dict[str, Any]:
    """Open a page in a browser: what it shows after each action; no error may occur."""
    from urllib.parse import unquote

    file = tmp_path / "probe.html"
    file.write_text(saved(page, tmp_path) + PROBE.replace("ACTIONS", actions), encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --enable-logging=stderr --dump-dom"
    words = [*flags.split(), "--virtual-time-budget=30000", f"--user-data-dir={tmp_path / 'user'}"]
    homes = ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")
    env = {**os.environ, **dict.fromkeys(homes, str(tmp_path))}
    process = subprocess.run(
        [BROWSER, *words, file.as_uri()], capture_output=True, text=True, timeout=240, env=env
    )
    assert "CONSOLE" not in process.stderr
    (coded,) = re.findall(r'<pre id="result">([^<]*)</pre>', process.stdout)
    report = json.loads(unquote(base64.b64decode(coded).decode()))
    assert report["problems"] == [] and report["title"] == page.title
    return report["seen"]


in_a_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs the browser chromium"),
]


class TestInABrowser:
    pytestmark = in_a_browser

    def test_masks_module_channel_and_opacity_change_the_picture(self, tmp_path: Path) -> None:
        state = explore(
            page_of(masks_net(), photos(2, 32), HOSTILE + "1"),
            tmp_path,
            """
  const set = (id, value, kind) => {
    byId(id).value = value;
    byId(id).dispatchEvent(new Event(kind));
  };
  await after("module", () => set("module", 1, "change"));
  await after("channel", () => set("channel", 2, "change"));
  await after("opacity", () => set("opacity", 20, "input"));
  await after("bare", () => press("o"));
  await after("next", () => press("ArrowDown"));
  await after("dark", () => press("d"));
""",
        )
        names = ("start", "module", "channel", "opacity", "bare", "next")
        assert len({state[name]["picture"] for name in names}) == len(names)
        assert state["dark"]["picture"] == state["next"]["picture"]
        assert state["next"]["state"] == dict(picture=1, step=0, module=1, channel=2, opacity=0)
        assert HOSTILE + ".png" in state["start"]["text"]  # as text
        assert f"label: {HOSTILE}1" in state["start"]["text"] or "(right)" in state["start"]["text"]

    @pytest.mark.parametrize("kind", ["ram", "racnn", "glimpse"])
    def test_a_path_is_stepped_and_played_through(self, tmp_path: Path, kind: str) -> None:
        nets = dict(ram=small_ram, racnn=small_racnn, glimpse=lambda: small_glimpse(3))
        sides = dict(ram=(24, 1), racnn=(32, 3), glimpse=(64, 3))
        state = explore(
            page_of(nets[kind](), photos(2, *sides[kind])),
            tmp_path,
            """
  await after("key", () => press("ArrowRight"));
  await after("back", () => press("ArrowLeft"));
  await after("button", () => byId("forward").click());
  await after("listed", () => byId("steps").children[2].querySelector("button").click());
  await after("playing", () => byId("play").click());
  await new Promise(resolve => setTimeout(resolve, 4000));
  await after("played", () => {});
""",
        )
        steps = {name: look["state"]["step"] for name, look in state.items()}
        assert steps == dict(start=0, key=1, back=0, button=1, listed=2, playing=0, played=2)
        assert state["key"]["picture"] == state["button"]["picture"] != state["start"]["picture"]
        assert state["played"]["picture"] == state["listed"]["picture"]
        assert "Prediction after step 3" in state["played"]["text"]
        assert "pause" in state["playing"]["text"] and "pause" not in state["played"]["text"]

    def test_a_report_shows_charts_and_confusion(self, tmp_path: Path) -> None:
        page = page_of(small_ram(), photos(1, 24, 1))
        names = [f"{HOSTILE}{number}" for number in range(2)]
        accuracies, pairs = [[0, 0.9, 10], [1, 1.0, 5]], [[0, 1, 1]]
        confusion = dict(classes=names, counts=[[9, 1], [0, 5]], accuracies=accuracies, pairs=pairs)
        points = [[epoch, 1 / epoch] for epoch in range(1, 60)]
        curves = [{"title": "loss", "series": [{"name": HOSTILE, "points": points}]}]
        curves.append({"title": "one", "series": [{"name": "train", "points": [[1, 0.5]]}]})
        figures = [["test error", "10 %"]]
        report = dict(
            figures=figures, curves=curves, confusion=confusion, settings=[["a", HOSTILE]]
        )
        save = page.save
        page.save = lambda path: save(path, report)
        state = explore(page, tmp_path, "")
        assert "test error" in state["start"]["text"] and "loss by epoch" in state["start"]["text"]
        assert names[0] in state["start"]["text"]
        page.pictures.clear()
        state = explore(
            page,
            tmp_path,
            """
  await after("key", () => press("ArrowRight"));
  await after("dark", () => press("d"));
""",
        )
        assert "worst mistakes" not in state["dark"]["text"] and "step" not in state["key"]["text"]
