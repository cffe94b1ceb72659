"""What a scene may say that the panel never wrote: it counts as nothing said."""

import pytest


@pytest.mark.parametrize("count", ["1000000000", "9" * 5000, "-1", "two"])
def test_a_number_of_channels_that_cannot_be_is_none(scene, count):
    from ContrastiveSegPanel.mrml.parameters import Parameters

    node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    parameters = Parameters(node)
    node.SetParameter("channels", count)
    assert parameters.channels == []
    parameters.channels = [None, node]
    assert parameters.channels == [None, node]
    parameters.close()


@pytest.mark.parametrize("text", ["99999999999 steps", "9" * 5000 + " min", "0 steps", "3 min", "soon", ""])
def test_a_budget_that_cannot_be_changes_nothing(scene, text):
    import qt
    from ContrastiveSegPanel.ui.budget_box import Budget

    combo, spin = qt.QComboBox(), qt.QSpinBox()
    combo.addItems(["2 minutes", "10 minutes", "Steps"])
    spin.setRange(1, 1000000)
    budget = Budget(combo, spin, (2, 10), lambda: None)
    budget.show("10 min")
    budget.show(text)
    assert budget.text == "10 min"
    budget.show("500 steps")
    assert (budget.text, budget.fields) == ("500 steps", {"steps": 500})
