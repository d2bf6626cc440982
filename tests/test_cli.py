"""The command ``course``: its help, its errors, and a model from training to the record."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
import warnings

import pytest
from PIL import Image
from typer.testing import CliRunner

from course_lib import cli, families, launch, results
from course_lib.runs import read_run_card

COMMANDS = ("train", "sample", "evaluate", "results", "models", "data", "bench")
TEXT = "tell me, o muse, of that ingenious hero who travelled far and wide. "
TEXT_FAMILIES = ("mlp", "lstm", "transformer")
# What is quick to load and to train, a family.
TINY = {
    "gan": ["--data", "digits"],
    "dcgan": ["--data", "IMAGES"],  # without classes, so that no classifier is trained
    "autoencoder": ["--data", "digits"],
    "vae": ["--data", "digits"],
    **{name: ["--data", "TEXT"] for name in TEXT_FAMILIES},
}


def course(*words, code: int = 0) -> str:
    """What the command prints; it must end with this exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = CliRunner().invoke(cli.app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def train(folder, name: str, *words, code: int = 0) -> str:
    """Train the tiny preset of a family, on the CPU, in ``folder / name``."""
    options = list(TINY[name])
    if "TEXT" in options:
        (folder / "text.txt").write_text(TEXT * 30)
        options[1] = str(folder / "text.txt")
    if "IMAGES" in options:
        options[1] = str(folder / "images")
        (folder / "images").mkdir()
        for i in range(30):
            Image.new("RGB", (40, 50), (8 * i, 255 - 8 * i, 90)).save(
                folder / f"images/{i:02d}.png"
            )
    common = ["--preset", "tiny", "--device", "cpu", "--out", folder / name]
    return course("train", name, *options, *common, *words, code=code)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished tiny run of every family, and what training them printed."""
    folder = tmp_path_factory.mktemp("runs")
    return folder, {name: train(folder, name) for name in TINY}


# --- Help ----------------------------------------------------------------------------------------


def test_help_comes_at_once_and_imports_nothing_heavy(root) -> None:
    code = (
        "import sys; from course_lib.cli import main\n"
        "try: main()\nexcept SystemExit: print('loaded:', *sys.modules)"
    )
    for words in (["--help"], ["train", "--help"], ["evaluate", "--help"]):
        command = [sys.executable, "-c", code, *words]
        started = time.process_time(), os.times().children_user
        said = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
        assert os.times().children_user - started[1] < 1
        loaded = set(said.partition("loaded: ")[2].split())
        assert not loaded & {"torch", "numpy", "matplotlib", "accelerate", "PIL"}
        assert "Usage: course" in said


def test_the_module_is_the_command(root) -> None:
    command = [sys.executable, "-m", "course_lib", "--help"]
    said = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    assert said.startswith("Usage: course ") and all(f"  {name}  " in said for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_shows_an_example(name: str) -> None:
    said = course(name, "--help")
    assert re.search(rf"Examples?:\s+course {name}", said)


def test_the_help_names_every_model() -> None:
    said = course("train", "--help")
    assert all(re.search(rf"\b{name}\b", said) for name in families.FAMILIES)
    assert set(TINY) == set(families.FAMILIES)


# --- From training to the record -----------------------------------------------------------------


@pytest.mark.parametrize("name", TINY)
def test_training_says_what_it_does_and_what_to_do_next(name: str, runs) -> None:
    folder, said = runs[0] / name, runs[1][name]
    # The last lines win, and then the first ones: a table of numbers stands between them.
    found = re.findall(r"^(\w+) +(.+)$", said, re.MULTILINE)
    lines = dict(found[-2:]) | dict(found[:5])
    assert lines["model"].startswith(f"{name}, {families.FAMILIES[name].title}: ")
    assert "held-out" in lines["data"] and lines["device"] == "cpu, fp32"
    assert lines["memory"].startswith("needs about ")
    assert lines["pictures"] == str(folder / "samples")
    assert lines["weights"] == str(folder / "model.safetensors")
    assert lines["next"] == f"course sample {folder}"


@pytest.mark.parametrize("name", TINY)
def test_a_run_leaves_its_card_pictures_history_and_weights(name: str, runs) -> None:
    folder = runs[0] / name
    card = read_run_card(folder)
    assert card["family"] == name and card["preset"] == "tiny" and card["seed"] == 0
    assert card["metrics"] and card["device"] == "cpu" and card["seconds"] > 0
    assert (folder / "model.safetensors").stat().st_size > 1000
    steps = families.FAMILIES[name].presets["tiny"].steps
    assert len((folder / "history.jsonl").read_text().splitlines()) == steps
    suffix = ".txt" if name in TEXT_FAMILIES else ".png"
    drawn = sorted(path.name for path in (folder / "samples").iterdir())
    assert drawn[0] == f"step-000000{suffix}" and drawn[-1] == f"step-{steps:06d}{suffix}"
    assert len(drawn) == min(launch.SNAPSHOTS, steps + 1)


@pytest.mark.parametrize("name", TINY)
def test_samples_are_drawn_and_repeat_under_a_seed(name: str, runs, tmp_path) -> None:
    folder = runs[0] / name
    suffix = ".txt" if name in TEXT_FAMILIES else ".png"
    files = [tmp_path / f"{i}{suffix}" for i in range(3)]
    for file, seed in zip(files, (4, 4, 5), strict=True):
        course("sample", folder, "--n", 9, "--seed", seed, "--out", file)
    one, same, other = (file.read_bytes() for file in files)
    assert one == same != other


def test_texts_are_printed(runs) -> None:
    said = course("sample", runs[0] / "transformer", "-n", 2)
    first, _, second = said.strip("\n").partition(f"\n{'-' * 40}\n")
    assert {*first, *second} <= set(TEXT) and first != second


def test_samples_of_separate_lines_are_one_line_each(tmp_path) -> None:
    """A model of names ends its text with a newline; what it would say after it is not shown."""
    folder = tmp_path / "names"
    options = ["--preset", "tiny", "--device", "cpu", "--out", folder, "--steps", 60]
    said = course("train", "lstm", "--data", "first_names", *options, "--set", "learning_rate=0.02")
    assert read_run_card(folder)["separate_lines"] and "frequencies alone" in said
    drawn = course("sample", folder, "-n", 30)
    assert re.fullmatch(r"([a-z]*\n){30}", drawn) and len(set(drawn.split())) > 20
    history = [json.loads(row)["cross_entropy"] for row in (folder / "history.jsonl").open()]
    assert history[-1] < history[0] - 0.4


@pytest.mark.parametrize("name", TINY)
def test_evaluation_prints_json(name: str, runs) -> None:
    report = json.loads(course("evaluate", runs[0] / name, "--n", 40, "--device", "cpu", "--json"))
    best = "frequencies alone" if name in TEXT_FAMILIES else "held out"
    assert best in report and all(report.values())


def test_evaluation_prints_a_table() -> None:
    report = {"samples": {"to nearest": 1.5}, "held out": {"to nearest": 1.25, "ELBO": -90.123}}
    assert results.report_table(report).splitlines() == [
        "          to nearest    ELBO",
        "samples          1.5",
        "held out        1.25  -90.12",
    ]


def test_changed_data_are_noticed(tmp_path) -> None:
    train(tmp_path, "transformer")
    text = tmp_path / "text.txt"
    text.write_text(TEXT[::-1] * 30)
    with pytest.raises(UserWarning, match="have changed since the training"):
        course("evaluate", tmp_path / "transformer", "--n", 5)
    text.write_text(TEXT * 30 + "!")
    said = course("evaluate", tmp_path / "transformer", "--n", 5, code=2)
    assert "not those of the run any more" in said


def test_a_finished_run_is_recorded_and_listed(runs, tmp_path) -> None:
    assert "no run is recorded" in course("results", "--folder", tmp_path / "results")
    course("results", "--record", runs[0] / "gan", "--folder", tmp_path / "results")
    header, row = course("results", "--folder", tmp_path / "results").splitlines()
    assert row.split()[:5] == ["gan", "gan", "tiny", "digits", "20"] and "seconds" in header


# --- Going on ------------------------------------------------------------------------------------


def test_a_finished_run_can_be_asked_for_again_with_resume(runs) -> None:
    folder = runs[0]
    weights = (folder / "vae" / "model.safetensors").read_bytes()
    assert "holds a run already" in train(folder, "vae", code=2)
    train(folder, "vae", "--resume")
    again = (folder / "vae" / "model.safetensors").read_bytes()
    assert again[-4000:] == weights[-4000:]  # the card before the weights may differ


def test_another_run_cannot_be_resumed(runs) -> None:
    said = train(runs[0], "gan", "--resume", "--set", "latent_dim=3", code=2)
    assert "latent_dim is 8 there, 3 was asked for" in said


def test_ctrl_c_saves_and_prints_the_command_that_goes_on(root, tmp_path) -> None:
    folder = tmp_path / "a run"
    words = ["train", "gan", "--preset", "tiny", "--data", "digits", "--steps", "100000"]
    words += ["--set", "learning_rate=1e-3", "--device", "cpu", "--out", str(folder)]
    command = [sys.executable, "-m", "course_lib", *words]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 120
        history = folder / "history.jsonl"
        while not (history.exists() and history.stat().st_size) and time.monotonic() < until:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in said
    assert re.search(r"stopped after step \d+ of 100000; go on with:\n  course train gan", said)
    (line,) = re.findall(r"^  course (.*)$", said, re.MULTILINE)
    assert "--set learning_rate=1e-3" in line and line.endswith("--resume") and "'" in line
    kept = read_run_card(folder)["command"]
    assert str(tmp_path) not in kept and set(kept.split()) < set(f"course {line}".split())
    said = course("sample", folder, code=2)
    assert "not finished" in said and f"{kept} --out '{folder}' --resume" in said
    assert "not finished" in course("results", "--record", folder, code=2)


def test_the_command_of_a_request_asks_for_the_same(tmp_path) -> None:
    request = launch.Request(
        *("gan", "full", "my digits", None, "cpu", "bf16", 3, 7, ("dropout=0", "betas=(0.5, 0.9)")),
        *(True, True, 2, 5.0, 50),
    )
    command = request.command(tmp_path)
    assert "'my digits'" in command and "--resume" not in command
    assert request.changes() == {"steps": 7, "dropout": 0, "betas": (0.5, 0.9)}
    for option in ("--seed 3", "--steps 7", "--set dropout=0", "--compile", "--accumulate 2"):
        assert option in command
    plain = launch.Request("gan").command(tmp_path)
    assert plain == f"course train gan --preset quick --out {tmp_path}"


# --- Bad input -----------------------------------------------------------------------------------

WRONG = {
    "train gann": r"MODEL must be one of .*; got 'gann'; did you mean 'gan'\?",
    "train gan --data mnist": r"'mnist'.*did you mean 'mnist5k'\?",
    "train gan --data /no/such/folder": "/no/such/folder",
    "train gan --preset ful": r"preset must be one of .*got 'ful'",
    "train gan --steps -1": "steps must be a whole number.*got -1",
    "train gan --set lr=3": "unknown settings .'lr'",
    "train gan --set objective": "--set must be NAME=VALUE",
    "train gan --set objective=wgan": "objective must be one of.*got 'wgan'",
    "train gan --data python_source": "--data must be images or points",
    "train transformer --data digits": "--data must be a text",
    "train dcgan --preset full --data mnist5k": "--set image_size",
    "train gan --data digits --device gpu --out OUT": "device must be 'auto' or 'cpu'",
    "train gan --data digits --precision fp8 --out OUT": "precision must be one of",
    "train gan --data digits --accumulate 0 --out OUT": "accumulate must be",
    "train gan --data digits --seed -1 --out OUT": "seed must be a whole number",
    "train gan --data digits --save-seconds -1 --out OUT": "save_seconds must be",
    "train gan --data digits --set batch_size=9999 --device cpu --out OUT": "batch_size must be",
    "sample /no/such/run": "/no/such/run does not exist",
    "sample RUN --n 0": "n must be",
    "sample RUN --out grid.jpg": r"--out must end in \.png; got grid\.jpg",
    "evaluate RUN --n 0 --device cpu": "n must be a whole number",
    "results --record /no/such/run": "holds no run",
    "data nothing_like_it": "expected one of digits",
    "data digits --picture x.gif": "--picture must be a .png",
}


@pytest.mark.parametrize("words", WRONG)
def test_bad_input_is_one_clear_line(words: str, runs, tmp_path) -> None:
    out = tmp_path / "out"
    typed = words.replace("RUN", str(runs[0] / "gan")).replace("OUT", str(out)).split()
    done = CliRunner().invoke(cli.app, typed)
    assert done.exit_code == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("course: ") and re.search(WRONG[words], line)
    assert not out.exists()  # so that the mended command is not refused


@pytest.mark.parametrize("typed", ["trian gan", "train", "train gan --nonsense", "sample"])
def test_what_cannot_be_understood_is_a_usage_error(typed: str) -> None:
    assert "Usage: " in course(*typed.split(), code=2)


def test_training_that_diverges_ends_with_code_1_and_does_not_occupy_the_folder(tmp_path) -> None:
    said = train(tmp_path, "gan", "--set", "learning_rate=1e20", code=1)
    assert "course: " in said and "diverged" in said
    assert not (tmp_path / "gan").exists()
    train(tmp_path, "vae", "--set", "learning_rate=1e20", "--save-steps", 1, code=1)
    assert (tmp_path / "vae" / "state.safetensors").exists(), "which may be worth a look"


@pytest.mark.parametrize("error", [ValueError, ImportError, RuntimeError])
def test_a_model_that_cannot_be_judged_is_kept(error, tmp_path, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error("nobody can")

    monkeypatch.setattr(results, "evaluate", refuse)
    with pytest.warns(UserWarning, match="the model was not judged: nobody can"):
        launch.launch(request(tmp_path / "run"))
    assert read_run_card(tmp_path / "run")["metrics"] == {}
    assert "samples" in course("sample", tmp_path / "run", "--out", tmp_path / "samples.png")


def test_numbers_that_json_cannot_hold_are_left_out_of_the_card(tmp_path, monkeypatch) -> None:
    report = {"samples": {"good": 0.5, "bad": math.nan, "worse": math.inf}}
    monkeypatch.setattr(results, "evaluate", lambda *_, **__: report)
    launch.launch(request(tmp_path / "run"))
    metrics = {"samples": {"good": 0.5, "bad": None, "worse": None}}
    assert read_run_card(tmp_path / "run")["metrics"] == metrics
    results.record(tmp_path / "run", tmp_path / "results")
    (row,) = results.recorded(tmp_path / "results")
    assert "0.5" in results.table([row])


def request(folder) -> launch.Request:
    return launch.Request("gan", "tiny", data="digits", device="cpu", out=folder)


def test_a_fault_of_the_library_keeps_its_traceback(monkeypatch) -> None:
    def broken():
        raise KeyError("a fault")

    monkeypatch.setattr(families, "overview", broken)
    with pytest.raises(KeyError):
        course("models")


# --- What there is -------------------------------------------------------------------------------


def test_models_lists_every_preset() -> None:
    said = course("models")
    for name, family in families.FAMILIES.items():
        assert all(
            re.search(rf"^{name} +{preset} ", said, re.MULTILINE) for preset in family.presets
        )


def test_data_lists_and_shows(tmp_path) -> None:
    assert re.search(r"^mnist5k +5,000 .*CC BY-SA", course("data"), re.MULTILINE)
    said = course("data", "gaussian_ring", "--picture", tmp_path / "ring.png")
    assert "8 modes" in said and (tmp_path / "ring.png").stat().st_size > 1000
    (tmp_path / "text.txt").write_text(TEXT * 30)
    assert TEXT in course("data", tmp_path / "text.txt")


def test_bench_measures_and_prints(monkeypatch) -> None:
    from course_lib import bench

    monkeypatch.setattr(bench, "measure", lambda: ["row"])
    monkeypatch.setattr(bench, "table", lambda rows: f"table of {rows}")
    assert course("bench") == "table of ['row']\n"
