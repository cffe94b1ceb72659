"""Names of methods and backbones: ours, those of other packages, and what happens where two have the same."""

import logging
import sys
from collections.abc import Callable

import pytest
from torch import nn

from contrastiveseg.errors import InputError
from contrastiveseg.methods import registry as methods
from contrastiveseg.methods.macl import MACL
from contrastiveseg.methods.method import Method
from contrastiveseg.methods.supervised import Supervised
from contrastiveseg.networks import registry as backbones
from contrastiveseg.registration import Registry


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    """What a test registers is gone after it."""
    for registry in (methods._METHODS, backbones._BACKBONES):
        monkeypatch.setattr(registry, "entries", dict(registry.all()))


@pytest.fixture
def install(tmp_path, monkeypatch) -> Callable[..., Registry]:
    """Installs packages, given as name -> source, into a folder of the path; returns a registry that sees them.

    The entry point of each is ``entry`` of a module of its name.
    """

    def install(**sources: str) -> Registry:
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
            info = tmp_path / f"{name}-1.0.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            (info / "entry_points.txt").write_text(f"[contrastiveseg.test]\n{name} = {name}:entry\n")
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(tmp_path)
        made: Registry = Registry("contrastiveseg.methods", "contrastiveseg.test")
        monkeypatch.setattr(sys.modules[__name__], "registry", made, raising=False)
        return made

    return install


GOOD = "from test_registration import registry\ndef entry(): pass\nregistry.add('good', entry)\n"


def test_a_package_that_cannot_be_loaded_is_named_and_left_out(install, caplog):
    broken = install(
        good=GOOD,
        broken="import a_module_that_is_not_there",
        leaving="import sys; sys.exit('no license')",
        undecorated="def entry(): pass",
        missing="",
    )
    with caplog.at_level(logging.WARNING):
        assert list(broken.all()) == ["good"]
        broken.all()
    warnings = {record.args[0]: record.getMessage() for record in caplog.records}
    assert len(caplog.records) == 4
    assert "ModuleNotFoundError: No module named 'a_module_that_is_not_there'" in warnings["broken"]
    assert "SystemExit: no license" in warnings["leaving"]
    assert "decorator is missing" in warnings["undecorated"]
    assert "AttributeError" in warnings["missing"]


def test_a_package_that_takes_a_name_of_another_is_named_and_left_out(install, caplog):
    registry = install(good=GOOD, rival=GOOD)
    assert registry.all()["good"].__module__ == "good"
    assert "The package rival cannot add 'rival' (rival:entry): good is the name of good.entry already" in caplog.text


def test_what_a_package_prints_does_not_reach_stdout(install, capsys):
    install(good=f"print('hello')\n{GOOD}").all()
    out, errors = capsys.readouterr()
    assert (out, errors.strip()) == ("", "hello")


def test_other_packages_are_not_loaded_for_a_name_of_ours(install):
    registry = install(broken="import a_module_that_is_not_there")
    registry.entries["ours"] = MACL
    assert registry.get("ours") is MACL
    assert "broken" not in sys.modules
    assert registry.get("theirs") is None


def test_names_of_ours_cannot_be_taken():
    class Macl(MACL):
        pass

    with pytest.raises(InputError, match=r"pretrain macl is the name of contrastiveseg\.methods\.macl\.MACL already"):
        methods.register_method("macl", stage="pretrain")(Macl)
    assert methods.find_method("pretrain", "macl") is MACL
    with pytest.raises(InputError, match=r"unet is the name of contrastiveseg\.networks\.unet\.unet already"):
        backbones.register_backbone("unet")(lambda dimensions, in_channels: None)


def test_a_name_of_ours_cannot_be_taken_before_ours_are_loaded(monkeypatch):
    registry: Registry = Registry("contrastiveseg.methods", "contrastiveseg.test")
    loaded: list[str] = []
    monkeypatch.setattr(registry, "_load_own", lambda: loaded.append("ours"))
    registry.add("macl", Supervised)
    assert loaded == []
    registry.add("theirs", test_names_of_ours_cannot_be_taken)
    assert loaded == ["ours"]


def test_running_a_definition_again_replaces_it():
    def define() -> type[Method]:
        @methods.register_method("twice", stage="finetune")
        class Twice(Supervised):
            pass

        return Twice

    define()
    second = define()
    assert methods.find_method("finetune", "twice") is second


@pytest.mark.parametrize(
    ("stage", "cls", "says"),
    [
        ("train", MACL, "no stage 'train'. There are: pretrain, finetune"),
        ("finetune", MACL, "MACL is no SegmentationMethod"),
        ("pretrain", nn.Module, "Module is no Method"),
        ("pretrain", type("Bare", (Method,), {}), "Bare has no Settings"),
    ],
)
def test_what_is_no_method_is_refused(stage, cls, says):
    with pytest.raises(InputError, match=says):
        methods.register_method("new", stage=stage)(cls)


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(InputError, match=r"no method 'vicreg' to pretrain with. There are: aligned.*install that"):
        methods.find_method("pretrain", "vicreg")
