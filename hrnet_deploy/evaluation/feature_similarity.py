"""Cosine similarity of the features of candidates to those of a reference, on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hrnet_deploy.engines.difference import Cosine, cosines
from hrnet_deploy.evaluation.datasets.dataset import Dataset
from hrnet_deploy.evaluation.model_runner import ModelRunner
from hrnet_deploy.imaging.drawing import Image
from hrnet_deploy.imaging.sources import read_frame
from hrnet_deploy.protocols import Tensors

FEATURE_IMAGES = 64
"""Images on which features are compared, spread evenly over the data."""


def compare_features(models: Sequence[ModelRunner], dataset: Dataset) -> list[Mapping[str, Cosine]]:
    """Compare the features that a candidate shares with the first model.

    Args:
        models: the reference, then the candidates; they take whole images.
        dataset: the images, of which `FEATURE_IMAGES` are read.

    Returns:
        For each model, the similarity by output over the images; empty for the reference, and without shared outputs.

    Raises:
        HrnetDeployError: an image cannot be used, or a runtime failed.
    """
    names = [{spec.name for spec in model.card.features} for model in models]
    shared = [sorted(own & names[0]) for own in names[1:]]
    found: list[dict[str, list[float]]] = [{name: [] for name in one} for one in shared]
    if not any(shared):
        return [{} for _ in models]
    for sample in dataset.limited(FEATURE_IMAGES).samples:
        image = read_frame(str(sample.path)).image
        outputs = [_outputs(model, image) if own else {} for model, own in zip(models, names, strict=True)]
        for similar, ours in zip(found, outputs[1:], strict=True):
            for name, values in similar.items():
                values.extend(cosines(ours[name], outputs[0][name]))
    return [{}, *({name: Cosine.of(values) for name, values in one.items()} for one in found)]


def _outputs(model: ModelRunner, image: Image) -> Tensors:
    """Run one image; the outputs by name."""
    (((*rows,),),) = model.run([model.prepare(image)], 1)
    return {spec.name: row[None] for spec, row in zip(model.card.outputs, rows, strict=True)}
