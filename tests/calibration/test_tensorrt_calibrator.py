"""The calibrator object, against a module with the surface of tensorrt-stubs 10.13.0.35."""

import types

import numpy as np
import pytest

from hrnet_deploy.calibration.provenance import Provenance
from hrnet_deploy.calibration.table import CalibrationTable
from hrnet_deploy.calibration.tensor_range import TensorRange
from hrnet_deploy.calibration.tensorrt_cache import CacheAlgorithm, read_cache, write_cache
from hrnet_deploy.calibration.tensorrt_calibrator import make_calibrator
from hrnet_deploy.errors import ArtifactError, MissingDependencyError, UsageError

BATCHES = [np.full((2, 3, 4, 4), value, np.float32) for value in (1, 2)]


class Int8Calibrator:
    """The methods of the stub's IInt8Calibrator; like the binding's, useless until its own __init__ ran."""

    def __init__(self) -> None:
        self.bound = True

    def get_algorithm(self):
        return type(self).ALGORITHM

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
        for name, algorithm in (("EntropyCalibrator2", 2), ("MinMaxCalibrator", 3)):
            setattr(module, f"IInt8{name}", type(f"IInt8{name}", (Int8Calibrator,), {"ALGORITHM": algorithm}))
    return module


def build(calibrator, *, inputs=("input",)) -> tuple[int, bytes]:
    """What TensorRT does with a calibrator: (batches seen, cache used), exceptions swallowed as by the binding."""
    assert calibrator.bound
    header = "TRT-101300-" + {2: "EntropyCalibration2", 3: "MinMaxCalibration"}[calibrator.get_algorithm()]
    cache = calibrator.read_calibration_cache()
    if cache is not None and bytes(cache).decode().startswith(header + "\n"):
        return 0, bytes(cache)
    seen = 0
    assert isinstance(calibrator.get_batch_size(), int)
    while addresses := calibrator.get_batch(list(inputs)):
        assert all(isinstance(address, int) for address in addresses)
        seen += 1
    memory = bytearray(f"{header}\ninput: 3c010204\n".encode())
    calibrator.write_calibration_cache(memoryview(memory))
    memory[:] = bytes(len(memory))  # the buffer is TensorRT's and does not outlive the call
    return seen, b""


@pytest.fixture
def table():
    origin = Provenance(graph_sha256="a" * 64, image_list_sha256="b" * 64, images=1, preprocessing={})
    seen = TensorRange(-1, 2, {"entropy": 1.5, "mse": 2.0}, 10, 0, (1.0,) * 16)
    return CalibrationTable(tensors={"input": seen}, method="entropy", provenance=origin)


def test_a_table_needs_no_images(table):
    trt = fake_tensorrt()
    calibrator = make_calibrator(trt, table)
    assert isinstance(calibrator, trt.IInt8EntropyCalibrator2)
    seen, cache = build(calibrator)
    assert seen == 0
    assert cache.decode() == write_cache({"input": 1.5}, "10.13.0.35")
    calibrator.raise_if_failed()


def test_a_mapping_and_an_older_cache_are_rendered_for_the_running_version():
    old = write_cache({"x": 3.0}, "8.6.1", CacheAlgorithm.MINMAX)
    for ranges in ({"x": 3.0}, old):
        _, cache = build(make_calibrator(fake_tensorrt(), ranges))
        assert read_cache(cache) == ("TRT-101300-EntropyCalibration2", pytest.approx({"x": 3.0}))


def test_minmax_derives_from_its_own_class(table):
    trt = fake_tensorrt()
    calibrator = make_calibrator(trt, table, algorithm=CacheAlgorithm.MINMAX)
    assert isinstance(calibrator, trt.IInt8MinMaxCalibrator)
    assert build(calibrator)[1].startswith(b"TRT-101300-MinMaxCalibration\n")
    with pytest.raises(UsageError, match="must be one of EntropyCalibration2, MinMaxCalibration"):
        make_calibrator(trt, table, algorithm=CacheAlgorithm.ENTROPY)


def test_a_cache_that_tensorrt_skips_is_not_silently_replaced(table):
    calibrator = make_calibrator(fake_tensorrt("10.14.1"), table)
    assert build(calibrator)[0] == 0
    with pytest.raises(ArtifactError, match="must accept the calibration cache"):
        calibrator.raise_if_failed()


def test_images_are_uploaded_and_the_result_is_kept():
    uploaded = []
    calibrator = make_calibrator(
        fake_tensorrt(), None, BATCHES, lambda a: uploaded.append(a) or np.uint64(4096), batch=2
    )
    assert calibrator.read_calibration_cache() is None
    assert build(calibrator) == (2, b"")
    assert [float(a[0, 0, 0, 0]) for a in uploaded] == [1, 2]
    assert read_cache(calibrator.written)[1] == {"input": pytest.approx(1.0)}
    calibrator.raise_if_failed()


def test_arrays_reach_the_upload_contiguous_and_float32():
    uploaded = []
    strided = np.zeros((1, 4, 4, 3)).transpose(0, 3, 1, 2)
    build(make_calibrator(fake_tensorrt(), None, [strided], lambda a: uploaded.append(a) or 1))
    assert uploaded[0].flags.c_contiguous
    assert uploaded[0].dtype == np.float32


def test_a_short_last_batch_is_left_out():
    batches = [*BATCHES, BATCHES[0][:1]]
    calibrator = make_calibrator(fake_tensorrt(), None, batches, lambda _: 1, batch=2)
    assert build(calibrator)[0] == 2
    calibrator.raise_if_failed()


def broken_source():
    yield BATCHES[0]
    raise OSError("disk full")


def interrupted(_):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("batches", "upload", "inputs", "kind", "message"),
    [
        (broken_source(), lambda _: 1, ["input"], OSError, "disk full"),
        (BATCHES, interrupted, ["input"], KeyboardInterrupt, None),
        (BATCHES, lambda _: None, ["input"], TypeError, "int"),
        ([np.zeros((3, 3, 4, 4), np.float32)], lambda _: 1, ["input"], UsageError, "must hold 2 images, got 3"),
        (BATCHES, lambda _: 1, ["input", "mask"], UsageError, "must have one input to calibrate it, got 2"),
    ],
)
def test_what_callbacks_raise_is_kept_for_the_caller(batches, upload, inputs, kind, message):
    calibrator = make_calibrator(fake_tensorrt(), None, batches, upload, batch=2)
    build(calibrator, inputs=inputs)
    assert isinstance(calibrator.error, kind)
    assert calibrator.get_batch(inputs) is None
    with pytest.raises(kind, match=message):
        calibrator.raise_if_failed()


def test_a_result_that_cannot_be_kept_is_an_error_too():
    calibrator = make_calibrator(fake_tensorrt(), {"x": 1.0})
    calibrator.write_calibration_cache(object())
    with pytest.raises(TypeError):
        calibrator.raise_if_failed()


@pytest.mark.parametrize(
    "trt", [fake_tensorrt("11.4.0.106", calibrators=False), fake_tensorrt("1.7.1.116", calibrators=False), object()]
)
def test_tensorrt_without_calibrators_names_the_way_that_works(trt, table):
    with pytest.raises(MissingDependencyError, match=r"--qdq-target tensorrt.*pip install"):
        make_calibrator(trt, table)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((None,), {}),
        ((None, BATCHES), {}),
        ((None, BATCHES, lambda _: 1), {"batch": 0}),
        (({},), {}),
        (({"x": float("nan")},), {}),
    ],
)
def test_what_makes_no_calibrator_is_refused(arguments, options):
    with pytest.raises(UsageError):
        make_calibrator(fake_tensorrt(), *arguments, **options)


def test_a_text_that_is_no_cache_is_refused():
    with pytest.raises(ArtifactError, match="must begin with TRT-"):
        make_calibrator(fake_tensorrt(), "input: 1.0")


def test_it_joins_with_a_class_of_a_compiled_binding(table):
    # TensorRT's classes are pybind11's, which refuse some ways of inheriting that plain ones allow.
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    trt = types.SimpleNamespace(__version__="10.13.0", IInt8EntropyCalibrator2=state.SessionOptions)
    calibrator = make_calibrator(trt, table)
    assert isinstance(calibrator, state.SessionOptions)
    assert calibrator.read_calibration_cache() == calibrator.cache
