"""How good an artefact is, and what a cheaper one loses: metrics, data sets, comparisons."""

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
from hrnet_deploy.evaluation.metrics.classification import ClassificationMetrics, Ranking, classification_metrics
from hrnet_deploy.evaluation.metrics.segmentation import SegmentationMetrics, confusion_matrix
from hrnet_deploy.evaluation.model_runner import Model, ModelRunner
from hrnet_deploy.evaluation.run_info import DataFacts, ModelFacts, RunFacts
from hrnet_deploy.evaluation.sliding_window import Sliding

__all__ = [
    "CandidateComparison",
    "ChangedImage",
    "ClassDelta",
    "ClassificationMetrics",
    "ClassifiedImage",
    "Comparison",
    "DataFacts",
    "Dataset",
    "Drop",
    "Evaluation",
    "LabelChange",
    "Model",
    "ModelFacts",
    "ModelRunner",
    "Ranking",
    "RunFacts",
    "Sample",
    "SegmentationMetrics",
    "SegmentedImage",
    "Sliding",
    "classification_metrics",
    "compare",
    "confusion_matrix",
    "evaluate",
    "find_dataset",
]
