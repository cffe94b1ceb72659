"""The atlas behind synthetic volumes: organ-like shapes in a consistent arrangement, painted in order.

Coordinates are normalized to [-1, 1] on the atlas: x to the left, y to the back, z up (LPS). A shape is an implicit
function, negative inside; later organs are painted over earlier ones, which makes walls, cortices and cavities.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from .shapes import Shape, Triple, ellipsoid, ribs, tube

Region = Literal["torso", "heart", "head", "temporal", "knee"]


class Tissue(IntEnum):
    """What a voxel is made of; each tissue gets one intensity and one texture a subject."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    LUNG = 4
    BLOOD = 5
    VENOUS = 6
    MYOCARDIUM = 7
    LIVER = 8
    CORTEX = 9
    MEDULLA = 10
    SPLEEN = 11
    BONE = 12
    MARROW = 13
    DISC = 14
    FLUID = 15
    BOWEL = 16
    GRAY = 17
    WHITE = 18
    NUCLEUS = 19
    HIPPOCAMPUS = 20


#: Values of a synthetic label map. A subject shows those its region and ``labels`` setting include.
LABEL_NAMES = {
    1: "chamber",
    2: "chamber wall",
    3: "kidney",
    4: "liver",
    5: "lung",
    6: "vertebrae",
    7: "aorta",
    8: "hippocampus",
    9: "cerebral ventricle",
    10: "femur",
    11: "tibia",
    12: "patella",
    13: "cartilage",
}


@dataclass(frozen=True)
class Organ:
    """A shape of one tissue; organs of one ``group`` move and grow together from subject to subject."""

    group: str
    tissue: Tissue
    shape: Shape
    label: int = 0


def _torso() -> tuple[Organ, ...]:
    t = Tissue
    organs = [
        Organ("body", t.SKIN, ellipsoid((0, 0, 0), (0.95, 0.76, 9), 2.5)),
        Organ("body", t.FAT, ellipsoid((0, 0, 0), (0.93, 0.74, 9), 2.5)),
        Organ("body", t.MUSCLE, ellipsoid((0, 0, 0), (0.85, 0.65, 9), 2.5)),
        Organ("body", t.BONE, ribs((0, -0.02, 0.45), (0.79, 0.59, 0.75), 0.035, 4)),
        Organ("belly", t.FAT, ellipsoid((0, -0.08, -0.55), (0.72, 0.44, 0.6), 3)),
    ]
    for side, s in (("left", 1.0), ("right", -1.0)):
        organs.append(Organ(f"{side} lung", t.LUNG, ellipsoid((0.42 * s, 0.0, 0.55), (0.33, 0.5, 0.72), 2.4), 5))
    ascending, descending = ((-0.6, -0.1, -1.1), (-0.55, -0.2, -0.72)), ((0.58, -0.15, -0.62), (0.62, 0.0, -1.1))
    colon = (*ascending, (0.0, -0.38, -0.72), *descending)
    organs += [
        Organ("mediastinum", t.FAT, ellipsoid((0.03, -0.02, 0.6), (0.17, 0.5, 0.9), 2.5)),
        Organ("liver", t.LIVER, ellipsoid((-0.36, -0.08, -0.2), (0.41, 0.45, 0.4), 2.3, (-0.08, 0.05), -0.3), 4),
        Organ("liver", t.LIVER, ellipsoid((0.1, -0.3, -0.18), (0.3, 0.18, 0.17), 2.2, tilt=0.25), 4),
        Organ("gallbladder", t.FLUID, ellipsoid((-0.27, -0.36, -0.5), (0.08, 0.09, 0.13), tilt=0.3)),
        Organ("stomach", t.MYOCARDIUM, ellipsoid((0.4, -0.2, -0.3), (0.24, 0.23, 0.24), 2.3, (0, 0.1), 0.5)),
        Organ("stomach", t.BOWEL, ellipsoid((0.4, -0.2, -0.3), (0.2, 0.19, 0.2), 2.3, (0, 0.1), 0.5)),
        Organ("stomach", t.AIR, ellipsoid((0.38, -0.32, -0.26), (0.12, 0.07, 0.11))),
        Organ("spleen", t.SPLEEN, ellipsoid((0.6, 0.2, -0.28), (0.13, 0.24, 0.24), 2.2, (-0.06, 0), 0.2)),
        Organ("colon", t.BOWEL, tube(colon, 0.1)),
        Organ("pancreas", t.SPLEEN, tube(((-0.2, -0.08, -0.55), (0.05, -0.02, -0.45), (0.38, 0.12, -0.4)), 0.075)),
    ]
    arch = ((0.06, -0.12, 0.5), (-0.04, -0.14, 0.78), (0.06, 0.05, 0.93))
    aorta = (*arch, (0.15, 0.28, 0.75), (0.1, 0.27, 0.0), (0.05, 0.22, -1.2))
    # The heart: left and right ventricle in a wall, atria behind and above, great vessels entering.
    organs += [
        Organ("heart", t.FAT, ellipsoid((0.14, -0.14, 0.38), (0.37, 0.35, 0.4), 2, tilt=-0.4)),
        Organ("heart", t.MYOCARDIUM, ellipsoid((-0.05, -0.24, 0.32), (0.23, 0.2, 0.27), 2, tilt=-0.5)),
        Organ("heart", t.VENOUS, ellipsoid((-0.05, -0.24, 0.32), (0.195, 0.165, 0.235), 2, tilt=-0.5)),
        Organ("heart", t.MYOCARDIUM, ellipsoid((0.23, -0.14, 0.3), (0.225, 0.225, 0.29), 2, tilt=-0.5), 2),
        Organ("heart", t.BLOOD, ellipsoid((0.22, -0.14, 0.315), (0.135, 0.135, 0.215), 2, tilt=-0.5), 1),
        Organ("heart", t.MYOCARDIUM, ellipsoid((0.165, -0.2, 0.26), (0.035, 0.035, 0.07), 2, tilt=-0.5), 1),
        Organ("heart", t.VENOUS, ellipsoid((-0.17, -0.06, 0.45), (0.15, 0.16, 0.19), 2.4)),
        Organ("heart", t.BLOOD, ellipsoid((0.08, 0.14, 0.47), (0.2, 0.13, 0.16), 2.4)),
        Organ("heart", t.BLOOD, tube(((0.12, 0.14, 0.48), (0.3, 0.24, 0.55), (0.5, 0.2, 0.62)), 0.045)),
        Organ("heart", t.BLOOD, tube(((0.0, 0.16, 0.48), (-0.2, 0.24, 0.5), (-0.42, 0.2, 0.55)), 0.045)),
        Organ("heart", t.VENOUS, tube(((-0.17, -0.05, 0.45), (-0.17, -0.03, 0.8), (-0.16, -0.05, 1.2)), 0.065)),
        Organ("heart", t.VENOUS, tube(((-0.02, -0.32, 0.5), (0.06, -0.2, 0.72), (0.18, -0.05, 0.78)), 0.075)),
        Organ("cava", t.VENOUS, tube(((-0.15, 0.0, 0.35), (-0.14, 0.12, -0.1), (-0.13, 0.22, -1.2)), 0.075)),
        Organ("aorta", t.MYOCARDIUM, tube(aorta, 0.088)),
        Organ("aorta", t.BLOOD, tube(aorta, 0.072), 7),
        Organ("airway", t.AIR, tube(((0.0, 0.12, 1.2), (0.0, 0.12, 0.72)), 0.055)),
    ]
    for side, s in (("left", 1.0), ("right", -1.0)):
        group, z = f"{side} kidney", -0.62 if s > 0 else -0.68
        bean = ((0.4 * s, 0.28, z), (0.15, 0.16, 0.25))
        organs += [
            Organ(group, t.FAT, ellipsoid(bean[0], (0.2, 0.2, 0.3), 2, (-0.1 * s, 0), -0.15 * s)),
            Organ(group, t.CORTEX, ellipsoid(*bean, 2, (-0.08 * s, 0), -0.15 * s), 3),
            Organ(group, t.MEDULLA, ellipsoid(bean[0], (0.09, 0.09, 0.17), 2, (-0.07 * s, 0), -0.15 * s), 3),
            Organ(group, t.FAT, ellipsoid((0.3 * s, 0.26, z), (0.09, 0.05, 0.09), 2)),
            Organ(group, t.VENOUS, tube(((0.3 * s, 0.26, z), (0.0, 0.2, z + 0.05)), 0.03)),
            Organ("back", t.MUSCLE, ellipsoid((0.17 * s, 0.36, -0.9), (0.1, 0.1, 0.6), 2.5, (0.08 * s, 0))),
        ]
    pitch = 0.27
    organs += [
        Organ("spine", t.DISC, ellipsoid((0, 0.4, 0), (0.125, 0.12, 9), 2.4)),
        Organ("spine", t.BONE, ellipsoid((0, 0.6, 0), (0.1, 0.11, 9), 2.2)),
        Organ("spine", t.FLUID, ellipsoid((0, 0.555, 0), (0.05, 0.04, 9), 2)),
    ]
    for index in range(-5, 6):
        z = index * pitch
        organs += [
            Organ("spine", t.BONE, ellipsoid((0, 0.4, z), (0.135, 0.13, 0.1), 4), 6),
            Organ("spine", t.MARROW, ellipsoid((0, 0.4, z), (0.115, 0.11, 0.08), 4), 6),
            Organ("spine", t.BONE, tube(((-0.26, 0.6, z), (0, 0.54, z - 0.03), (0.26, 0.6, z)), 0.03)),
        ]
    return tuple(organs)


def _head() -> tuple[Organ, ...]:
    t = Tissue
    organs = [
        Organ("head", t.SKIN, ellipsoid((0, 0.02, 0.08), (0.76, 0.93, 0.88), 2.3)),
        Organ("head", t.MUSCLE, ellipsoid((0, 0.1, -0.9), (0.5, 0.5, 0.6), 2.5)),
        Organ("head", t.FAT, ellipsoid((0, 0.02, 0.08), (0.74, 0.91, 0.86), 2.3)),
        Organ("head", t.BONE, ellipsoid((0, 0.02, 0.1), (0.7, 0.87, 0.82), 2.3)),
        Organ("head", t.MARROW, ellipsoid((0, 0.02, 0.1), (0.685, 0.85, 0.8), 2.3)),
        Organ("head", t.BONE, ellipsoid((0, 0.02, 0.1), (0.67, 0.835, 0.785), 2.3)),
        Organ("brain", t.FLUID, ellipsoid((0, 0.02, 0.12), (0.64, 0.81, 0.74), 2.2)),
        Organ("face", t.MUSCLE, ellipsoid((0, -0.45, -0.55), (0.5, 0.42, 0.4), 2.5)),
        Organ("face", t.AIR, ellipsoid((0, -0.55, -0.45), (0.13, 0.22, 0.18), 3)),
    ]
    for side, s in (("left", 1.0), ("right", -1.0)):
        horn = ((0.37 * s, -0.3, -0.2), (0.39 * s, 0.0, -0.15), (0.33 * s, 0.25, 0.02))
        head = ((0.33 * s, -0.26, -0.24), (0.345 * s, -0.18, -0.25), (0.355 * s, -0.05, -0.23))
        tail = ((0.355 * s, -0.05, -0.23), (0.33 * s, 0.1, -0.17), (0.26 * s, 0.21, -0.06))
        gyrus = ((0.28 * s, -0.35, -0.38), (0.27 * s, 0.0, -0.36), (0.22 * s, 0.3, -0.25))
        cistern = ((0.17 * s, -0.15, -0.2), (0.2 * s, 0.08, -0.14), (0.12 * s, 0.26, -0.05))
        organs += [
            Organ(f"{side} eye", t.FAT, ellipsoid((0.29 * s, -0.62, -0.2), (0.19, 0.2, 0.16))),
            Organ(f"{side} eye", t.FLUID, ellipsoid((0.29 * s, -0.66, -0.2), (0.13, 0.13, 0.13))),
            Organ("brain", t.GRAY, ellipsoid((0.31 * s, 0.02, 0.14), (0.3, 0.78, 0.7), 2.5)),
            Organ("brain", t.GRAY, ellipsoid((0.42 * s, -0.12, -0.22), (0.19, 0.44, 0.22), 2.2)),
            Organ("brain", t.WHITE, ellipsoid((0.3 * s, 0.02, 0.17), (0.21, 0.66, 0.56), 2.3)),
            Organ("brain", t.WHITE, ellipsoid((0.44 * s, -0.12, -0.2), (0.08, 0.34, 0.12), 2.2)),
            Organ("deep", t.WHITE, ellipsoid((0.1 * s, 0, 0.17), (0.16, 0.35, 0.1), 2.2)),
            Organ("deep", t.FLUID, ellipsoid((0.11 * s, 0.02, 0.2), (0.075, 0.4, 0.1), 2.2, (0.06 * s, 0.1)), 9),
            Organ("deep", t.NUCLEUS, ellipsoid((0.13 * s, 0.1, 0.02), (0.11, 0.17, 0.12), 2.2)),
            Organ("deep", t.NUCLEUS, ellipsoid((0.27 * s, -0.1, 0.05), (0.075, 0.22, 0.12), 2.2, tilt=0.3 * s)),
            Organ("temporal", t.GRAY, tube(gyrus, 0.08)),
            Organ("temporal", t.WHITE, tube(gyrus, 0.045)),
            Organ("temporal", t.FLUID, tube(cistern, 0.045)),
            Organ("temporal", t.FLUID, tube(horn, 0.065), 9),
            Organ("temporal", t.NUCLEUS, ellipsoid((0.32 * s, -0.36, -0.2), (0.1, 0.1, 0.1), 2.2)),
            Organ("temporal", t.HIPPOCAMPUS, tube(head, 0.085), 8),
            Organ("temporal", t.HIPPOCAMPUS, tube(tail, 0.06), 8),
            Organ("cerebellum", t.GRAY, ellipsoid((0.2 * s, 0.5, -0.5), (0.24, 0.24, 0.2), 2.2)),
            Organ("cerebellum", t.WHITE, ellipsoid((0.18 * s, 0.47, -0.48), (0.13, 0.12, 0.1), 2.2)),
        ]
    organs += [
        Organ("deep", t.FLUID, ellipsoid((0, 0.06, 0.03), (0.025, 0.18, 0.12), 2), 9),
        Organ("deep", t.WHITE, tube(((0, 0.12, -0.12), (0, 0.12, -0.35), (0, 0.2, -1.2)), 0.12)),
        Organ("cerebellum", t.FLUID, ellipsoid((0, 0.28, -0.42), (0.06, 0.05, 0.1), 2)),
    ]
    return tuple(organs)


def _knee() -> tuple[Organ, ...]:
    t = Tissue
    organs = [
        Organ("leg", t.SKIN, ellipsoid((0, 0, 0), (0.82, 0.85, 9), 2.3)),
        Organ("leg", t.FAT, ellipsoid((0, 0, 0), (0.8, 0.83, 9), 2.3)),
        Organ("thigh", t.MUSCLE, ellipsoid((0, -0.02, 1.1), (0.66, 0.66, 0.85), 2.5)),
        Organ("calf", t.MUSCLE, ellipsoid((0.02, 0.32, -0.95), (0.56, 0.4, 0.8), 2.5)),
        Organ("shin", t.MUSCLE, ellipsoid((0.3, -0.12, -0.95), (0.22, 0.24, 0.6), 2.3)),
        Organ("vessels", t.BLOOD, tube(((0.06, 0.46, 1.2), (0.04, 0.5, 0.1), (0.08, 0.42, -1.2)), 0.055)),
        Organ("vessels", t.VENOUS, tube(((-0.08, 0.5, 1.2), (-0.08, 0.54, 0.1), (-0.02, 0.48, -1.2)), 0.07)),
        Organ("joint", t.FLUID, ellipsoid((0, -0.1, 0.04), (0.44, 0.42, 0.2), 2.5)),
        Organ("patella", t.MUSCLE, tube(((0, -0.3, 0.9), (0, -0.52, 0.35)), 0.1)),
        Organ("patella", t.BONE, tube(((0, -0.54, 0.1), (0, -0.42, -0.4)), 0.05)),
        Organ("patella", t.DISC, ellipsoid((0, -0.48, 0.24), (0.19, 0.1, 0.2), 2.3), 13),
        Organ("patella", t.BONE, ellipsoid((0, -0.53, 0.24), (0.2, 0.11, 0.21), 2.3), 12),
        Organ("patella", t.MARROW, ellipsoid((0, -0.53, 0.24), (0.17, 0.08, 0.18), 2.3), 12),
    ]
    for group, value, plateau, shaft in (
        ("femur", 10, 0.2, ((0, 0.0, 0.25), (0, -0.06, 1.2))),
        ("tibia", 11, -0.22, ((0, 0.02, -0.3), (-0.04, -0.08, -1.2))),
    ):
        depth = 0.22 if value == 10 else 0.15
        halves = [(0.22 * s, 0.04 if value == 10 else 0.02, plateau) for s in (1.0, -1.0)]
        organs += [Organ(group, t.DISC, ellipsoid(half, (0.25, 0.36, depth + 0.05), 2.4), 13) for half in halves]
        organs += [Organ(group, t.BONE, ellipsoid(half, (0.23, 0.34, depth), 2.4), value) for half in halves]
        organs.append(Organ(group, t.BONE, tube(shaft, 0.2), value))
        organs += [Organ(group, t.MARROW, ellipsoid(half, (0.2, 0.31, depth - 0.03), 2.4), value) for half in halves]
        organs.append(Organ(group, t.MARROW, tube(shaft, 0.15), value))
    organs += [
        Organ("fibula", t.BONE, tube(((0.46, 0.26, -0.36), (0.42, 0.16, -1.2)), 0.09)),
        Organ("fibula", t.MARROW, tube(((0.46, 0.26, -0.36), (0.42, 0.16, -1.2)), 0.05)),
    ]
    return tuple(organs)


#: Region -> (organs, center (x, y, z) and half size of the imaged box in atlas coordinates).
REGIONS: dict[Region, tuple[tuple[Organ, ...], Triple, Triple]] = {
    "torso": (_torso(), (0.0, 0.0, 0.0), (1.0, 0.82, 1.0)),
    "heart": (_torso(), (0.08, -0.02, 0.42), (0.55, 0.48, 0.5)),
    "head": (_head(), (0.0, 0.0, 0.05), (0.85, 1.0, 1.0)),
    "temporal": (_head(), (0.33, -0.03, -0.15), (0.21, 0.36, 0.22)),
    # Kept out of every starter's training: ci/demo shows on it what a starter is worth on anatomy it has not seen.
    "knee": (_knee(), (0.0, 0.0, 0.0), (0.9, 0.92, 0.9)),
}
