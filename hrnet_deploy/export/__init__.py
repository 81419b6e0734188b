"""Export: from a checkpoint or a foreign graph to a verified artifact.

The package is also the function: `hrnet_deploy.export(...)` calls `hrnet_deploy.export.export(...)`.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hrnet_deploy.export.agreement import AgreementError
    from hrnet_deploy.export.gate.result import AccuracyGateError
    from hrnet_deploy.export.options import ExportOptions
    from hrnet_deploy.export.publish import ExportResult
    from hrnet_deploy.export.run import export
    from hrnet_deploy.export.run import export as export_artifact

    Exported = ExportResult
    GateMissedError = AccuracyGateError

__all__ = [
    "AccuracyGateError",
    "AgreementError",
    "ExportOptions",
    "ExportResult",
    "Exported",
    "GateMissedError",
    "export",
    "export_artifact",
]

_HOMES = {
    "AccuracyGateError": ("gate.result", "AccuracyGateError"),
    "AgreementError": ("agreement", "AgreementError"),
    "ExportOptions": ("options", "ExportOptions"),
    "ExportResult": ("publish", "ExportResult"),
    "Exported": ("publish", "ExportResult"),
    "GateMissedError": ("gate.result", "AccuracyGateError"),
    "export": ("run", "export"),
    "export_artifact": ("run", "export"),
}
"""Module and name of each public name, imported at its first use; `Exported` and two others are earlier names."""


class _CallablePackage(ModuleType):
    """A package that may be called, since `from hrnet_deploy import export` gives the package once it is imported."""

    def __call__(self, *args: Any, **options: Any) -> ExportResult:
        """Export; the arguments are those of `export`."""
        done: ExportResult = self.export(*args, **options)
        return done


def __getattr__(name: str) -> Any:
    if name == "__signature__":
        return importlib.import_module("inspect").signature(__getattr__("export"))
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    module, attribute = _HOMES[name]
    value = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value  # found without this function from now on
    return value


sys.modules[__name__].__class__ = _CallablePackage
