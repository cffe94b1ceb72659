"""What the user is told before a model runs on a volume of another kind than it was trained on."""

from dataclasses import replace

import numpy as np
import pytest

from contrastiveseg.checkpoints.card import Card
from contrastiveseg.networks.spec import NetworkSpec
from contrastiveseg.planning.plan import Channel, Normalization, Plan

CT = Channel("image", "CT", Normalization("window", -160, 240, 60, 80))
MR = Channel("image", "MR")


def model(*channels, dimensions=3, spacing=(2.0, 1.0, 1.0), patch=(16, 32, 32)):
    plan = Plan(dimensions, channels, spacing, patch)
    return Card("segmenter", "supervised", NetworkSpec("unet", dimensions, len(channels)), plan)


def hounsfield(shape=(20, 40, 40)):
    """Air around soft tissue."""
    array = np.full(shape, -1000, np.int16)
    array[4:-4, 8:-8, 8:-8] = np.random.default_rng(0).integers(-100, 200, array[4:-4, 8:-8, 8:-8].shape)
    return array


@pytest.fixture
def told(scene):
    """``told(array, card, spacing)``: the warnings for a volume called CTChest, of spacing (x, y, z) mm."""
    import slicer
    from ContrastiveSegPanel.workflows.compatibility import warnings

    def ask(array, card, spacing=(1.0, 1.0, 2.0), directions=None, channel=0):
        volume = slicer.util.addVolumeFromArray(array, name="CTChest")
        volume.SetSpacing(spacing)
        volume.SetIJKToRASDirections(np.eye(3) if directions is None else directions)
        return warnings(volume, card, channel)

    return ask


def test_a_volume_like_the_models_own_gets_no_warning(told):
    assert told(hounsfield(), model(CT)) == []
    assert told(hounsfield().astype(np.float32), model(CT)) == []
    assert told(np.abs(hounsfield()), model(MR)) == []


def test_another_modality(told):
    (warning,) = told(np.abs(hounsfield()), model(CT))
    assert warning == "The model was trained on CT; the values of CTChest (0 to 1000) do not look like it."
    assert told(hounsfield(), model(MR)) == ["CTChest looks like CT; the model was trained on MR."]
    assert told(hounsfield(), model(Channel())) == []


def test_every_channel_is_held_to_its_own_modality(told):
    assert told(hounsfield(), model(MR, CT), channel=1) == []
    assert len(told(hounsfield(), model(MR, CT), channel=0)) == 1


def test_voxels_much_coarser_or_finer(told):
    (warning,) = told(hounsfield(), model(CT), spacing=(1.0, 1.0, 6.0))
    assert warning == "Voxels of CTChest are 1 x 1 x 6 mm; the model was trained on 1 x 1 x 2 mm."
    assert told(hounsfield((20, 200, 200)), model(CT), spacing=(0.2, 0.2, 2.0)) != []
    assert told(hounsfield(), model(CT), spacing=(1.9, 0.6, 3.9)) == []


def test_spacing_follows_the_patients_axes_not_the_files(told):
    # Stored front to back first: i runs along the patient's z.
    turned = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float)
    assert told(hounsfield((40, 40, 20)), model(CT), spacing=(2.0, 1.0, 1.0), directions=turned) == []


def test_slices_of_a_2d_model_keep_their_distance(told):
    card = model(CT, dimensions=2, spacing=(8.0, 1.0, 1.0), patch=(1, 32, 32))
    assert told(hounsfield((10, 40, 40)), card, spacing=(1.0, 1.0, 40.0)) == []


def rotation(degrees):
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def test_an_oblique_volume(told):
    assert told(hounsfield(), model(CT), directions=rotation(10)) == []
    (warning,) = told(hounsfield(), model(CT), directions=rotation(30))
    assert warning.startswith("CTChest lies 30° oblique")
    # Mirrored and swapped axes are straight.
    assert told(hounsfield((20, 40, 40)), model(CT), directions=np.diag([-1.0, -1, 1]) @ rotation(90)) == []


def test_a_field_of_view_smaller_than_what_the_model_looks_at(told):
    card = replace(model(CT), plan=replace(model(CT).plan, patch=(64, 32, 32)))
    (warning,) = told(hounsfield(), card)
    assert warning == (
        "CTChest covers 40 x 40 x 40 mm, along an axis less than half of the 32 x 32 x 128 mm that the model sees at "
        "once."
    )


def test_a_parent_transform_changes_nothing(told, scene):
    import slicer
    from ContrastiveSegPanel.workflows.compatibility import warnings

    volume = slicer.util.addVolumeFromArray(hounsfield(), name="CTChest")
    volume.SetSpacing(1.0, 1.0, 2.0)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([9.0, 9.0, 9.0, 1.0])))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    assert warnings(volume, model(CT)) == []
