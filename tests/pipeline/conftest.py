"""The fake TensorRT of tests/engines, for the pipeline's own paths through it."""

import importlib.util
from pathlib import Path

_SPEC = importlib.util.spec_from_file_location(
    "fake_tensorrt", Path(__file__).parents[1] / "engines" / "tensorrt" / "conftest.py"
)
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

fake, stub_source, stub_tree = _MODULE.fake, _MODULE.stub_source, _MODULE.stub_tree
