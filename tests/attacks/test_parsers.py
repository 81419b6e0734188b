"""Parsers that are pure functions: any input gives a value or the one error that their caller expects."""

import contextlib
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.artifact.onnx_header import read_header
from hrnet_deploy.errors import HrnetDeployError
from hrnet_deploy.evaluation.datasets.label_values import parse_label_values
from hrnet_deploy.imaging.class_list import parse_class_list
from hrnet_deploy.imaging.decode_image import check_file
from hrnet_deploy.json_text import parse_json
from hrnet_deploy.models.checkpoints.inert_pickle import unpickle
from hrnet_deploy.models.checkpoints.pickle_opcodes import PickleStream

_MAGIC = st.sampled_from(
    [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff", b"RIFF\xff\0\0\0WEBP", b"\0\0\0\x1cftypavif", b"BM",
     b"II*\0\x08\0\0\0", b"GIF89a", b"P6\n", b"\0\0\0\x0cjP  \r\n\x87\n", b""]
)  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_MAGIC, st.binary())
def test_an_image_header_is_read_or_refused(magic, rest):
    with contextlib.suppress(HrnetDeployError):
        assert check_file(magic + rest, "image").kind


@given(st.binary())
def test_a_graph_header_is_read_or_refused(content):
    with contextlib.suppress(HrnetDeployError):
        read_header(content)


@given(st.text() | _JSON.map(json.dumps))
def test_a_class_list_is_read_or_refused(text):
    with contextlib.suppress(HrnetDeployError):
        assert all(parse_class_list(text, "class file"))


@given(st.text())
def test_label_values_are_read_or_refused(text):
    with contextlib.suppress(HrnetDeployError):
        parse_label_values(text)


@given(st.binary() | st.text() | _JSON.map(json.dumps))
def test_json_is_read_or_refused(text):
    with contextlib.suppress(ValueError):
        parse_json(text)


@given(_JSON)
def test_json_is_read_as_python_reads_it_or_refused(value):
    text = json.dumps(value)
    with contextlib.suppress(ValueError):
        assert json.dumps(parse_json(text)) == text


@pytest.mark.parametrize("module", ["os", "posix", "builtins", "fuzz_canary_module"])
@given(name=st.sampled_from(["system", "eval", "getpid", "run"]))
def test_a_name_in_a_pickle_is_recorded_not_imported(module, name):
    program = f"c{module}\n{name}\n(S'touch marker'\ntR.".encode()
    call = unpickle(PickleStream(io.BytesIO(program), len(program)))
    assert (call.name, call.arguments) == (f"{module}.{name}", ("touch marker",))
