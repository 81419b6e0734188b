"""The runtimes that run an artifact, by its operators and opset: one table, which tests compare with the runtimes."""

from __future__ import annotations

import csv
import enum
import functools
from dataclasses import dataclass
from importlib.resources import files

from hrnet_deploy.integrity.inspect import Inspection


class Outcome(str, enum.Enum):
    """Whether a runtime runs an artifact."""

    YES = "yes"
    """Tests run these operators in it and compare the predictions with `Predictor`."""
    NO = "no"
    """Tests show that it fails."""
    UNVERIFIED = "unverified"
    """No test in CI shows either."""


@dataclass(frozen=True)
class Runtime:
    """A row of the table.

    Attributes:
        name: of the runtime.
        version: the one that is tested; "" where CI runs none.
        min_opset: oldest opset that is tested, or that it reads where CI does not run it.
        max_opset: newest one.
        operators: those that are tested.
        refused: those that it fails on.
        reason: how it fails on them, and the way that works.
        test: file that runs artifacts in it; "" where CI runs none.
        note: what an unverified one needs.
    """

    name: str
    version: str
    min_opset: int
    max_opset: int
    operators: frozenset[str]
    refused: frozenset[str]
    reason: str
    test: str
    note: str


@dataclass(frozen=True)
class RuntimeSupport:
    """A runtime and whether it runs an artifact; `test` is the file that shows it, "" for unverified ones."""

    runtime: str
    outcome: Outcome
    reason: str
    test: str = ""


@functools.cache
def runtime_table() -> tuple[Runtime, ...]:
    """Return all rows of the table."""
    text = files("hrnet_deploy.data").joinpath("runtimes.csv").read_text(encoding="utf-8")
    return tuple(_row(**row) for row in csv.DictReader(text.splitlines()))


def find_runtimes(inspection: Inspection) -> tuple[RuntimeSupport, ...]:
    """Decide for each runtime of the table whether it runs an artifact.

    Args:
        inspection: from `inspect`.

    Returns:
        One entry per runtime, in the table's order.
    """
    if inspection.kind == "engine":
        return tuple(_runs_engine(runtime, inspection) for runtime in runtime_table())
    return tuple(_runs_graph(runtime, inspection) for runtime in runtime_table())


def _runs_engine(runtime: Runtime, inspection: Inspection) -> RuntimeSupport:
    """Decide by the TensorRT that built an engine."""
    names = {"TensorRT": "tensorrt", "TensorRT-RTX": "tensorrt-rtx"}
    if names.get(runtime.name) != (inspection.flavour or "tensorrt"):
        return RuntimeSupport(runtime.name, Outcome.NO, "an engine runs only in the library that built it")
    gpus = ", ".join(inspection.sidecar.capabilities) if inspection.sidecar else "the GPU that it was built for"
    return RuntimeSupport(runtime.name, Outcome.UNVERIFIED, f"needs version {inspection.version or '?'} and {gpus}")


def _runs_graph(runtime: Runtime, inspection: Inspection) -> RuntimeSupport:
    """Decide by opset and operators."""
    name, used, opset = runtime.name, set(inspection.nodes), inspection.opset
    refused = sorted(used & runtime.refused)
    if refused:
        return RuntimeSupport(name, Outcome.NO, f"{', '.join(refused)}: {runtime.reason}", runtime.test)
    tested = f"opset {runtime.min_opset} to {runtime.max_opset}"
    if not runtime.min_opset <= opset <= runtime.max_opset:
        return RuntimeSupport(name, Outcome.UNVERIFIED, f"{tested} is known to work, the file has {opset or 'none'}")
    if not runtime.test:
        return RuntimeSupport(name, Outcome.UNVERIFIED, runtime.note)
    if inspection.external:
        return RuntimeSupport(name, Outcome.UNVERIFIED, "no test has weights in a file of their own")
    unknown = sorted(used - runtime.operators)
    if unknown:
        return RuntimeSupport(name, Outcome.UNVERIFIED, f"no test covers {', '.join(unknown)}")
    return RuntimeSupport(name, Outcome.YES, f"version {runtime.version}, {tested}", runtime.test)


def _row(operators: str, refused: str, min_opset: str, max_opset: str, **texts: str) -> Runtime:
    return Runtime(
        operators=frozenset(operators.split()),
        refused=frozenset(refused.split()),
        min_opset=int(min_opset),
        max_opset=int(max_opset),
        **texts,
    )
