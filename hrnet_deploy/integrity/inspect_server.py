"""The inspection and verification of a model on a V2 server."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from hrnet_deploy.engines.remote.client import Client
from hrnet_deploy.engines.remote.engine import RemoteEngine
from hrnet_deploy.engines.remote.model_info import ModelInfo, read_model_info
from hrnet_deploy.engines.remote.remote_model import RemoteModel
from hrnet_deploy.integrity.verify import FINGERPRINT, NO_CARD, Check, check_output
from hrnet_deploy.spec import ModelCard


@dataclass(frozen=True)
class ServerInspection:
    """What a server tells about a model.

    Attributes:
        card: the card given, or the one in the model's configuration; None where there is neither.
    """

    served: RemoteModel
    info: ModelInfo
    card: ModelCard | None


def inspect_server(served: RemoteModel) -> ServerInspection:
    """Read a model's description without running it.

    Args:
        served: the model.

    Returns:
        Its description.

    Raises:
        ArtifactError: no V2 server, no such model or version, or a card that cannot be read.
        DeviceError: the server is unreachable or breaks the protocol.
        UsageError: the server refuses the token, or redirects.
    """
    client = Client(served)
    try:
        info = read_model_info(client)
    finally:
        client.close()
    return ServerInspection(served, info, served.card or info.card(str(served)))


def verify_server(inspection: ServerInspection) -> tuple[Check, ...]:
    """Compute the output fingerprint through the server.

    Args:
        inspection: from `inspect_server`.

    Returns:
        The checks, including those that were not possible.

    Raises:
        ArtifactError: the server's inputs and outputs are not the card's.
        VerificationError: the output differs.
        HrnetDeployError: the server failed.
    """
    if inspection.card is None:
        return (Check(FINGERPRINT, "not checked", NO_CARD),)
    with contextlib.closing(RemoteEngine(inspection.served)) as engine:
        return (check_output(str(inspection.served), engine, inspection.card),)
