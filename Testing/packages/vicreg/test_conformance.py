"""The package's own tests: those that contrastiveseg gives to every method and backbone."""

from contrastiveseg.testing import backbone_checks, method_checks
from contrastiveseg.testing.with_pytest import each


@each(method_checks("vicreg", "pretrain"))
def test_vicreg(check, tmp_path):
    check(tmp_path)


@each(backbone_checks("narrow-vnet"))
def test_narrow_vnet(check, tmp_path):
    check(tmp_path)
