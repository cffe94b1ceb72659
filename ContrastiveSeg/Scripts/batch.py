"""The terminal's commands inside Slicer, without its windows; and segmentations as Slicer's own files.

    Slicer --no-splash --no-main-window --python-script batch.py -- segment --checkpoint CKPT --input DIR --output OUT
    python batch.py segment --checkpoint CKPT --input DIR --output OUT

The same words and exit codes as the command contrastiveseg, and in addition for segment:

    --output FILE.seg.nrrd    a segmentation with the checkpoint's names, colors and terminology
    --segmentations           the same for a folder as --output: one CASE.seg.nrrd a case

Both need Slicer, or its package slicer-core in the Python that runs this.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ContrastiveSegPanel.engine.requirements import how_to_install, missing

from contrastiveseg import cli, events
from contrastiveseg.checkpoints.header import read_card
from contrastiveseg.checkpoints.licensing import terms
from contrastiveseg.checkpoints.starters import checkpoint_path
from contrastiveseg.descriptions import Job, SegmentJob
from contrastiveseg.errors import InputError
from contrastiveseg.files import stem, volume_suffix
from contrastiveseg.results import JobResult

_FLAG = "--segmentations"
_ENDING = ".seg.nrrd"
_ASKS_FOR_HELP = {"-h", "--help", "--version"}


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns its exit code (0, 1, 2, 3 or 130)."""
    # Slicer's own options end with it.
    words = [word for index, word in enumerate(arguments) if index or word != "--"]
    if not words or words[0] in _ASKS_FOR_HELP:
        print(__doc__)
    elif words[0] == "worker":
        print("The worker needs a terminal: PythonSlicer -m contrastiveseg worker", file=sys.stderr)
        return InputError.exit_code
    if not _ASKS_FOR_HELP & set(words) and missing():
        print(how_to_install(), file=sys.stderr)
        return InputError.exit_code
    everywhere = _FLAG in words
    words = [word for word in words if word != _FLAG]
    if everywhere and words[:1] != ["segment"]:
        print(f"{_FLAG} is for the command segment.", file=sys.stderr)
        return InputError.exit_code

    def run(job: Job, emit: events.Emit, cancelled: events.CancelCheck) -> JobResult:
        from contrastiveseg.jobs.run import run

        if isinstance(job, SegmentJob) and (everywhere or volume_suffix(Path(job.output)) == _ENDING):
            return _segment(job, emit, cancelled)
        return run(job, emit, cancelled)

    return cli.main(words, run)


def _segment(job: SegmentJob, emit: events.Emit, cancelled: events.CancelCheck) -> JobResult:
    """The segment job with segmentation files as output; each is written as soon as its label map is there."""
    from contrastiveseg.jobs.run import run

    try:
        from ContrastiveSegPanel.mrml.segmentation_files import write_segmentation
    except (ImportError, AttributeError) as problem:
        raise InputError(
            f"{_ENDING} files are written by Slicer: run this inside Slicer or install slicer-core into this Python "
            f"({problem}). Or choose an output ending in .nii.gz."
        ) from problem
    if job.continue_:
        raise InputError(f"--continue knows label maps, not {_ENDING} files. Leave it out, or {_FLAG} and that ending.")
    if job.dicom_seg:
        raise InputError(f"--dicom-seg and {_FLAG} ask for files of two kinds. Choose one.")
    if job.shard:
        raise InputError(f"--shard knows label maps, not {_ENDING} files. Leave it out, or {_FLAG} and that ending.")
    outputs = _outputs(job)
    card = read_card(checkpoint_path(job.checkpoint))
    written: list[str] = []
    with tempfile.TemporaryDirectory(prefix="ContrastiveSeg-") as scratch:

        def convert() -> None:
            for label_map in Path(scratch).glob("[!.]*"):
                write_segmentation(label_map, card.labels, outputs[stem(label_map)], terms(card))
                label_map.unlink()
                written.append(str(outputs[stem(label_map)]))

        def watch(event: events.Event) -> None:
            convert()
            emit(event)

        try:
            result = run(replace(job, output=scratch), watch, cancelled)
        finally:
            convert()
    return replace(result, written=tuple(written))


def _outputs(job: SegmentJob) -> dict[str, Path]:
    """Case name -> segmentation file, all checked before anything is computed."""
    from contrastiveseg.files import check_outputs
    from contrastiveseg.volumes.dataset import find_cases

    cases = find_cases([Path(path) for path in job.input])
    output = Path(job.output)
    single = volume_suffix(output)
    if single and (single != _ENDING or len(cases) > 1):
        raise InputError(f"{len(cases)} inputs as {_ENDING} files need a folder as --output, not {output}.")
    outputs = {case.name: output if single else output / f"{case.name}{_ENDING}" for case in cases}
    inputs = [Path(p) for p in (job.checkpoint, *job.input)] + [image for case in cases for image in case.images]
    check_outputs(outputs.values(), inputs, job.overwrite)
    return outputs


if __name__ == "__main__":
    # Slicer would stay open for ever after an exception or a return.
    try:
        code = main(sys.argv[1:])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)
