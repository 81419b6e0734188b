"""The sidecar of an engine, `<name>.engine.json`: its target and origin, checked before the engine is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hrnet_deploy.artifact.card import CARD_KEY, card_metadata, unpack_card
from hrnet_deploy.artifact.files import atomic_output, sha256_file
from hrnet_deploy.artifact.plan_file import CLASSIC, RTX, same_version
from hrnet_deploy.errors import ArtifactError, MissingFileError, UsageError
from hrnet_deploy.json_text import parse_json
from hrnet_deploy.limits import JSON_FILE_BYTES
from hrnet_deploy.spec import ModelCard, Precision
from hrnet_deploy.system.regular_file import read_regular

SCHEMA = 1
"""Version of the sidecar's JSON; one with a newer number is refused."""

Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]
"""Min, opt and max shape of each dynamic input; empty for a static graph."""

_BUILD_AGAIN = "Build the engine again with hrnet-export, which writes both files."


@dataclass(frozen=True, kw_only=True)
class EngineSidecar:
    """The target and origin of a plan.

    Attributes:
        flavour: "tensorrt" or "tensorrt-rtx".
        version: version of the TensorRT that built it, such as "10.13.3.9".
        capabilities: compute capabilities that it was built for, such as ("sm75",).
        gpu: name of the GPU that it was built on; "" where none was needed.
        plan_sha256: digest of the .engine file, which detects damage, not malice.
        graph_sha256: digest of the ONNX graph that it was built from.
        precision: the requested precision.
        rebuild: the command line that builds it again, as `shlex.join` writes it.
        options: other build options, as texts.
        convolutions: number of convolutions, and of those in each precision, such as {"total": 91, "fp16": 91}.
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
        for name, (fits, wanted) in _RULES.items():
            value = getattr(self, name)
            if not fits(value):
                raise UsageError(f"{name} must be {wanted}, got {value!r:.80}. Correct it.")
        # From JSON these are lists and a text.
        object.__setattr__(self, "capabilities", tuple(self.capabilities))
        object.__setattr__(self, "profile", {name: tuple(map(tuple, s)) for name, s in self.profile.items()})
        object.__setattr__(self, "precision", Precision(self.precision))

    def to_json(self) -> str:
        """Return the sidecar's text: indented, keys sorted, so that equal sidecars have equal bytes."""
        content = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        content["card"] = json.loads(card_metadata(self.card)[CARD_KEY])
        content["precision"] = self.precision.value
        return json.dumps({"schema": SCHEMA, **content}, sort_keys=True, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str = "engine sidecar") -> EngineSidecar:
        """Parse the text of `to_json`; ArtifactError, which names the file, for a newer schema or unusable values."""
        try:
            content: dict[str, Any] = parse_json(text)
            schema = content.pop("schema")
            if schema != SCHEMA:
                raise ArtifactError(f"the sidecar must have schema {SCHEMA}, got {schema!r:.40}. Upgrade hrnet-deploy.")
            return cls(card=unpack_card(content.pop("card")), **content)
        except ArtifactError as error:
            raise ArtifactError(f"{name}: {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise ArtifactError(f"{name} must describe an engine, got: {reason:.200}. {_BUILD_AGAIN}") from error


def sidecar_path(engine: Path) -> Path:
    """Return the path of an engine's sidecar, which is beside it: w18.engine.json for w18.engine."""
    return engine.with_name(engine.name + ".json")


def write_sidecar(sidecar: EngineSidecar, path: Path) -> None:
    """Write a sidecar to its `sidecar_path`, whole or not at all; UsageError where that is not possible."""
    with atomic_output(path) as temporary:
        temporary.write_text(sidecar.to_json(), encoding="utf-8")


def read_sidecar(path: Path) -> EngineSidecar | None:
    """Read the sidecar at a `sidecar_path`; None without such a file, ArtifactError for an unreadable one."""
    try:
        content = read_regular(path, "engine sidecar", JSON_FILE_BYTES, ArtifactError)
    except MissingFileError:
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ArtifactError(
            f"{path.name} must be a readable JSON file, got: bytes that are not UTF-8. {_BUILD_AGAIN}"
        ) from error
    return EngineSidecar.from_json(text, path.name)


def check_sidecar(
    sidecar: EngineSidecar,
    *,
    plan: Path,
    flavour: str,
    version: str,
    capability: str | None,
    content: bytes | None = None,
) -> None:
    """Refuse an engine that this TensorRT, or a GPU of this capability, cannot run; None to skip the latter.

    `content` is that of the file, where the caller has read it: then another file in its place changes nothing.

    MissingFileError: there is no such engine. ArtifactError: cut short, damaged, or built for another TensorRT or GPU;
    it names the command that builds it again.
    """
    name = plan.name
    try:
        check_size(sidecar, name, plan.stat().st_size if content is None else len(content))
    except OSError as error:
        raise MissingFileError(f"engine must exist, got {plan}. Check the path.") from error
    if sidecar.flavour != flavour:
        raise _refusal(sidecar, f"{name} must be built by {flavour}, got one by {sidecar.flavour} {sidecar.version}")
    if not same_version(sidecar.version, version):
        raise _refusal(
            sidecar, f"{name} must be built by the {flavour} that runs it ({version}), got {sidecar.version}"
        )
    if capability is not None and capability not in sidecar.capabilities:
        built_for = ", ".join(sidecar.capabilities) + (f" ({sidecar.gpu})" if sidecar.gpu else "")
        raise _refusal(sidecar, f"{name} must be built for this GPU ({capability}), got {built_for}")
    digest = sha256_file(plan) if content is None else hashlib.sha256(content).hexdigest()
    check_digest(sidecar, name, digest)  # last, because it reads the whole file


def check_size(sidecar: EngineSidecar, name: str, size: int) -> None:
    """Refuse an engine of another size than its sidecar's."""
    if size != sidecar.plan_bytes:
        state = "cut short" if size < sidecar.plan_bytes else "another file"
        raise _refusal(sidecar, f"{name} must have {sidecar.plan_bytes:,} bytes, got {size:,}: it is {state}")


def check_digest(sidecar: EngineSidecar, name: str, digest: str) -> None:
    """Refuse an engine with another SHA-256 than its sidecar's."""
    if digest != sidecar.plan_sha256:
        wanted = sidecar.plan_sha256[:12]
        raise _refusal(
            sidecar, f"{name} must have SHA-256 {wanted}…, got {digest[:12]}…: damaged, or not its sidecar's"
        )


def _refusal(sidecar: EngineSidecar, complaint: str) -> ArtifactError:
    return ArtifactError(f"{complaint}. Build it again: {sidecar.rebuild}")


def _text(pattern: str) -> Callable[[Any], bool]:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _table(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Mapping) and all(type(entry) is kind for entry in value.values())


def _is_profile(value: Any) -> bool:
    """Return whether every input has three shapes of whole numbers in ascending order."""
    try:
        ranges = [zip(low, opt, high, strict=True) for low, opt, high in value.values()]
        sizes = [size for dimensions in ranges for size in dimensions]
    except (AttributeError, TypeError, ValueError):
        return False
    return all(set(map(type, size)) == {int} and 0 <= size[0] <= size[1] <= size[2] for size in sizes)


def _is_export_command(value: Any) -> bool:
    """Return whether a text is one quoted command, which is safe to paste into a shell."""
    if not isinstance(value, str) or not value.isprintable():
        return False
    try:
        words = shlex.split(value)
    except ValueError:
        return False
    return words[:1] == ["hrnet-export"] and shlex.join(words) == value


_is_digest = _text(r"[0-9a-f]{64}")
_is_capability = _text(r"sm[0-9]{2,3}")
_RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "card": (lambda value: isinstance(value, ModelCard), "a model card"),
    "flavour": (lambda value: value in (CLASSIC, RTX), f"{CLASSIC} or {RTX}"),
    "version": (_text(r"[0-9]+(\.[0-9]+){2,3}[-+.0-9A-Za-z]*"), "a version such as 10.13.3.9"),
    "capabilities": (
        lambda value: isinstance(value, (list, tuple)) and bool(value) and all(map(_is_capability, value)),
        "names such as sm75, at least one",
    ),
    "gpu": (lambda value: isinstance(value, str) and value.isprintable(), "a name on one line"),
    "plan_sha256": (_is_digest, "64 hex digits"),
    "plan_bytes": (lambda value: type(value) is int and value > 0, "a positive number"),
    "graph_sha256": (_is_digest, "64 hex digits"),
    "precision": (lambda value: value in tuple(Precision), "fp32, fp16 or int8"),
    "profile": (_is_profile, "min, opt and max shape by input name"),
    "rebuild": (_is_export_command, "one quoted hrnet-export command"),
    "options": (_table(str), "texts by name"),
    "convolutions": (_table(int), "numbers by name"),
}
"""The test of each field of a sidecar, which may come from anyone, and the requirement in words."""
