"""Every extra resolves from the public registry alone; a failing `make` prints the cause first."""

import functools
import http.server
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import uv

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest needs it there

ROOT = Path(__file__).resolve().parents[1]
REGISTRY = ROOT / "tests" / "helpers" / "registry.toml"
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
PLATFORMS = {
    "linux-x86-64": "x86_64-manylinux_2_28",
    "linux-aarch64": "aarch64-manylinux_2_35",
    "macos-arm64": "aarch64-apple-darwin",
    "windows-x86-64": "x86_64-pc-windows-msvc",
}
EXTRAS = list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
# Published as source only. All but pycuda, which is built against the user's CUDA, hold no code to compile.
WITHOUT_WHEELS = {
    "pycuda",
    "tensorrt-cu12",
    "tensorrt-cu12-libs",
    "tensorrt-cu13",
    "tensorrt-cu13-libs",
    "tensorrt-rtx-cu13",
}


def absence(extra: str, platform: str, python: str) -> str:
    """Say why an extra is not for a platform or Python; "" where it has to resolve."""
    if extra == "tensorrt-volta":
        return "what TensorRT 10.4 needs is on NVIDIA's package index, so the registry alone tells nothing"
    if platform == "macos-arm64" and extra.startswith(("gpu", "cuda", "pycuda", "tensorrt")):
        return "CUDA and TensorRT do not exist for macOS"
    if platform == "linux-aarch64" and extra in {"gpu-cu12", "tensorrt-cu12"}:
        return "no CUDA 12 wheels for aarch64 are on the registry"
    if python == "3.10" and extra == "gpu":
        return "ONNX Runtime for CUDA 13 needs Python 3.11"
    return ""


def lock(*arguments: str) -> subprocess.CompletedProcess:
    """Run `uv pip compile` on the public registry, without this machine's configuration."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))}
    environment["MACOSX_DEPLOYMENT_TARGET"] = "14.0"
    command = [uv.find_uv_bin(), "pip", "compile", "--quiet", "--config-file", str(REGISTRY), "--no-python-downloads"]
    command += ["--no-header", "--python", sys.executable, "--format", "pylock.toml", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def registry(tmp_path_factory) -> None:
    """Skip where the public registry cannot be reached."""
    requirements = tmp_path_factory.mktemp("registry") / "requirements.in"
    requirements.write_text("tqdm\n")
    asked = lock(str(requirements))
    if asked.returncode:
        pytest.skip(f"needs the public registry: {asked.stderr.strip().splitlines()[-1]}")


def resolve(extra: str, platform: str, python: str) -> dict[str, bool]:
    """Resolve an extra under the constraints; map each package to whether it has a wheel for the platform."""
    where = ["--python-version", python, "--python-platform", PLATFORMS[platform]]
    resolved = lock("--constraint", "constraints.txt", *where, "--extra", extra, "pyproject.toml")
    assert resolved.returncode == 0, f"[{extra}] for {platform}, Python {python}: {resolved.stderr}"
    return {package["name"]: bool(package.get("wheels")) for package in tomllib.loads(resolved.stdout)["packages"]}


@pytest.mark.slow
@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("extra", EXTRAS)
def test_extra_resolves_without_compiler(extra, platform):
    absences = [absence(extra, platform, python) for python in PYTHONS]
    if all(absences):
        pytest.skip(absences[0])
    pythons = [python for python, absent in zip(PYTHONS, absences, strict=True) if not absent]
    with ThreadPoolExecutor(len(PYTHONS)) as pool:
        resolved = pool.map(lambda python: resolve(extra, platform, python), pythons)
        for python, packages in zip(pythons, resolved, strict=True):
            sources = {name for name, wheel in packages.items() if not wheel}
            assert sources <= WITHOUT_WHEELS, f"[{extra}] for {platform}, Python {python}"


@pytest.mark.slow
@pytest.mark.usefixtures("registry")
def test_constraints_pin_what_dev_brings():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if line and not line.startswith("#")}
    brought = {name.replace(".", "-") for name in resolve("dev", "linux-x86-64", "3.12")}
    # torch and pyproject.toml pin these exactly; the CPU build of torch has none of them.
    prefixes = ("nvidia-", "cuda-toolkit", "triton", "tensorrt-rtx-cu13")
    assert pinned == {name for name in brought if not name.startswith(prefixes)}


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of what an installation reads, in a folder with spaces in its name."""
    copy = tmp_path / "my check out"
    copy.mkdir()
    for name in ("Makefile", "install.py", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in ("hrnet_deploy", "calibration", "engines", "exporters"):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def make(checkout: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run `make demo` with the public registry alone; stderr and stdout come as one text."""
    ours = ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PYTHONPATH", "TORCH_INDEX", "MAKE")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"PIP_CONFIG_FILE": os.devnull, "PYTHON": sys.executable, **variables}
    command = ["make", "demo"]
    return subprocess.run(command, cwd=checkout, env=environment, stdout=-1, stderr=-2, text=True, check=False)


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def first_line(made: subprocess.CompletedProcess) -> str:
    """Return the first line of a `make` that has to fail."""
    assert made.returncode != 0, made.stdout
    return made.stdout.splitlines()[0]


@needs_make
def test_old_python_is_named_first(checkout, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.version_info = (3, 9, 18, 'final', 0)\n")
    line = first_line(make(checkout, PYTHONPATH=str(tmp_path)))
    assert line == "Python 3.10 or newer is needed, got 3.9. Name one: make PYTHON=python3.11 ..."


@needs_make
def test_missing_venv_module_is_named_first(checkout, tmp_path):
    # Debian without python3-venv has venv, but not ensurepip.
    (tmp_path / "ensurepip.py").write_text("raise ModuleNotFoundError('No module named ensurepip', name='ensurepip')\n")
    line = first_line(make(checkout, PYTHONPATH=str(tmp_path), TORCH_INDEX="none"))
    assert "got no module 'ensurepip'" in line
    assert f"apt install python3.{sys.version_info[1]}-venv" in line
    assert not (checkout / ".venv").exists()


@pytest.mark.slow
@needs_make
def test_missing_network_is_named_first(checkout):
    made = make(checkout, PIP_INDEX_URL="http://127.0.0.1:1/simple", PIP_RETRIES="1", TORCH_INDEX="none")
    assert "no package index could be reached" in first_line(made)
    assert "refused" in first_line(made)
    assert not list((checkout / ".venv").glob("*.installed"))


@needs_make
@pytest.mark.slow
@pytest.mark.usefixtures("registry")
def test_conflict_is_named_first(checkout):
    constraints = checkout / "constraints.txt"
    constraints.write_text(constraints.read_text().replace("\nnumpy==", "\nnumpy==1.21.0 #"))
    line = first_line(make(checkout, TORCH_INDEX="none"))
    assert "no versions fit together" in line
    assert "numpy>=1.26" in line
    assert "numpy==1.21.0" in line


@pytest.mark.slow
@needs_make
def test_torch_index_that_is_silent_is_named_first(checkout):
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes connections and never answers
        index = f"http://127.0.0.1:{server.getsockname()[1]}/whl"
        line = first_line(make(checkout, TORCH_INDEX=index))
    assert line.endswith(f"TORCH_INDEX must answer, got no answer in 5 s from {index}. TORCH_INDEX=none does without.")


@pytest.fixture(scope="module")
def install():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("install", ROOT / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def index(tmp_path):
    """The address of a package index that has torch and nothing else."""
    (tmp_path / "torch").mkdir()
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    )
    with server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
def test_torch_index_that_answers_is_used(install, index, monkeypatch):
    monkeypatch.setenv("TORCH_INDEX", index)
    assert install.torch_index() == (index, "")
    monkeypatch.setenv("TORCH_INDEX", index.replace("//", "//user:secret@"))
    assert install.torch_index() == (index.replace("//", "//user:secret@"), "")


@pytest.mark.parametrize("name", ["", "none"])
def test_no_torch_index_is_used_on_request(install, name, monkeypatch):
    monkeypatch.setenv("TORCH_INDEX", name)
    assert install.torch_index() == ("", "")


@pytest.mark.slow
def test_torch_index_without_torch_is_refused(install, index, tmp_path, monkeypatch):
    for named, failure in [(f"{index}/simple", "HTTP status 404"), (str(tmp_path / "simple"), "no folder for torch")]:
        monkeypatch.setenv("TORCH_INDEX", named)
        with pytest.raises(install.InstallError, match=f"TORCH_INDEX must answer, got {failure} from "):
            install.torch_index()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the registry's torch has no CUDA")
def test_default_torch_index_is_optional(install, index, monkeypatch):
    monkeypatch.delenv("TORCH_INDEX", raising=False)
    monkeypatch.setattr(install, "CPU_INDEX", index)
    assert install.torch_index() == (index, "")
    monkeypatch.setattr(install, "CPU_INDEX", f"{index}/simple")
    chosen, note = install.torch_index()
    assert chosen == ""
    assert "did not answer (HTTP status 404)" in note


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n\n", "disk is full"),
        ("Error: [Errno 28] No space left on device: '/small/.venv/lib'\n", "disk is full"),
        ("ERROR: No matching distribution found for torch==2.13.0\n", "pip finds no torch==2.13.0 for Python 3."),
        ("ERROR: HTTP error 403 while getting URL\nERROR: Could not install requirement x\n", "Could not install req"),
        ("Traceback (most recent call last):\nReadTimeoutError: Read timed out.\n", "Error: Read timed out."),
        ("", "no output"),
    ],
)
def test_cause_is_found_in_output(install, output, cause):
    assert cause in install.cause_of(output)
    assert "\n" not in install.cause_of(output)
