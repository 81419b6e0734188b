"""TensorRT's calibration cache, byte for byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrnet_deploy.calibration.tensorrt_cache import CacheAlgorithm, read_cache, version_number, write_cache
from hrnet_deploy.calibration.thresholds import FLOOR
from hrnet_deploy.errors import ArtifactError, UsageError

HEADER = "TRT-101300-EntropyCalibration2"
# As TensorRT 8.4 wrote it for a SegFormer: the input holds ImageNet pixels, whose largest value is 2.64.
GENUINE = """TRT-8401-EntropyCalibration2
input: 3caa54fc
371: 3caa54fc
(Unnamed Layer* 64) [Shuffle]_output: 0
395: 3cbe52af
(Unnamed Layer* 85) [Shuffle]_output: 3b1d233
"""
names = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1)


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
    assert write_cache({"input": 2.6406446, "x": 127.0}, "10.13.0.35") == f"{HEADER}\ninput: 3caa54fc\nx: 3f800000\n"
    assert write_cache({"x": 1.0}, "8.6.1", CacheAlgorithm.MINMAX) == "TRT-8601-MinMaxCalibration\nx: 3c010204\n"


def test_a_genuine_cache_is_read():
    header, amax = read_cache(GENUINE)
    assert header == "TRT-8401-EntropyCalibration2"
    assert list(amax) == [line.rsplit(": ", 1)[0] for line in GENUINE.splitlines()[1:]]
    assert amax["input"] == pytest.approx(2.6406, abs=5e-5)
    assert amax["(Unnamed Layer* 64) [Shuffle]_output"] == 0
    assert read_cache(GENUINE.encode()) == read_cache(GENUINE.replace("\n", "\r\n")) == (header, amax)


@given(st.dictionaries(names, st.floats(min_value=FLOOR, max_value=1e38), min_size=1))
def test_round_trip(amax):
    text = write_cache(amax, "10.13.0")
    header, read = read_cache(text)
    assert header == HEADER
    assert list(read) == list(amax)
    assert read == pytest.approx(amax, rel=1e-7)
    assert write_cache(read, "10.13.0") == text


@pytest.mark.parametrize("name", ["a: b", "a: 3c010204", ": ", ":", " ", "a b ", "/x/Conv_output_0", "x\u2028y", "ü"])
def test_names_of_any_kind(name):
    assert list(read_cache(write_cache({name: 1.0, "last": 2.0}, "8.6.1"))[1]) == [name, "last"]


@pytest.mark.parametrize("amax", [0.0, 1e-45, FLOOR / 2])
def test_no_scale_is_zero(amax):
    text = write_cache({"dead": amax, "live": 1.0}, "8.6.1")
    assert read_cache(text)[1]["dead"] == pytest.approx(FLOOR)
    assert read_cache(write_cache({"dead": amax}, "8.6.1", floor=0.5))[1]["dead"] == pytest.approx(0.5)


def test_a_genuine_cache_is_made_safe():
    safe = read_cache(write_cache(read_cache(GENUINE)[1], "10.13.0"))[1]
    assert min(safe.values()) == pytest.approx(FLOOR)


@pytest.mark.parametrize(
    ("amax", "options", "message"),
    [
        ({}, {}, "must hold tensors"),
        ({"x": float("nan")}, {}, "tensor 'x' must be finite"),
        ({"x": float("inf")}, {}, "tensor 'x' must be finite"),
        ({"x": -1.0}, {}, "tensor 'x' must be finite and not negative, got -1.0"),
        ({"x": 1e300}, {}, "tensor 'x' must fit float32"),
        ({"a\nb": 1.0}, {}, "name must be one line"),
        ({"a\r": 1.0}, {}, "name must be one line"),
        ({"": 1.0}, {}, "name must be one line"),
        ({"x": 1.0}, {"floor": 0.0}, "smallest amax must be positive"),
        ({"x": 1.0}, {"floor": -1.0}, "smallest amax must be positive"),
        ({"x": 1.0}, {"floor": 1e-60}, "smallest amax must be positive"),
    ],
)
def test_what_the_text_cannot_hold_is_refused(amax, options, message):
    with pytest.raises(UsageError, match=message):
        write_cache(amax, "8.6.1", **options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must begin with TRT-"),
        ("input: 3caa54fc\n", "must begin with TRT-.*got 'input: 3caa54fc'"),
        ("TRT-8601-LegacyCalibration\nx: 3c010204\n", "must begin with TRT-"),
        ("TRT-8601-EntropyCalibration2\n", "got a header alone"),
        (f"{HEADER}\nx: 3c010204\ny 3c010204\n", "line 3, must be 'name: hex digits', got 'y 3c010204'"),
        (f"{HEADER}\nx:3c010204\n", "line 2, must be"),
        (f"{HEADER}\nx: 0.0208\n", "line 2, must be"),
        (f"{HEADER}\nx: 3c0102040\n", "line 2, must be"),
        (f"{HEADER}\nx: \n", "line 2, must be"),
        (f"{HEADER}\n\nx: 3c010204\n", "line 2, must be"),
        (f"{HEADER}\nx: 7fc00000\n", "line 2, must have a finite positive scale, got nan"),
        (f"{HEADER}\nx: ff800000\n", "got -inf"),
        (f"{HEADER}\nx: bf800000\n", "got -1.0"),
        (f"{HEADER}\nx: 0\nx: 0\n", "line 3, must name another tensor, got 'x' again"),
        (b"\xff\xfe", "must be UTF-8"),
    ],
)
def test_damage_is_named_by_its_line(text, message):
    with pytest.raises(ArtifactError, match=message):
        read_cache(text)


def read_or_refused(text) -> None:
    """Fails where reading ends in another error than ours, of several lines, or in an unusable result."""
    refusal = ""
    try:
        header, amax = read_cache(text)
    except ArtifactError as error:
        refusal = str(error)
    else:
        assert header.startswith("TRT-")
        assert min(amax.values()) >= 0
    assert "\n" not in refusal


@given(st.text() | st.binary() | st.text().map(lambda t: f"{HEADER}\n{t}"))
def test_any_text_is_read_or_refused_in_one_line(text):
    read_or_refused(text)


@given(st.integers(0, 59), st.characters(exclude_categories=["Cs"]))
def test_one_wrong_character_is_read_or_refused_in_one_line(place, character):
    text = write_cache({"input": 2.64, "a b: c": 1.0}, "8.6.1")
    read_or_refused(text[:place] + character + text[place + 1 :])
