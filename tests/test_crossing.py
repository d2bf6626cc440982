"""The recorded errors are those that the script finds, and it goes on where it stopped."""

import json

import crossing
import pytest
import torch
import typer


def test_it_goes_on_where_it_stopped(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(crossing, "SIZES", {"components": (20,), "pixels": (20, 50)})
    threads, found = torch.get_num_threads(), {}
    for name, runs in {"at once": [3], "in parts": [1, 3, 2]}.items():
        monkeypatch.setattr(crossing, "TARGET", tmp_path / name / "crossing.json")
        for draws in runs:
            monkeypatch.setattr(crossing, "DRAWS", draws)
            crossing.main(["naive Bayes", "QDA"])
        found[name] = json.loads(crossing.TARGET.read_text())
    torch.set_num_threads(threads)
    assert found["at once"] == found["in parts"]
    errors = found["at once"]["errors"]
    assert errors["pixels"].keys() == {"naive Bayes", "QDA"} and "protocol" in found["at once"]
    assert all(len(e) == 3 and len(set(e)) > 1 for e in errors["pixels"]["QDA"].values())
    with pytest.raises(typer.BadParameter, match="--only must be one of"):
        crossing.main(["SVM"])


def test_what_is_recorded_is_what_the_methods_find() -> None:
    recorded = crossing.recorded()
    assert recorded.keys() == crossing.SIZES.keys()
    for name, load in {"components": crossing.components, "pixels": crossing.pixels}.items():
        x, y, held_out, labels = load()
        for method, errors in recorded[name].items():
            fit, features = crossing.METHODS[method]
            assert errors.keys() == set(map(str, crossing.SIZES[name]))
            assert {len(draws) for draws in errors.values()} == {crossing.DRAWS}
            own = crossing.draw(y, 100, 1)
            assert torch.equal(y[own].bincount(), torch.full((10,), 10))
            wrong = fit(features(x[own]), y[own]).predict(features(held_out)) != labels
            # Another machine may round otherwise, and one image may change sides.
            assert errors["100"][1] == pytest.approx(wrong.double().mean().item(), abs=0.004)


def test_whitened_components_have_variance_one_and_products_are_all_there() -> None:
    x, _, held_out, _ = crossing.components(5)
    torch.testing.assert_close(x.mT @ x / len(x), torch.eye(5).double())
    assert held_out.shape == (1000, 5) and 0.7 < held_out.std() < 1.3
    products = crossing.with_products(torch.tensor([[2.0, 3.0]]))
    assert products.tolist() == [[2, 3, 4, 6, 9]]
