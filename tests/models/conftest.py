"""The parity fixtures, opened once."""

import gzip
import importlib.util
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

# All but the table of variants is about torch.
collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["test_[!v]*.py", "checkpoints/*"]

FIXTURES = Path(__file__).resolve().parents[3] / "shared" / "fixtures"
FIXTURES_OCR = FIXTURES.with_name("fixtures_ocr")


@dataclass(frozen=True)
class Parity:
    """One entry of the fixtures' index."""

    source: str
    variant: str
    graph: str
    task: str
    keys: str
    n_keys: int
    logits: str = ""
    std: dict | None = None
    align_corners: bool = False
    output: str = ""
    folder: Path = FIXTURES

    def __str__(self):
        return f"{self.source}-{self.variant}"

    @property
    def rows(self):
        with gzip.open(self.folder / self.keys) as file:
            return json.load(file)

    @property
    def golden(self):
        with np.load(self.folder / self.logits) as file:
            return dict(file)


@dataclass(frozen=True)
class Library:
    """All entries and the rule that draws their weights."""

    folder: Path

    @cached_property
    def rule(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("fixture_rule", self.folder / "rule.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def find(self, source, variant):
        found = next((e for e in ENTRIES if (e.source, e.variant) == (source, variant)), None)
        return found or pytest.skip(f"needs the parity fixture of {source} {variant}")

    def weights(self, source, variant):
        return self.rule.state_dict(self.find(source, variant).rows)


def _entries(folder):
    index = folder / "index.json"
    found = json.loads(index.read_text()) if index.is_file() else []
    return [Parity(**entry, folder=folder) for entry in found]


_OCR_ENTRIES = _entries(FIXTURES_OCR)
ENTRIES = _entries(FIXTURES) + [entry for entry in _OCR_ENTRIES if entry.source == "official-seg"]
OCR_ENTRIES = [entry for entry in _OCR_ENTRIES if entry.source != "official-seg"]


def pytest_generate_tests(metafunc):
    """`entry` is every key list, `golden_entry` every one with logits, the slow ones marked."""
    if "entry" in metafunc.fixturenames:
        metafunc.parametrize("entry", ENTRIES or [None], ids=str)
    if "ocr_entry" in metafunc.fixturenames:
        metafunc.parametrize("ocr_entry", OCR_ENTRIES or [None], ids=str)
    if "golden_entry" in metafunc.fixturenames:
        slow = {"w64", "se_w64"}
        entries = [pytest.param(e, marks=pytest.mark.slow if e.graph in slow else ()) for e in ENTRIES if e.logits]
        metafunc.parametrize("golden_entry", entries or [None], ids=str)


@pytest.fixture(scope="session")
def library(shared):
    if not FIXTURES.is_dir():
        pytest.skip(f"needs the parity fixtures at {FIXTURES}")
    return Library(FIXTURES)


@pytest.fixture(scope="session")
def small_state(library):
    """The official small classifier, as tensors; do not modify."""
    import torch

    weights = library.weights("official", "w18_small_v1")
    return {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}


@pytest.fixture(scope="session")
def load_state():
    """Build the network of a state dict in memory; keywords as for `load.load_weights`."""
    import torch

    from hrnet_deploy.models.checkpoints.container import Container
    from hrnet_deploy.models.checkpoints.load import load_weights
    from hrnet_deploy.models.checkpoints.unwrap import find_model

    def load(state, **options):
        tensors = {name: torch.from_numpy(t) if isinstance(t, np.ndarray) else t for name, t in state.items()}
        return load_weights(Container(find_model(tensors, "state dict"), None, checksums=True, path=None), **options)

    return load
