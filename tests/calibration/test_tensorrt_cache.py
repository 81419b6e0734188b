"""TensorRT's calibration cache, byte for byte."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.calibration.tensorrt_cache import version_number, write_cache
from hrnet_deploy.calibration.thresholds import FLOOR
from hrnet_deploy.errors import UsageError

HEADER = "TRT-101300-EntropyCalibration2"
# The first tensor of a cache that TensorRT 8.4 wrote for a SegFormer: ImageNet pixels, whose largest value is 2.64.
INPUT_SCALE = "3caa54fc"
names = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1)


def read(text: str) -> dict[str, float]:
    """The magnitude mapped to code 127 by tensor, as TensorRT reads it."""
    header, *lines = text.removesuffix("\n").split("\n")
    assert header.startswith("TRT-")
    pairs = [line.rpartition(": ")[::2] for line in lines]
    return {name: struct.unpack(">f", bytes.fromhex(digits))[0] * 127 for name, digits in pairs}


@pytest.mark.parametrize(
    ("version", "number"),
    [
        *(("8.6.1", 8601), ("8.4.0", 8400), ("8.5.3.1", 8503), ("7.1.3", 7103), ("9.3.0.post12", 9300)),
        *(("10.0.1", 100001), ("10.0.0b6", 100000), ("10.13.0.35", 101300), ("10.16.1.11", 101601), ("10.3", 100300)),
    ],
)
def test_the_version_as_a_number(version, number):
    assert version_number(version) == number


@pytest.mark.parametrize("version", ["11.4.0.106", "1.7.1", "", "ten", "10"])
def test_versions_without_calibrators_are_refused(version):
    with pytest.raises(UsageError, match="TensorRT"):
        version_number(version)


def test_golden_text():
    expected = f"{HEADER}\ninput: {INPUT_SCALE}\nx: 3f800000\n"
    assert write_cache({"input": 2.6406446, "x": 127.0}, "10.13.0.35") == expected
    assert write_cache({"x": 1.0}, "8.6.1") == "TRT-8601-EntropyCalibration2\nx: 3c010204\n"


@given(st.dictionaries(names, st.floats(min_value=FLOOR, max_value=1e38), min_size=1))
def test_every_scale_is_amax_over_127(amax):
    found = read(write_cache(amax, "10.13.0"))
    assert list(found) == list(amax)
    assert found == pytest.approx(amax, rel=1e-7)


@pytest.mark.parametrize("name", ["a: b", "a: 3c010204", ": ", ":", " ", "a b ", "/x/Conv_output_0", "x\u2028y", "ü"])
def test_names_of_any_kind(name):
    assert list(read(write_cache({name: 1.0, "last": 2.0}, "8.6.1"))) == [name, "last"]


@pytest.mark.parametrize("amax", [0.0, 1e-45, FLOOR / 2])
def test_no_scale_is_zero(amax):
    assert read(write_cache({"dead": amax, "live": 1.0}, "8.6.1"))["dead"] == pytest.approx(FLOOR)


@pytest.mark.parametrize(
    ("amax", "message"),
    [
        ({}, "must hold tensors"),
        ({"x": float("nan")}, "tensor 'x' must be finite"),
        ({"x": float("inf")}, "tensor 'x' must be finite"),
        ({"x": -1.0}, "tensor 'x' must be finite and not negative, got -1.0"),
        ({"x": 1e300}, "tensor 'x' must fit float32"),
        ({"a\nb": 1.0}, "name must be one line"),
        ({"a\r": 1.0}, "name must be one line"),
        ({"": 1.0}, "name must be one line"),
    ],
)
def test_what_the_text_cannot_hold_is_refused(amax, message):
    with pytest.raises(UsageError, match=message):
        write_cache(amax, "8.6.1")
