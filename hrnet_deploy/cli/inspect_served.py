"""What `hrnet-inspect` shows of a model on a V2 server."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from hrnet_deploy.integrity.inspect_server import ServerInspection
from hrnet_deploy.integrity.verify import Check
from hrnet_deploy.spec import TensorSpec


def served_entries(inspection: ServerInspection) -> list[tuple[str, str]]:
    """List what the server tells, as (label, text); the card's entries are not among them.

    Args:
        inspection: the model's description.

    Returns:
        The entries in order.
    """
    info = inspection.info
    platform = f" on {info.platform}" if info.platform else ""
    entries = [
        ("server", info.server or "does not tell its name"),
        ("served as", f"{info.name}{platform}, versions {', '.join(info.versions) or 'not told'}"),
        ("ready", f"no: {info.not_ready}" if info.not_ready else "yes"),
        ("SHA-256", info.sha256 or "not told by the server"),
        ("binary tensors", "yes" if info.binary else "no: JSON is used, which is slow"),
    ]
    if inspection.card is None:
        entries.append(("card", "none in the configuration; give the file's with --card FILE"))
        entries += [("input", describe_tensor(spec)) for spec in info.inputs]
        entries += [("output", describe_tensor(spec)) for spec in info.outputs]
    elif inspection.served.card is not None:
        entries.append(("card", "the one given with --card"))
    return entries


def served_record(inspection: ServerInspection, checks: Sequence[Check] | None) -> dict[str, Any]:
    """Describe a model on a server as JSON values.

    Args:
        inspection: the model's description.
        checks: what was verified; None if nothing was requested.

    Returns:
        The record.
    """
    info = inspection.info
    return {
        "url": str(inspection.served),
        "kind": "server",
        "server": info.server,
        "binary_tensors": info.binary,
        "model": info.name,
        "versions": list(info.versions),
        "platform": info.platform,
        "ready": not info.not_ready,
        "not_ready": info.not_ready or None,
        "sha256": info.sha256 or None,
        "inputs": [dataclasses.asdict(spec) for spec in info.inputs],
        "outputs": [dataclasses.asdict(spec) for spec in info.outputs],
        "card": None if inspection.card is None else inspection.card.to_record(),
        "checks": None if checks is None else [dataclasses.asdict(check) for check in checks],
    }


def describe_tensor(spec: TensorSpec) -> str:
    """Write name, type and shape of a tensor on one line."""
    return f"{spec.name} {spec.dtype} ({', '.join(map(str, spec.shape))})"
