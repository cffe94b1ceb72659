"""Whether a volume is like those a plan was made for: codes, numbers and words."""

from dataclasses import replace

import numpy as np
import pytest

from contrastiveseg.planning.compatibility import Incompatibility, incompatibilities, modality_mismatch, warning_text
from contrastiveseg.planning.plan import Channel, Normalization, Plan
from contrastiveseg.volumes.volume import Geometry

CT = Channel("image", "CT", Normalization("window", -160, 240, 60, 80))
MR = Channel("image", "MR")
PLAN = Plan(3, (CT,), (2.0, 1.0, 1.0), (16, 32, 32))
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def hounsfield() -> np.ndarray:
    """Air around soft tissue, (20, 40, 40)."""
    array = np.full((20, 40, 40), -1000, np.int16)
    array[4:-4, 8:-8, 8:-8] = np.random.default_rng(0).integers(-100, 200, (12, 24, 24))
    return array


def check(plan=PLAN, array=None, spacing=(1.0, 1.0, 2.0), direction=STRAIGHT) -> list[Incompatibility]:
    array = hounsfield() if array is None else array
    geometry = Geometry(array.shape[::-1], spacing, (0.0, 0.0, 0.0), direction)
    return incompatibilities(plan, geometry, [array] * len(plan.channels))


def test_a_volume_like_the_training_data_has_none():
    assert check() == []
    assert check(replace(PLAN, channels=(MR,)), np.abs(hounsfield())) == []


def test_modality_of_each_channel():
    positive = np.abs(hounsfield())
    assert check(array=positive) == [Incompatibility("modality", "MR", "CT", 0, (0.0, 1000.0))]
    (problem,) = check(replace(PLAN, channels=(CT, MR)))
    assert (problem.code, problem.value, problem.expected, problem.channel) == ("modality", "CT", "MR", 1)
    assert check(replace(PLAN, channels=(Channel(),)), positive) == []
    assert modality_mismatch("any", "CT") is None


def test_number_of_channels():
    geometry = Geometry((40, 40, 20), (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), STRAIGHT)
    problems = incompatibilities(PLAN, geometry, [hounsfield()] * 2)
    assert problems == [Incompatibility("channels", 2, 1)]
    assert warning_text(problems[0], "A") == "A has 2 channel(s); the model takes 1."


@pytest.mark.parametrize(("spacing", "expected"), [((1.0, 1.0, 4.1), 1), ((1.0, 1.0, 3.9), 0), ((0.24, 1.0, 2.0), 1)])
def test_spacing_much_coarser_or_finer(spacing, expected):
    plan = replace(PLAN, patch=(1, 1, 1))
    assert [(p.code, p.value, p.expected) for p in check(plan, spacing=spacing)] == [
        ("spacing", spacing[::-1], (2.0, 1.0, 1.0))
    ] * expected


def test_tilt_in_degrees():
    angle = np.radians(30)
    direction = (np.cos(angle), -np.sin(angle), 0.0, np.sin(angle), np.cos(angle), 0.0, 0.0, 0.0, 1.0)
    (problem,) = check(direction=direction)
    assert (problem.code, problem.value) == ("tilt", pytest.approx(30))


def test_field_of_view_below_half_of_the_patch():
    (problem,) = check(replace(PLAN, patch=(64, 32, 32)))
    assert problem == Incompatibility("field_of_view", (40.0, 40.0, 40.0), (128.0, 32.0, 32.0))
    assert check(replace(PLAN, dimensions=2, patch=(64, 32, 32))) == []


def test_sentences_are_translated_before_their_values_are_filled_in():
    seen = []

    def translate(text):
        seen.append(text)
        return text.upper().replace("{VOLUME}", "{volume}").replace("{EXPECTED}", "{expected}")

    assert warning_text(Incompatibility("modality", "CT", "MR"), "A", translate).startswith("A LOOKS LIKE CT")
    assert seen == ["{volume} looks like CT; the model was trained on {expected}."]
    assert warning_text(Incompatibility("modality", "MR", "CT"), "A") == (
        "The model was trained on CT; A does not look like it."
    )
