"""Accuracy target: accepted loss, and the labeled images on which it is measured."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hrnet_deploy.calibration.image_selection import CalibrationImage
from hrnet_deploy.errors import UsageError
from hrnet_deploy.evaluation import Dataset, find_dataset
from hrnet_deploy.executors import check_executor
from hrnet_deploy.export.option_declaration import ExportKind
from hrnet_deploy.export.options import ExportOptions
from hrnet_deploy.export.source import ModelInfo
from hrnet_deploy.spec import ModelCard, Precision, Preprocessing, ShapeRange, TensorSpec


@dataclass(frozen=True)
class AccuracyTarget:
    """Accepted loss in percentage points of top-1 or mIoU, and the labeled images on which it is measured.

    Attributes:
        executor: name of the executor on which graphs are measured; None for this process.
    """

    max_drop: float
    dataset: Dataset
    executor: str | None = None

    def images(self, count: int | None = None) -> tuple[CalibrationImage, ...]:
        """List `count` images in the data set's order, spread evenly and grouped by class; None lists all."""
        return tuple(
            CalibrationImage(str(sample.label) if isinstance(sample.label, int) else "", sample.path)
            for sample in self.dataset.limited(count).samples
        )


def check_accuracy_options(options: ExportOptions, kind: ExportKind) -> None:
    """Refuse options of the gate that contradict each other or are out of range."""
    if kind.as_is and (options.max_drop is not None or options.waterfall):
        raise UsageError(
            "--max-drop and --waterfall need the checkpoint or the FP32 graph to measure against, got an artifact that "
            "is compiled as it is. Start from those, or compare with hrnet-report."
        )
    if options.max_drop is None:
        if options.keep_rejected and kind.precision == Precision.FP32.value:
            raise UsageError(
                "--keep-rejected goes with --max-drop, fp16 or int8, got fp32 without a budget. Leave it out."
            )
        if options.eval_limit is not None and not options.waterfall:
            raise UsageError("--eval-limit goes with --max-drop or --waterfall, got it alone. Leave it out.")
    elif not (math.isfinite(options.max_drop) and options.max_drop >= 0):
        raise UsageError(f"--max-drop must be points from 0 up, got {options.max_drop}. Half a point is 0.5.")
    check_executor(options.executor)
    if options.eval_limit is not None and options.eval_limit < 1:
        raise UsageError(f"--eval-limit must be at least 1, got {options.eval_limit}. Leave it out for all images.")
    flag = "--max-drop" if options.max_drop is not None else "--waterfall" if options.waterfall else ""
    if flag and options.eval_data is None:
        raise UsageError(f"{flag} needs labeled images to measure on, got no --eval-data. Add --eval-data DIR.")


def find_accuracy_target(
    options: ExportOptions, info: ModelInfo, classes: tuple[str, ...], preprocessing: Preprocessing, shapes: ShapeRange
) -> AccuracyTarget | None:
    """Find the images and check that their labels suit the model; None if no target is requested."""
    if options.eval_data is None or (options.max_drop is None and not options.waterfall):
        return None
    if info.headless:
        flag = "--waterfall" if options.max_drop is None else "--max-drop"
        raise UsageError(f"{flag} needs a model with a head, got one with features only. Leave it out.")
    # The graph does not exist yet; labels depend on task and classes only.
    card = ModelCard(
        task=info.task,
        variant=info.variant,
        classes=classes,
        preprocessing=preprocessing,
        precision=Precision.FP32,
        inputs=(TensorSpec("input", "float32", ("batch", 3, "height", "width")),),
        outputs=(TensorSpec("logits", "float32", ("batch", len(classes))),),
        shapes=shapes,
    )
    try:
        dataset = find_dataset(options.eval_data, card).limited(options.eval_limit)
    except UsageError as error:
        reason = str(error).rpartition(". ")[0] or str(error)
        flag = "--waterfall" if options.max_drop is None else "--max-drop"
        raise UsageError(
            f"{flag} needs labels: {reason}. Give --eval-data with class folders, a label file beside the images, or "
            "Cityscapes' gtFine."
        ) from error
    return None if options.max_drop is None else AccuracyTarget(options.max_drop, dataset, options.executor)
