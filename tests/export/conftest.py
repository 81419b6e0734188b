"""A machine with a GPU, faked: engines are built from the stubs' TensorRT and run by ONNX Runtime."""

import pytest
from helpers.fake_builder import fake, stub_source, stub_tree
from helpers.graph_gpu import Gpu

from hrnet_deploy.engines.cuda import provider
from hrnet_deploy.engines.tensorrt import engine
from hrnet_deploy.export.engine import plan as engine_plan

__all__ = ["fake", "stub_source", "stub_tree"]


@pytest.fixture
def gpu(fake, monkeypatch, tmp_path_factory):
    """(compute capability of the GPU here) -> this machine's `Gpu`; engines are built for a T4, wherever that is."""

    def machine(compute="sm75"):
        here = Gpu(fake("10.13.0.35"), compute)
        monkeypatch.setenv("HRNET_DEPLOY_CACHE", str(tmp_path_factory.mktemp("cache")))
        for module in (engine_plan, engine):
            monkeypatch.setattr(module, "find_api", lambda _wanted: here.api)
        for module in (provider, engine):
            monkeypatch.setattr(module, "open_cuda", lambda: here)
        monkeypatch.setattr(engine_plan, "_local_gpu", lambda _device: engine_plan._Local("Tesla T4", "sm75"))
        return here

    return machine
