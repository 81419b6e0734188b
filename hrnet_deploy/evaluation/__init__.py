"""The accuracy of artifacts and of quantized candidates: metrics, datasets, comparisons."""

from hrnet_deploy.evaluation.compare import compare
from hrnet_deploy.evaluation.comparison import (
    CandidateComparison,
    ChangedImage,
    ClassDelta,
    Comparison,
    Drop,
    LabelChange,
)
from hrnet_deploy.evaluation.datasets.dataset import Dataset, Sample
from hrnet_deploy.evaluation.datasets.find_dataset import find_dataset
from hrnet_deploy.evaluation.evaluate import ClassifiedImage, Evaluation, SegmentedImage, evaluate
from hrnet_deploy.evaluation.metrics.classification import ClassificationMetrics, Ranking
from hrnet_deploy.evaluation.metrics.segmentation import SegmentationMetrics, confusion_matrix
from hrnet_deploy.evaluation.model_runner import Model, ModelRunner
from hrnet_deploy.evaluation.options import EvaluationOptions
from hrnet_deploy.evaluation.run_info import DataInfo, EvaluatedModel, RunInfo
from hrnet_deploy.evaluation.sliding_window import SlidingWindow

__all__ = [
    "CandidateComparison",
    "ChangedImage",
    "ClassDelta",
    "ClassificationMetrics",
    "ClassifiedImage",
    "Comparison",
    "DataInfo",
    "Dataset",
    "Drop",
    "EvaluatedModel",
    "Evaluation",
    "EvaluationOptions",
    "LabelChange",
    "Model",
    "ModelRunner",
    "Ranking",
    "RunInfo",
    "Sample",
    "SegmentationMetrics",
    "SegmentedImage",
    "SlidingWindow",
    "compare",
    "confusion_matrix",
    "evaluate",
    "find_dataset",
]
