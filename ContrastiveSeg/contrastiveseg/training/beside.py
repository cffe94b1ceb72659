"""The files that a training keeps beside its checkpoint, under the checkpoint's name; light to import."""

from __future__ import annotations

from pathlib import Path


def metrics_path(output: Path) -> Path:
    """The curve of a run."""
    return output.with_name(output.name + ".metrics.jsonl")


def resume_path(output: Path) -> Path:
    """What an interrupted run, or comparison, goes on from."""
    return output.with_name(output.name + ".resume")


def comparison_folder(output: Path) -> Path:
    """Where a comparison of starts keeps its checkpoints until its end."""
    return output.with_name(output.name + ".compare")


def comparison_path(output: Path) -> Path:
    """The table of a comparison of starts, as JSON."""
    return output.with_name(output.name + ".starts.json")
