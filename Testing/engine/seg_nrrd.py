"""Small segmentation files of Slicer (.seg.nrrd)."""

import gzip

import numpy as np

from contrastiveseg.volumes.volume import Geometry

IMAGE = Geometry((6, 5, 4), (2.0, 2.0, 3.0), (10.0, 20.0, 30.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))


def write(path, layers, segments, origin=IMAGE.origin, spacing=IMAGE.spacing, directions=None):
    """A .seg.nrrd of uint8 layers (z, y, x); segments are (name, layer, value), layer None for Slicer 4.10's form."""
    path.parent.mkdir(parents=True, exist_ok=True)
    (z, y, x), many = layers[0].shape, len(layers) > 1
    vectors = directions or [f"({spacing[0]},0,0)", f"(0,{spacing[1]},0)", f"(0,0,{spacing[2]})"]
    header = ["NRRD0004", "type: unsigned char", f"dimension: {3 + many}", "space: left-posterior-superior"]
    header += [f"sizes: {f'{len(layers)} ' if many else ''}{x} {y} {z}"]
    header += [f"space directions: {'none ' if many else ''}{' '.join(vectors)}"]
    header += [f"kinds: {'list ' if many else ''}domain domain domain", "encoding: gzip"]
    header += ["space origin: (" + ",".join(map(str, origin)) + ")"]
    for i, (name, layer, value) in enumerate(segments):
        header += [f"Segment{i}_ID:=Segment_{i + 1}", f"Segment{i}_Name:={name}"]
        if layer is not None:
            header += [f"Segment{i}_Layer:={layer}", f"Segment{i}_LabelValue:={value}"]
    voxels = np.stack(layers, -1) if many else layers[0]
    packed = gzip.compress(np.ascontiguousarray(voxels, np.uint8).tobytes())
    path.write_bytes("\n".join(header).encode() + b"\n\n" + packed)
    return path


def directions(geometry):
    """The steps along the axes of a grid, for ``write``."""
    steps = (np.reshape(geometry.direction, (3, 3)) * geometry.spacing).T
    return ["(" + ",".join(map(str, step)) + ")" for step in steps]


def layer(*voxels, value=1, shape=IMAGE.shape):
    array = np.zeros(shape, np.uint8)
    for voxel in voxels:
        array[voxel] = value
    return array
