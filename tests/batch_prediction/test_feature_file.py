"""Features of many images in one file."""

import numpy as np
import pytest

from hrnet_deploy.batch_prediction.feature_file import open_feature_file
from hrnet_deploy.errors import UsageError
from hrnet_deploy.feature_result import FeatureResult


def result(name, side=3):
    rng = np.random.default_rng(len(name))
    maps = {"map_4": rng.normal(size=(2, side, side)).astype(np.float32)}
    return FeatureResult(name=name, path=None, vectors={"pooled": np.arange(5, dtype=np.float32)}, maps=maps, speed={})


@pytest.mark.parametrize("names", [["a.png", "ä/日本.jpg", ""], ["one"], []], ids=len)
def test_an_npz_file_holds_names_and_one_array_a_feature(tmp_path, names):
    path = tmp_path / "new" / "f.npz"
    with open_feature_file(path) as file:
        for name in names:
            file.add(result(name))
    with np.load(path, allow_pickle=False) as found:
        assert found["names"].tolist() == names
        assert set(found) == ({"names", "pooled", "map_4"} if names else {"names"})
        for row, name in enumerate(names):
            np.testing.assert_array_equal(found["map_4"][row], result(name).maps["map_4"])
            np.testing.assert_array_equal(found["pooled"][row], np.arange(5))
    assert [one.name for one in path.parent.iterdir()] == ["f.npz"]


def test_an_npz_file_refuses_features_of_several_sizes_and_leaves_nothing(tmp_path):
    path = tmp_path / "f.npz"
    several = [result("a"), result("b", side=4)]
    with pytest.raises(UsageError, match=r"map_4 \(2, 3, 3\) and \(2, 4, 4\) of b"), open_feature_file(path) as file:
        any(map(file.add, several))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("count", [0, 3])
def test_a_parquet_file_holds_values_and_shapes(arrow, tmp_path, monkeypatch, count):
    monkeypatch.setattr("hrnet_deploy.batch_prediction.feature_file._GROUP_BYTES", 100)
    sides = range(2, 2 + count)
    with open_feature_file(tmp_path / "f.parquet") as file:
        for side in sides:
            file.add(result(f"{side}", side))
    rows = arrow.parquet.read_table(tmp_path / "f.parquet").to_pylist()
    assert [row["name"] for row in rows] == [f"{side}" for side in sides]
    for row, side in zip(rows, sides, strict=True):
        values = np.array(row["map_4"], np.float32).reshape(row["map_4_shape"])
        np.testing.assert_array_equal(values, result(f"{side}", side).maps["map_4"])


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"\.npz or \.parquet, got"), open_feature_file(tmp_path / "f.csv"):
        pass
