"""Model cards are complete, and their tables match the code and results.csv."""

from __future__ import annotations

import re
from pathlib import Path

from gluon_attention import get_model, list_models
from gluon_attention.export.cost import cost
from gluon_attention.zoo.costs import COSTS
from gluon_attention.zoo.registry import entry

import pytest
import results  # noqa: F401 - registers all tables
from figures import cards, rows, tables

ROOT = Path(__file__).parents[2]

FAMILIES = {"residual": "residual_attention", "ram": "ram", "racnn": "racnn", "glimpse": "glimpse"}
DOCS = sorted(
    str(page.relative_to(ROOT))
    for glob in ("*.md", "log/*.md")
    for page in (ROOT / "docs").glob(glob)
)
HEADINGS = ("Variants", "Where it differs from the paper", "Figures", "How to reproduce", "Limits")
REDRAW = "run benchmarks/results.py --readme README.md docs/*.md docs/log/*.md"
LARGE = re.compile(r".*(128|164|200|236|452|residual.*net92).*")  # graphs of hundreds of layers


def text(family: str) -> str:
    return (ROOT / "docs" / f"{FAMILIES[family]}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_card_is_complete(family: str) -> None:
    card = text(family)
    for heading in (*HEADINGS, "Data"):
        assert f"\n## {heading}\n" in card
    assert re.search(r"\]\(?\s*https?://", card.replace("\n", " "))
    assert f"<!-- results:errors_{family} -->" in card
    for name in cards.names(family):
        assert f"\n| `{name}` |" in card


@pytest.mark.parametrize("page", ["README.md", *DOCS])
def test_tables_match_results(page: str) -> None:
    table_rows, text = tables.latest(rows.read()), (ROOT / page).read_text(encoding="utf-8")
    for name, table in re.findall(r"<!-- results:(\w+) -->\n(.*?)<!-- end -->", text, re.DOTALL):
        assert tables.TABLES[name](table_rows) == table, REDRAW


def test_former_weights_are_in_the_log_alone() -> None:
    now, before = (
        rows.measured("ram_28", f"mnist-28{chain}", "test_error", 1, "%", parameters=1)
        for chain in ("", ", in six commands")
    )
    card, log = (cards.CARDS[name]([now, before]) for name in ("errors_ram", "former_ram"))
    assert "| mnist-28 |" in card and "commands" not in card
    assert "| mnist-28, in six commands |" in log and "| mnist-28 |" not in log


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * bool(LARGE.fullmatch(name)))
        for name in list_models(aliases=True)
    ],
)
def test_costs_are_those_of_the_networks(name: str) -> None:
    assert COSTS[name] == cost(get_model(name), entry(name).shape), "see export/cost.py"


def test_every_name_has_a_family() -> None:
    assert (
        sorted(name for family in cards.FAMILIES for name in cards.names(family)) == list_models()
    )


def test_published_costs() -> None:
    """Attention-56: 6.2 to 6.3 G in the literature, 31.9 M with statistics of BatchNorm."""
    costs = cost(get_model("residual_attention56"), (3, 224, 224))
    assert costs.parameters == 31810728 and 6.2e9 < costs.multiply_adds < 6.3e9


def test_the_cost_of_a_small_network_by_hand() -> None:
    """Two scales of `tiny` on 16 pixels, a light APN and the answer of both."""
    net = get_model("racnn_vgg19", classes=5, backbone="tiny", crops=(16,), shrink=2, shared=True)
    sides = ((3, 16, 1), (16, 32, 2), (32, 64, 4), (64, 64, 4), (64, 128, 8), (128, 128, 8))
    backbone = sum(i * o * 9 * (16 // s) ** 2 for i, o, s in sides)  # 32 made half as small
    apn = (128 * 64 * 9 + 64 * 8) * 2 * 2 + (8 * 2 + 64) * 3
    fused = 2 * 128 * 5  # answers of single scales are not needed for that of all
    assert cost(net, (3, 32, 32)).multiply_adds == 2 * backbone + apn + fused
