"""The folder of a run: its lock, and the commit it records."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Callable, Dict

from gluon_attention import UserError, get_model
from gluon_attention.storage.atomic import locked_folder
from gluon_attention.training import checkpoint, engine
from gluon_attention.training.config import Config
from gluon_attention.training.run_folder import commit

import numpy as np
import pytest
from builders import Toy, toy_splits


def test_the_lock_is_taken_before_checkpoint_and_data_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []

    def locked(read: Callable[..., Any]) -> Callable[..., Any]:
        def check_and_read(*arguments: Any) -> Any:
            with pytest.raises(UserError, match="another process is writing .*toy"):
                locked_folder(str(tmp_path / "toy")).__enter__()
            reads.append(read)
            return read(*arguments)

        return check_and_read

    monkeypatch.setattr(checkpoint, "load", locked(checkpoint.load))
    config = Config(epochs=1, batch_size=8, num_gpus=0, log_dir=str(tmp_path))
    engine.train(config, "toy", Toy, locked(toy_splits))
    assert len(reads) == 2


def test_evaluation_takes_no_lock(tmp_path: Path, train_toy: Any) -> None:
    train_toy(epochs=1)
    with locked_folder(str(tmp_path / "toy")):
        assert train_toy(epochs=1, evaluate=True)["test_images"] == 10


def test_a_refused_run_leaves_no_folder(tmp_path: Path, train_toy: Any) -> None:
    with pytest.raises(UserError, match="does not accept images"):
        train_toy(lambda classes: get_model("ram_28", channels=3))
    assert not (tmp_path / "toy").exists()


MODULE = Path("gluon_attention", "training", "run_folder.py")


def git(folder: Path, *arguments: str) -> str:
    author = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    command = ["git", *author, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def test_commit_is_that_of_the_checkout_the_code_is_in(tmp_path: Path) -> None:
    module = tmp_path / MODULE
    module.parent.mkdir(parents=True)
    module.write_text("one")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    short = git(tmp_path, "rev-parse", "--short", "HEAD").strip()
    assert commit(str(tmp_path)) == short
    module.write_text("two")
    assert commit(str(tmp_path)) == short + "+"


@pytest.mark.parametrize("place", ["venv/site-packages", ""])
def test_commit_of_a_stranger_is_not_recorded(tmp_path: Path, place: str) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "other")
    package = tmp_path / place
    (package / MODULE).parent.mkdir(parents=True)
    (package / MODULE).write_text("installed, not tracked")
    assert commit(str(package)) == ""


def change_progress(path: Path, change: Callable[[Dict[str, Any]], None]) -> None:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    progress = json.loads(arrays["progress"].tobytes())
    change(progress)
    arrays["progress"] = np.frombuffer(json.dumps(progress).encode(), np.uint8)
    np.savez(path, **arrays)


def stop_after_first_epoch(train_toy: Any, monkeypatch: pytest.MonkeyPatch, **kind: Any) -> None:
    def stop(run: engine.Run) -> None:
        raise KeyboardInterrupt("stopped")

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(engine.Run, "_keep_weights", stop)
        train_toy(epochs=2, **kind)


def test_a_flag_of_the_version_before_is_refused_in_one_sentence(
    tmp_path: Path, train_toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after_first_epoch(train_toy, monkeypatch)
    change_progress(tmp_path / "toy" / "last.npz", lambda p: p["settings"].update(glow=3))
    with pytest.raises(UserError, match="another version, with --glow 3") as refused:
        train_toy(epochs=2)
    assert "\n" not in str(refused.value) and ". " not in str(refused.value)


def test_a_setting_of_the_run_that_is_not_given_now_is_named(
    tmp_path: Path, train_toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after_first_epoch(train_toy, monkeypatch, clip=5.0)
    with pytest.raises(
        UserError, match="--clip 5.0, which this command leaves out: give the same flags"
    ):
        train_toy(epochs=2)


def test_mixup_settings_count_with_mixup(
    tmp_path: Path, train_toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after_first_epoch(train_toy, monkeypatch, mix_up=True, alpha=2.0)
    with pytest.raises(UserError, match="--alpha 2.0, not 1.0"):
        train_toy(epochs=2, mix_up=True)
