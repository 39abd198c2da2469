"""The notebook of docs/examples runs from its first cell to its last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "examples" / "your_pictures.ipynb"


def code_cells() -> List[Dict[str, Any]]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_outputs_are_stripped() -> None:
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code_cells())


@pytest.mark.slow
def test_cells_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    monkeypatch.chdir(tmp_path)
    namespace: Dict[str, Any] = {}
    for number, cell in enumerate(code_cells(), 1):
        exec(compile("".join(cell["source"]), f"code cell {number}", "exec"), namespace)
    text = capsys.readouterr().out
    assert text.count("JPEG    dog") == 3 and "(3, 3, 32, 32)" in text
    assert len(pyplot.get_fignums()) == 2
    assert 10_000 < (tmp_path / "look.html").stat().st_size < 1_000_000
    pyplot.close("all")
