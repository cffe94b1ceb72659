"""Voxel grids of volumes, and image files on them, through Slicer's own readers and writers."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from contrastiveseg import files
from contrastiveseg.errors import InputError
from contrastiveseg.volumes.volume import Geometry

from ..translation import _

#: Ending of the files that go between Slicer and the engine. Uncompressed MetaImage is exact, as fast as shared memory,
#: and faster than the other formats on Slicer's side, where the user waits (Testing/benchmarks/handover.py).
FILE_ENDING = ".mha"
#: How far, in voxels, a corner of one grid may lie from the same corner of another that counts as equal. NIfTI's
#: float32 geometry stays far below.
_TOLERANCE = 0.05


@dataclass(frozen=True)
class Grid:
    """Where voxels lie: their number as (k, j, i), and the 4 x 4 matrix from their indices to RAS mm."""

    shape: tuple[int, int, int]
    ijk_to_ras: np.ndarray

    def corners(self) -> np.ndarray:
        """(8, 3), RAS mm of the corner voxels' centers."""
        last = np.array(self.shape[::-1]) - 1
        indices = np.array(np.meshgrid(*[(0, n) for n in last], indexing="ij")).reshape(3, -1)
        return (self.ijk_to_ras[:3, :3] @ indices + self.ijk_to_ras[:3, 3:]).T

    def spacing(self) -> np.ndarray:
        """(3,), mm between voxels along i, j, k."""
        return np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)

    def geometry(self) -> Geometry:
        """The same grid as the engine describes it, in LPS."""
        lps = np.diag([-1.0, -1.0, 1.0]) @ self.ijk_to_ras[:3]
        k, j, i = self.shape
        spacing = self.spacing()
        direction = (lps[:, :3] / spacing).ravel()
        return Geometry((i, j, k), tuple(spacing.tolist()), tuple(lps[:, 3].tolist()), tuple(direction.tolist()))


def grid_of(volume: Any) -> Grid:
    """The grid of a scalar volume node, before its parent transform.

    Raises:
        InputError: it is no volume with one value a voxel.
    """
    if volume is None:
        raise InputError(_("No volume is chosen."))
    name = volume.GetName() or volume.GetID()
    if volume.IsA("vtkMRMLSequenceNode"):
        raise InputError(
            _("{name} is a sequence. Choose the volume that shows its current time point.").format(name=name)
        )
    if not volume.IsA("vtkMRMLVolumeNode"):
        raise InputError(_("{name} is no volume.").format(name=name))
    image = volume.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or image.GetNumberOfPoints() == 0:
        raise InputError(_("{name} holds no voxels. Load or make its image first.").format(name=name))
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        raise InputError(
            _(
                "{name} has {count} values a voxel (color, vectors or time points). "
                "Extract one of them as a scalar volume first."
            ).format(name=name, count=components)
        )
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    ijk_to_ras = slicer.util.arrayFromVTKMatrix(matrix)
    # An image may count its voxels from elsewhere than 0, as after some crops; a file cannot.
    ijk_to_ras[:3, 3] += ijk_to_ras[:3, :3] @ np.array(image.GetExtent()[::2])
    i, j, k = image.GetDimensions()
    return Grid((k, j, i), ijk_to_ras)


def check_same_grid(volume: Any, grid: Grid, what: str) -> None:
    """Refuse a volume node, read from the file ``what``, that does not lie on ``grid``.

    Raises:
        InputError: it does not.
    """
    other = grid_of(volume)
    if other.shape != grid.shape:
        sizes = [" x ".join(str(n) for n in g.shape[::-1]) for g in (other, grid)]
        raise InputError(
            _("{what} has {here} voxels, the volume {there}. They must lie on one grid.").format(
                what=what, here=sizes[0], there=sizes[1]
            )
        )
    if np.abs(other.corners() - grid.corners()).max() > _TOLERANCE * grid.spacing().min():
        raise InputError(
            _("{what} lies elsewhere than the volume, though of the same size. They must lie on one grid.").format(
                what=what
            )
        )


def array_of(image: vtk.vtkImageData) -> np.ndarray:
    """The image's voxels as (k, j, i), not copied."""
    i, j, k = image.GetDimensions()
    return numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k, j, i)


def fill(image: vtk.vtkImageData, array: np.ndarray, first: tuple[int, int, int] = (0, 0, 0)) -> None:
    """Make ``array`` (k, j, i) an image's voxels, the first of them at index ``first`` (k, j, i).

    Copied, so that the memory is VTK's own: a layer lives longer than any array of ours.
    """
    (k, j, i), (nk, nj, ni) = first, array.shape
    image.SetExtent(i, i + ni - 1, j, j + nj - 1, k, k + nk - 1)
    image.AllocateScalars(numpy_support.get_vtk_array_type(array.dtype), 1)
    if array.size:
        array_of(image)[:] = array


def writable(image: vtk.vtkImageData) -> vtk.vtkImageData | np.ndarray:
    """The image, or its voxels as another kind of number: Slicer's NRRD writer knows no 64-bit integers."""
    array = array_of(image)
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8:
        return image
    narrow = np.iinfo(np.int32)
    return array.astype(np.int32 if narrow.min <= array.min() and array.max() <= narrow.max else np.float64)


def volume_holding(image: vtk.vtkImageData | np.ndarray, ijk_to_ras: np.ndarray) -> Any:
    """A volume node outside the scene with these voxels: files should get no name or attribute of the user's node."""
    shared = vtk.vtkImageData()
    if isinstance(image, np.ndarray):
        fill(shared, image)
    else:
        shared.ShallowCopy(image)
    volume = slicer.vtkMRMLScalarVolumeNode()
    volume.SetAndObserveImageData(shared)
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras))
    return volume


def write_image(volume: Any, path: Path, compress: bool = False) -> None:
    """Write a volume node to .mha, .nrrd or (geometry rounded to float32) .nii, by write-then-rename.

    Raises:
        InputError: the file cannot be written.
    """
    with files.replacing(path) as temporary:
        temporary.unlink()  # or Slicer logs that it removes an old version
        storage = _storage(temporary)
        storage.SetUseCompression(compress)
        write_node(volume, storage, path)


def write_node(node: Any, storage: Any, path: Path) -> None:
    """Let ``storage`` write a node to its file.

    Raises:
        InputError: the file, called ``path`` to the user, cannot be written.
    """
    if not storage.WriteData(node):
        raise InputError(
            _("Cannot write {path}. Is there room on the disk, and may you write to the folder?").format(path=path)
        )


def read_image(path: Path) -> Any:
    """Read a file into a volume node outside the scene.

    Raises:
        InputError: it is missing, or no image, or of a kind that Slicer does not read.
    """
    if not path.is_file():
        raise InputError(_("{path} does not exist.").format(path=path))
    if _is_nrrd(path):
        _check_nrrd(path)
    volume = slicer.vtkMRMLScalarVolumeNode()
    if not _storage(path).ReadData(volume):
        raise InputError(_("{path} cannot be read as an image.").format(path=path))
    return volume


def _storage(path: Path) -> Any:
    if _is_nrrd(path):
        storage = slicer.vtkMRMLNRRDStorageNode()
    else:
        storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
        storage.SetForceRightHandedIJKCoordinateSystem(False)  # or left-handed grids are flipped
    storage.SetFileName(str(path))
    return storage


def _is_nrrd(path: Path) -> bool:
    return path.name.lower().endswith(".nrrd")


def _check_nrrd(path: Path) -> None:
    """Refuse what makes Slicer's reader crash."""
    with path.open("rb") as file:
        head = file.read(4096).partition(b"\n\n")[0]
    if not head.startswith(b"NRRD"):
        raise InputError(_("{path} cannot be read: it is no NRRD file, whatever its name.").format(path=path))
    kind = re.search(rb"^type:\s*(.*?)\s*$", head, re.M)
    if kind and re.search(rb"long|int64", kind[1]):
        raise InputError(
            _("{path} holds 64-bit integers, which Slicer does not read. Store it as 16- or 32-bit ones.").format(
                path=path
            )
        )
