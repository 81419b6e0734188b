"""From an HRNet checkpoint to a fast, measured deployment.

path = export("hrnet_w18", weights="hrnetv2_w18.pth", output="w18.onnx")
result = Predictor("w18.onnx").predict("cat.jpg")
result.label, result.score
"""

from hrnet_deploy.errors import (
    ArtifactError,
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
from hrnet_deploy.pipeline import export
from hrnet_deploy.predictor import Predictor
from hrnet_deploy.results import ClassificationResult, SegmentationResult
from hrnet_deploy.spec import ModelCard, Precision, Preprocessing, Task
from hrnet_deploy.version import VERSION
from hrnet_deploy.zoo import list_models

__version__ = VERSION

__all__ = [
    "ArtifactError",
    "CheckpointError",
    "ClassificationResult",
    "DeviceError",
    "DownloadError",
    "ExportError",
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
    "UsageError",
    "VerificationError",
    "export",
    "list_models",
]
