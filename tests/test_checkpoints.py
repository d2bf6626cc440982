"""course_lib.checkpoints: exact round trips, crashes, bad files refused with their reason."""

import json
import math
import os
import pickle
import string
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import course_lib
from course_lib import checkpoints
from course_lib.checkpoints import (
    CheckpointError,
    load_checkpoint,
    read_card,
    save_checkpoint,
)
from course_lib.files import tensors_digest

ROOT = Path(course_lib.__file__).parents[1]
CARD = {"preset": "tiny", "data": "digits", "seed": 7, "metrics": {"loss": 0.1}, "commit": "c0ffee"}


class Small(nn.Module):
    """Weights, a buffer of integers and an empty tensor."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        nn.init.constant_(self.linear.weight, value)
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("nothing", torch.zeros(0, 4))


class Tied(nn.Module):
    def __init__(self, tied: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.output = nn.Linear(3, 5, bias=False)
        if tied:
            self.output.weight = self.embedding.weight


class Buffers(nn.Module):
    def __init__(self, **tensors: torch.Tensor) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


def digest(model: nn.Module) -> str:
    return tensors_digest(model.state_dict())


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, Small(1.0), CARD)
    return path


def refused(path: Path, model: nn.Module, message: str) -> str:
    """Loading fails with ``message`` and the path, and leaves the model bit for bit as it was."""
    before = digest(model)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path, model)
    assert digest(model) == before
    assert str(path) in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- round trips


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "folder" / "model.safetensors"  # folders are made
    model = Small(3.0)
    save_checkpoint(str(path), model, CARD | {"note": "first"})
    assert os.listdir(path.parent) == [path.name]

    other = Small(0.0)
    card = load_checkpoint(str(path), other)
    assert digest(other) == digest(model)
    added = {"model": "Small", "course_lib": course_lib.__version__}
    assert card == CARD | added | {"note": "first"}
    assert read_card(path) == card

    save_checkpoint(path, other, card)  # a card that was read can be written again
    assert read_card(path) == card


def test_saving_leaves_the_model_alone_and_is_deterministic(tmp_path):
    model = Small(3.0)
    before = digest(model)
    for name in "ab":
        save_checkpoint(tmp_path / name, model, CARD)
    assert digest(model) == before
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
DTYPES = sorted(checkpoints._DTYPES, key=str)


@settings(max_examples=60)
@given(
    extra=st.dictionaries(st.text(), JSON, max_size=3),
    tensors=st.dictionaries(
        st.text(string.ascii_letters + "é_ ", min_size=1, max_size=8).map(lambda s: "b_" + s),
        st.tuples(
            st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3), st.binary(min_size=8)
        ),
        max_size=4,
    ),
)
def test_any_card_and_any_bits_come_back(tmp_path_factory, extra, tensors):
    """All dtypes, shapes with and without elements, NaN payloads: the same bits come back."""

    def tensor(dtype, shape, seed):
        count = math.prod(shape) * dtype.itemsize
        raw = (seed * (count // len(seed) + 1))[:count]
        if dtype == torch.bool:
            raw = bytes(b & 1 for b in raw)
        if not raw:
            return torch.zeros(shape, dtype=dtype)
        return torch.frombuffer(bytearray(raw), dtype=dtype).reshape(shape)

    model = Buffers(**{name: tensor(*recipe) for name, recipe in tensors.items()})
    other = Buffers(**{name: torch.zeros_like(t) for name, t in model.state_dict().items()})
    path = tmp_path_factory.mktemp("any") / "model.safetensors"
    card = {**extra, **CARD, "model": "Buffers", "course_lib": "0"}
    save_checkpoint(path, model, card)
    read = load_checkpoint(path, other)
    assert read == card
    assert repr(sorted(read.items())) == repr(sorted(card.items()))  # True is not 1, nor 1 1.0
    assert digest(other) == digest(model)


def test_tied_weights(tmp_path):
    path = tmp_path / "tied"
    tied = Tied()
    save_checkpoint(path, tied, CARD)
    assert len(safetensors.torch.load_file(path)) == 1  # stored once

    other = Tied()
    load_checkpoint(path, other)
    assert other.output.weight is other.embedding.weight
    assert torch.equal(other.output.weight, tied.output.weight)

    untied = Tied(tied=False)  # the same numbers twice
    load_checkpoint(path, untied)
    assert torch.equal(untied.output.weight, tied.output.weight)
    assert torch.equal(untied.embedding.weight, tied.output.weight)

    save_checkpoint(path, Tied(tied=False), CARD)  # two different matrices
    refused(path, Tied(), "output.weight and embedding.weight are tied in the model, but differ")


def test_views_that_overlap_and_strides(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    views = {"base": base, "transposed": base.T, "row": base[1], "step": base[:, ::2]}
    views |= {"flat": base.view(-1), "expanded": torch.ones(1).expand(3)}
    path = tmp_path / "views"
    save_checkpoint(path, Buffers(**views), CARD)
    other = Buffers(**{name: torch.zeros(v.shape) for name, v in views.items()})
    load_checkpoint(path, other)
    for name, expected in views.items():
        assert torch.equal(getattr(other, name), expected), name


def test_bfloat16(tmp_path):
    path = tmp_path / "half"
    model = Small(0.1).to(torch.bfloat16)
    save_checkpoint(path, model, CARD)
    other = Small(0.0).to(torch.bfloat16)
    load_checkpoint(path, other)
    assert other.linear.weight.dtype == torch.bfloat16
    assert digest(other) == digest(model)


def test_non_finite_weights_are_kept(tmp_path):
    mask = torch.tensor([0.0, -math.inf, math.nan])
    save_checkpoint(tmp_path / "mask", Buffers(mask=mask), CARD)
    other = Buffers(mask=torch.zeros(3))
    load_checkpoint(tmp_path / "mask", other)
    assert tensors_digest({"": other.mask}) == tensors_digest({"": mask})


# ---------------------------------------------------------------- saving: what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": {"loss": [0.1, math.nan]}}, r"^card\['metrics'\]\['loss'\]\[1\] is nan"),
        ({"metrics": {"loss": -math.inf}}, r"^card\['metrics'\]\['loss'\] is -inf"),
        ({"metrics": {1: 2.0}}, r"^card\['metrics'\]: the key 1 is not a string"),
        ({"metrics": {"loss": torch.tensor(1.0)}}, r"\['loss'\] is of type Tensor.*\.item\(\)"),
        ({"data": Path("x")}, r"^card\['data'\] is of type (Posix|Windows)Path"),
        ({"model": "Other"}, r"'model' is 'Other', but the model is a Small"),
    ],
)
def test_card_must_be_strict(saved, change, message):
    before = saved.read_bytes()
    with pytest.raises(CheckpointError, match=message):
        save_checkpoint(saved, Small(), CARD | change)
    assert saved.read_bytes() == before


@pytest.mark.parametrize("key", ["preset", "data", "seed", "metrics"])
def test_card_must_be_complete(tmp_path, key):
    card = {k: v for k, v in CARD.items() if k != key}
    with pytest.raises(CheckpointError, match=f"card: {key} missing"):
        save_checkpoint(tmp_path / "x", Small(), card)
    assert os.listdir(tmp_path) == []


class Extra(nn.Module):
    def get_extra_state(self):
        return {"anything": 1}

    def set_extra_state(self, state):
        pass


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(2, 2, device="meta"), r"Linear: weight is on the device 'meta'"),
        (nn.LazyLinear(2), r"weight is not initialised yet; run the model once"),
        (Extra(), r"_extra_state is extra state of type dict"),
        (Buffers(s=torch.eye(2).to_sparse()), r"s is sparse; use to_dense"),
        (Buffers(z=torch.zeros(2, dtype=torch.complex128)), r"z has the dtype torch.complex128"),
        (Buffers(__metadata__=torch.zeros(2)), r"__metadata__ is a name"),
    ],
)
def test_models_that_cannot_be_stored(tmp_path, model, message):
    with pytest.raises(CheckpointError, match=message):
        save_checkpoint(tmp_path / "x", model, CARD)
    assert os.listdir(tmp_path) == []


def test_bad_paths(tmp_path):
    with pytest.raises(CheckpointError, match="is a folder; expected a file"):
        save_checkpoint(tmp_path, Small(), CARD)
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match=r"a part of .* is a file"):
        save_checkpoint(tmp_path / "file" / "deep" / "model", Small(), CARD)
    assert os.listdir(tmp_path) == ["file"]


def test_commit_is_that_of_the_repository(tmp_path, monkeypatch):
    repository = tmp_path / "repository"
    module = repository / "course_lib" / "checkpoints.py"
    module.parent.mkdir(parents=True)
    module.write_text("")
    monkeypatch.setattr(checkpoints, "__file__", str(module))
    assert checkpoints._commit() is None  # no repository

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=0"]
        command = ["git", "-C", str(repository), *identity, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    assert checkpoints._commit() is None  # no commit yet
    git("add", ".")
    git("commit", "-m", "first")
    git("tag", "-a", "v1", "-m", "a tag must not take the place of the commit")
    commit = git("rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert checkpoints._commit() == commit
    module.write_text("changed")
    assert checkpoints._commit() == commit + "-dirty"

    card = {k: v for k, v in CARD.items() if k != "commit"}
    save_checkpoint(tmp_path / "x", Small(), card)
    assert read_card(tmp_path / "x")["commit"] == commit + "-dirty"
    monkeypatch.setenv("PATH", "")  # no git
    save_checkpoint(tmp_path / "x", Small(), card)
    assert read_card(tmp_path / "x")["commit"] is None


# ---------------------------------------------------------------- loading: what is refused


def test_truncated_anywhere(saved):
    """Every length shorter than the file, with a name for what is cut at ten of them."""
    sound = saved.read_bytes()
    header = 8 + int.from_bytes(sound[:8], "little")
    model = Small(2.0)
    for at in (1, 4, 8, 9, 8 + 20, header // 2, header - 1, header, header + 5, len(sound) - 1):
        saved.write_bytes(sound[:at])
        refused(saved, model, "is truncated")
        with pytest.raises(CheckpointError, match="is truncated"):
            read_card(saved)
    for at in range(len(sound)):
        saved.write_bytes(sound[:at])
        refused(saved, model, "is truncated" if at else r"is empty \(0 bytes\)")
    saved.write_bytes(sound + b"x")
    refused(saved, model, "is damaged: expected")
    saved.write_bytes(sound)
    load_checkpoint(saved, model)


def test_one_flipped_bit_anywhere_is_noticed(saved):
    sound = saved.read_bytes()
    header = 8 + int.from_bytes(sound[:8], "little")
    model = Small(2.0)
    for at in range(len(sound)):
        flipped = bytearray(sound)
        flipped[at] ^= 1 << at % 8
        saved.write_bytes(flipped)
        refused(saved, model, "damaged|truncated|not a checkpoint|looks like|no card")
        if at >= header:
            assert "weights do not match" in refused(saved, model, "is damaged")
            assert read_card(saved)["seed"] == 7  # the card is still sound, and says so itself


class Bomb:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_is_never_executed(tmp_path):
    mark = tmp_path / "executed"
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()  # the bomb works
    mark.unlink()

    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Bomb(mark)))
    refused(path, Small(), "looks like a pickle")
    torch.save({"weight": torch.zeros(2), "bomb": Bomb(mark)}, path)
    refused(path, Small(), "torch.save writes them")
    torch.save({"bomb": Bomb(mark)}, path, _use_new_zipfile_serialization=False)
    refused(path, Small(), "looks like a pickle")
    with pytest.raises(CheckpointError):
        read_card(path)
    assert not mark.exists()


def header_only(text: str) -> bytes:
    return len(text.encode()).to_bytes(8, "little") + text.encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is not a checkpoint"),
        (b"just some text, long enough", "is not a checkpoint"),
        (b'{"json": "but not safetensors"}', "is not a checkpoint"),
        (bytes(100), "is not a checkpoint"),
        (header_only("{}"), "has no card"),
        (header_only("{nonsense}"), "is damaged or foreign"),
        (header_only('{"__metadata__": 3}'), "is damaged or foreign"),
        (header_only('{"a": {"data_offsets": ["x", "y"]}}'), "is damaged or foreign"),
        (header_only('{"__metadata__": {"course_lib_checkpoint": "[]"}}'), "damaged or foreign"),
        (header_only('{"a":' * 100_000), "is damaged or foreign"),
        (safetensors.torch.save({"a": torch.zeros(3)}), "was not written by save_checkpoint"),
        (safetensors.torch.save({"a": torch.zeros(3)}, {"format": "pt"}), "has no card"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_foreign_files(tmp_path, content, message):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    refused(path, Small(), message)
    with pytest.raises(CheckpointError, match=message):
        read_card(path)


def test_missing_file_and_folder(tmp_path):
    refused(tmp_path / "absent", Small(), "does not exist")
    refused(tmp_path, Small(), "is a folder")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file" / "below", Small(), "cannot be read")


def test_format_of_a_later_version(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "_FORMAT", 2)
    save_checkpoint(tmp_path / "x", Small(), CARD)
    monkeypatch.undo()
    refused(tmp_path / "x", Small(), "has the format 2, but course_lib .* reads format 1")


def test_mismatched_models(saved):
    class Other(Small):
        pass

    assert "it holds a Small" in refused(saved, Other(), "does not fit the model, a Other")

    model = Small()
    model.linear = nn.Linear(3, 4)
    message = refused(saved, model, "does not fit the model")
    assert "linear.weight has the shape (2, 3) in the file, (4, 3) in the model" in message
    assert "linear.bias has the shape (2,) in the file, (4,) in the model" in message
    assert "norm" not in message

    model = Small()
    model.linear.half()
    expected = "linear.weight is torch.float32 in the file, torch.float16 in the model"
    refused(saved, model, expected)

    model = Small()
    model.more = nn.Linear(1, 1)
    del model.linear
    message = refused(saved, model, "does not fit the model")
    assert "more.weight is missing in the file" in message
    assert "linear.weight is not in the model" in message

    model.many = nn.ModuleList(nn.Linear(1, 1) for _ in range(5))
    assert "; and 8 more" in refused(saved, model, "does not fit")


def test_loading_into_a_model_without_values(saved):
    model = Small().to("meta")  # copying there would do nothing, without a word
    with pytest.raises(CheckpointError, match=r"linear\.weight is on the device 'meta'"):
        load_checkpoint(saved, model)


def test_read_card_reads_no_weights(saved):
    """It works on the header alone of a file whose weights are a hole on the disk."""
    sound = saved.read_bytes()
    header = 8 + int.from_bytes(sound[:8], "little")
    with open(saved, "wb") as file:
        file.write(sound[:header])
        file.truncate(len(sound))
    assert read_card(saved)["seed"] == 7
    refused(saved, Small(), "weights do not match")


# ---------------------------------------------------------------- crashes


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_an_exception_while_writing_loses_nothing(saved, monkeypatch, function, error):
    before = saved.read_bytes()

    def fail(*arguments):
        raise error

    monkeypatch.setattr(os, function, fail)
    with pytest.raises(type(error)):
        save_checkpoint(saved, Small(2.0), CARD)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes made by fork")
def test_a_killed_process_leaves_the_old_file_or_the_new_one(tmp_path):
    """SIGKILL at each stage of saving, and at thirty random moments; in a process of its own.

    The card's seed is also the value of all weights, so that a mixture of two files would show.
    """
    code = """
import os, random, resource, signal, sys, time
import torch
from torch import nn
from course_lib import checkpoints
torch.set_num_threads(1)
path = sys.argv[1]

def model(value):
    made = nn.Linear(200, 200)
    for parameter in made.parameters():
        nn.init.constant_(parameter, value)
    return made

def save(seed):
    card = {"preset": None, "data": None, "seed": seed, "metrics": None, "commit": None}
    checkpoints.save_checkpoint(path, model(seed), card)

def check():
    loaded = model(-1)
    seed = checkpoints.load_checkpoint(path, loaded)["seed"]
    assert all(bool((p == seed).all()) for p in loaded.parameters())
    return seed

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def half_written():
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))

def killed_at(prepare, seed):
    if (pid := os.fork()) == 0:
        prepare()
        save(seed)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])

save(0)
real = os.replace
stages = {
    "half of it written": half_written,
    "before the sync": lambda: setattr(os, "fsync", die),
    "before the rename": lambda: setattr(os, "replace", die),
}
for name, prepare in stages.items():
    assert killed_at(prepare, 1), name
    assert check() == 0, name
assert killed_at(lambda: setattr(os, "replace", lambda *a: (real(*a), die())), 1)
assert check() == 1

seen = set()
for moment in range(30):
    if (pid := os.fork()) == 0:
        for seed in range(10**6):
            save(seed)
    time.sleep(random.Random(moment).uniform(0.005, 0.03))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    seen.add(check())
assert len(seen) > 1, seen

# The disk full, or nearly so: an exception, the old file whole, nothing left behind.
for stale in os.listdir(os.path.dirname(path)):
    if stale.endswith(".tmp"):
        os.remove(os.path.join(os.path.dirname(path), stale))
save(5)
if (pid := os.fork()) == 0:
    resource.setrlimit(resource.RLIMIT_FSIZE, (80_000, 80_000))
    try:
        save(6)
    except OSError:
        os._exit(3)
    os._exit(4)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
assert check() == 5
assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
print("done")
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.safetensors")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


def test_others_may_read_what_was_written(saved):
    """An ordinary file under the umask, not the private one that tempfile makes."""
    if os.name != "posix":
        pytest.skip("permission bits are those of POSIX")
    umask = os.umask(0)
    os.umask(umask)
    assert saved.stat().st_mode & 0o777 == 0o666 & ~umask


def test_the_card_is_plain_json_in_a_plain_safetensors_file(saved):
    """Other programs can read both."""
    with safetensors.safe_open(saved, framework="pt") as file:
        record = json.loads(file.metadata()["course_lib_checkpoint"])
    assert record["card"] == read_card(saved)
    assert "linear.weight" in safetensors.torch.load_file(saved)
