"""A fake `tensorrt` from NVIDIA's published types: what they do not declare, the fake does not have."""

import ast
import enum
import importlib.util
import inspect
import re
import types
from pathlib import Path

import onnx
import pytest

from hrnet_deploy.engines.tensorrt.api import TrtApi

# What ../shared/TENSORRT.md lists as missing before TensorRT 9, and as removed with 11.
ABSENT_IN_8 = {
    "IProgressMonitor",
    "IBuilderConfig.progress_monitor",
    "IBuilderConfig.runtime_platform",
    "ICudaEngine.create_runtime_config",
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
    "NetworkDefinitionCreationFlag.PREFER_AOT_PYTHON_PLUGINS",
    "NetworkDefinitionCreationFlag.PREFER_JIT_PYTHON_PLUGINS",
    *(f"BuilderFlag.{n}" for n in ("BF16", "INT4", "FP4", "STRIP_PLAN", "WEIGHT_STREAMING", "STRICT_NANS")),
}
ABSENT_IN_11 = {
    "IInt8Calibrator",
    "IInt8EntropyCalibrator",
    "IInt8EntropyCalibrator2",
    "IInt8LegacyCalibrator",
    "IInt8MinMaxCalibrator",
    "CalibrationAlgoType",
    "QuantizationFlag",
    "IBuilderConfig.int8_calibrator",
    "IBuilderConfig.set_calibration_profile",
    "IBuilderConfig.get_calibration_profile",
    "IBuilderConfig.set_quantization_flag",
    "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
    *(f"BuilderFlag.{n}" for n in ("FP16", "BF16", "INT8", "FP8", "INT4", "FP4", "OBEY_PRECISION_CONSTRAINTS")),
}
_VALUE = re.compile(r"^\s*(\w+): typing\.ClassVar\[[\w.]+\]  # value = <[\w.]+: (\d+)>$")
_DEF = re.compile(r"^(\s*def \w+)\(.*\) -> (.*):$")
_BASIC = {"int": int, "float": float, "str": str, "bool": bool, "bytes": bytes}


@pytest.fixture(scope="session")
def stub_source() -> str:
    """Text of the stubs of TensorRT 10.13."""
    found = importlib.util.find_spec("tensorrt_stubs")
    path = Path(found.origin).parents[1] / "tensorrt_bindings" / "tensorrt.pyi" if found else None
    if path is None or not path.is_file():
        pytest.skip("needs the type stubs: pip install --no-deps tensorrt-stubs")
    return readable(path.read_text())


def readable(source: str) -> str:
    """The stubs with the signatures that are no Python (two of some thousand) made to take anything."""
    while True:
        try:
            ast.parse(source)
        except SyntaxError as error:  # noqa: PERF203 - twice
            lines = source.split("\n")
            found = _DEF.match(lines[error.lineno - 1])
            if found is None:
                raise
            lines[error.lineno - 1] = f"{found[1]}(self, *args: typing.Any) -> {found[2]}:"
            source = "\n".join(lines)
        else:
            return source


@pytest.fixture(scope="session")
def stub_tree(stub_source) -> ast.Module:
    return ast.parse(stub_source)


@pytest.fixture
def fake(stub_source, stub_tree):
    """(version) -> a TrtApi over a fresh fake module; its `state` scripts what it does and tells what was done."""

    def make(version: str = "10.13.0.35") -> TrtApi:
        major = version.partition(".")[0]
        absent = {"8": ABSENT_IN_8, "11": ABSENT_IN_11}.get(major, set())
        module = Surface(stub_source, stub_tree, absent).module
        module.__version__ = version
        module.state = State(needs_explicit_batch=major == "8")
        script(module)
        return TrtApi(module, "tensorrt", version)

    return make


class Surface:
    """The classes of a stub as real ones: same names, same signatures, same enum values."""

    def __init__(self, source: str, tree: ast.Module, absent: set[str]) -> None:
        self.lines = source.splitlines()
        self.absent = absent
        self.module = types.ModuleType("tensorrt")
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name not in absent:
                setattr(self.module, node.name, self._class(node, node.name, vars(self.module)))

    def _class(self, node: ast.ClassDef, path: str, known: dict) -> type:
        if members := self._members(node, path):
            made = enum.Enum(node.name, members)
            made.__int__ = made.__index__ = lambda self: self.value
            return made
        bases = tuple(known[b.id] for b in node.bases if isinstance(b, ast.Name) and b.id in known) or (Object,)
        body: dict = {"_fields": {}, "_calls": {}}
        for item in node.body:
            name = getattr(item, "name", None) or getattr(getattr(item, "target", None), "id", None)
            if name is None or f"{path}.{name}" in self.absent:
                continue
            if isinstance(item, ast.ClassDef):
                body[name] = self._class(item, f"{path}.{name}", body)
            elif isinstance(item, ast.AnnAssign) and "ClassVar" not in ast.unparse(item.annotation):
                body["_fields"][name] = ast.unparse(item.annotation)
            elif isinstance(item, ast.FunctionDef) and any(ast.unparse(d) == "property" for d in item.decorator_list):
                body["_fields"].setdefault(name, ast.unparse(item.returns))
                body[name] = property(lambda self, name=name: self._values.get(name))
            elif isinstance(item, ast.FunctionDef) and not name.startswith("__"):
                body["_calls"].setdefault(name, []).append(item)
        for name, overloads in body["_calls"].items():
            body[name] = method(name, overloads)
        for name in body["_fields"]:
            body.setdefault(name, Field(name, body["_fields"][name]))
        for nested in [value for value in body.values() if isinstance(value, type) and issubclass(value, enum.Enum)]:
            body.update(nested.__members__)  # as in ILogger.ERROR
        return type(node.name, bases, body)

    def _members(self, node: ast.ClassDef, path: str) -> dict[str, int]:
        if not any(isinstance(i, ast.AnnAssign) and i.target.id == "__members__" for i in node.body):
            return {}
        lines = (_VALUE.match(line) for line in self.lines[node.lineno : node.end_lineno])
        # An enum's own block only: a nested one would be a class of its own.
        return {m[1]: int(m[2]) for m in lines if m and f"{path}.{m[1]}" not in self.absent}


class Object:
    """What every class derives from: it takes no attribute it does not declare, as the binding's do."""

    _values: dict

    def __new__(cls, *args, **kwargs):
        self = super().__new__(cls)
        object.__setattr__(self, "_values", {})
        return self

    def __init__(self, *args, **kwargs) -> None:
        self._values["arguments"] = args

    def __setattr__(self, name, value) -> None:
        declared = isinstance(inspect.getattr_static(type(self), name, None), Field)
        foreign = "_fields" not in vars(type(self))  # a subclass written in Python
        if not (declared or foreign):
            raise AttributeError(f"'{type(self).__name__}' object has no settable attribute '{name}'")
        object.__setattr__(self, name, value)


class Field:
    """An attribute that is read and set."""

    def __init__(self, name: str, kind: str) -> None:
        self.name, self.kind = name, kind

    def __get__(self, instance, owner=None):
        if instance is None:
            return self
        return instance._values.get(self.name, _BASIC.get(self.kind, lambda: None)())

    def __set__(self, instance, value) -> None:
        instance._values[self.name] = value


def method(name: str, overloads: list[ast.FunctionDef]):
    """A method that checks its arguments against the stub, and notes the call."""
    signatures = []
    for node in overloads:
        arguments, static = node.args, any(ast.unparse(d) == "staticmethod" for d in node.decorator_list)
        names = [a.arg for a in arguments.args][0 if static else 1 :]
        first_default = len(names) - len(arguments.defaults)
        kinds = inspect.Parameter
        parameters = [
            kinds(n, kinds.POSITIONAL_OR_KEYWORD, default=kinds.empty if i < first_default else None)
            for i, n in enumerate(names)
        ]
        rest = [kinds(arguments.vararg.arg, kinds.VAR_POSITIONAL)] if arguments.vararg else []
        signatures.append(inspect.Signature(parameters + rest))

    def call(self, *args, **kwargs):
        for signature in signatures:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError:
                continue
            bound.apply_defaults()
            return self._scripts[name](self, *bound.args) if name in getattr(self, "_scripts", {}) else None
        raise TypeError(f"{name}(): incompatible function arguments")

    call.__name__ = name
    return call


class State:
    """What the fake does when asked to build, and what it was asked."""

    def __init__(self, *, needs_explicit_batch: bool) -> None:
        self.needs_explicit_batch = needs_explicit_batch
        self.parser_errors: list[str] = []
        self.messages: list[tuple[str, str]] = []  # (severity, text) logged by the build
        self.plan: bytes | None = b"a plan"
        self.none: set[str] = set()  # methods that return None
        self.accept_profile = self.accept_calibration = True
        self.timings: dict[bytes, bool] = {b"": True}  # content -> whether it is accepted
        self.during = lambda: None  # run inside the build
        self.creation_flags = 0
        self.flags: set[str] = {"TF32"}
        self.graph = b""
        self.layers: dict[str, object] = {}  # of the network, by name; scripted or parsed
        self.parse_layers = False
        self.profiles: list[dict] = []
        self.calibration: dict | None = None
        self.pools: dict[str, int] = {}
        self.config = None
        self.network = None
        self.inspection = '{"Layers": []}'


def script(trt: types.ModuleType) -> None:
    """Give the few classes a build touches their behaviour."""
    state = trt.state

    def new(kind: str, made_by: str):
        if made_by in state.none:
            return None
        made = getattr(trt, kind)()
        if kind == "IBuilderConfig":
            state.config = made
        if kind == "INetworkDefinition":
            state.network = made
        return made

    def create_network(_, flags):
        state.creation_flags = flags or 0
        explicit = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)
        if state.needs_explicit_batch:
            assert state.creation_flags == 1 << int(explicit)
        return new("INetworkDefinition", "create_network")

    def parse(parser, model, _path):
        state.graph = bytes(model)
        if state.parse_layers:
            for node in onnx.load_from_string(state.graph).graph.node:
                layer = state.layers[node.name] = trt.ILayer()
                layer.name = node.name
        parser._values["arguments"][0]._values["num_layers"] = len(state.layers)
        parser._values["num_errors"] = len(state.parser_errors)
        return not state.parser_errors

    def get_error(_, index):
        error = trt.ParserError()
        type(error).__str__ = lambda _self: state.parser_errors[index]
        return error

    def build(builder, _network, config):
        logger = builder._values["arguments"][0]
        for severity, text in state.messages:
            logger.log(getattr(trt.ILogger.Severity, severity), text)
        if config._values.get("int8_calibrator") is not None:
            config.int8_calibrator.read_calibration_cache()
        monitor = config._values.get("progress_monitor")
        if monitor is not None:
            monitor.phase_start("Building engine", None, 2)
        state.during()
        if monitor is not None:
            go_on = monitor.step_complete("Building engine", 0)
            monitor.phase_finish("Building engine")
            if not go_on:
                return None
        return state.plan

    def set_shape(profile, name, *shapes):
        profile._values.setdefault("shapes", {})[name] = shapes

    def add_profile(_, profile):
        state.profiles.append(profile._values["shapes"])
        return len(state.profiles) - 1 if state.accept_profile else -1

    def set_calibration_profile(_, profile):
        state.calibration = profile._values["shapes"]
        return state.accept_calibration

    def create_timing_cache(_, content):
        if content not in state.timings:
            return None
        cache = trt.ITimingCache()
        cache._values["content"] = content
        return cache

    scripts = {
        "Builder": {
            "create_network": create_network,
            "create_builder_config": lambda _: new("IBuilderConfig", "create_builder_config"),
            "create_optimization_profile": lambda _: new("IOptimizationProfile", "create_optimization_profile"),
            "build_serialized_network": build,
        },
        "OnnxParser": {"parse": parse, "get_error": get_error},
        "INetworkDefinition": {"get_layer": lambda _, index: list(state.layers.values())[index]},
        "IOptimizationProfile": {"set_shape": set_shape},
        "IBuilderConfig": {
            "set_flag": lambda _, flag: state.flags.add(flag.name),
            "clear_flag": lambda _, flag: state.flags.discard(flag.name),
            "set_memory_pool_limit": lambda _, pool, size: state.pools.update({pool.name: size}),
            "add_optimization_profile": add_profile,
            "set_calibration_profile": set_calibration_profile,
            "create_timing_cache": create_timing_cache,
            "set_timing_cache": lambda _, cache, _mismatch: state.timings[cache._values["content"]],
        },
        "ITimingCache": {"serialize": lambda cache: cache._values["content"] + b" and more"},
        "Runtime": {"deserialize_cuda_engine": lambda _, _plan: new("ICudaEngine", "deserialize_cuda_engine")},
        "ICudaEngine": {"create_engine_inspector": lambda _: new("EngineInspector", "create_engine_inspector")},
        "EngineInspector": {"get_engine_information": lambda _, _format: state.inspection},
    }
    for name, calls in scripts.items():
        for call in calls:
            assert callable(getattr(getattr(trt, name), call, None)) or call == "set_calibration_profile"
        getattr(trt, name)._scripts = calls
