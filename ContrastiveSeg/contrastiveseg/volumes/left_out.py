"""What lies among the volumes of a folder or in a list of them and is not read, though it may be one of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ..events import Emit, log, warning
from ..files import stem
from .dataset_json import read_json
from .origin import read_origin
from .pairing import matching_case, names_a_label_map, volume_files

#: Kinds of volumes that are not read, and downloads that have not ended.
_NOT_READ = re.compile(
    r"\.((mgz|mgh|mnc|minc|hdr|img|(nii|hdr|img|nrrd|mha)\.(gz|bz2|xz|zst|zip|7z))"
    r"|(nii(\.gz)?|nrrd|mha|mgz)\.(part|partial|crdownload|download|filepart|tmp))\Z",
    re.IGNORECASE,
)
#: So many are named.
_NAMED = 3


def tell_left_out(given: Iterable[Path], emit: Emit) -> None:
    """Warn of files that look like volumes and are not read, in the folders ``given`` or their ``imagesTr``, and tell
    of volumes in folders below them. What has the name of a volume there is a copy, its label map or its header.
    Warn of cases that lists hold for validation (MONAI's), too.

    Raises:
        InputError: a list is not JSON.
    """
    for path in given:
        if path.suffix.lower() == ".json" and path.is_file():
            _warn_of_validation(path, emit)
        for folder in (path, path / "imagesTr"):
            if folder.is_dir() and (volumes := volume_files(folder)):
                names = {stem(volume) for volume in volumes}
                _warn_of_files(folder, names, emit)
                _tell_of_folders(folder, names | {name.removesuffix("_0000") for name in names}, emit)
                break


def _warn_of_validation(path: Path, emit: Emit) -> None:
    data = read_json(path)
    held = data.get("validation") if isinstance(data, dict) and "training" in data else None
    if isinstance(held, list) and held:
        emit(
            warning(
                f'{path}: what it lists under "validation" ({len(held)}) is not used, only what is under "training". '
                "Move those cases there, and hold them out by their names: --validation."
            )
        )


def _warn_of_files(folder: Path, names: set[str], emit: Emit) -> None:
    read = {file.name for file in volume_files(folder)}
    others = sorted(file.name for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    found = [(name, match) for name in others if name not in read and (match := _NOT_READ.search(name))]
    if left := [name for name, match in found if name[: match.start()] not in names]:
        more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        emit(
            warning(
                f"{folder} holds {', '.join(left[:_NAMED])}{more}, which may be volumes and are not read. Convert them "
                "(.nii.gz), or complete the download or the pair."
            )
        )


def _tell_of_folders(folder: Path, names: set[str], emit: Emit) -> None:
    for below in sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith(".")):
        files = [file for file in volume_files(below) if not names_a_label_map(file)]
        left = [file for file in files if matching_case(stem(file), names) is None and not read_origin(file)]
        if left:
            count = "1 volume" if len(left) == 1 else f"{len(left)} volumes"
            emit(
                log(f"{below} holds {count}, such as {left[0].name}, left out: only those in {folder} itself are used.")
            )
