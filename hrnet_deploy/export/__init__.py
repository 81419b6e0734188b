"""Export: from a checkpoint or a foreign graph to a verified artifact."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hrnet_deploy.export.entry_point import export
    from hrnet_deploy.export.entry_point import export as export_artifact
    from hrnet_deploy.export.gate.result import AccuracyGateError
    from hrnet_deploy.export.options import ExportOptions
    from hrnet_deploy.export.result import AgreementError, ExportResult

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
    "AgreementError": ("result", "AgreementError"),
    "ExportOptions": ("options", "ExportOptions"),
    "ExportResult": ("result", "ExportResult"),
    "Exported": ("result", "ExportResult"),
    "GateMissedError": ("gate.result", "AccuracyGateError"),
    "export": ("entry_point", "export"),
    "export_artifact": ("entry_point", "export"),
}
"""Module and name of each public name, imported at its first use; `Exported` and two others are earlier names."""


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    module, attribute = _HOMES[name]
    value: object = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    globals()[name] = value  # found without this function from now on
    return value
