"""Weights files by path, zoo name or URL.

Downloads are resumed, checked against the publisher's digest, and appear under their name only when complete.
"""

from __future__ import annotations

import hashlib
import os
import re
import urllib.parse
from pathlib import Path

from hrnet_deploy.artifact.files import atomic_output
from hrnet_deploy.errors import DownloadError, MissingFileError, UsageError
from hrnet_deploy.json_text import parse_json
from hrnet_deploy.limits import CONFIG_BYTES
from hrnet_deploy.models.checkpoints.file_format import weights_in
from hrnet_deploy.models.zoo import ZooEntry, entries, named_entry, suggestion
from hrnet_deploy.system.cache_dir import cache_folder
from hrnet_deploy.system.download import check_digest, download
from hrnet_deploy.system.http_client import fetch_small, split_url

CONFIG_SUFFIX = ".config.json"
"""Suffix of timm's config beside cached weights; it is fetched from the same folder on the web."""
_UNVERIFIED = "unverified"
"""Start of the cached name of a file from a URL, for which no digest is published."""
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_FILE_SUFFIXES = frozenset({".pth", ".pt", ".tar", ".bin", ".ckpt", ".safetensors", ".pdparams", ".onnx"})


def resolve_weights(source: str | Path) -> Path:
    """Find the file that holds the weights; download it where needed, to the folder `weights` of the cache.

    Args:
        source: an existing file, a folder with one weights file, a zoo name such as "hrnet_w18.mm_in1k" or its
            publisher's name for it, or an http(s) URL.

    Raises:
        UsageError: no such source, a name that two publishers use, or a folder without a file to choose.
        MissingFileError: a path with no file there.
        DownloadError: the file cannot be fetched, must be fetched by hand, or has the wrong digest.
    """
    text = str(source)
    local = Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises for an unknown user
    if _kind(local) == "file":
        return local
    entry = zoo_entry(text) if isinstance(source, str) else None
    if entry is not None:
        return _from_zoo(entry)
    if isinstance(source, str) and _URL.match(text):
        return _from_url(text)
    if _kind(local) == "folder":
        return weights_in(local)
    if isinstance(source, Path) or local.suffix.lower() in _FILE_SUFFIXES or any(sep in text for sep in "/\\"):
        raise MissingFileError(
            f"weights file must exist, got {local}. Check the path, or run hrnet-models for zoo names."
        )
    raise UsageError(
        f"weights must be a file, a zoo name such as hrnet_w18.mm_in1k or an http(s) URL, got '{text}'. "
        f"{suggestion(text)}"
    )


def zoo_entry(source: str) -> ZooEntry | None:
    """Find the zoo row of a weights source; None for a file or an unknown name. UsageError: two publishers use it."""
    if _kind(Path(source)) == "file":
        return None
    return next((entry for entry in entries() if entry.url == source), None) or named_entry(source)


def web_address(source: str) -> str | None:
    """Return the URL of a weights source, without user and query, which may be secret; None without a URL."""
    entry = zoo_entry(source)
    url = source if entry is None else entry.url
    if url is None or not _URL.match(url) or _kind(Path(source)) == "file":
        return None
    parts = split_url(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _kind(path: Path) -> str | None:
    try:
        # A pipe or a device is a file here; reading refuses it by name.
        return "folder" if path.is_dir() else "file" if path.exists() else None
    except (OSError, ValueError):  # too long for a path, such as a signed URL; or with a null character
        return None


def _from_zoo(entry: ZooEntry) -> Path:
    path = cache_folder("weights") / entry.filename
    if entry.url is not None:
        return download(entry.url, path, digest=entry.digest)
    if path.is_file():
        check_digest(path, entry.digest)
        return path
    raise DownloadError(
        f"{entry.name} must be fetched by hand, got no file {path}. {entry.note} Save it there, or export a file with "
        "--weights."
    )


def _from_url(url: str) -> Path:
    path = cache_folder("weights") / _cached_name(url)
    if not path.is_file():  # config first, so that weights never lack it
        _fetch_config(url, path.with_name(path.name + CONFIG_SUFFIX))
    return download(url, path)


def _cached_name(url: str) -> str:
    """Name a file from a URL: no server chooses it, and no zoo file has such a name."""
    last = urllib.parse.unquote(split_url(url).path.rsplit("/", 1)[-1])
    # Many publishers call every file model.safetensors, so the address is part of the cached name.
    address = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    name = re.sub(r"[^\w.-]+", "_", last, flags=re.ASCII)[-100:]
    return f"{_UNVERIFIED}-{address}-{name or 'weights'}"


def _fetch_config(url: str, path: Path) -> None:
    """Store timm's config from the folder of a URL, where there is one."""
    parts = split_url(url)
    beside = urllib.parse.urlunsplit(parts._replace(path=f"{parts.path.rpartition('/')[0]}/config.json", fragment=""))
    content = fetch_small(beside, CONFIG_BYTES)
    try:
        known = content is not None and {"pretrained_cfg", "architecture"} & set(parse_json(content))
    except (ValueError, TypeError):  # some servers return content for any address
        known = False
    if content is not None and known:
        with atomic_output(path) as temporary:
            temporary.write_bytes(content)
