"""The words of docs/glossary.md: those that it replaces are gone from code, templates and documents."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("hrnet_deploy", "exporters", "engines", "calibration", "benchmarks", "demo", "tests/helpers")
KEPT = {
    "hrnet_deploy/report/tables.py": {"artefact"},  # a column of report.csv
    "hrnet_deploy/benchmark/result.py": {"artefact", "artefacts", "picture"},  # keys of JSON
    "hrnet_deploy/evaluation/image_record.py": {"answers"},  # a key of the journal
    "exporters/integer_input.py": {"centred"},  # names of values in graphs
    "exporters/uint8_input.py": {"normalised"},
    "hrnet_deploy/integrity/fingerprint.py": {"picture", "answer"},  # keys of the card and outcomes in JSON
    "engines/openvino/engine.py": {"net"},  # files in the cache
    "engines/ort/session.py": {"net"},
    "benchmarks/comparison/baselines.py": {"net"},
    "engines/cuda/dlpack.py": {"lanes"},  # a field of DLPack's DLDataType
    "hrnet_deploy/predictor.py": {"lanes"},  # the former spelling of an option
    "hrnet_deploy/system/download.py": {"answered"},  # servers and commands do answer
    "hrnet_deploy/system/nvidia_smi.py": {"answer"},
    "install.py": {"answer"},
    "README.md": {"picture"},  # an element of HTML
    "tests/helpers/fake_tensorrt.py": {"net"},
}
"""Words that a format, a foreign API or plain English keeps, by file."""


def gone_words():
    """The last column of the glossary's tables."""
    lines = (ROOT / "docs/glossary.md").read_text().splitlines()
    cells = [line.split("|")[-2] for line in lines if line.startswith("|")]
    return {word.strip() for cell in cells for word in cell.split(",") if re.fullmatch(r"[a-z]+", word.strip())}


def files():
    found = [path for room in ROOMS for path in (ROOT / room).rglob("*") if path.suffix in {".py", ".html", ".md"}]
    found += [ROOT / "README.md", ROOT / "install.py"]
    return [path for path in found if "results" not in path.parts]


def words(text):
    """Every word, those inside of identifiers too: `open_engine` and `OpenEngine` are open, engine."""
    text = re.sub(r"[A-Z][A-Za-z]*Nets?(?![a-z])", "Model", text)  # HRNet and ImageNet are names
    return (word.lower() for word in re.findall(r"[A-Z]?[a-z]+", text))


def test_the_glossary_names_words():
    assert {"net", "picture", "artefact", "colour"} <= gone_words()
    assert gone_words() & set(words("open_answer(Net, Picture, an_hrnet, HRNet)")) == {"answer", "net", "picture"}


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_gone_words_are_gone(path):
    name = str(path.relative_to(ROOT))
    found = gone_words() & set(words(path.read_text(encoding="utf-8"))) - KEPT.get(name, set())
    lines = [
        f"{name}:{number}: {line.strip()[:100]}"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if found & set(words(line))
    ]
    assert not lines, "\n".join([f"gone: {sorted(found)}", *lines])
