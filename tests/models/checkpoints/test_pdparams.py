"""Paddle's pickles: what NumPy and Paddle write comes back, in every protocol."""

import contextlib
import pickle
import string
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.checkpoints.checkpoint_file import open_checkpoint
from hrnet_deploy.models.checkpoints.container import read_container
from hrnet_deploy.models.checkpoints.pdparams import read_pdparams

SAME_FOLDER = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = st.text(string.ascii_letters + "._0123456789", min_size=1, max_size=20)
DTYPES = st.sampled_from(["float16", "float32", "float64", ">f4", "int64", "uint8", "bool"])
SHAPES = st.lists(st.integers(1, 4), max_size=4).map(tuple)


@st.composite
def arrays(draw):
    shape, seed = draw(SHAPES), draw(st.integers(0, 2**32 - 1))
    array = (np.random.default_rng(seed).standard_normal(shape) * 9).astype(draw(DTYPES))
    return np.asfortranarray(array) if draw(st.booleans()) else array


def arrays_in(path):
    with open_checkpoint(path) as file:
        return read_pdparams(file)


def write(path, content, protocol):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@SAME_FOLDER
@given(content=st.dictionaries(NAMES, arrays(), min_size=1, max_size=4), protocol=st.sampled_from([2, 3, 4]))
def test_arrays_come_back(tmp_path, content, protocol):
    stored = OrderedDict({**content, "StructuredToParameterName@@": dict.fromkeys(content, "p_0")})
    found = arrays_in(write(tmp_path / "a.pdparams", stored, protocol))
    assert list(found) == list(content)
    for name, array in content.items():
        assert tuple(found[name].shape) == array.shape
        assert np.array_equal(found[name].numpy(), array)


@SAME_FOLDER
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    size=st.integers(1, 30),
    protocol=st.sampled_from([2, 3]),
)
def test_split_arrays_are_joined(tmp_path, shape, size, protocol):
    whole = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    flat = whole.flatten()
    parts = {f"w@@.{i}": flat[start : start + size] for i, start in enumerate(range(0, flat.size, size))}
    table = {"w": {"OriginShape": shape, "slices": list(parts)}}
    content = {"other": np.zeros(2, np.float32), **parts, "UnpackBigParamInfor@@": table}
    found = arrays_in(write(tmp_path / "a.pdparams", content, protocol))
    assert set(found) == {"other", "w"}
    assert np.array_equal(found["w"].numpy(), whole)


def test_numpy_1_names_are_read(tmp_path):
    data = pickle.dumps({"w": np.ones(3, np.float32)}, 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in data
    (tmp_path / "a.pdparams").write_bytes(data)
    assert arrays_in(tmp_path / "a.pdparams")["w"].tolist() == [1, 1, 1]


def test_named_pairs_and_scalars_are_read(tmp_path):
    content = {"w": ("linear_0.w_0", np.ones(2, np.float32)), "s": np.float32(4)}
    found = arrays_in(write(tmp_path / "a.pdparams", content, 4))
    assert found["w"].tolist() == [1, 1]
    assert found["s"].item() == 4


def test_bfloat16_is_restored(tmp_path):
    values = torch.tensor([1.5, -2.0, 0.25], dtype=torch.bfloat16)
    content = {"w": values.view(torch.int16).numpy().view(np.uint16)}
    found = arrays_in(write(tmp_path / "a.pdparams", content, 4))["w"]
    assert found.dtype is torch.bfloat16
    assert torch.equal(found, values)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"w": np.array([object], dtype=object)}, "needs 'builtins.object'|needs '__builtin__.object'"),
        ({"w": np.array(["a", 1], dtype=object)}, "dtype 'O8'"),
        ({"w": np.zeros(2, dtype=[("a", "f4")])}, "dtype 'V4'"),
        ({"w": np.array(["text"])}, "dtype 'U4'"),
        ({"w": [1, 2]}, "got list under 'w'"),
        ({1: np.zeros(2)}, "got Array under 1"),
        ([np.zeros(2)], "must hold named arrays, got list"),
        ({}, "must hold a dict of tensors"),
        ({"UnpackBigParamInfor@@": {"w": {"slices": ["gone"], "OriginShape": (1,)}}}, "cannot be read"),
    ],
)
def test_anything_else_is_refused(tmp_path, content, message):
    with pytest.raises(CheckpointError, match=message):
        read_container(write(tmp_path / "a.pdparams", content, 2))


@SAME_FOLDER
@given(cut=st.integers(2, 400), flip=st.integers(0, 255))
def test_damaged_pickles_give_one_kind_of_error(tmp_path, cut, flip):
    data = bytearray(pickle.dumps({"conv1.weight": np.ones((3, 4), np.float32)}, 4))
    data[2 + cut % (len(data) - 2)] ^= flip
    (tmp_path / "a.pdparams").write_bytes(data[: cut + 60])
    with contextlib.suppress(CheckpointError):
        read_container(tmp_path / "a.pdparams")
