"""One description of a parameter: checked wherever a value comes from, and shown wherever a user looks."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import pytest

from contrastiveseg.data.augment_intensity import RandomRange
from contrastiveseg.descriptions import JOBS, FinetuneJob, PretrainJob
from contrastiveseg.errors import InputError
from contrastiveseg.methods.configuration import configured, method_parameters
from contrastiveseg.methods.method import Optimization
from contrastiveseg.methods.registry import available_methods, find_method
from contrastiveseg.parameters import Bounds, ParameterError, Parameters, as_in, parameter, parameters_of
from contrastiveseg.reference import markdown_jobs, markdown_methods
from contrastiveseg.serialization import from_json, to_json

METHODS = [method for method in available_methods() if find_method(*method).__module__.startswith("contrastiveseg.")]


@dataclass(frozen=True)
class Inner(Parameters):
    share: float = parameter(0.5, help="a share", at_least=0, at_most=1)
    strength: RandomRange = parameter(RandomRange(0.0, 0.0, 0.0), help="a strength", unit="voxels", above=0)


@dataclass(frozen=True)
class Outer(Parameters):
    name: str = parameter(help="a name")
    count: int = parameter(3, help="a count", unit="crops", source="[P]", at_least=1, below=10)
    rate: float | None = parameter(None, help="a rate", above=0)
    reach: tuple[float, float] = parameter((0.1, 0.2), help="a reach", at_least=0, below=1)
    kind: Literal["a", "b"] = parameter("a", help="a kind")
    note: str = parameter("", help="a note")
    table: Mapping[str, Any] = parameter({}, help="a table")
    inner: Inner = parameter(Inner(), help="others", source="[A]")


@dataclass(frozen=True)
class Changed(Outer):
    count: int = as_in(Outer, "count", 4, source="[C]")


@pytest.mark.parametrize(
    ("change", "name", "rule"),
    [
        ({"count": 0}, "count", "must be at least 1 and below 10, not 0."),
        ({"count": 10}, "count", "must be at least 1 and below 10, not 10."),
        ({"rate": 0.0}, "rate", "must be more than 0, not 0.0."),
        ({"reach": (0.3, 0.2)}, "reach", "must be two numbers, the smaller first, not (0.3, 0.2)."),
        ({"reach": (0.3, 1.0)}, "reach", "must be at least 0 and below 1, not 1.0."),
        ({"name": ""}, "name", "is empty. Is a variable not set?"),
        ({"name": "a\0b"}, "name", "holds a null character, which no path and no name has."),
        ({"inner": {"share": 2.0}}, "inner.share", "must be from 0 to 1, not 2.0."),
        (
            {"inner": {"strength": {"probability": 0.5, "low": 0.0, "high": 1.0}}},
            "inner.strength.low",
            "must be more than 0, not 0.0.",
        ),
        (
            {"inner": {"strength": {"probability": 0.5, "low": 2.0, "high": 1.0}}},
            "inner.strength.low",
            "must not be above high, as 2.0 is above 1.0.",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_its_name_wherever_it_comes_from(change, name, rule):
    with pytest.raises(ParameterError) as refused:
        from_json(Outer, {"name": "x", **change}, "settings")
    assert (refused.value.name, refused.value.rule) == (f"settings.{name}", rule)
    if "inner" not in change:
        for make in (lambda: Outer(**{"name": "x", **change}), lambda: replace(Outer("x"), **change)):
            with pytest.raises(ParameterError) as refused:
                make()
            assert str(refused.value) == f"{name} {rule}"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_without_bounds_are_finite(value):
    with pytest.raises(ParameterError, match=r"^low must be a finite number"):
        RandomRange(0.5, value, 1.0)


def test_what_may_be_empty_or_unused_is_not_refused():
    assert Outer("x", note="").note == ""
    assert Outer("x", rate=None).rate is None
    never = RandomRange(0.0, -1.0, 0.0)
    assert Outer("x", inner=Inner(strength=never)).inner.strength == never


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        (Bounds(), ""),
        (Bounds(at_least=0), "0 or more"),
        (Bounds(above=0.5), "more than 0.5"),
        (Bounds(at_most=1.0), "at most 1"),
        (Bounds(at_least=0, at_most=10**12), "from 0 to 1000000000000"),
        (Bounds(at_least=0, below=1), "at least 0 and below 1"),
        (Bounds(above=0, at_most=1), "more than 0 and at most 1"),
    ],
)
def test_bounds_in_words(bounds, words):
    assert str(bounds) == words


def test_parameters_are_listed_with_those_they_hold():
    listed = {p.name: p for p in parameters_of(Outer, "job.")}
    assert [name.removeprefix("job.") for name in listed] == [
        *("name", "count", "rate", "reach", "kind", "note", "table", "inner.share"),
        *("inner.strength.probability", "inner.strength.low", "inner.strength.high"),
    ]
    assert listed["job.name"].required
    assert [p.kind for p in listed.values()][:7] == ["text", "int", "float", "interval", "choice", "text", "table"]
    count, rate, kind = (listed[f"job.{name}"] for name in ("count", "rate", "kind"))
    assert (count.default, count.source, count.allowed) == (3, "[P]", "crops, at least 1 and below 10")
    assert (rate.optional, rate.allowed, count.optional) == (True, "more than 0", False)
    assert (kind.choices, kind.allowed) == (("a", "b"), "one of a, b")
    low, often = listed["job.inner.strength.low"], listed["job.inner.strength.probability"]
    assert (low.help, low.allowed, low.source) == ("a strength: the smallest", "voxels, more than 0", "[A]")
    assert (often.allowed, often.group) == ("from 0 to 1", "job.inner.strength")


def test_an_instance_is_listed_with_its_values():
    listed = {p.name: p.default for p in parameters_of(Outer("x", 5, inner=Inner(0.25)))}
    assert (listed["name"], listed["count"], listed["inner.share"]) == ("x", 5, 0.25)


def test_a_description_is_taken_over_with_another_default_and_source():
    listed = {p.name: p for p in parameters_of(Changed)}
    assert (listed["count"].default, listed["count"].source, listed["count"].help) == (4, "[C]", "a count")
    with pytest.raises(ParameterError):
        Changed("x", count=0)


def test_settings_of_other_packages_need_no_descriptions():
    @dataclass(frozen=True)
    class Plain:
        weight: float = 0.5
        sizes: tuple[int, ...] = (1, 2)

    assert [(p.name, p.kind, p.default, p.help) for p in parameters_of(Plain())] == [
        ("weight", "float", 0.5, ""),
        ("sizes", "json", (1, 2), ""),
    ]


@pytest.mark.parametrize("job", JOBS.values())
def test_every_option_of_every_job_is_described(job):
    assert all(option.help for option in parameters_of(job))


def job_of(stage: str, name: str, **changes: Any):
    if stage == "pretrain":
        return PretrainJob(images=("a",), output="b", method=name, **changes)
    return FinetuneJob(images=("a",), output="b", checkpoint="none", method=name, **changes)


@pytest.mark.parametrize(("stage", "name"), METHODS)
def test_every_parameter_of_every_method_is_described_settable_and_bounded(stage, name):
    method = find_method(stage, name)
    for p in method_parameters(method):
        assert p.help, p.name
        assert p.kind != "json", p.name
        default = to_json(p.default)
        settings, optimization = configured(method, job_of(stage, name, settings={p.name: default}))
        assert (settings, optimization) == (method.Settings(), method.optimization), p.name
        limits = [(p.bounds.at_least, -1), (p.bounds.above, 0), (p.bounds.at_most, 1), (p.bounds.below, 0)]
        for limit, step in limits:
            if limit is None or "intensity" in p.group.split("."):
                continue
            wrong = limit + step
            value = [wrong, wrong] if p.kind == "interval" else wrong if p.kind == "int" else float(wrong)
            with pytest.raises(ParameterError, match=rf"{p.name} must be {p.bounds}, not"):
                configured(method, job_of(stage, name, settings={p.name: value}))


def test_changes_of_intensity_are_bounded_where_they_happen():
    method = find_method("finetune", "supervised")
    with pytest.raises(ParameterError, match=r"^settings\.intensity\.contrast\.low must be more than 0, not -1\.0\.$"):
        configured(method, job_of("finetune", "supervised", settings={"intensity.contrast.low": -1.0}))


@pytest.mark.parametrize(("stage", "name"), METHODS)
def test_the_learning_rate_is_a_parameter_of_the_method(stage, name):
    method = find_method(stage, name)
    listed = {p.name: p.default for p in method_parameters(method)}
    assert listed["optimization.learning_rate"] == method.optimization.learning_rate
    ways = ({"settings": {"optimization.learning_rate": 0.5}}, {"learning_rate": 0.5})
    for given in ways:
        _, how = configured(method, job_of(stage, name, **given))
        assert how == replace(method.optimization, learning_rate=0.5)
    with pytest.raises(InputError, match=r"^--learning-rate and the setting optimization\.learning_rate are the same"):
        configured(method, job_of(stage, name, **ways[0], **ways[1]))


def test_the_class_has_no_default_of_its_own_for_the_rate():
    assert next(p for p in parameters_of(Optimization) if p.name == "learning_rate").required
    assert {f.name for f in fields(Optimization)} >= {"optimizer", "weight_decay", "schedule", "clip", "ema"}


def test_the_options_of_the_job_override_the_optimization():
    method = find_method("finetune", "supervised")
    job = job_of("finetune", "supervised", optimizer="sgd", transferred_rate=0.25)
    assert configured(method, job)[1] == replace(method.optimization, optimizer="sgd", transferred_rate=0.25)


def test_an_object_changes_what_it_names_and_leaves_the_methods_own_values_of_the_rest():
    method = find_method("finetune", "supervised")
    job = job_of("finetune", "supervised", settings={"spatial": {"rotation": 10.0}})
    own = method.Settings()
    assert own.spatial != type(own.spatial)()  # the method's differ from those of the class
    assert configured(method, job)[0] == replace(own, spatial=replace(own.spatial, rotation=10.0))
    with pytest.raises(InputError, match=r"There is no setting 'spatial\.guess'"):
        configured(method, job_of("finetune", "supervised", settings={"spatial": {"guess": 1}}))


def test_settings_in_british_spelling_are_taken():
    given = {"unlabelled": 3, "optimisation.learning_rate": 0.25}
    settings, how = configured(find_method("finetune", "bcp"), job_of("finetune", "bcp", settings=given))
    assert (settings.unlabeled, how.learning_rate) == (3, 0.25)


def test_a_setting_in_two_spellings_is_refused():
    job = job_of("finetune", "bcp", settings={"unlabelled": 3, "unlabeled": 2})
    with pytest.raises(InputError, match="unlabeled is given twice, in two spellings"):
        configured(find_method("finetune", "bcp"), job)
    with pytest.raises(InputError, match=r"^finetune: license given twice, in two spellings"):
        from_json(FinetuneJob, {**to_json(job), "licence": "MIT"}, "finetune")


@pytest.mark.parametrize(
    "key", ["guess", "spatial.guess", "batch.guess", "optimization.guess", "optimization", "a.b.c"]
)
def test_a_parameter_that_there_is_not_is_refused_by_name(key):
    with pytest.raises(InputError, match=rf"There is no setting '{key.removeprefix('optimization.')}'. Settings: "):
        configured(find_method("finetune", "supervised"), job_of("finetune", "supervised", settings={key: 1}))


def test_the_documentation_has_every_option_and_every_parameter():
    jobs, methods = markdown_jobs(), markdown_methods()
    for kind, job in JOBS.items():
        assert f"## {kind}\n" in jobs
        for option in parameters_of(job):
            others = {"settings": "--set", "source": "--from", "file": "FILE"}
            flag = others.get(option.name, "--" + option.name.rstrip("_").replace("_", "-"))
            assert f"| `{flag}` |" in jobs
    for stage, name in METHODS:
        assert f"### {name}\n" in methods
        for p in method_parameters(find_method(stage, name)):
            assert f"| `{p.name}` |" in methods
    assert "| `optimization.learning_rate` | `0.006` | peak learning rate | 0 or more |  |" in methods
    assert "## Pre-training" in methods
    rows = [line for line in (jobs + methods).splitlines() if line.startswith("|")]
    assert {row.replace("\\|", "").count("|") for row in rows} == {5, 6}
