"""Checkpoints that are damaged, foreign, or interrupted while being written."""

import os
import random
import stat

import pytest
import torch

from meanfluid.errors import CheckpointError
from meanfluid.files import replacing
from meanfluid.learning.checkpoints import load_checkpoint, save_checkpoint
from meanfluid.learning.run_log import start_log

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


def test_a_flipped_bit_is_refused_or_harmless(tmp_path):
    """Most bits of the file are weights; torch alone loads them, flipped, without a word."""
    path, state = tmp_path / "run.ckpt", {"weights": torch.arange(500.0), "step": 3}
    save_checkpoint(path, state, RUN)
    whole, refused, draw = path.read_bytes(), 0, random.Random(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            loaded = load_checkpoint(path, RUN)
        except CheckpointError:
            refused += 1
        else:
            assert torch.equal(loaded["weights"], state["weights"]) and loaded["step"] == 3
    assert refused > 80  # weights are 2000 of the bytes, in a file of about 4000


@pytest.mark.parametrize("missing", ["fingerprint", "state"])
def test_a_checkpoint_without_one_of_its_parts_is_refused(tmp_path, missing):
    path = tmp_path / "run.ckpt"
    save_checkpoint(path, STATE, RUN)
    content = torch.load(path, weights_only=True)
    del content[missing]
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=f"cannot be read .*{missing}.* resume=False"):
        load_checkpoint(path, RUN)


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_checkpoints_and_logs_have_the_permissions_of_ordinary_files(tmp_path):
    before = os.umask(0o027)
    try:
        save_checkpoint(tmp_path / "run.ckpt", STATE, RUN)
        start_log(tmp_path / "log.csv", 0)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()]
    assert modes == [0o640, 0o640]


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
