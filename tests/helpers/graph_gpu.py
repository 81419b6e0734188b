"""A GPU whose engines compute their graph with ONNX Runtime: what is built can be measured."""

import struct
from collections import Counter

import numpy as np
import onnx
import onnxruntime
from helpers.fake_cuda import FakeCuda, array_at
from helpers.fake_tensorrt import FakeContext, Strategy

from hrnet_deploy.exporters.convolutions import conv_precisions
from hrnet_deploy.spec import Precision

_HEADER = struct.pack("<4sIQQ4B", b"ftrt", 0, 0, 0, 10, 13, 0, 35)


class Gpu(FakeCuda):
    """A GPU and its TensorRT, whose engines compute as their graph does, or with a bias towards the second best class.

    Attributes:
        compute: its compute capability.
        biased: from what was built before, whether the next engine has the bias.
        built: INT8 convolutions of each graph that was built.
    """

    bias = 0.45
    """In units of the spread of the logits: less than what an INT8 engine may differ by on single images."""

    def __init__(self, api, compute):
        super().__init__()
        self.compute, self.api, self.cuda = compute, api, self
        self.biased = lambda _before: False
        self.built = []
        self.trt = api.module
        self.refuse = Counter()
        self.trt.state.during = self._build
        scripts = {"deserialize_cuda_engine": lambda _, plan: GraphEngine(self, bytes(plan))}
        self.trt.Runtime._scripts = scripts

    def capability(self, device):
        return self.compute

    def _build(self):
        graph = onnx.load_from_string(self.trt.state.graph)
        biased = self.biased(tuple(self.built))
        self.built.append(sum(precision is Precision.INT8 for precision in conv_precisions(graph).values()))
        self.trt.state.plan = _HEADER + bytes([biased]) + self.trt.state.graph


class GraphEngine:
    """An engine of one input with an open batch, computed by ONNX Runtime in the GPU's memory."""

    num_aux_streams = 0
    num_optimization_profiles = 1
    device_memory_size_v2 = 64
    logger = None

    def __init__(self, gpu, plan):
        self.trt = self.cuda = gpu
        self.biased = plan[len(_HEADER)]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(plan[len(_HEADER) + 1 :], options, ["CPUExecutionProvider"])
        self.name = gpu.trt.state.network.name
        (entry,) = self.session.get_inputs()
        self.tensors = {tensor.name: tensor for tensor in (entry, *self.session.get_outputs())}
        self.num_io_tensors = len(self.tensors)
        (profile,) = gpu.trt.state.profiles[-1:]
        self.facts = {"profiles": [profile[entry.name]], "shape": self.get_tensor_shape(entry.name)}

    def get_tensor_name(self, index):
        return list(self.tensors)[index]

    def get_tensor_mode(self, name):
        modes = self.trt.trt.TensorIOMode
        return modes.INPUT if name == self.get_tensor_name(0) else modes.OUTPUT

    def get_tensor_dtype(self, _name):
        return self.trt.trt.DataType.FLOAT

    def get_tensor_shape(self, name):
        return [size if isinstance(size, int) else -1 for size in self.tensors[name].shape]

    def get_tensor_profile_shape(self, _name, profile):
        return self.facts["profiles"][profile]

    def create_execution_context(self, strategy):
        return GraphContext(self, Strategy[strategy.name], None)

    def create_engine_inspector(self):
        return self.trt.trt.EngineInspector()

    def compute(self, batch):
        (logits,) = self.session.run(None, {self.get_tensor_name(0): batch})
        if self.biased:
            second, first = np.argsort(logits, axis=1)[:, -2:].T
            rows, step = np.arange(len(logits)), Gpu.bias * logits.std(axis=1)
            logits[rows, first] -= step
            logits[rows, second] += step
        return logits


class GraphContext(FakeContext):
    """Runs such an engine when its stream is waited for."""

    def get_tensor_shape(self, name):
        return (self.shape[0], *self.engine.get_tensor_shape(name)[1:])

    def execute_async_v3(self, stream):
        shape, (entry, output) = self.shape, [self.addresses[name] for name in self.engine.tensors]

        def work():
            found = self.engine.compute(array_at(entry, shape, np.float32).copy())
            array_at(output, found.shape, np.float32)[...] = found

        self.engine.cuda.put(stream, work)
        return True
