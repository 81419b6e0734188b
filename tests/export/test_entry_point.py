"""What `export` needs: the export extra is loaded by the call, and its absence is one line."""

import subprocess
import sys

import pytest

from hrnet_deploy.export.entry_point import export_extra


def run(script):
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    return found.stdout.strip(), found.stderr.strip().splitlines()[-1:]


def test_public_names_and_the_zoo_need_no_extra():
    script = """
import sys
sys.modules["onnx"] = sys.modules["torch"] = None
from hrnet_deploy import AccuracyGateError, AgreementError, ExportOptions, ExportResult, export
from hrnet_deploy.cli import export as command
from hrnet_deploy.export.zoo_artifact import default_weights
print(default_weights("hrnet_w18"))
"""
    assert run(script) == ("hrnet_w18.mm_in1k", [])


@pytest.mark.parametrize("missing", ["onnx", "torch"])
def test_an_environment_without_the_extra_is_named_with_its_remedy(missing, tmp_path):
    script = f"""
import sys
sys.modules["{missing}"] = None
from hrnet_deploy import MissingDependencyError, export
try:
    export("hrnet_w18_small_v1", weights="random", output={str(tmp_path / "m.onnx")!r})
except MissingDependencyError as error:
    print(error)
"""
    printed, errors = run(script)
    assert "exporting needs PyTorch and ONNX" in printed
    assert "pip install 'hrnet-deploy[export,cpu]'." in printed
    assert errors == []


def test_other_errors_pass():
    with pytest.raises(KeyError), export_extra():
        raise KeyError
