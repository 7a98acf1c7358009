"""Checkpoints that are damaged, foreign, or interrupted while being written."""

from functools import partial

import pytest
import torch

from meanfluid.errors import CheckpointError
from meanfluid.learning import Cosine, material_loss
from meanfluid.learning.checkpoints import describe, load_checkpoint, replacing, save_checkpoint

STATE = {"weights": torch.arange(4.0), "step": 3}
RUN = {"steps": "10"}


def test_what_is_saved_is_loaded(tmp_path):
    path = tmp_path / "new" / "run.ckpt"
    save_checkpoint(path, STATE, RUN)
    state = load_checkpoint(path, RUN)
    assert torch.equal(state["weights"], STATE["weights"]) and state["step"] == 3
    assert [p.name for p in path.parent.iterdir()] == ["run.ckpt"]


@pytest.mark.parametrize("size", [0, 100, -200])
def test_a_truncated_file_is_refused(tmp_path, size):
    path = tmp_path / "run.ckpt"
    save_checkpoint(path, STATE, RUN)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"run.ckpt cannot be read .* start over with resume"):
        load_checkpoint(path, RUN)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    path = tmp_path / "run.ckpt"
    torch.save({"format": print}, path)
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
        load_checkpoint(path, RUN)


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="is not a meanfluid training checkpoint"):
        load_checkpoint(path, RUN)


def test_an_error_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "run.ckpt"
    save_checkpoint(path, STATE, RUN)
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert load_checkpoint(path, RUN)["step"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]


def test_descriptions_tell_settings_apart_and_hold_no_addresses():
    settings = [
        material_loss,
        partial(material_loss, power=0.5),
        partial(material_loss, power=1.0),
        Cosine(),
        Cosine(floor=0.1),
        torch.zeros(3),
        torch.ones(3),
        torch.nn.Linear(2, 3),
        torch.nn.Linear(2, 4),
        object(),
        {"a": (1, None)},
    ]
    texts = [describe(setting) for setting in settings]
    assert len(set(texts)) == len(texts)
    assert not any("0x" in text for text in texts)
    assert describe(partial(material_loss, power=0.5)) == "material_loss(power=0.5)"
