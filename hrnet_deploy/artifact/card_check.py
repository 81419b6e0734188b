"""Whether a card fits the graph that it describes."""

from __future__ import annotations

from hrnet_deploy.errors import ArtifactError
from hrnet_deploy.spec import ModelCard, OutputKind, Resize, Task

_AGAIN = "Export it again."


def check_tensors(card: ModelCard, name: str) -> None:
    """Refuse a card whose inputs and outputs contradict its sizes, classes or output kind.

    Args:
        card: the card; a size without a number fits every one.
        name: name of the artifact in errors.

    Raises:
        ArtifactError: a contradiction, with both values.
    """
    height_axis = 1 if card.pixels_in else 2
    shape = card.inputs[0].shape
    if len(card.inputs) != 1 or len(shape) != 4:
        raise ArtifactError(f"card of {name} needs one input of four dimensions, got {card.inputs!s:.120}. {_AGAIN}")
    for side, axis, index in (("batch", 0, 0), ("height", height_axis, 1), ("width", height_axis + 1, 2)):
        low, high, size = card.shapes.min_nhw[index], card.shapes.max_nhw[index], shape[axis]
        if isinstance(size, int) and not low <= size <= high:
            raise ArtifactError(
                f"{side} of the input of {name} must be {low} to {high}, the card's range, got {shape!s:.80}. {_AGAIN}"
            )
    wanted = card.preprocessing.size_hw
    found = shape[height_axis : height_axis + 2]
    sized = () if wanted is None or card.preprocessing.resize is Resize.LONG_SIDE else zip(found, wanted, strict=True)
    if any(isinstance(size, int) and size != want for size, want in sized):
        raise ArtifactError(
            f"image size in the card of {name} must be that of the input, {found!s:.80}, got {wanted}. {_AGAIN}"
        )
    _check_channels(card, name)


def _check_channels(card: ModelCard, name: str) -> None:
    """Refuse outputs of the head that hold more or fewer classes than the card names."""
    if card.headless:
        return
    head = card.outputs[: len(card.outputs) - len(card.features)]
    first, count = head[0].shape, len(card.classes)
    if card.output_kind is OutputKind.TOPK:
        fits = len(head) == 2 and all(len(one.shape) == 2 for one in head)
        fits = fits and all(isinstance(one.shape[1], str) or one.shape[1] <= count for one in head)
        wanted = f"two outputs (N, k) with k up to {count}"
    elif card.output_kind is OutputKind.LABELS:
        fits, wanted = len(first) == 3, "an output (N, H, W)"
    else:
        rank = 2 if card.task is Task.CLASSIFICATION else 4
        fits = len(first) == rank and (isinstance(first[1], str) or card.has_channels(first[1]))
        wanted = f"an output of {rank} dimensions with the channels in the second"
    if not fits:
        shapes = ", ".join(str(one.shape) for one in card.outputs)
        raise ArtifactError(f"{name} needs {wanted} for the {count} classes of its card, got {shapes:.120}. {_AGAIN}")
