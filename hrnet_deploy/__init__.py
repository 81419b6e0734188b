"""From an HRNet checkpoint to a fast, measured deployment.

Examples:
    >>> artifact = export("hrnet_w18", weights="hrnetv2_w18.pth", output="w18.onnx")
    >>> result = Predictor(artifact).predict("cat.jpg")
    >>> result.label, result.score
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

from hrnet_deploy.version import VERSION

TYPE_CHECKING = False  # importing typing takes 5 ms, in which Ctrl-C would show a traceback

# ONNX Runtime 1.31 and later send events to a server from the moment they are imported; a call afterwards is too late.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from typing import Any

    from hrnet_deploy.batch_prediction import BatchPrediction, predict_dataset
    from hrnet_deploy.errors import (
        ArtifactError,
        BuildError,
        CheckpointError,
        DeviceError,
        DownloadError,
        ExportError,
        HrnetDeployError,
        ImageError,
        MissingDependencyError,
        MissingFileError,
        UsageError,
        VerificationError,
    )
    from hrnet_deploy.export import (
        AccuracyGateError,
        AgreementError,
        Exported,
        ExportOptions,
        ExportResult,
        GateMissedError,
        export,
        export_artifact,
    )
    from hrnet_deploy.feature_result import FeatureResult
    from hrnet_deploy.models.zoo import list_models
    from hrnet_deploy.predictor import Predictor
    from hrnet_deploy.results import ClassificationResult, SegmentationResult
    from hrnet_deploy.spec import ModelCard, Precision, Preprocessing, Task
    from hrnet_deploy.triton import TritonModel, write_triton_repository

__version__ = VERSION

__all__ = [
    "AccuracyGateError",
    "AgreementError",
    "ArtifactError",
    "BatchPrediction",
    "BuildError",
    "CheckpointError",
    "ClassificationResult",
    "DeviceError",
    "DownloadError",
    "ExportError",
    "ExportOptions",
    "ExportResult",
    "Exported",
    "FeatureResult",
    "GateMissedError",
    "HrnetDeployError",
    "ImageError",
    "MissingDependencyError",
    "MissingFileError",
    "ModelCard",
    "Precision",
    "Predictor",
    "Preprocessing",
    "SegmentationResult",
    "Task",
    "TritonModel",
    "UsageError",
    "VerificationError",
    "export",
    "export_artifact",
    "list_models",
    "predict_dataset",
    "write_triton_repository",
]

_HOMES = {
    "AccuracyGateError": "export",
    "AgreementError": "export",
    "BatchPrediction": "batch_prediction",
    "ClassificationResult": "results",
    "ExportOptions": "export",
    "ExportResult": "export",
    "Exported": "export",
    "FeatureResult": "feature_result",
    "GateMissedError": "export",
    "ModelCard": "spec",
    "Precision": "spec",
    "Predictor": "predictor",
    "Preprocessing": "spec",
    "SegmentationResult": "results",
    "Task": "spec",
    "TritonModel": "triton",
    "export_artifact": "export",
    "list_models": "models.zoo",
    "predict_dataset": "batch_prediction",
    "write_triton_repository": "triton",
}
"""Modules of the public names beside the errors; each is imported at the first use of its name."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'hrnet_deploy' has no attribute '{name}'")
    value: object = getattr(importlib.import_module(f"hrnet_deploy.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value  # found without this function from now on
    return value


class _Package(ModuleType):
    """The package; Python would let `hrnet_deploy.export` name the room once a module of it is imported."""

    @property
    def export(self) -> Any:
        """The function."""
        return self.__dict__.get("_export") or importlib.import_module("hrnet_deploy.export").export

    @export.setter
    def export(self, value: Any) -> None:
        if not isinstance(value, ModuleType):
            self.__dict__["_export"] = value


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
