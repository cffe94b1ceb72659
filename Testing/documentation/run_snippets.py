"""The method and the backbone of the how-to pages, in a process of their own: they register what no test should see.

Both are held to the quick ones of the conformance tests. Two processes would not know the method, which no package
registers.
"""

import sys
import tempfile
import types
from pathlib import Path

from pages import ROOT, snippet

from contrastiveseg.testing import backbone_checks, method_checks


def run(page: str, name: str) -> None:
    """Execute a snippet as a module; dataclasses look their module up by its name."""
    module = types.ModuleType(f"snippet_{name}")
    sys.modules[module.__name__] = module
    exec(compile(snippet(ROOT / page, name), f"{page}: {name}", "exec"), vars(module))


NOT_RUN = ("trains_in_two_processes", "resumes")

if __name__ == "__main__":
    run("docs/how-to/add-a-method.md", "method")
    run("docs/how-to/add-a-backbone.md", "backbone")
    checks = method_checks("simclr", "pretrain") | backbone_checks("plain")
    for name, check in checks.items():
        if name not in NOT_RUN:
            with tempfile.TemporaryDirectory() as folder:
                check(Path(folder))
                print(name)
