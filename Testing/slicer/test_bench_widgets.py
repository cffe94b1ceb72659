"""The stand-ins for CTK's and Slicer's widgets behave as their headers say."""

import pytest
from bench.ui_loader import UiError

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0">
 <class>Top</class>
 <widget class="qMRMLWidget" name="Top">
  <layout class="QVBoxLayout">
   <item><widget class="ctkCollapsibleButton" name="section">
     <property name="text"><string>Section</string></property>
     <property name="collapsed"><bool>true</bool></property>
     <layout class="QFormLayout">
      <item row="0" column="1"><widget class="qMRMLNodeComboBox" name="selector">
        <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
        <property name="noneEnabled"><bool>true</bool></property>
      </widget></item>
      <item row="1" column="1"><widget class="ctkPathLineEdit" name="path">
        <property name="filters"><set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Readable</set></property>
      </widget></item>
      <item row="2" column="1"><widget class="ctkSliderWidget" name="slider">
        <property name="maximum"><double>5.0</double></property>
        <property name="value"><double>2.0</double></property>
      </widget></item>
     </layout>
   </widget></item>
  </layout>
 </widget>
 <customwidgets/>
 <connections>
  <connection>
   <sender>Top</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
   <receiver>selector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot>
  </connection>
 </connections>
</ui>
"""


@pytest.fixture
def load(slicer_started, tmp_path):
    import slicer

    def load(text=UI):
        path = tmp_path / "Top.ui"
        path.write_text(text, encoding="utf-8")
        return slicer.util.loadUI(str(path))

    return load


def test_a_ui_file_loads_with_its_properties_and_connections(load, scene):
    import ctk
    import slicer

    top = load()
    ui = slicer.util.childWidgetVariables(top)
    assert ui.section.text == "Section"
    assert ui.section.collapsed
    assert ui.path.filters == ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Readable
    assert ui.slider.value == 2.0
    assert ui.slider.maximum == 5.0
    top.setMRMLScene(scene)
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "heart")
    assert ui.selector.nodeCount() == 1
    assert ui.selector.currentNode() is None
    ui.selector.setCurrentNode(volume)
    assert ui.selector.currentNodeID == volume.GetID()


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("noneEnabled", "noneEnabeld", "no qMRMLNodeComboBox.noneEnabeld"),
        ("qMRMLNodeComboBox", "qMRMLNodeCombo", "no qMRMLNodeCombo "),
        ('name="path"', 'name="slider"', "two widgets are called slider"),
        ("<slot>setMRMLScene", "<slot>setScene", "no slot setScene"),
        ("<signal>mrmlSceneChanged", "<signal>sceneChanged", "no signal sceneChanged"),
    ],
)
def test_a_ui_file_that_names_what_does_not_exist_is_refused(load, good, bad, said):
    with pytest.raises((UiError, AttributeError), match=said):
        load(UI.replace(good, bad, 1))


def test_a_selector_without_none_takes_the_first_node_and_tells_all_its_signals(scene):
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    told = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: told.append(node and node.GetName()))
    selector.connect("currentNodeChanged(bool)", lambda valid: told.append(valid))
    selector.connect("currentNodeIDChanged(QString)", lambda identifier: told.append(identifier))
    selector.setMRMLScene(scene)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "heart")
    assert told == ["heart", True, node.GetID()]
    scene.RemoveNode(node)
    assert told[3:] == [None, False, ""]


@pytest.mark.parametrize("none", [True, False])
def test_a_selector_goes_on_to_the_node_that_takes_the_row_of_a_removed_one(scene, none):
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes, selector.noneEnabled = ["vtkMRMLModelNode"], none
    selector.setMRMLScene(scene)
    first, second, third = (scene.AddNewNodeByClass("vtkMRMLModelNode", name) for name in "ABC")
    selector.setCurrentNode(second)
    scene.RemoveNode(second)
    assert selector.currentNode() is third
    scene.RemoveNode(third)
    assert selector.currentNode() is first
    scene.RemoveNode(first)
    assert selector.currentNode() is None


def test_a_selector_follows_names_and_hidden_nodes(scene):
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(scene)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "heart")
    node.SetName("liver")
    node.SetHideFromEditors(1)
    assert selector.nodeCount() == 0


def test_a_node_of_a_subclass_is_hidden_with_showChildNodeTypes_off(scene):
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(scene)
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    assert selector.nodeCount() == 1
    selector.showChildNodeTypes = False
    assert selector.nodeCount() == 0


def test_several_nodes_are_checked(scene):
    import qt
    import slicer

    selector = slicer.qMRMLCheckableNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(scene)
    one, two = (scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", n) for n in "ab")
    changes = []
    selector.connect("checkedNodesChanged()", lambda: changes.append(1))
    selector.setCheckState(two, qt.Qt.Checked)
    assert selector.checkedNodes() == [two]
    assert selector.uncheckedNodes() == [one]
    scene.RemoveNode(two)
    assert selector.checkedNodes() == []
    assert len(changes) == 2


def test_a_collapsed_section_hides_its_rows_but_not_those_the_panel_hid(slicer_started):
    import ctk
    import qt

    section = ctk.ctkCollapsibleButton("Model")
    layout = qt.QVBoxLayout(section)
    shown, hidden = qt.QLabel("shown"), qt.QLabel("hidden")
    layout.addWidget(shown)
    layout.addWidget(hidden)
    section.show()
    hidden.visible = False
    section.collapsed = True
    assert not shown.visible
    section.collapsed = False
    assert shown.visible
    assert not hidden.visible


def test_a_group_is_not_folded_before_it_has_a_title(slicer_started):
    import ctk

    box = ctk.ctkCollapsibleGroupBox()
    with pytest.raises(ValueError, match="before it has a title"):
        box.collapsed = True
    box.setTitle("Advanced")
    box.collapsed = True
    assert box.collapsed


def test_what_a_stand_in_lacks_is_said(slicer_started):
    import ctk
    import slicer

    with pytest.raises(AttributeError, match=r"bench has no qMRMLNodeComboBox.color"):
        slicer.qMRMLNodeComboBox().color  # noqa: B018
    with pytest.raises(AttributeError, match="not allowed"):
        slicer.qMRMLNodeComboBox().color = 1
    with pytest.raises(AttributeError, match=r"bench has no ctk.ctkDial"):
        ctk.ctkDial  # noqa: B018
    with pytest.raises(AttributeError, match=r"bench has no slicer.modules.dicom"):
        slicer.modules.dicom  # noqa: B018
