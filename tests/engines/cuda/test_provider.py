import sys
from types import SimpleNamespace

import pytest

from hrnet_deploy.engines.cuda.provider import open_cuda
from hrnet_deploy.errors import MissingDependencyError, UsageError


@pytest.mark.parametrize("provider", ["auto", "cuda-python"])
def test_cuda_python_comes_first(provider):
    pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-bindings")
    assert open_cuda(provider).name == "cuda-python"


def test_an_unknown_provider_is_refused():
    with pytest.raises(UsageError, match="CUDA provider must be one of auto, cuda-python, pycuda, got 'cupy'"):
        open_cuda("cupy")


@pytest.mark.parametrize("provider", ["auto", "cuda-python", "pycuda"])
def test_a_missing_package_names_the_pip_line(monkeypatch, provider):
    for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime", "pycuda", "pycuda.driver"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("cuda_python", "pycuda"):
        monkeypatch.delitem(sys.modules, f"hrnet_deploy.engines.cuda.{name}", raising=False)
    extra = "pycuda" if provider == "pycuda" else "cuda"
    with pytest.raises(MissingDependencyError, match=rf"pip install 'hrnet-deploy\[{extra}\]'"):
        open_cuda(provider)


def test_a_pycuda_without_a_context_changes_nothing(monkeypatch):
    pytest.importorskip("cuda.bindings.runtime", reason="needs cuda-bindings")
    driver = SimpleNamespace(Context=SimpleNamespace(get_current=lambda: None))
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    assert open_cuda().name == "cuda-python"
