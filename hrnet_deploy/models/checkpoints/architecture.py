"""The variant of a checkpoint, from official names and shapes; models with other heads are refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.checkpoints.file_format import few
from hrnet_deploy.models.variants import VARIANTS, Variant
from hrnet_deploy.spec import Task

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each tensor by its official name."""

_HEADS = {Task.CLASSIFICATION: "classifier", Task.SEGMENTATION: "last_layer"}
_IN_CHANNELS = (1, 3, 4)
_LAST = {Task.CLASSIFICATION: "classifier.weight", Task.SEGMENTATION: "last_layer.3.weight"}
_HEAD_BIAS = re.compile(r"(downsamp_modules\.\d|final_layer|last_layer)\.0\.bias")
_STAGES = ("stage2", "stage3", "stage4")
_OWN_GRAPH = "Export it to ONNX with its own code, and give that: hrnet-export FILE.onnx --task segmentation"
_OTHER_TASK = (
    "Only image classification and semantic segmentation are supported; run it with its own code, or add --features "
    "maps to export its trunk"
)

_SEGMENTS = ("HRNet-OCR", "segmentation", "facial landmarks")

# Source: the model code of HRNet's repositories on GitHub, mmsegmentation, mmdetection and mmpose.
_FAMILIES: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern), what, advice)
    for pattern, what, advice in (
        (r"(ocr\.|scale_attn\.)", "hierarchical multi-scale attention with HRNet-OCR", _OWN_GRAPH),
        (r"(aux_head|ocr_distri_head|ocr_gather_head|conv3x3_ocr|cls_head)\.", "HRNet-OCR", _OWN_GRAPH),
        (r"decode_head\.(\d+\.|object_context_block)", "OCRNet (HRNet-OCR) of mmsegmentation", _OWN_GRAPH),
        (
            r"decode_head\.(?!convs\.0\.|conv_seg\.)",
            "a segmentation model of mmsegmentation with another head than one FCN layer",
            _OWN_GRAPH,
        ),
        (
            r"(rpn_head|roi_head|bbox_head|mask_head|semantic_head)\.|neck\.(fpn_convs|reduction_conv|lateral_convs)\.",
            "a detector (HRNet-Object-Detection, mmdetection)",
            _OTHER_TASK,
        ),
        (
            r"keypoint_head\.|head\.(final_layer|deconv_layers|conv_layers|mlp_head|heatmap|loss_module|cls)",
            "a pose estimator (mmpose)",
            _OTHER_TASK,
        ),
        (r"(transition_heatmap|head_heatmap|transition_offset|offset_f)", "a pose estimator (DEKR)", _OTHER_TASK),
        (r"(final_layers\.\d|deconv_layers\.\d)", "a pose estimator (HigherHRNet)", _OTHER_TASK),
        (r"final_layer\.(weight|bias)$", "a pose estimator (HRNet-Human-Pose-Estimation)", _OTHER_TASK),
        (r"head\.\d\.(weight|bias)$", "a model for facial landmarks (HRNet-Facial-Landmark-Detection)", _OTHER_TASK),
        (r"stage\d\.\d+\.branches\.\d+\.\d+\.(attn|mlp)", "HRFormer", "Run it with its own code"),
    )
)


def closest_variant(shapes: Shapes, origin: str, task: Task | None = None) -> Variant:
    """Find the variant that fits best, with what the tensors decide as found; CheckpointError on other models.

    The task is that of a network without a head; None requires a head, which shows the task.
    """
    task = task or _task(shapes, origin)
    found = _fingerprint(shapes)
    candidates = (variant for variant in VARIANTS.values() if variant.task is task)
    best = min(candidates, key=lambda variant: _distance(found, variant))
    modules = best.modules[2] - 1
    return replace(
        best,
        head_bias=any(map(_HEAD_BIAS.fullmatch, shapes)),
        in_channels=in_channels(shapes),
        multi_scale=any(name.startswith(f"stage4.{modules}.fuse_layers.1.") for name in shapes),
    )


def class_count(shapes: Shapes, task: Task) -> int | None:
    """Return the number of classes of the head, or None without a last layer."""
    shape = shapes.get(_LAST[task])
    return shape[0] if shape and shape[0] else None


def has_head(shapes: Shapes) -> bool:
    """Whether the tensors hold the head of a classifier or a segmentation model, and of no other kind of model."""
    return not {name.partition(".")[0] for name in shapes}.isdisjoint(_HEADS.values()) and other_model(shapes) is None


def in_channels(shapes: Shapes) -> int:
    """Return the channels of the image that the first convolution takes; 3 where it is not one of those supported."""
    shape = shapes.get("conv1.weight", ())
    return shape[1] if len(shape) == 4 and shape[1] in _IN_CHANNELS else 3


def _task(shapes: Shapes, origin: str) -> Task:
    if (other := other_model(shapes)) is not None:
        what, advice = other
        raise CheckpointError(
            f"{origin} must hold an HRNet classifier or HRNetV2 segmentation model, got {what}. {advice}."
        )
    check_stages(shapes, origin)
    roots = {name.partition(".")[0] for name in shapes}
    for task, head in _HEADS.items():
        if head in roots:
            return task
    raise CheckpointError(
        f"{origin} must hold a model with a head, got a backbone without 'classifier' and 'last_layer'. "
        "Give the weights of a whole model, or export features: --features maps."
    )


def is_segmentation(names: Iterable[str]) -> bool:
    """Whether the head is that of another model whose trunk resizes bilinearly, as those that segment do."""
    other = other_model(names)
    return other is not None and any(word in other[0] for word in _SEGMENTS)


def check_stages(shapes: Shapes, origin: str) -> None:
    """Refuse tensors without the stages of an HRNet."""
    missing = [stage for stage in _STAGES if stage not in {name.partition(".")[0] for name in shapes}]
    if missing:
        raise CheckpointError(
            f"{origin} must hold an HRNet, got tensors such as {_few(shapes)} and no {', '.join(missing)}. "
            "Check that it is the right file."
        )


def other_model(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the kind of another model whose head has these tensors, and an advice; None if there is none."""
    names = list(names)
    for pattern, what, advice in _FAMILIES:
        if any(pattern.match(name) for name in names):
            return what, advice
    return None


def _few(names: Iterable[str]) -> str:
    return few(f"'{name}'" for name in list(names)[:4])


def _count(shapes: Shapes, prefix: str) -> int:
    """Return one more than the highest index that follows `prefix`."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d{1,3})\.")
    return max((int(match[1]) + 1 for match in map(pattern.match, shapes) if match), default=0)


def _fingerprint(shapes: Shapes) -> tuple[int, ...]:
    width = shapes.get("stage4.0.fuse_layers.0.1.0.weight") or shapes.get("transition1.0.0.weight") or (0,)
    modules = (_count(shapes, stage) for stage in _STAGES)
    recalibrates = any(".se." in name for name in shapes)
    return (width[0], _count(shapes, "layer1"), _count(shapes, "stage2.0.branches.0"), *modules, int(recalibrates))


def _distance(found: tuple[int, ...], variant: Variant) -> tuple[int, int]:
    """Return how many figures differ, then by how much."""
    blocks = (variant.layer1_blocks, variant.blocks_per_branch)
    known = (variant.channels[0], *blocks, *variant.modules, int(variant.squeeze_excitation))
    differences = [abs(a - b) for a, b in zip(found, known, strict=True)]
    return sum(map(bool, differences)), sum(differences)
