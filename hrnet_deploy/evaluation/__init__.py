"""How good an artefact is, and what a cheaper one loses: metrics, data sets, comparisons."""

from hrnet_deploy.evaluation.classification import ClassificationMetrics, Ranking, classification_metrics
from hrnet_deploy.evaluation.comparing import compare
from hrnet_deploy.evaluation.comparison import ChangedImage, ClassDelta, Comparison, Contrast, Drop, Flip
from hrnet_deploy.evaluation.dataset import Dataset, Sample
from hrnet_deploy.evaluation.evaluating import ClassifiedImage, Evaluation, SegmentedImage, evaluate
from hrnet_deploy.evaluation.facts import DataFacts, ModelFacts, RunFacts
from hrnet_deploy.evaluation.finding import find_dataset
from hrnet_deploy.evaluation.network import Model, Network
from hrnet_deploy.evaluation.segmentation import SegmentationMetrics, confusion_matrix
from hrnet_deploy.evaluation.windows import Sliding

__all__ = [
    "ChangedImage",
    "ClassDelta",
    "ClassificationMetrics",
    "ClassifiedImage",
    "Comparison",
    "Contrast",
    "DataFacts",
    "Dataset",
    "Drop",
    "Evaluation",
    "Flip",
    "Model",
    "ModelFacts",
    "Network",
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
