"""One hostile input: files, a command line, and what a sound program makes of them."""

import json
import os
import shutil
import socket
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

SPECIAL = "special:"
"""A file of this content is no regular file: see `_SPECIALS`."""


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        short = Path(folder) / "s"  # an address has at most 107 bytes
        server.bind(str(short))
        shutil.move(short, path)


def _link(target: str):
    return lambda path: path.symlink_to(target)


_SPECIALS = {
    "fifo": _fifo,
    "socket": _socket,
    "zero": _link("/dev/zero"),
    "full": _link("/dev/full"),
    "dangling": _link("nowhere"),
    "loop": lambda path: path.symlink_to(path.name),
    "folder": Path.mkdir,
    "locked": lambda path: path.mkdir(mode=0),
}
SPECIALS = tuple(SPECIAL + name for name in _SPECIALS)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A hostile input.

    Attributes:
        words: the command and its arguments, such as ("predict", "a.onnx", "a.png"); "call:NAME" is one of `calls`.
        files: content by name below the folder in which the command runs.
        environment: variables to set.
        output: file that the command writes; it must be absent, or readable, after an error.
        expected: text of stdout, where the command succeeds; other text is a wrong prediction.
    """

    words: tuple[str, ...]
    files: dict[str, bytes] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    output: str = ""
    expected: str = ""

    def write(self, folder: Path) -> None:
        """Write the files."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            special = content[len(SPECIAL) :].decode() if content.startswith(SPECIAL.encode()) else ""
            if special:
                _SPECIALS[special](path)
            else:
                path.write_bytes(content)

    def keep(self, folder: Path, findings: dict[str, str]) -> None:
        """Write the case for `Case.kept`, with what was found."""
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "files").mkdir(parents=True)
        names = {f"{number:03}": name for number, name in enumerate(self.files)}
        for number, name in names.items():
            (folder / "files" / number).write_bytes(self.files[name])
        record = {**asdict(self), "files": names, "findings": findings}
        (folder / "case.json").write_text(json.dumps(record, indent=1) + "\n")

    @classmethod
    def kept(cls, folder: Path) -> "Case":
        """Read what `keep` wrote."""
        record = json.loads((folder / "case.json").read_text())
        del record["findings"]
        files = {name: (folder / "files" / number).read_bytes() for number, name in record.pop("files").items()}
        return cls(**{**record, "words": tuple(record["words"]), "files": files})
