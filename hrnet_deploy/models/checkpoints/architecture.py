"""The variant of a checkpoint, from official names and shapes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.checkpoints.families import refuse_other_models
from hrnet_deploy.models.variants import VARIANTS, Variant
from hrnet_deploy.spec import Task

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each tensor by its official name."""

_HEADS = {Task.CLASSIFICATION: ("incre_modules", "classifier"), Task.SEGMENTATION: ("last_layer",)}
_LAST = {Task.CLASSIFICATION: "classifier.weight", Task.SEGMENTATION: "last_layer.3.weight"}
_HEAD_BIAS = re.compile(r"(downsamp_modules\.\d|final_layer|last_layer)\.0\.bias")
_STAGES = ("stage2", "stage3", "stage4")


def closest_variant(shapes: Shapes, origin: str) -> Variant:
    """Find the variant that fits best, with `head_bias` as found; raises CheckpointError on other models."""
    task = _task(shapes, origin)
    found = _fingerprint(shapes)
    candidates = (variant for variant in VARIANTS.values() if variant.task is task)
    best = min(candidates, key=lambda variant: _distance(found, _fingerprint_of(variant)))
    return replace(best, head_bias=any(map(_HEAD_BIAS.fullmatch, shapes)))


def class_count(shapes: Shapes, task: Task) -> int | None:
    """Return the number of classes of the head, or None without a last layer."""
    shape = shapes.get(_LAST[task])
    return shape[0] if shape and shape[0] else None


def _task(shapes: Shapes, origin: str) -> Task:
    refuse_other_models(shapes, origin)
    roots = {name.partition(".")[0] for name in shapes}
    if not set(_STAGES) <= roots:
        raise CheckpointError(
            f"{origin} must hold an HRNet, got tensors such as {_few(shapes)} and no stage2 to stage4. "
            "Check that it is the right file."
        )
    for task, heads in _HEADS.items():
        if roots & set(heads):
            return task
    raise CheckpointError(
        f"{origin} must hold a model with a head, got a backbone with {_few(sorted(roots - set(_STAGES)))}. "
        "Give the weights of a whole classification or segmentation model."
    )


def _few(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in list(names)[:4])


def _count(shapes: Shapes, prefix: str) -> int:
    """Return one more than the highest index that follows `prefix`."""
    pattern = re.compile(re.escape(prefix) + r"\.(\d{1,3})\.")
    return max((int(match[1]) + 1 for match in map(pattern.match, shapes) if match), default=0)


def _fingerprint(shapes: Shapes) -> tuple[int, ...]:
    width = shapes.get("stage4.0.fuse_layers.0.1.0.weight") or shapes.get("transition1.0.0.weight") or (0,)
    modules = (_count(shapes, stage) for stage in _STAGES)
    recalibrates = any(".se." in name for name in shapes)
    return (width[0], _count(shapes, "layer1"), _count(shapes, "stage2.0.branches.0"), *modules, int(recalibrates))


def _fingerprint_of(variant: Variant) -> tuple[int, ...]:
    blocks = (variant.layer1_blocks, variant.blocks_per_branch)
    return (variant.channels[0], *blocks, *variant.modules, int(variant.squeeze_excitation))


def _distance(found: tuple[int, ...], known: tuple[int, ...]) -> tuple[int, int]:
    """Return how many figures differ, then by how much."""
    differences = [abs(a - b) for a, b in zip(found, known, strict=True)]
    return sum(map(bool, differences)), sum(differences)
