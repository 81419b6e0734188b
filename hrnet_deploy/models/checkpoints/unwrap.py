"""From what a file holds to its weights: the dict inside the dicts, and names without wrappers' prefixes."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hrnet_deploy.errors import CheckpointError
from hrnet_deploy.models.checkpoints.torchfile import InertPlaceholder

_WEIGHT_KEYS = ("state_dict", "model")
# mmengine's EMAHook swaps on saving: its `state_dict` is the average and `ema_state_dict` the plain weights.
_EMA_KEYS = (("state_dict_ema", "state_dict_ema"), ("model_ema", "model_ema"), ("ema_state_dict", "state_dict"))
_PREFIXES = ("module.", "_orig_mod.", "model.")
_STUDENT, _TEACHER = "Student.", "Teacher."
_EMA_COUNTERS = frozenset({"steps", "n_averaged"})
_LOSS = "loss."
_BATCH_COUNTER = "num_batches_tracked"


def pick_weights(content: object, origin: str, *, ema: bool) -> dict[str, Tensor]:
    """Find the state dict in a loaded file.

    Args:
        content: what the file holds.
        origin: the file, for messages.
        ema: take the averaged copy instead of the plain weights.

    Returns:
        Tensors by their stored names.

    Raises:
        CheckpointError: no dict of tensors where one should be, a whole pickled model, or no averaged copy.
    """
    if isinstance(content, InertPlaceholder):
        raise CheckpointError(
            f"{origin} must hold a state dict, got a whole pickled '{content.stands_for}'. "
            "Save model.state_dict() instead of the model."
        )
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{origin} must hold a state dict, got {type(content).__name__}. Save model.state_dict()."
        )
    if ema:
        return _pick_ema(content, origin)
    for key in _WEIGHT_KEYS:
        if _is_weights(content.get(key)):
            return dict(content[key])
    if _is_weights(content):
        return dict(content)
    found = ", ".join(f"'{key}'" for key in list(content)[:6]) or "nothing"
    raise CheckpointError(f"{origin} must hold a dict of tensors, got entries {found}. Save model.state_dict().")


def _pick_ema(content: Mapping[str, object], origin: str) -> dict[str, Tensor]:
    for marker, key in _EMA_KEYS:
        weights = content.get(key)
        if marker in content and isinstance(weights, Mapping) and _is_weights(weights):
            return {name: tensor for name, tensor in weights.items() if name not in _EMA_COUNTERS}
    found = ", ".join(f"'{key}'" for key in list(content)[:6])
    raise CheckpointError(f"{origin} must hold averaged (EMA) weights, got {found}. Load its plain weights.")


def _is_weights(value: object) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())


def clean_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Drop what wrappers added: prefixes of all names, losses, a teacher, batch counters.

    Args:
        tensors: tensors by their stored names.

    Returns:
        The same tensors under the names the network itself gave them.
    """
    kept = dict(tensors)
    while kept:
        if any(name.startswith(_STUDENT) for name in kept):
            kept = {name: tensor for name, tensor in kept.items() if not name.startswith(_TEACHER)}
        own = {name: tensor for name, tensor in kept.items() if not name.startswith(_LOSS)}
        prefix = next((p for p in (*_PREFIXES, _STUDENT) if own and all(n.startswith(p) for n in own)), None)
        if prefix is None:
            return {name: tensor for name, tensor in own.items() if not name.endswith(_BATCH_COUNTER)}
        kept = {name.removeprefix(prefix): tensor for name, tensor in own.items()}
    return kept
