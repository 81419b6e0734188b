"""Classification datasets: ImageNet's folders, other class folders, and folders with a label file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from hrnet_deploy.artifact.known_classes import imagenet_wnids
from hrnet_deploy.errors import ImageError, UsageError
from hrnet_deploy.evaluation.datasets.dataset import Dataset, Sample, and_more, chosen_split
from hrnet_deploy.evaluation.datasets.label_file import normalize_name, read_label_file
from hrnet_deploy.imaging.folders import images_below, is_file, is_image, list_folder
from hrnet_deploy.spec import Task

_WNID = re.compile(r"n\d{8}")
_LABEL_FILES = (
    "LOC_val_solution.csv",
    "labels.csv",
    "labels.txt",
    "val.csv",
    "val.txt",
    "val_labels.txt",
    "val_list.txt",
)


def find_photos(root: Path, classes: Sequence[str], *, labels: Path | None = None, split: str | None = None) -> Dataset:
    """Find photos with one class each.

    1. A label file (`val.txt`) as `root`: the images it names.
    2. A folder of class folders, or a split of one: named by WordNet id, class name or index, or as many as the model
       has classes, in sorted order.
    3. A folder of images with a label file: `labels`, or one of the usual names in or beside the folder.

    Without `split`, the first of `SPLITS` that exists is used. Photos are sorted by path, or in the label file's order.
    """
    if root.is_file():
        return _listed(root, read_label_file(root, classes), len(classes))
    folders, files = list_folder(root)
    where = root / (chosen_split(root, folders, split) or "")
    if where != root:
        folders, files = list_folder(where)
    if labels is None and folders and any(images_below(where / name) for name in folders):
        if images := [name for name in files if is_image(name)]:
            raise UsageError(
                f"each image needs a class folder or a line in a label file, got {and_more(images)} beside the folders"
                f" of {where}. Move it, or name a label file (--labels)."
            )
        return _class_folders(where, folders, classes)
    photos = images_below(where)
    if not photos:
        raise ImageError(f"evaluation data must hold images, got none in {where}. Check the path.")
    file = labels or _label_file(where, root)
    return _labeled(where, photos, file, read_label_file(file, classes), len(classes))


def _class_folders(root: Path, folders: Sequence[str], classes: Sequence[str]) -> Dataset:
    layout, index = _indices(root, folders, classes)
    found = ((path, index[name]) for name in folders for path in images_below(root / name))
    samples = [Sample(path.relative_to(root).as_posix(), path, label) for path, label in found]
    return _dataset(root, layout, len(classes), samples)


def _indices(root: Path, folders: Sequence[str], classes: Sequence[str]) -> tuple[str, dict[str, int]]:
    """Return the name of the layout, and the class index of each folder."""
    by_name = {normalize_name(name): index for index, name in enumerate(classes)}
    known = [name for name in folders if normalize_name(name) in by_name]
    if len(known) == len(folders):
        return "class folders", {name: by_name[normalize_name(name)] for name in folders}
    if known:
        unknown = [name for name in folders if name not in known]
        raise UsageError(
            f"each folder of {root} must name a class of the model, got '{unknown[0]}'. Rename it or move it away."
        )
    if len(classes) == len(imagenet_wnids()) and all(_WNID.fullmatch(name) for name in folders):
        ranks = {wnid: index for index, wnid in enumerate(imagenet_wnids())}
        if foreign := [name for name in folders if name not in ranks]:
            raise UsageError(
                f"each folder of {root} must be one of ImageNet's 1000 WordNet ids, got {foreign[0]}. Use the ILSVRC"
                " 2012 classes."
            )
        return "ImageNet folders", {name: ranks[name] for name in folders}
    if all(name.isdecimal() for name in folders):
        numbers = {name: int(name) for name in folders}
        if beyond := [name for name in folders if numbers[name] >= len(classes)]:
            raise UsageError(
                f"each folder of {root} must be a class index 0..{len(classes) - 1}, got {beyond[0]}. Count from 0."
            )
        return "index folders", numbers
    if len(folders) == len(classes):
        return "class folders in sorted order", {name: index for index, name in enumerate(folders)}
    raise UsageError(
        f"folders of {root} must be named as the model's {len(classes)} classes ('{classes[0]}', ...), got"
        f" {len(folders)} such as '{folders[0]}'. Rename them, or name a label file (--labels)."
    )


def _label_file(folder: Path, root: Path) -> Path:
    places = dict.fromkeys((folder, folder.parent, root, folder.parent / "meta", root / "meta"))
    names = dict.fromkeys((f"{folder.name}.txt", f"{folder.name}.csv", *_LABEL_FILES))
    for place in places:
        found = [place / name for name in names if is_file(place / name)]
        if len(found) > 1:
            raise UsageError(
                f"labels of {folder} must be in one file, got {found[0].name} and {found[1].name} in {place}. Name the"
                " right one (--labels)."
            )
        if found:
            return found[0]
    raise UsageError(
        f"images need labels, got none for {folder}: no class folders and no label file such as"
        f" {folder.name}.txt. Name one (--labels)."
    )


def _labeled(folder: Path, photos: Sequence[Path], file: Path, labels: Mapping[str, int], classes: int) -> Dataset:
    """Return every photo of a folder with its label; the file may name other images too."""
    lookup: dict[str, int | None] = {}
    for name, label in labels.items():
        pure = PurePosixPath(name)
        for key in {name, pure.name, pure.stem if is_image(name) else name}:
            # A bare name may match images in two folders; it is used only if their labels agree.
            lookup[key] = label if lookup.get(key, label) == label else None
    lookup.update(labels)
    samples: list[Sample] = []
    missing: list[str] = []
    for path in photos:
        relative = path.relative_to(folder).as_posix()
        keys = (f"{folder.name}/{relative}", relative, path.name, path.stem)
        found = next((lookup[key] for key in keys if key in lookup), None)
        if found is None:
            missing.append(relative)
        else:
            samples.append(Sample(relative, path, found))
    if not samples:
        raise UsageError(
            f"label file {file} must name the images of {folder}, got none of its {len(labels)} names there,"
            f" such as {missing[0]}. Use the list of this set."
        )
    if missing:
        raise UsageError(
            f"each image needs a label, got none for {and_more(missing)} in {file}. Add them, or move them away."
        )
    return _dataset(folder, "label file", classes, samples)


def _listed(file: Path, labels: Mapping[str, int], classes: int) -> Dataset:
    """Return every image that a label file names.

    Only the text of a name counts: a link inside of the folder may lead out of it, as the folder's owner decided.
    """
    if beyond := next((name for name in labels if _leads_out(name)), None):
        raise UsageError(
            f"images of label file {file} must lie in its folder, got '{beyond:.200}'. Name the folder as the data and"
            " the file with --labels."
        )
    here = file.parent
    places = (here, here / file.stem, here.parent / file.stem, here.parent, here / "val", here.parent / "val")
    first = next(iter(labels))
    root = next((place for place in places if _file(place, first) is not None), None)
    if root is None:
        raise UsageError(
            f"label file {file} must lie beside its images, got no '{first}' there. Move it, or name the folder as"
            " the data and the file with --labels."
        )
    paths = {name: _file(root, name) for name in labels}
    samples = [Sample(name, path, labels[name]) for name, path in paths.items() if path is not None]
    if missing := [name for name, path in paths.items() if path is None]:
        raise UsageError(
            f"each image of {file} must exist, got no {and_more(missing)} in {root}. Use the list of this set."
        )
    return _dataset(root, "label file", classes, samples)


def _file(root: Path, name: str) -> Path | None:
    names = (name,) if is_image(name) else tuple(name + suffix for suffix in (".JPEG", ".jpg", ".jpeg", ".png"))
    return next((root / candidate for candidate in names if is_file(root / candidate)), None)


def _leads_out(name: str) -> bool:
    """Decide whether a name is absolute, on any system, or goes up."""
    return name.startswith("/") or PureWindowsPath(name).drive != "" or ".." in name.split("/")


def _dataset(root: Path, layout: str, classes: int, samples: Sequence[Sample]) -> Dataset:
    return Dataset(
        root=root, layout=layout, task=Task.CLASSIFICATION, classes=classes, samples=tuple(samples), total=len(samples)
    )
