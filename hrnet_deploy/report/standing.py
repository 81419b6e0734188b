"""Names of the report for `evaluation.runtime_status`."""

from hrnet_deploy.evaluation.runtime_status import PredictionPair as Pair
from hrnet_deploy.evaluation.runtime_status import RuntimeStatus as Standing
from hrnet_deploy.evaluation.runtime_status import prediction_pairs as pairs
from hrnet_deploy.evaluation.runtime_status import runtime_status as standing

__all__ = ["Pair", "Standing", "pairs", "standing"]
