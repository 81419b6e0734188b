"""The calibrator object, against a module with the surface of tensorrt-stubs 10.13.0.35."""

import types

import pytest

from hrnet_deploy.calibration.tensorrt_cache import make_calibrator, write_cache
from hrnet_deploy.errors import ArtifactError, MissingDependencyError, UsageError

AMAX = {"input": 1.5}


class Int8Calibrator:
    """The methods of the stub's IInt8Calibrator; like the binding's, useless until its own __init__ ran."""

    def __init__(self) -> None:
        self.bound = True

    def get_batch(self, names):
        raise NotImplementedError

    def get_batch_size(self):
        raise NotImplementedError

    def read_calibration_cache(self):
        raise NotImplementedError

    def write_calibration_cache(self, cache):
        raise NotImplementedError


def fake_tensorrt(version: str = "10.13.0.35", *, calibrators: bool = True):
    module = types.SimpleNamespace(__version__=version)
    if calibrators:
        module.IInt8EntropyCalibrator2 = type("IInt8EntropyCalibrator2", (Int8Calibrator,), {})
    return module


def build(calibrator) -> bytes | None:
    """What TensorRT 10.13.0 does with a calibrator: the cache it used, or None where it requested images."""
    assert calibrator.bound
    assert calibrator.get_batch_size() == 1
    cache = calibrator.read_calibration_cache()
    if bytes(cache).startswith(b"TRT-101300-EntropyCalibration2\n"):
        return bytes(cache)
    assert calibrator.get_batch(["input"]) is None
    calibrator.write_calibration_cache(memoryview(b"TRT-101300-EntropyCalibration2\n"))
    return None


def test_tensorrt_reads_the_ranges_and_needs_no_images():
    trt = fake_tensorrt()
    calibrator = make_calibrator(trt, AMAX)
    assert isinstance(calibrator, trt.IInt8EntropyCalibrator2)
    assert build(calibrator).decode() == write_cache(AMAX, "10.13.0.35")
    calibrator.raise_if_failed()


def test_a_cache_that_tensorrt_skips_is_an_error():
    calibrator = make_calibrator(fake_tensorrt("10.14.1"), AMAX)
    assert build(calibrator) is None
    with pytest.raises(ArtifactError, match="must accept the calibration cache"):
        calibrator.raise_if_failed()


@pytest.mark.parametrize(
    "trt", [fake_tensorrt("11.4.0.106", calibrators=False), fake_tensorrt("1.7.1.116", calibrators=False), object()]
)
def test_tensorrt_without_calibrators_names_the_way_that_works(trt):
    with pytest.raises(MissingDependencyError, match=r"--qdq-target tensorrt.*pip install"):
        make_calibrator(trt, AMAX)


@pytest.mark.parametrize("amax", [{}, {"x": float("nan")}])
def test_ranges_that_a_cache_cannot_hold_are_refused(amax):
    with pytest.raises(UsageError):
        make_calibrator(fake_tensorrt(), amax)


def test_it_joins_with_a_class_of_a_compiled_binding():
    # TensorRT's classes are pybind11's, which refuse some ways of inheriting that plain ones allow.
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    trt = types.SimpleNamespace(__version__="10.13.0", IInt8EntropyCalibrator2=state.SessionOptions)
    calibrator = make_calibrator(trt, AMAX)
    assert isinstance(calibrator, state.SessionOptions)
    assert calibrator.read_calibration_cache().decode() == write_cache(AMAX, "10.13.0")
