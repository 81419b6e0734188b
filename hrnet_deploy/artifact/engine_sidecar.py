"""The sidecar of an engine, `<name>.engine.json`: what it was built for, checked before it is loaded."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hrnet_deploy.artifact.card import CARD_KEY, card_metadata
from hrnet_deploy.artifact.files import atomic_output, sha256_file
from hrnet_deploy.artifact.known_classes import unpack_classes
from hrnet_deploy.artifact.plan_file import CLASSIC, RTX, same_version
from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError
from hrnet_deploy.spec import ModelCard, Precision

SCHEMA = 1
"""Version of the sidecar's JSON; one with a newer number is refused."""

HARDWARE_COMPATIBILITY = "hardware_compatibility"
"""Option under which a build records that its plan runs on other cards than its own; value AMPERE_PLUS."""
AMPERE_PLUS = "ampere+"
"""TensorRT's HardwareCompatibilityLevel.AMPERE_PLUS: compute capability 8.0 and above."""

Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]
"""Smallest, best and largest shape of each dynamic input; empty for a static graph."""

_SIZE_LIMIT_BYTES = 8 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[0-9]+(\.[0-9]+){2,3}[-+.0-9A-Za-z]*")
_CAPABILITY = re.compile(r"sm([0-9]{2,3})")


@dataclass(frozen=True, kw_only=True)
class EngineSidecar:
    """What has to be known about a plan before it may be loaded.

    Attributes:
        card: model card of the artefact.
        flavour: "tensorrt" or "tensorrt-rtx".
        version: of the TensorRT that built it, such as "10.13.3.9".
        capabilities: compute capabilities it was built for, such as ("sm75",).
        gpu: name of the GPU it was built on, "" where none was needed.
        plan_sha256: digest of the .engine file; guards against damage, not malice.
        plan_bytes: size of the .engine file.
        graph_sha256: digest of the ONNX graph it was built from.
        precision: arithmetic that was asked for.
        profile: smallest, best and largest shape of each dynamic input.
        rebuild: the exact command line that builds it again, as `shlex.join` writes it.
        options: other build options, as texts.
        convolutions: how many there are and how many run in each precision, such as {"total": 91, "fp16": 91}.
    """

    card: ModelCard
    flavour: str
    version: str
    capabilities: tuple[str, ...]
    gpu: str = ""
    plan_sha256: str
    plan_bytes: int
    graph_sha256: str
    precision: Precision
    profile: Profile = field(default_factory=dict)
    rebuild: str
    options: Mapping[str, str] = field(default_factory=dict)
    convolutions: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require("card", self.card, isinstance(self.card, ModelCard), "a model card")
        _require("flavour", self.flavour, self.flavour in {CLASSIC, RTX}, f"{CLASSIC} or {RTX}")
        _require("version", self.version, _matches(_VERSION, self.version), "a version such as 10.13.3.9")
        _require("plan_sha256", self.plan_sha256, _matches(_SHA256, self.plan_sha256), "64 hex digits")
        _require("graph_sha256", self.graph_sha256, _matches(_SHA256, self.graph_sha256), "64 hex digits")
        _require("plan_bytes", self.plan_bytes, _is_count(self.plan_bytes) and self.plan_bytes > 0, "a positive number")
        _require("gpu", self.gpu, isinstance(self.gpu, str) and self.gpu.isprintable(), "a name on one line")
        # The command is shown for pasting into a shell: as `shlex.join` writes it, it can hold one command only.
        _require("rebuild", self.rebuild, _is_export_command(self.rebuild), "one quoted hrnet-export command")
        object.__setattr__(self, "capabilities", _capabilities(self.capabilities))
        object.__setattr__(self, "profile", _profile(self.profile))
        try:
            object.__setattr__(self, "precision", Precision(self.precision))
        except ValueError as error:
            raise UsageError(
                f"precision must be fp32, fp16 or int8, got {self.precision!r:.40}. Choose one."
            ) from error
        _require("options", self.options, _is_table(self.options, str), "texts by name")
        _require("convolutions", self.convolutions, _is_table(self.convolutions, int), "numbers by name")

    def to_json(self) -> str:
        """The sidecar's text: indented, keys sorted, so equal facts give equal bytes."""
        content = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        content["card"] = json.loads(card_metadata(self.card)[CARD_KEY])
        content["precision"] = self.precision.value
        return json.dumps({"schema": SCHEMA, **content}, sort_keys=True, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str = "engine facts") -> EngineSidecar:
        """Read a sidecar's text.

        Args:
            text: what `to_json` wrote.
            name: the file, for the error.

        Returns:
            The facts.

        Raises:
            ArtifactError: not such a text, one of a newer schema, or one whose values cannot be used.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            schema = content.pop("schema")
            if schema != SCHEMA:
                raise ArtifactError(f"the sidecar must have schema {SCHEMA}, got {schema!r:.40}. Upgrade hrnet-deploy.")
            card = content.pop("card")
            card["classes"] = unpack_classes(card["classes"])
            return cls(card=ModelCard.from_json(json.dumps(card)), **content)
        except ArtifactError as error:
            raise ArtifactError(f"{name}: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise ArtifactError(f"{name} must describe an engine, got: {reason:.200}. {_BUILD_AGAIN}") from error


_BUILD_AGAIN = "Build the engine again with hrnet-export, which writes both files."


def sidecar_path(engine: Path) -> Path:
    """Where the facts of an engine lie.

    Args:
        engine: the .engine file.

    Returns:
        The file beside it: w18.engine gives w18.engine.json.
    """
    return engine.with_name(engine.name + ".json")


def write_sidecar(facts: EngineSidecar, path: Path) -> None:
    """Write a sidecar, whole or not at all.

    Args:
        facts: what to write.
        path: the sidecar, from `sidecar_path`.

    Raises:
        UsageError: the place cannot be written to.
    """
    with atomic_output(path) as temporary:
        temporary.write_text(facts.to_json(), encoding="utf-8")


def read_sidecar(path: Path) -> EngineSidecar | None:
    """Read a sidecar.

    Args:
        path: the sidecar, from `sidecar_path`.

    Returns:
        The facts, or None where there is no such file.

    Raises:
        ArtifactError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_SIZE_LIMIT_BYTES + 1)
        if len(content) > _SIZE_LIMIT_BYTES:
            raise ArtifactError(f"{path.name} must be under {_SIZE_LIMIT_BYTES >> 20} MiB, got more. {_BUILD_AGAIN}")
        return EngineSidecar.from_json(content.decode(), path.name)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "bytes that are not UTF-8"
        raise ArtifactError(f"{path.name} must be a readable JSON file, got: {reason}. {_BUILD_AGAIN}") from error


def check_sidecar(facts: EngineSidecar, *, plan: Path, flavour: str, version: str, capability: str | None) -> None:
    """Refuse an engine that cannot run here, before TensorRT sees it.

    Args:
        facts: of the engine.
        plan: the .engine file.
        flavour: of the TensorRT that is to run it.
        version: of the TensorRT that is to run it.
        capability: compute capability of the GPU, such as "sm90"; None where unknown, and then not checked.

    Raises:
        MissingFileError: there is no such engine.
        ArtifactError: cut short, damaged, or built for another TensorRT or GPU; names both sides and the command that
            builds it again.
    """
    name = plan.name
    try:
        size = plan.stat().st_size
    except OSError as error:
        raise MissingFileError(f"engine must exist, got {plan}. Check the path.") from error
    if size != facts.plan_bytes:
        state = "cut short" if size < facts.plan_bytes else "another file"
        raise _refusal(facts, f"{name} must have {facts.plan_bytes:,} bytes, got {size:,}: it is {state}")
    if facts.flavour != flavour:
        raise _refusal(facts, f"{name} must be built by {flavour}, got one by {facts.flavour} {facts.version}")
    if not same_version(facts.version, version):
        raise _refusal(facts, f"{name} must be built by the {flavour} that runs it ({version}), got {facts.version}")
    if capability is not None and not runs_on(facts, capability):
        built_for = ", ".join(facts.capabilities) + (f" ({facts.gpu})" if facts.gpu else "")
        raise _refusal(facts, f"{name} must be built for this GPU ({capability}), got {built_for}")
    # Last, because it reads the whole file.
    digest = sha256_file(plan)
    if digest != facts.plan_sha256:
        wanted = facts.plan_sha256[:12]
        raise _refusal(facts, f"{name} must have SHA-256 {wanted}…, got {digest[:12]}…: damaged, or not its sidecar's")


def runs_on(facts: EngineSidecar, capability: str) -> bool:
    """Whether a plan was built for a GPU of this compute capability.

    Args:
        facts: of the engine.
        capability: such as "sm90".

    Returns:
        True where it is one of those built for, or reached by the plan's hardware compatibility.
    """
    found = _CAPABILITY.fullmatch(capability)
    portable = facts.options.get(HARDWARE_COMPATIBILITY) == AMPERE_PLUS and found and int(found[1]) >= 80
    return capability in facts.capabilities or bool(portable)


def _refusal(facts: EngineSidecar, complaint: str) -> ArtifactError:
    return ArtifactError(f"{complaint}. Build it again: {facts.rebuild}")


def _require(name: str, value: object, fits: bool, wanted: str) -> None:  # noqa: FBT001
    if not fits:
        raise UsageError(f"{name} must be {wanted}, got {value!r:.80}. Correct it.")


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_table(value: object, kind: type) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(key, str) and type(entry) is kind for key, entry in value.items()
    )


def _is_export_command(value: object) -> bool:
    if not isinstance(value, str) or not value.isprintable():
        return False
    try:
        words = shlex.split(value)
    except ValueError:
        return False
    return words[:1] == ["hrnet-export"] and shlex.join(words) == value


def _capabilities(values: Any) -> tuple[str, ...]:
    listed = tuple(values) if isinstance(values, (list, tuple)) else ()
    fits = bool(listed) and all(_matches(_CAPABILITY, value) for value in listed)
    _require("capabilities", values, fits, "names such as sm75, at least one")
    return listed


def _profile(value: Any) -> dict[str, tuple[Shape, Shape, Shape]]:
    wanted = "min, opt and max shape by input name"
    _require("profile", value, isinstance(value, Mapping), wanted)
    checked = {}
    for name, shapes in value.items():
        listed = isinstance(shapes, (list, tuple)) and all(isinstance(shape, (list, tuple)) for shape in shapes)
        _require("profile", value, isinstance(name, str) and listed and len(shapes) == 3, wanted)
        low, best, high = (tuple(shape) for shape in shapes)
        ordered = len(low) == len(best) == len(high) and all(
            _is_count(a) and _is_count(b) and _is_count(c) and a <= b <= c
            for a, b, c in zip(low, best, high, strict=True)
        )
        _require("profile", value, ordered, wanted)
        checked[name] = (low, best, high)
    return checked
