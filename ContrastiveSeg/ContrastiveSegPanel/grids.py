"""Voxel grids of volumes, and image files on them, through Slicer's own readers and writers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from ContrastiveSegLib import files
from ContrastiveSegLib.errors import InputError

#: How far, in voxels, a corner of one grid may lie from the same corner of another that counts as equal. NIfTI's
#: float32 geometry stays far below.
_TOLERANCE = 0.05


@dataclass(frozen=True)
class Grid:
    """Where voxels lie: their number as (k, j, i), and the 4 x 4 matrix from their indices to RAS mm."""

    shape: tuple[int, int, int]
    ijk_to_ras: np.ndarray

    def corners(self) -> np.ndarray:
        """(8, 3), RAS mm of the corner voxels' centres."""
        last = np.array(self.shape[::-1]) - 1
        indices = np.array(np.meshgrid(*[(0, n) for n in last], indexing="ij")).reshape(3, -1)
        return (self.ijk_to_ras[:3, :3] @ indices + self.ijk_to_ras[:3, 3:]).T

    def spacing(self) -> np.ndarray:
        """(3,), mm between voxels along i, j, k."""
        return np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)


def grid_of(volume) -> Grid:
    """The grid of a scalar volume node, before its parent transform.

    Raises:
        InputError: it is no volume with one value a voxel.
    """
    if volume is None:
        raise InputError("No volume is chosen.")
    name = volume.GetName() or volume.GetID()
    if volume.IsA("vtkMRMLSequenceNode"):
        raise InputError(f"{name} is a sequence. Choose the volume that shows its current time point.")
    if not volume.IsA("vtkMRMLVolumeNode"):
        raise InputError(f"{name} is no volume.")
    image = volume.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or image.GetNumberOfPoints() == 0:
        raise InputError(f"{name} holds no voxels. Load or make its image first.")
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        raise InputError(
            f"{name} has {components} values a voxel (colour, vectors or time points). "
            "Extract one of them as a scalar volume first."
        )
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    ijk_to_ras = slicer.util.arrayFromVTKMatrix(matrix)
    # An image may count its voxels from elsewhere than 0, as after some crops; a file cannot.
    ijk_to_ras[:3, 3] += ijk_to_ras[:3, :3] @ np.array(image.GetExtent()[::2])
    i, j, k = image.GetDimensions()
    return Grid((k, j, i), ijk_to_ras)


def check_same_grid(volume, grid: Grid, what: str) -> None:
    """Refuse a volume node, read from the file ``what``, that does not lie on ``grid``."""
    other = grid_of(volume)
    if other.shape != grid.shape:
        sizes = [" x ".join(str(n) for n in g.shape[::-1]) for g in (other, grid)]
        raise InputError(f"{what} has {sizes[0]} voxels, the volume {sizes[1]}. They must lie on one grid.")
    if np.abs(other.corners() - grid.corners()).max() > _TOLERANCE * grid.spacing().min():
        raise InputError(f"{what} lies elsewhere than the volume, though of the same size. They must lie on one grid.")


def array_of(image: vtk.vtkImageData) -> np.ndarray:
    """The image's voxels as (k, j, i), not copied."""
    i, j, k = image.GetDimensions()
    return numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(k, j, i)


def image_holding(array: np.ndarray) -> vtk.vtkImageData:
    """An image of the voxels (k, j, i), not copied if they lie in order; unit spacing, origin 0."""
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(np.ascontiguousarray(array).ravel()))
    return image


def volume_holding(image: vtk.vtkImageData | np.ndarray, ijk_to_ras: np.ndarray):
    """A volume node outside the scene that shares the voxels: files get no name and attribute of the user's node."""
    if isinstance(image, np.ndarray):
        image = image_holding(image)
    shared = vtk.vtkImageData()
    shared.ShallowCopy(image)
    volume = slicer.vtkMRMLScalarVolumeNode()
    volume.SetAndObserveImageData(shared)
    volume.ShiftImageDataExtentToZeroStart()
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras))
    return volume


def write_image(volume, path: Path) -> None:
    """Write a volume node uncompressed to .nrrd, .nii or .mha, by write-then-rename."""
    with files.replacing(path) as temporary:
        storage = _storage(temporary)
        storage.SetUseCompression(0)
        if not storage.WriteData(volume):
            raise InputError(f"Cannot write {path}. Is there room on the disk, and may you write to the folder?")


def read_image(path: Path):
    """Read a file into a volume node outside the scene.

    Raises:
        InputError: it is missing, or no image.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist.")
    volume = slicer.vtkMRMLScalarVolumeNode()
    if not _storage(path).ReadData(volume):
        raise InputError(f"{path} cannot be read as an image.")
    return volume


def _storage(path: Path):
    nrrd = path.name.lower().endswith(".nrrd")
    storage = slicer.vtkMRMLNRRDStorageNode() if nrrd else slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    return storage
