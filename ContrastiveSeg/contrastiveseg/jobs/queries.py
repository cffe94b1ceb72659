"""What a panel asks before it offers a choice: the methods there are, and the devices to compute on; and loading."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

from ..serialization import to_json


def methods() -> list[dict[str, Any]]:
    """Every method of both stages, sorted: stage, name, description, citation, parameters, and what it uses.

    "uses_labels" and "uses_unlabeled" are whether it learns from volumes with labels, and from those without; "advice"
    is what to know before it is chosen; "package" is the Python package that it is part of. "parameters" are
    :class:`..parameters.Parameter` as JSON, with the defaults; a job's ``settings`` hold others.
    """
    from ..methods.configuration import method_parameters
    from ..methods.registry import available_methods, find_method
    from ..registration import package_of

    listed = []
    for stage, name in available_methods():
        method = find_method(stage, name)
        listed.append(
            {
                "stage": stage,
                "name": name,
                "description": method.description,
                "citation": method.citation,
                "uses_labels": stage == "finetune" or method.uses_labels,
                "uses_unlabeled": stage == "pretrain" or getattr(method, "uses_unlabeled", False),
                "advice": getattr(method, "advice", ""),
                "parameters": to_json(method_parameters(method)),
                "package": package_of(method),
            }
        )
    return listed


def networks() -> list[dict[str, Any]]:
    """Every backbone, sorted: name, description, arguments (defaults), package."""
    from ..networks.registry import available_backbones
    from ..registration import package_of

    return [
        {
            "name": name,
            "description": (inspect.getdoc(builder) or "").partition("\n")[0].replace("``", ""),
            "arguments": {
                p.name: None if p.default is p.empty else to_json(p.default)
                for p in inspect.signature(builder).parameters.values()
                if p.kind is p.KEYWORD_ONLY
            },
            "package": package_of(builder),
        }
        for name, builder in available_backbones().items()
    ]


def libraries() -> list[dict[str, Any]]:
    """Load what segmenting and previewing need, so that the first of them does not wait for it; nothing to list."""
    from ..previewing import job  # noqa: F401
    from ..segmentation import segment  # noqa: F401

    return []


def devices() -> list[dict[str, Any]]:
    """The devices a job can name, fastest kind first: name, label, free_bytes (None: not known); the CPU has cores."""
    import torch

    devices_found: list[dict[str, Any]] = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        name = torch.cuda.get_device_name(index)
        try:
            free: int | None = torch.cuda.mem_get_info(index)[0]
        except RuntimeError:  # in exclusive use by another program, or too full to answer
            free = None
        room = "in use" if free is None else f"{free / 2**30:.1f} GiB free"
        devices_found.append({"name": f"cuda:{index}", "label": f"{name} ({room})", "free_bytes": free})
    if torch.backends.mps.is_available():
        devices_found.append({"name": "mps", "label": "Apple GPU", "free_bytes": None})
    cores = _cores()
    label = f"CPU ({cores} core{'' if cores == 1 else 's'})"
    return [*devices_found, {"name": "cpu", "label": label, "free_bytes": None, "cores": cores}]


def _cores() -> int:
    """Those this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


#: Name -> what answers it.
QUERIES: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "methods": methods,
    "devices": devices,
    "libraries": libraries,
}
