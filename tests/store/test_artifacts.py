"""Work saved: what cannot be read or written is named and done without."""

import errno
import json
import logging

import pytest
import torch
from safetensors.torch import save_file

from harness.machine.logs import warnings_to_stderr
from harness.store import artifacts
from harness.store.artifacts import Artifact


@pytest.fixture
def artifact(tmp_path):
    return Artifact(tmp_path / "ab" / "one.safetensors")


def both(tensors, about):
    return tensors, about


def test_tensors_and_facts_come_back(artifact):
    assert artifact.load(both) is None
    whole = torch.arange(12.0).reshape(3, 4)
    artifact.save({"whole": whole, "part": whole[1], "turned": whole.T}, {"b": [1, None], "a": {"x": 0.1}})
    tensors, about = artifact.load(both)
    assert torch.equal(tensors["whole"], whole)
    assert torch.equal(tensors["part"], whole[1]), "tensors may share memory"
    assert torch.equal(tensors["turned"], whole.T)
    assert list(about.items()) == [("b", [1, None]), ("a", {"x": 0.1})], "the order of facts stays"
    assert [path.name for path in artifact.path.parent.iterdir()] == ["one.safetensors"]
    artifact.remove()
    artifact.remove()
    assert not artifact.exists


def damaged(path):
    """Files that are no artifact of ours, each in its own way; among them the layout of before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    yield lambda: path.write_bytes(b"")
    yield lambda: path.write_text("hello")
    yield lambda: path.write_bytes(b"\xff" * 64)
    yield lambda: save_file({"x": torch.ones(2)}, path)
    yield lambda: save_file({"x": torch.ones(2)}, path, metadata={"facts": "{}"})
    yield lambda: save_file({"x": torch.ones(2)}, path, metadata={"about": "{"})
    yield lambda: save_file({"x": torch.ones(2)}, path, metadata={"about": json.dumps([])})


def test_a_broken_file_is_named_and_not_used(artifact, capsys):
    for damage in damaged(artifact.path):
        damage()
        assert artifact.load(lambda tensors, about: (tensors["images"], about["stage"])) is None
        said = capsys.readouterr().err
        assert f"{artifact.path} is not used: " in said
        assert said.count("\n") == 1


def test_a_full_disk_is_named_and_ends_nothing(artifact, monkeypatch, capsys):
    """A search must not die, and lose its state, because a checkpoint could not be written."""
    artifact.save({"x": torch.ones(2)}, {"first": True})

    def full(path, write):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(artifacts, "write_aside", full)
    artifact.save({"x": torch.zeros(2)}, {})
    assert f"{artifact.path} is not written: OSError: [Errno 28] No space left on device" in capsys.readouterr().err
    _, about = artifact.load(both)
    assert about == {"first": True}, "what was there before stays"


def test_the_command_line_shows_warnings_as_lines_of_their_own(artifact, capsys):
    artifact.path.parent.mkdir(parents=True)
    artifact.path.write_text("hello")
    logger = logging.getLogger("harness")
    handlers, propagate = list(logger.handlers), logger.propagate
    try:
        logger.handlers.clear()
        for _ in range(2):
            warnings_to_stderr()
        artifact.load(both)
        said = capsys.readouterr().err
        assert said.startswith(f"warning: {artifact.path} is not used: SafetensorError: ")
        assert said.count("\n") == 1, "setting it up twice does not show a line twice"
    finally:
        logger.handlers[:], logger.propagate = handlers, propagate
