"""Metrics and snapshots: one number a step, samples at even distances, both kept and given back."""

import inspect
import json
import time

import pytest
import torch

from course_lib.history import History, Snapshots
from course_lib.state import pack, unpack


def recorded(*losses: float) -> History:
    history = History()
    for loss in losses:
        history.append({"loss": loss, "negative": -loss})
    return history


# --- Metrics -------------------------------------------------------------------------------------


def test_history_is_a_mapping_with_one_number_a_step() -> None:
    history = recorded(0.5, 0.25, 0.125)
    assert history.steps == [1, 2, 3] and history["loss"] == [0.5, 0.25, 0.125]
    assert list(history) == ["loss", "negative"] and len(history) == 2
    assert repr(history) == "History(3 steps; last: loss=0.125, negative=-0.125)"
    with pytest.raises(KeyError):
        history["lost"]


def test_an_empty_history_is_well_behaved() -> None:
    history = History()
    assert history.steps == [] and list(history) == [] and "nothing recorded" in repr(history)
    assert history.rows() == []


def test_metrics_keep_their_names_and_not_their_order() -> None:
    history = recorded(1.0)
    history.append({"negative": -2.0, "loss": 2.0})
    assert history["loss"] == [1.0, 2.0]
    for other in ({"loss": 1.0}, {"loss": 1.0, "negative": 1.0, "more": 1.0}, {}):
        with pytest.raises(ValueError, match=r"earlier steps returned \['loss', 'negative'\]"):
            history.append(other)
    assert history.steps == [1, 2], "what was refused left nothing behind"


def test_steps_without_metrics_count() -> None:
    history = History()
    history.append({})
    with pytest.raises(
        ValueError, match=r"step returned the metrics \['a'\], but earlier .* \[\];"
    ):
        history.append({"a": 1.0})
    history.append({})
    kept = History()
    kept.load_state_dict(unpack(pack(history.state_dict())))
    assert history.rows() == kept.rows() == [{"step": 1}, {"step": 2}] and kept.steps == [1, 2]


def test_the_last_rows_of_a_long_history_take_no_longer_than_those_of_a_short_one() -> None:
    history = History()
    history.load_state_dict({"count": 10**6, "values": {"a": torch.zeros(10**6)}})
    started = time.process_time()
    for _ in range(1000):
        assert len(history.rows(10**6)) == 1
    assert time.process_time() - started < 1


def test_rows_are_the_steps_from_a_step_on() -> None:
    history = recorded(0.5, 0.25, 0.125)
    rows = history.rows()
    assert rows[0] == {"step": 1, "loss": 0.5, "negative": -0.5} and len(rows) == 3
    assert history.rows(3) == rows[2:] and history.rows(4) == []
    assert list(rows[0]) == ["step", "loss", "negative"]


def test_a_kept_history_goes_on_as_if_nothing_had_happened() -> None:
    numbers = [0.1, 1e300, 5e-324, -0.0, 1 / 3]
    kept = History()
    kept.load_state_dict(unpack(pack(recorded(*numbers).state_dict())))
    assert dict(kept) == dict(recorded(*numbers)) and kept.steps == [1, 2, 3, 4, 5]
    assert str(kept["loss"][3]) == "-0.0" and isinstance(kept["loss"][0], float)
    kept.append({"loss": 2.0, "negative": -2.0})
    assert kept.rows(6) == [{"step": 6, "loss": 2.0, "negative": -2.0}]
    assert json.loads(json.dumps(kept.rows())) == kept.rows(), "JSON gives the very numbers back"


def test_loading_replaces_what_was_recorded() -> None:
    history = recorded(1.0, 2.0)
    history.load_state_dict(recorded(3.0).state_dict())
    assert dict(history) == dict(recorded(3.0))
    history.load_state_dict(History().state_dict())
    assert history.steps == []


# --- Snapshots -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "steps", "expected"),
    [
        (0, 9, []),
        (1, 9, [0]),
        (2, 9, [0, 9]),
        (4, 9, [0, 3, 6, 9]),
        (20, 3, [0, 1, 2, 3]),
        (3, 0, [0]),
    ],
)
def test_snapshots_are_evenly_spaced(number: int, steps: int, expected: list[int]) -> None:
    now = 0
    film = Snapshots(lambda n: torch.full((n, 2), float(now)), number=number, size=5, steps=steps)
    kept = [0]
    for now in range(1, steps + 1):
        if film(now):
            kept.append(now)
    assert film.steps == expected and (kept == expected or not expected)
    assert film.samples.shape == (len(expected), 5, 2)
    assert film.samples[:, 0, 0].tolist() == expected


def test_samples_are_drawn_only_when_they_are_kept() -> None:
    drawn = []

    def draw(n: int) -> torch.Tensor:
        drawn.append(n)
        return torch.zeros(n)

    film = Snapshots(draw, number=2, size=3, steps=9)
    assert drawn == [3], "once for step 0"
    assert [film(step) for step in (1, 5, 8)] == [False] * 3 and drawn == [3]
    assert film(9) and drawn == [3, 3] and film.samples.shape == (2, 3)
    none = Snapshots(draw, number=0, size=3, steps=9)
    assert not none(0) and not none(9) and not none.state_dict()["samples"]
    assert drawn == [3, 3], "none were asked for"
    assert none.samples.shape == (0, 3)


@pytest.mark.parametrize("number", [0, 3])
def test_kept_snapshots_replace_those_of_the_new_start(number: int) -> None:
    now = 0.0

    def draw(n: int) -> torch.Tensor:
        return torch.full((n,), now)

    film = Snapshots(draw, number=number, size=2, steps=4)
    for now in (1.0, 2.0):
        film(int(now))
    state = unpack(pack(film.state_dict()))
    now = 9.0
    other = Snapshots(draw, number=number, size=2, steps=4)
    other.load_state_dict(state)
    for now in (3.0, 4.0):
        other(int(now))
    assert other.samples[:, 0].tolist() == ([0.0, 2.0, 4.0] if number else [])
    assert other.samples.shape[1:] == (2,)


@pytest.mark.parametrize(("number", "size", "steps"), [(2, 2, 4), (3, 1, 4), (3, 2, 5), (0, 2, 4)])
def test_snapshots_of_another_kind_are_not_mixed_with_these(number, size, steps) -> None:
    kept = Snapshots(torch.zeros, number=3, size=2, steps=4).state_dict()
    other = Snapshots(torch.zeros, number=number, size=size, steps=steps)
    with pytest.raises(
        ValueError, match=r"its snapshots are \[\(2,\)\] at steps \[0, 2, 4\], those"
    ):
        other.load_state_dict(kept)
    Snapshots(torch.zeros, number=3, size=2, steps=4).load_state_dict(kept)


@pytest.mark.parametrize("number", [-1, 1.5, True])
def test_a_bad_number_of_snapshots_is_refused(number) -> None:
    make = inspect.unwrap(Snapshots.__init__)
    with pytest.raises(ValueError, match=rf"snapshots must be a whole number .*; got {number}"):
        make(object.__new__(Snapshots), torch.zeros, number=number, size=1, steps=3)
    with pytest.raises(ValueError, match=r"snapshot_size must be a whole number .*; got 0"):
        Snapshots(torch.zeros, number=0, size=0, steps=3)
