"""Batch prediction: millions of images to parts of an output folder, on any executor, restartable."""

from hrnet_deploy.batch_prediction.run import BatchPrediction, predict_dataset

__all__ = ["BatchPrediction", "predict_dataset"]
