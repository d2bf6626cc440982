"""A file appears whole or not at all; a digest notices every change. Crashes: test_checkpoints."""

import os
import subprocess
import sys

import pytest
import torch

from course_lib.files import tensors_digest, write_atomically


def test_content_is_on_the_disk_before_it_is_published(tmp_path, monkeypatch):
    events = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, f=real: (events.append(n), f(*a)))
    write_atomically(tmp_path / ("long" * 60), b"x")  # a name that leaves no room for a longer one
    assert events[:2] == ["fsync", "replace"]
    assert os.name != "posix" or events == ["fsync", "replace", "fsync"]  # and its folder


def test_an_older_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "file"
    for content in (b"old and long", b"new", b""):
        write_atomically(path, content)
        assert path.read_bytes() == content and os.listdir(tmp_path) == ["file"]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_the_file_before_is_kept_under_the_other_name(tmp_path):
    path, previous = tmp_path / "file", tmp_path / "previous"
    write_atomically(path, b"1", previous=previous)
    assert os.listdir(tmp_path) == ["file"], "there was none before the first"
    for content, before in ((b"2", b"1"), (b"3", b"2")):
        write_atomically(path, content, previous=previous)
        assert path.read_bytes() == content and previous.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["file", "previous"]


@pytest.mark.parametrize("call", [1, 2])
def test_one_of_both_is_whole_after_an_end_at_either_rename(tmp_path, monkeypatch, call):
    path, previous = tmp_path / "file", tmp_path / "previous"
    for content in (b"1", b"2"):
        write_atomically(path, content, previous=previous)
    real, calls = os.replace, []

    def end(*paths):
        calls.append(paths)
        if len(calls) == call:
            raise KeyboardInterrupt
        real(*paths)

    monkeypatch.setattr(os, "replace", end)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"3", previous=previous)
    left = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    assert left == ({"file": b"2", "previous": b"1"} if call == 1 else {"previous": b"2"})


def test_the_new_file_is_on_the_disk_before_the_old_one_moves(tmp_path, monkeypatch):
    path, events = tmp_path / "file", []
    write_atomically(path, b"1")
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, f=real: (events.append(n), f(*a)))
    write_atomically(path, b"2", previous=tmp_path / "previous")
    assert events[:3] == ["fsync", "replace", "replace"]


def test_the_digest_covers_names_types_shapes_and_every_byte():
    base = {"a": torch.arange(6.0), "b": torch.zeros(2, dtype=torch.int16)}
    others = [
        {"c": base["a"], "b": base["b"]},
        {"a": base["a"].view(torch.int32), "b": base["b"]},
        {"a": base["a"].reshape(2, 3), "b": base["b"]},
        {"a": base["a"] + torch.tensor([0, 0, 0, 0, 0, 1e-6]), "b": base["b"]},
        {"a": base["a"]},
        {"a": base["b"], "b": base["a"]},
        {},
    ]
    digests = [tensors_digest(tensors) for tensors in (base, *others)]
    assert len(set(digests)) == len(digests)
    assert tensors_digest(dict(reversed(base.items()))) == digests[0]


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.float64])
def test_the_digest_takes_every_shape_and_type_and_no_notice_of_strides(shape, dtype):
    tensor = torch.ones(shape, dtype=dtype)
    strided = torch.ones(*shape, 2, dtype=dtype)[..., 0]
    assert tensors_digest({"": tensor}) == tensors_digest({"": strided})


def test_digests_do_not_depend_on_the_process():
    code = "import torch; from course_lib.files import tensors_digest as d"
    code += "; print(d({'b': torch.ones(2), 'a': torch.zeros(3)}))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    here = tensors_digest({"a": torch.zeros(3), "b": torch.ones(2)})
    assert answer.stdout.strip() == here
