"""Unsupported models with an HRNet backbone, recognized by the names of their heads."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hrnet_deploy.errors import CheckpointError

_OWN_GRAPH = "Export it to ONNX with its own code, and give that: hrnet-export FILE.onnx --task segmentation"
_OTHER_TASK = "Only image classification and semantic segmentation are supported; run it with its own code"

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
_TRAINING_HEAD = re.compile(r"auxiliary_head\.")


def refuse_other_models(names: Iterable[str], origin: str) -> None:
    """Raise CheckpointError, which names the kind of model, if tensor names belong to the head of another one."""
    names = list(names)
    for pattern, what, advice in _FAMILIES:
        if any(pattern.match(name) for name in names):
            raise CheckpointError(
                f"{origin} must hold an HRNet classifier or HRNetV2 segmentation model, got {what}. {advice}."
            )


def is_training_head(name: str) -> bool:
    """Whether a tensor belongs to a head that only training uses: mmsegmentation's auxiliary heads."""
    return _TRAINING_HEAD.match(name) is not None
