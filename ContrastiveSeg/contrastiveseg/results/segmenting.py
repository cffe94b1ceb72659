"""What segmenting and previews return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Failure:
    """An input that could not be used, and why; the job did the others."""

    input: str
    what: str


@dataclass(frozen=True)
class SegmentResult:
    """Label maps written, and what could not be segmented.

    Attributes:
        kept: label maps that an earlier run of the same command has written, left as they are.
        left_out: case -> label -> ml that were left out as apart from its largest piece.
        seconds: by stage, see :data:`.segmentation.segment.STAGES`.
        peak_memory: bytes (0: unknown).
        distances: case -> its distance from the training, see :class:`.checkpoints.familiarity.Familiarity`; without
            those of which it is not known.
    """

    written: tuple[str, ...]
    failures: tuple[Failure, ...]
    left_out: Mapping[str, Mapping[str, float]]
    seconds: Mapping[str, float]
    peak_memory: int
    kept: tuple[str, ...] = ()
    distances: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PreviewResult:
    """The label map written.

    Attributes:
        background: whether some was painted; if not, it was assumed wherever the volume is unlike the strokes.
        computed: whether the features were computed now, not found in the cache.
        seconds: by stage, see :data:`.previewing.job.STAGES`.
    """

    output: str
    background: bool
    computed: bool
    seconds: Mapping[str, float]
