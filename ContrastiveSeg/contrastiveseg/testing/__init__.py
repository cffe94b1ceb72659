"""Conformance tests for methods and backbones, for the packages that add them and for ours.

Without a test framework, raising AssertionError where something is wrong::

    from contrastiveseg.testing import check_backbone, check_method

    check_method("vicreg", "pretrain")
    check_backbone("swin")

As single tests of pytest::

    from contrastiveseg.testing import method_checks
    from contrastiveseg.testing.with_pytest import each

    @each(method_checks("vicreg", "pretrain"))
    def test_vicreg(check, tmp_path):
        check(tmp_path)

What they train on is in :mod:`.volumes` and :mod:`.steps`, for tests of one's own.
"""

from .backbones import backbone_checks, check_backbone
from .methods import check_method, method_checks

__all__ = ["backbone_checks", "check_backbone", "check_method", "method_checks"]
