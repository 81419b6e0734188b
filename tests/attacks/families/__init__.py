"""The families of hostile inputs: a generator each."""

from collections.abc import Callable
from random import Random

from attacks.case import Case
from attacks.families import checkpoints, commands, files, graphs, images, networks, runs

FAMILIES: dict[str, Callable[[Random], Case]] = {
    "images": images.images,
    "labels": images.labels,
    "videos": images.videos,
    "torch-zip": checkpoints.torch_zips,
    "torch-legacy": checkpoints.torch_legacy,
    "pdparams": checkpoints.paddle,
    "safetensors": checkpoints.safetensors,
    "pickles": checkpoints.pickles,
    "networks": networks.networks,
    "graphs": graphs.graphs,
    "structures": graphs.structures,
    "cards": graphs.cards,
    "sidecars": files.sidecars,
    "plans": files.plans,
    "tables": files.tables,
    "lists": files.lists,
    "shards": files.shards,
    "journals": files.journals,
    "caches": files.caches,
    "runs": runs.runs,
    "flags": commands.flags,
    "names": commands.names,
    "environments": commands.environments,
}


def make(family: str, seed: int, number: int) -> Case:
    """Return input `number` of a family; equal arguments give equal inputs."""
    return FAMILIES[family](Random(f"{family} {seed} {number}"))
