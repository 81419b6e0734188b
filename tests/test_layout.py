"""The package as a whole: what it installs, what it exports, and what importing it costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hrnet_deploy

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"torch", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "onnxsim", "PIL", "skimage", "scipy"}


@pytest.fixture
def project():
    """pyproject.toml."""
    return pytest.importorskip("tomllib", reason="reading TOML came with Python 3.11").loads(
        (ROOT / "pyproject.toml").read_text()
    )


@pytest.mark.parametrize("used", ["hrnet_deploy", "hrnet_deploy.Predictor", "hrnet_deploy.list_models"])
def test_importing_the_package_loads_numpy_and_cv2_at_most(used):
    script = f"import sys, hrnet_deploy; {used}; print(sorted({HEAVY!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_importing_the_package_alone_loads_nothing_of_size():
    script = "import sys, hrnet_deploy; print(sorted({'numpy', 'cv2', 'typing_extensions'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_public_name_is_found_where_it_is_said_to_be():
    assert set(hrnet_deploy.__all__) <= set(dir(hrnet_deploy))
    earlier = {"Exported": "ExportResult", "GateMissedError": "AccuracyGateError", "export_artifact": "export"}
    for name in hrnet_deploy.__all__:
        assert getattr(hrnet_deploy, name).__name__.rpartition(".")[2] == earlier.get(name, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hrnet_deploy.nothing


@pytest.mark.parametrize("first", ["", "import hrnet_deploy.export.run; ", "from hrnet_deploy.export import plan; "])
def test_export_is_the_function_whatever_was_imported_before(first):
    script = f"{first}import hrnet_deploy; from hrnet_deploy import export"
    script += "; print(export is hrnet_deploy.export, export.__name__)"
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True", "export"]


def test_every_folder_with_code_is_in_the_package_list(project):
    settings = project["tool"]["setuptools"]
    found = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "hrnet_deploy").rglob("__init__.py")}
    # rglob does not follow links.
    linked = {
        f"hrnet_deploy.{'.'.join(p.parent.relative_to(ROOT).parts)}"
        for name in ("calibration", "engines", "exporters")
        for p in (ROOT / name).rglob("__init__.py")
    }
    assert set(settings["packages"]) == {name for name in found if name.startswith("hrnet_deploy")} | linked


@pytest.mark.parametrize("name", ["calibration", "engines", "exporters"])
def test_links_lead_to_the_top_level_folders(name):
    assert (ROOT / "hrnet_deploy" / name).resolve() == ROOT / name


def test_public_names_exist_and_are_documented():
    for name in hrnet_deploy.__all__:
        assert getattr(hrnet_deploy, name).__doc__, name


def test_version_is_the_distribution_version(project):
    assert project["project"]["version"] == hrnet_deploy.__version__


@pytest.mark.slow
def test_only_commands_print():
    printing = [
        str(path.relative_to(ROOT))
        for room in ("hrnet_deploy", "exporters", "engines", "calibration")
        for path in (ROOT / room).rglob("*.py")
        if "cli" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    assert printing == []


def test_errors_derive_from_the_builtin_a_caller_expects():
    from hrnet_deploy import errors

    kinds = [v for v in vars(errors).values() if isinstance(v, type) and v is not errors.HrnetDeployError]
    assert len(kinds) >= 10
    for kind in kinds:
        assert issubclass(kind, errors.HrnetDeployError)
        assert any(base.__module__ == "builtins" and base is not Exception for base in kind.__mro__[1:-2]), kind
        assert kind.exit_code in {1, 2, 3}


def test_what_an_export_raises_and_returns_is_public():
    import hrnet_deploy
    from hrnet_deploy import errors
    from hrnet_deploy.export import run

    room = sys.modules[run.__name__.rpartition(".")[0]]
    for name in ("AgreementError", "ExportResult", "AccuracyGateError", "export", "export_artifact"):
        assert getattr(hrnet_deploy, name) is getattr(room, name)
        assert name in hrnet_deploy.__all__
    assert hrnet_deploy.BuildError is errors.BuildError
