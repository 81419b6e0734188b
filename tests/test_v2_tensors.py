"""Messages of the V2 protocol: every tensor survives the way there and back, and no malformed one passes."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hrnet_deploy.errors import UsageError
from hrnet_deploy.v2_tensors import V2_DTYPES, read_message, write_message

NUMBERS = sorted(set(V2_DTYPES) - {"object"})


def joined(parts):
    head, binary = parts
    return head + b"".join(binary), len(head)


@st.composite
def tensors(draw, dtypes):
    dtype = draw(st.sampled_from(dtypes))
    return draw(arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)))


@given(st.dictionaries(st.text(min_size=1, max_size=5), tensors(NUMBERS), max_size=3))
def test_binary_tensors_keep_every_bit(batch):
    body, length = joined(write_message({"id": "7"}, "inputs", batch))
    message, found = read_message(body, length, "inputs")
    assert message["id"] == "7"
    assert list(found) == list(batch)
    for name, array in batch.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


@given(tensors([name for name in NUMBERS if name != "float16"]).filter(lambda a: np.isfinite(a).all()))
def test_json_values_keep_every_value(array):
    body, length = joined(write_message({}, "outputs", {"x": array}, as_json={"x"}))
    assert length == len(body)
    _, found = read_message(body, None, "outputs")
    np.testing.assert_array_equal(found["x"], array, strict=True)


@pytest.mark.parametrize("as_json", [(), ("x",)])
def test_texts_keep_their_bytes(as_json):
    array = np.array([[b"a", b""], ["ü".encode(), b"0123456789"]], object)
    body, length = joined(write_message({}, "inputs", {"x": array}, as_json=as_json))
    assert read_message(body, length, "inputs")[1]["x"].tolist() == array.tolist()


@pytest.mark.parametrize("data", [[[1, 2, 3], [4, 5, 6]], [1, 2, 3, 4, 5, 6]])
def test_json_values_may_be_nested_or_flat(data):
    body = json.dumps({"inputs": [{"name": "x", "datatype": "UINT8", "shape": [2, 3], "data": data}]}).encode()
    assert read_message(body, None, "inputs")[1]["x"].tolist() == [[1, 2, 3], [4, 5, 6]]


def entry(**changes):
    return {"name": "x", "datatype": "UINT8", "shape": [2], "data": [1, 2]} | changes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "message must be JSON"),
        (b"[]", "must be a JSON object, got list"),
        (b"[" * 100_000, "message must be JSON"),
        (b"{}", "must have a list 'inputs', got None"),
        (entry(name=1), "must have a name, a datatype and a shape"),
        (entry(datatype="UINT9"), "must be one of BOOL"),
        (entry(shape=[-1]), "must be a list of sizes"),
        (entry(shape=[True, 2]), "must be a list of sizes"),
        (entry(shape=[1] * 40), "must be a list of sizes"),
        (entry(shape=[1 << 61, 1 << 61]), "must have .* values"),
        (entry(data=None), "must have a list 'data'"),
        (entry(data=[1, 300]), "one beyond 255"),
        (entry(data=[1, -1]), "one beyond 255"),
        (entry(data=[1, 10**30]), "beyond 64 bits"),
        (entry(data=[1, 10**17]), "one beyond 255"),
        (entry(data=[[1, 2], 3]), "rows of one length"),
        (entry(data=[[[1]], [[2]]]), "must have .* values"),
        (entry(data=["x" * 1_000_000, *[""] * 200_000]), "must have .* values"),
        (entry(shape=[200_001], data=["x" * 1_000_000, *[""] * 200_000]), "must hold uint8 values, got str"),
        (entry(shape=[0, 1 << 61, 1 << 61], data=[]), "one that memory can have"),
        (entry(shape=[0, 1 << 61, 1 << 61], parameters={"binary_data_size": 0}), "one that memory can have"),
        (b'{"inputs": ' + b"[[]," * 1_000_000, "more than 2,000,000 values"),
        (b'{"inputs": ["\\ud800"]}', "message must be JSON"),
        (entry(data=[1, 2.5]), "must hold uint8 values, got float"),
        (entry(data=[1, "2"]), "must hold uint8 values"),
        (entry(data=[True, False]), "must hold uint8 values, got bool"),
        (entry(data=[[1], [2, 3]]), "rows of one length"),
        (entry(data=[1, 2, 3]), "must have .* values"),
        (entry(datatype="FP16"), "JSON has no FP16"),
        (entry(datatype="BYTES"), "must hold texts"),
        (entry(parameters={"binary_data_size": 2}), "must have the 2 bytes it names, got 0"),
        (entry(parameters={"binary_data_size": -1}), "must be a number of bytes"),
        (entry(parameters={"binary_data_size": "2"}), "must be a number of bytes"),
    ],
)
def test_a_malformed_message_is_refused_in_one_sentence(content, message):
    body = content if isinstance(content, bytes) else json.dumps({"inputs": [content]}).encode()
    with pytest.raises(UsageError, match=message):
        read_message(body, None, "inputs")


def test_bytes_beside_the_tensors_are_refused():
    body, length = joined(write_message({}, "inputs", {"x": np.zeros(4, np.float32)}))
    for wrong in (body[:-1], body + b"\0"):
        with pytest.raises(UsageError):
            read_message(wrong, length, "inputs")
    for wrong_length in (-1, len(body) + 1, length - 1):
        with pytest.raises(UsageError):
            read_message(body, wrong_length, "inputs")
    twice = json.dumps({"inputs": [entry(), entry()]}).encode()
    with pytest.raises(UsageError, match="given once"):
        read_message(twice, None, "inputs")


@given(st.binary(max_size=60), st.integers(-2, 70))
def test_random_bytes_never_raise_anything_else(body, length):
    with pytest.raises(UsageError):
        read_message(body, length, "inputs")


def test_texts_are_counted_before_they_are_kept():
    message = {"inputs": [entry(datatype="BYTES", shape=[100_000], parameters={"binary_data_size": 400_000})]}
    text = json.dumps(message).encode()
    with pytest.raises(UsageError, match="at most 65,536 texts"):
        read_message(text + bytes(400_000), len(text), "inputs")
