"""Where a NIfTI's voxels lie: its qform, its sform and its voxel sizes, checked against each other.

Both transforms go from voxel indices to RAS coordinates. The choice between two that differ is ITK's, hence Slicer's:
the sform if its code says scanner coordinates, else the qform; and of two voxel sizes those of pixdim, also where the
sform has others, as in scans whose sform was filled in with 1 mm. Definitions: https://nifti.nimh.nih.gov/nifti-1
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.quaternions import fillpositive, quat2mat

from ..errors import InputError
from .alignment import SHEAR, TOLERANCE, are_voxel_sizes, is_place, nearest_rotation, voxels_apart
from .volume import Geometry, NiftiTransforms

#: Millimeters of the codes of lengths: meter, (millimeter), micrometer. Others, and none, mean millimeters.
MILLIMETERS = {1: 1000.0, 3: 0.001}
#: Of a transform: 0 for none, scanner, another image, and three standard spaces.
CODES = range(6)
_WAY_OUT = (
    "Correct its header first (nibabel's set_qform and set_sform, or fslorient), or convert the source anew to NIfTI."
)


def nifti_geometry(path: Path, header: Nifti1Header) -> Geometry:
    """The grid that ``header`` describes, in millimeters.

    Raises:
        InputError: voxel sizes of 0 or that are not numbers; no transform in force that can be used.
    """
    size, pixdim = _size_and_pixdim(path, header)
    transforms = {"qform": _qform(header, pixdim), "sform": _sform(header, size)}
    codes = {name: int(header[f"{name}_code"]) for name in transforms}
    doubts = []
    wrong = {
        name: what for name, matrix in transforms.items() if codes[name] and (what := _wrong_with(codes[name], matrix))
    }
    usable = [name for name in transforms if codes[name] and name not in wrong]
    broken = [f"the {name} of its header {what}" for name, what in wrong.items()]
    if broken and not usable:
        raise InputError(f"{path} cannot be placed: {'; '.join(broken)}. {_WAY_OUT}")
    if (pixdim < 0).any() and "sform" not in usable:
        raise InputError(f"{path} has negative voxel sizes (pixdim), and no sform beside them. {_WAY_OUT}")
    scale = MILLIMETERS.get(int(header["xyzt_units"]) & 7, 1.0)
    grids = {name: _geometry(size, transforms[name], scale) for name in usable}
    chosen = "qform" if "qform" in grids and not ("sform" in grids and codes["sform"] == 1) else "sform"
    if len(grids) == 2 and (apart := voxels_apart(grids["qform"], grids["sform"])) > TOLERANCE:
        doubts.append(f"its qform and its sform place it up to {apart:.3g} voxels apart")
    elif len(grids) == 2:
        chosen = "sform"
    doubts += broken
    used = f"{chosen} is used"
    if not grids:
        # ITK's reading of such a file.
        grids[chosen] = _geometry(size, np.diag([-pixdim[0], -pixdim[1], pixdim[2], 1.0]), scale)
        doubts.append("its header does not say how it lies in the patient (the codes of qform and sform are 0)")
    elif (pixdim < 0).any() or not np.allclose(pixdim * scale, grids[chosen].spacing, rtol=0.01):
        sizes, theirs = (" x ".join(f"{s:.4g}" for s in lengths) for lengths in (pixdim * scale, grids[chosen].spacing))
        doubts.append(f"its header's voxel sizes ({sizes} mm, pixdim) are not those of its {chosen} ({theirs} mm)")
        if (pixdim > 0).all():
            x, y, z = (pixdim * scale).tolist()
            grids[chosen] = replace(grids[chosen], spacing=(x, y, z))
            used = f"{chosen} is used, with pixdim's voxel sizes, as in Slicer"
    # A transform that holds no numbers would harm readers of the copy.
    kept = {name: codes[name] in CODES and bool(np.isfinite(matrix).all()) for name, matrix in transforms.items()}
    stored = NiftiTransforms(
        qform_code=codes["qform"] if kept["qform"] else 0,
        sform_code=codes["sform"] if kept["sform"] else 0,
        pixdim=tuple(header["pixdim"][:4].tolist()),
        quaternion=tuple(float(header[f"quatern_{n}"]) for n in "bcd"),
        offset=tuple(float(header[f"qoffset_{n}"]) for n in "xyz"),
        rows=tuple(np.concatenate([header[f"srow_{n}"] for n in "xyz"]).tolist()),
        units=int(header["xyzt_units"]) & 7,
        doubt="; ".join(doubts) + (f". The {used}" if doubts and usable else ""),
    )
    return replace(grids[chosen], nifti=stored)


def store_transforms(header: Nifti1Header, geometry: Geometry) -> None:
    """Say in ``header`` where ``geometry`` lies: as the file did that it comes from, or by both transforms."""
    stored = geometry.nifti
    if stored is None:
        affine = np.vstack([_sform_of(geometry), [0, 0, 0, 1]])
        header.set_qform(affine, 1)
        header.set_sform(affine, 1)
        header["pixdim"][1:4] = geometry.spacing
        header.set_xyzt_units("mm", "sec")
        return
    header["qform_code"], header["sform_code"] = stored.qform_code, stored.sform_code
    header["pixdim"][:4] = stored.pixdim
    for letter, value in zip("bcd", stored.quaternion, strict=True):
        header[f"quatern_{letter}"] = _number(value)
    for index, letter in enumerate("xyz"):
        header[f"qoffset_{letter}"] = _number(stored.offset[index])
        header[f"srow_{letter}"] = [_number(value) for value in stored.rows[4 * index : 4 * index + 4]]
    header["xyzt_units"] = stored.units


def _number(stored: float) -> float:
    """``stored``, or 0 in place of what is no number; the code of its transform is 0 then."""
    return stored if math.isfinite(stored) else 0.0


def _size_and_pixdim(path: Path, header: Nifti1Header) -> tuple[tuple[int, int, int], np.ndarray]:
    """Voxels along x, y, z, and the stored voxel sizes; axes that a 2D image lacks have one voxel of 1."""
    n = min(int(header["dim"][0]), 3)
    pixdim = header["pixdim"][1:4].astype(float)
    if not are_voxel_sizes(np.abs(pixdim[:n])):
        values = " x ".join(f"{s:g}" for s in pixdim[:n])
        raise InputError(f"{path} has a voxel spacing of {values} mm in its header. Correct the header (pixdim).")
    pixdim[n:] = 1.0
    x, y, z = (int(d) for d in (*header["dim"][1 : n + 1], 1, 1)[:3])
    return (x, y, z), pixdim


def _qform(header: Nifti1Header, pixdim: np.ndarray) -> np.ndarray:
    """(4, 4); not numbers where the quaternion is none."""
    affine = np.eye(4)
    affine[:3, 3] = [header[f"qoffset_{n}"] for n in "xyz"]
    try:
        quaternion = fillpositive([float(header[f"quatern_{n}"]) for n in "bcd"], w2_thresh=-0.01)
    except ValueError:
        quaternion = np.full(4, np.nan)
    if not np.isfinite(quaternion).all():
        affine[:3, :3] = np.nan
        return affine
    handedness = -1.0 if header["pixdim"][0] < 0 else 1.0
    affine[:3, :3] = quat2mat(quaternion) * np.abs(pixdim) * (1.0, 1.0, handedness)
    return affine


def _sform(header: Nifti1Header, size: tuple[int, int, int]) -> np.ndarray:
    """(4, 4); an axis that a 2D image leaves out is perpendicular to the others, with voxels of 1."""
    affine = np.vstack([*(header[f"srow_{n}"] for n in "xyz"), [0, 0, 0, 1]]).astype(float)
    if size[2] == 1 and not affine[:3, 2].any():
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / (np.linalg.norm(normal) or 1.0)
    return affine


def _wrong_with(code: int, affine: np.ndarray) -> str:
    """Why ``affine`` (4, 4) with its ``code`` cannot be used, as the end of a sentence; "" if it can."""
    if code not in CODES:
        return f"has the code {code}, which there is not"
    if not np.isfinite(affine).all():
        return "holds values that are not numbers"
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if (lengths == 0).any():
        return "is singular (an axis has no length)"
    if not are_voxel_sizes(lengths):
        return "has voxels of a size that cannot be"
    if not is_place(affine[:3, 3]):
        return "lies farther off than can be"
    cosines = (affine[:3, :3] / lengths).T @ (affine[:3, :3] / lengths)
    if np.abs(cosines - np.eye(3)).max() > SHEAR:
        return "is sheared (its axes are not perpendicular)"
    return ""


def _geometry(size: tuple[int, int, int], affine: np.ndarray, scale: float) -> Geometry:
    """A usable ``affine`` (4, 4), RAS, as a grid in LPS millimeters."""
    axes = np.diag([-1.0, -1.0, 1.0]) @ affine[:3] * scale
    lengths = np.sqrt((axes[:, :3] ** 2).sum(axis=0))
    direction = nearest_rotation(axes[:, :3] / lengths)
    dx, dy, dz = (float(n) for n in lengths)
    x, y, z = (float(n) for n in axes[:, 3])
    return Geometry(size, (dx, dy, dz), (x, y, z), tuple(direction.ravel().tolist()))


def _sform_of(geometry: Geometry) -> np.ndarray:
    """The sform (3, 4), float32, in NIfTI's RAS axes, that ITK reads back as exactly this direction if one does.

    ITK divides each column by its length, in double precision, so the float32 column that a direction came from is not
    known. Half of all oblique directions would change in the last bits with each writing. The float32 neighbors of the
    column's largest entry are tried; the right one makes the other two entries float32 numbers as well.
    """
    to_ras = np.array([-1.0, -1.0, 1.0])
    steps = np.arange(-64, 65, dtype=np.int32)
    affine = np.empty((3, 4), np.float32)
    affine[:, 3] = to_ras * geometry.origin
    for axis, unit in enumerate(np.reshape(geometry.direction, (3, 3)).T):
        largest = int(np.argmax(np.abs(unit)))
        start = np.float32(geometry.spacing[axis] * unit[largest])
        lead = (start.view(np.int32) + steps).view(np.float32).astype(np.float64)
        columns = (lead[:, None] * (unit / unit[largest])).astype(np.float32).astype(np.float64)
        lengths = np.sqrt(columns[:, :1] ** 2 + columns[:, 1:2] ** 2 + columns[:, 2:] ** 2)
        errors = np.abs(columns / lengths - unit).max(axis=1)
        affine[:, axis] = to_ras * columns[np.lexsort((np.abs(steps), errors))[0]]
    return affine
