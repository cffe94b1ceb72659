"""Every pre-training method is held to the conformance tests that other packages' methods are."""

import pytest

from contrastiveseg.methods.registry import available_methods, find_method
from contrastiveseg.testing import method_checks
from contrastiveseg.testing.with_pytest import each

METHODS = [name for stage, name in available_methods() if stage == "pretrain"]

CHECKS = {
    f"{name}-{check}": run
    for name in METHODS
    for check, run in method_checks(name, "pretrain").items()
    if check != "trains_in_two_processes"  # test_distributed.py has those of all methods together
}


def test_the_methods_there_are():
    assert set(METHODS) >= {"macl", "cvrl", "mixcl", "ideal", "aligned"}


@each(CHECKS)
def test_conformance(check, tmp_path):
    check(tmp_path)


@pytest.mark.parametrize("name", ["cvrl", "mixcl", "ideal"])
def test_reconstructed_methods_say_so(name):
    method = find_method("pretrain", name)
    assert "-style" in method.description
    assert "-style" in method.citation
    assert "econstructed" in method.description
