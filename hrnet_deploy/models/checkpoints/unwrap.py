"""The weights of one HRNet in the content of a file, without the names of the containers around it."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.limits import CHECKPOINT_MODELS, TENSOR_SHARING, TENSORS
from hrnet_deploy.models.checkpoints.file_format import few
from hrnet_deploy.models.checkpoints.nested_tensors import Entry, Leaf, tensors_in
from hrnet_deploy.models.checkpoints.pickle_values import PickledObject
from hrnet_deploy.models.checkpoints.stored_tensor import StoredTensor, UnreadableTensor

_TRUNK = re.compile(
    r"(?:^|(?<=\.))(?:stage[234]\.\d+\.(?:branches|fuse_layers)\.|st[234]\.(?:stage_func_list\.|stage_st[234]_\d+\.))"
)
"""Names of the stages of HRNet and no other model, in PyTorch and in both generations of PaddleClas."""
_HEADS = re.compile(r"(?:incre_modules|classifier|last_layer|last_cls|fc|out)\.")
_BACKBONE = "backbone."
_OUTSIDE_HEADS = re.compile(r"(?:neck|(?:\w+_)?head|ocr|scale_attn|aspp)\.")
"""Parts beside the backbone in the libraries of OpenMMLab and in NVIDIA's segmentation models."""
_PARAMETERS = frozenset({"weight", "bias", "running_mean", "running_var", "_mean", "_variance"})
_BATCH_COUNTER = "num_batches_tracked"
_LOSS = "loss."
"""HRNet-Semantic-Segmentation's FullModel holds the model and the class weights of its loss."""
_EMA_COUNTERS = frozenset({"steps", "n_averaged"})
_AVERAGED = frozenset({"ema", "swa", "averaged", "average", "avg", "shadow"})
_TEACHER = frozenset({"teacher"})
_TRAINING = ("optim", "grad", "momentum", "exp_avg")
_PREFERRED = frozenset({"state_dict", "model"})
_SWAPPED = "ema_state_dict."
"""mmengine's EMAHook swaps on saving: `state_dict` is then the average, and this the plain weights."""
_SHOWN = 4


@dataclass(frozen=True)
class ModelWeights:
    """The weights of one HRNet.

    Attributes:
        tensors: by the model's own names, without batch counters.
        place: their location in the file, a value of `--weights-key`; empty for all of it.
        ignored: the tensors beside them, by their full names.
        others: locations of other models that were not used.
    """

    tensors: dict[str, Tensor]
    place: str = ""
    ignored: Mapping[str, Leaf] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    counts_batches: bool = False


@dataclass(eq=False)
class _Candidate:
    root: str
    head: bool
    entries: list[Entry] = field(default_factory=list)

    @property
    def place(self) -> str:
        return self.root.rstrip(".")

    @property
    def words(self) -> set[str]:
        return set(re.split(r"[._]", self.root.lower()))


def find_model(
    content: object, origin: str, *, ema: bool = False, key: str | None = None, stored_bytes: int | None = None
) -> ModelWeights:
    """Find the HRNet in the content of a file of `stored_bytes`, or in a state dict, and read its tensors.

    1. The stages of HRNet have unique names; anything before them is the name of a container or wrapper.
    2. Averaged copies, teachers and optimizer state are other models than the trained one.
    3. Of two models under `state_dict` and `model` the first is used, as in the official code, and the other reported.

    With `ema` the averaged copy is used; `key` selects a location. CheckpointError: no HRNet, several candidates, no
    averaged copy, or tensors without numbers.
    """
    entries = _entries(content, origin, stored_bytes)
    candidates = _candidates(entries, origin)
    if not candidates:
        raise _nothing_found(content, entries, origin)
    chosen, others = _choose(candidates, entries, origin, ema=ema, key=key)
    outside = [other.root for other in candidates if other is not chosen and len(other.root) > len(chosen.root)]
    own = [entry for entry in chosen.entries if not entry.name.startswith(tuple(outside))]
    return ModelWeights(
        tensors={name: _opened(name, leaf, origin) for name, leaf in _leaves(own, chosen.root, origin).items()},
        place=chosen.place,
        ignored=_ignored(entries, own, chosen.root),
        others=tuple(other.place or "the outermost dict" for other in others),
        counts_batches=any(entry.name.endswith(_BATCH_COUNTER) for entry in own),
    )


def _entries(content: object, origin: str, stored_bytes: int | None) -> list[Entry]:
    """List all tensors; refuse more than a file can store."""
    entries = list(itertools.islice(tensors_in(content), TENSORS + 1))
    if len(entries) > TENSORS:
        raise CheckpointError(f"{origin} must hold at most {TENSORS} tensors, got more. Save the model alone.")
    claimed = sum(entry.leaf.nbytes for entry in entries if isinstance(entry.leaf, StoredTensor))
    if stored_bytes is not None and claimed > TENSOR_SHARING * stored_bytes:
        raise CheckpointError(
            f"{origin} must store each number of its tensors, got {claimed:.3g} bytes of tensors in a file of "
            f"{stored_bytes}. Save the weights with tensor.contiguous()."
        )
    return entries


def _leaves(own: Sequence[Entry], root: str, origin: str) -> dict[str, Leaf]:
    """Return the model's tensors by its own names."""
    leaves: dict[str, Leaf] = {}
    for entry in own:
        name = entry.name.removeprefix(root)
        if name.endswith(_BATCH_COUNTER) or name.startswith(_LOSS) or name in _EMA_COUNTERS:
            continue
        # Some dicts have their items as attributes too, so that the walk yields a tensor twice.
        if name in leaves and not _same(leaves[name], entry.leaf):
            raise CheckpointError(f"{origin} must hold each tensor once, got '{name}' twice. Save it again.")
        leaves[name] = entry.leaf
    return leaves


def _ignored(entries: Sequence[Entry], own: Sequence[Entry], root: str) -> dict[str, Leaf]:
    """Return the tensors beside the model's in the same containers, by full names."""
    names = {entry.name for entry in own}
    containers = {entry.container for entry in own}
    # In FullModel, the model has the prefix `model.`, and its loss is beside it.
    loss = root.removesuffix("model.") + _LOSS if root.endswith("model.") else None
    return {
        entry.name: entry.leaf
        for entry in entries
        if entry.container in containers
        and entry.name not in names
        and not entry.name.endswith(_BATCH_COUNTER)
        and not (loss and entry.name.startswith(loss))
    }


def _candidates(entries: Sequence[Entry], origin: str) -> list[_Candidate]:
    """Return every place that has at least half as many HRNet tensors as the largest."""
    counts: Counter[str] = Counter()
    for entry in entries:
        found = _TRUNK.search(entry.name)
        if found and entry.name.rpartition(".")[2] in _PARAMETERS:
            counts[entry.name[: found.start()]] += 1
    if len(counts) > CHECKPOINT_MODELS:
        raise CheckpointError(
            f"{origin} must hold at most {CHECKPOINT_MODELS} models, got {len(counts)}. Save one of them alone."
        )
    largest = max(counts.values(), default=0)
    roots: dict[str, _Candidate] = {}
    for trunk, count in counts.items():
        if 2 * count >= largest:
            candidate = _rooted(trunk, entries)
            roots.setdefault(candidate.root, candidate)
    return list(roots.values())


def _rooted(trunk: str, entries: Sequence[Entry]) -> _Candidate:
    """Extend the prefix of the stages to that of the whole model, whose head may lie beside the backbone."""
    below = [entry for entry in entries if entry.name.startswith(trunk)]
    head = any(_HEADS.match(entry.name, len(trunk)) for entry in below)
    outer = trunk.removesuffix(_BACKBONE)
    root = trunk
    if not head and (outer == "" or outer.endswith(".")) and trunk.endswith(_BACKBONE):
        head = any(entry.name.startswith(outer) and _OUTSIDE_HEADS.match(entry.name, len(outer)) for entry in entries)
        root = outer if head else trunk
    containers = {entry.container for entry in below if _TRUNK.match(entry.name, len(trunk))}
    nested = any(len(container) > len(root) for container in containers)  # one dict, or an object, per layer
    own = [e for e in entries if e.name.startswith(root) and (nested or e.container in containers)]
    return _Candidate(root, head, own)


def _choose(
    candidates: Sequence[_Candidate], entries: Sequence[Entry], origin: str, *, ema: bool, key: str | None
) -> tuple[_Candidate, Sequence[_Candidate]]:
    if key is not None:
        pool = [c for c in candidates if key == c.place or f"{c.place}.".startswith(f"{key.rstrip('.')}.")]
        if not pool:
            raise CheckpointError(f"{origin} must hold an HRNet under '{key}', got them under {_places(candidates)}.")
    else:
        pool = [c for c in candidates if not any(word.startswith(_TRAINING) for word in c.words)]
        pool = pool or list(candidates)
        pool = _averaged(pool, entries, origin) if ema else _plain(pool, origin)
    pool = [c for c in pool if c.head] or list(pool)
    distinct: list[_Candidate] = []
    for candidate in pool:  # copies count once
        if not any(_equal(candidate, other) for other in distinct):
            distinct.append(candidate)
    if len(distinct) == 1:
        return distinct[0], ()
    homes = {c.root.partition(".")[0]: c for c in distinct}
    if key is None and len(distinct) == 2 and homes.keys() == _PREFERRED:
        return homes["state_dict"], [homes["model"]]
    raise CheckpointError(
        f"{origin} must hold one HRNet, got {len(distinct)} under {_places(distinct)}. Choose with --weights-key."
    )


def _plain(candidates: Sequence[_Candidate], origin: str) -> list[_Candidate]:
    own = [c for c in candidates if not c.words & (_AVERAGED | _TEACHER)]
    found = own or [c for c in candidates if not c.words & _AVERAGED]
    if not found:
        raise CheckpointError(
            f"{origin} must hold plain weights, got averaged (EMA) ones only, under {_places(candidates)}. Add --ema."
        )
    return found


def _averaged(candidates: Sequence[_Candidate], entries: Sequence[Entry], origin: str) -> list[_Candidate]:
    if any(c.root.startswith(_SWAPPED) for c in candidates):
        found = [c for c in candidates if c.root.startswith("state_dict.")]
    else:
        found = [c for c in candidates if c.words & _AVERAGED]
        counted = {entry.container for entry in entries if entry.name.rpartition(".")[2] == "n_averaged"}
        found = found or [c for c in candidates if any(e.container in counted for e in c.entries)]
    if not found:
        raise CheckpointError(
            f"{origin} must hold averaged (EMA) weights, got plain ones under {_places(candidates)}. Leave out --ema."
        )
    return found


def _equal(one: _Candidate, other: _Candidate) -> bool:
    ours, theirs = ({e.name.removeprefix(c.root): e.leaf for e in c.entries} for c in (one, other))
    return ours.keys() == theirs.keys() and all(_same(leaf, theirs[name]) for name, leaf in ours.items())


def _same(one: object, other: object) -> bool:
    if isinstance(one, StoredTensor) and isinstance(other, StoredTensor):
        return one == other or torch.equal(one.open(), other.open())
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        usable = not any(tensor.is_meta or _defect(tensor) for tensor in (one, other))
        return one is other or (usable and one.device == other.device and torch.equal(one, other))
    return False


def _opened(name: str, leaf: Leaf, origin: str) -> Tensor:
    if isinstance(leaf, StoredTensor):
        return leaf.open()
    defect = leaf.kind if isinstance(leaf, UnreadableTensor) else _defect(leaf)
    if isinstance(leaf, Tensor) and defect is None:
        return leaf
    raise CheckpointError(
        f"{origin} must hold dense tensors, got '{name:.80}' {defect}. "
        "Gather or dequantize the weights first, and save model.state_dict() again."
    )


def _defect(tensor: Tensor) -> str | None:
    """Say why a tensor in memory has no usable numbers; None for a dense one."""
    if type(tensor) not in {Tensor, nn.Parameter, nn.Buffer}:
        return "of a subclass of tensors"
    if tensor.is_nested or tensor.layout is not torch.strided:
        return "sparse or nested"
    return "quantized" if tensor.is_quantized else None


def _places(candidates: Sequence[_Candidate]) -> str:
    return " and ".join(f"'{c.place:.80}'" if c.place else "the outermost dict" for c in candidates[:_SHOWN])


def _nothing_found(content: object, entries: Sequence[Entry], origin: str) -> CheckpointError:
    if any("_flat_param" in entry.name for entry in entries):
        return CheckpointError(
            f"{origin} must hold whole tensors, got one shard of FSDP's flat parameters. "
            "Save with StateDictType.FULL_STATE_DICT."
        )
    if entries:
        names = few(f"'{entry.name}'" for entry in entries[:_SHOWN])
        return CheckpointError(
            f"{origin} must hold an HRNet, got tensors such as {names} and no stage2 to stage4. "
            "Check that it is the right file."
        )
    if isinstance(content, PickledObject):
        return CheckpointError(
            f"{origin} must hold a state dict, got a whole pickled '{content.name}' without tensors. "
            "Save model.state_dict() instead of the model."
        )
    if not isinstance(content, Mapping):
        kind = type(content).__name__
        return CheckpointError(f"{origin} must hold a state dict, got {kind}. Save model.state_dict().")
    found = few((f"'{key}'" for key in content if isinstance(key, (str, int))), 6) or "nothing"
    return CheckpointError(f"{origin} must hold a dict of tensors, got entries {found}. Save model.state_dict().")
