"""TensorRT's runtime on the fake GPU: engines, contexts and configurations, no builder."""

import enum
import json
import struct
import types
from collections import Counter

from helpers.fake_cuda import array_at

from hrnet_deploy.engines.tensorrt.api import TrtApi

LEGACY = 1


class Severity(enum.IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class DataType(enum.Enum):
    FLOAT, HALF, INT8, UINT8, INT32, INT64, BOOL, BF16 = range(8)


class TensorIOMode(enum.Enum):
    NONE, INPUT, OUTPUT = range(3)


class Strategy(enum.Enum):
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)


class GraphStrategy(enum.Enum):
    DISABLED, WHOLE_GRAPH_CAPTURE = range(2)


class Specialization(enum.Enum):
    LAZY, EAGER, NONE = range(3)


class FakeTensorRT:
    """A TensorRT whose every engine doubles `x` into `y` and sums its rows into `z`."""

    def __init__(self, cuda, rtx=False):
        self.cuda = cuda
        self.contexts = 0
        self.refuse = Counter()
        self.broken_graphs = False
        self.runtime_caches = []
        trt = self

        class ILogger:
            Severity = Severity

            def __init__(self):
                self.min_severity = Severity.VERBOSE

        class Runtime:
            def __init__(self, logger):
                self.logger = logger

            def deserialize_cuda_engine(self, plan):
                try:
                    facts = json.loads(bytes(plan)[28:])
                except ValueError:
                    self.logger.log(Severity.ERROR, "IRuntime::deserializeCudaEngine: Error Code 1: damaged\n (magic)")
                    return None
                if "fails" in facts:
                    self.logger.log(Severity.ERROR, facts["fails"])
                    return None
                return FakeEngine(trt, self.logger, facts)

        parts = {
            "ILogger": ILogger,
            "Runtime": Runtime,
            "DataType": DataType,
            "TensorIOMode": TensorIOMode,
            "ExecutionContextAllocationStrategy": Strategy,
        }
        if rtx:
            parts |= {"CudaGraphStrategy": GraphStrategy, "DynamicShapesKernelSpecializationStrategy": Specialization}
        self.rtx = rtx
        self.module = types.SimpleNamespace(**parts)
        self.api = TrtApi(self.module, "tensorrt-rtx" if rtx else "tensorrt", "10.9.0.34")

    def plan(self, **facts):
        """The bytes of an engine; `profiles` lists [min, opt, max] shapes of x."""
        header = struct.pack("<4sIQQ4B", b"ftrt" if not self.rtx else b"vtrt", 0, 0, 0, 10, 9, 0, 34)
        return header + json.dumps({"name": "net", "dtype": "FLOAT", "streams": 0, "shape": [-1, 3], **facts}).encode()


class FakeEngine:
    def __init__(self, trt, logger, facts):
        self.trt, self.logger, self.facts = trt, logger, facts
        self.name = facts["name"]
        self.num_aux_streams = facts["streams"]
        self.num_optimization_profiles = len(facts.get("profiles", [1]))
        self.num_io_tensors = 3
        self.device_memory_size_v2 = facts.get("scratch", 64)
        if trt.rtx:
            self.create_runtime_config = lambda: FakeConfig(trt)

    def get_tensor_name(self, index):
        return self.facts.get("order", ["x", "y", "z"])[index]

    def get_tensor_mode(self, name):
        return TensorIOMode.INPUT if name == "x" else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return DataType.FLOAT if name == "z" else DataType[self.facts["dtype"]]

    def get_tensor_shape(self, name):
        shape = tuple(self.facts["shape"])
        return shape[:1] if name == "z" else shape

    def get_tensor_profile_shape(self, name, profile):
        return self.facts["profiles"][profile]

    def create_execution_context(self, strategy=Strategy.STATIC, runtime_config=None):
        if self.trt.refuse["context"] > 0:
            self.trt.refuse["context"] -= 1
            self.logger.log(Severity.ERROR, "Error Code 2: OutOfMemory")
            return None
        self.trt.contexts += 1
        return FakeContext(self, strategy, runtime_config)


class FakeConfig:
    def __init__(self, trt):
        self.trt = trt
        self.cuda_graph_strategy = self.dynamic_shapes_kernel_specialization_strategy = None
        self.cache = None

    def create_runtime_cache(self):
        self.trt.runtime_caches.append(FakeRuntimeCache())
        return self.trt.runtime_caches[-1]

    def set_runtime_cache(self, cache):
        self.cache = cache
        return True


class FakeRuntimeCache:
    def __init__(self):
        self.content = b""

    def serialize(self):
        return self.content

    def deserialize(self, content):
        if not content.startswith(b"kernels"):
            return False
        self.content = content
        return True


class FakeContext:
    def __init__(self, engine, strategy, config):
        self.engine, self.strategy, self.config = engine, strategy, config
        self.active_optimization_profile = 0
        self.scratch = None
        self.aux = []
        self.addresses = {}
        self.shape = tuple(engine.facts["shape"])
        self.warm = None
        self.recorded = False

    def set_device_memory(self, address, size):
        assert self.strategy is Strategy.USER_MANAGED
        self.scratch = (address, size)

    def set_aux_streams(self, streams):
        assert all(stream in self.engine.trt.cuda.streams for stream in streams)
        self.aux = streams

    def set_optimization_profile_async(self, profile, stream):
        self.active_optimization_profile = profile
        self.warm = None
        return True

    def set_input_shape(self, name, shape):
        assert not self.recorded, "the context of a graph must stay as it is"
        low, _, high = self.engine.facts["profiles"][self.active_optimization_profile]
        if self.engine.trt.refuse["shape"] or not all(a <= d <= b for a, d, b in zip(low, shape, high, strict=True)):
            self.engine.logger.log(Severity.ERROR, "Error Code 3: API Usage Error (shape)")
            return False
        if shape != self.shape:
            self.shape, self.warm = tuple(shape), None
        return True

    def get_tensor_shape(self, name):
        if self.engine.facts.get("data_dependent"):
            return (-1,)
        return self.shape[:1] if name == "z" else self.shape

    def set_tensor_address(self, name, address):
        assert address in self.engine.trt.cuda.live
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        trt, cuda = self.engine.trt, self.engine.trt.cuda
        capturing = stream in cuda.captures
        assert not self.recorded, "the context of a graph must not run by itself"
        if trt.refuse["run"] > 0:
            trt.refuse["run"] -= 1
            self.engine.logger.log(Severity.ERROR, "Error Code 1: Cuda Runtime (an illegal memory access)")
            return False
        if capturing and (trt.broken_graphs or self.warm != self.shape):
            self.engine.logger.log(Severity.ERROR, "Error Code 1: operation not permitted when stream is capturing")
            return False
        self.warm = self.shape
        self.recorded = capturing
        if self.strategy is Strategy.USER_MANAGED:
            assert self.scratch[1] >= self.engine.device_memory_size_v2
            assert self.scratch[0] in cuda.live
        assert len(self.aux) == self.engine.num_aux_streams
        if self.config is not None and self.config.cache is not None:
            self.config.cache.content = self.config.cache.content or b"kernels"
        shape, at = self.shape, dict(self.addresses)
        dtype = {"FLOAT": "f4", "UINT8": "u1", "HALF": "f2"}[self.engine.facts["dtype"]]

        def work():
            x = array_at(at["x"], shape, dtype)
            array_at(at["y"], shape, dtype)[...] = x * 2
            array_at(at["z"], shape[:1], "f4")[...] = x.reshape(shape[0], -1).sum(axis=1, dtype="f4")

        cuda.put(stream, work)
        return True
