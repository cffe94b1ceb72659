"""The bench holds to PythonQt's rules and refuses what PySide6 alone would accept."""

import ast
from functools import partial
from pathlib import Path

import pytest

PANEL = Path(__file__).resolve().parents[2] / "ContrastiveSeg" / "ContrastiveSegPanel"


@pytest.fixture
def qt(slicer_started):
    import qt

    return qt


def test_a_property_is_a_value(qt):
    label = qt.QLabel("heart")
    assert label.text == "heart"
    with pytest.raises(TypeError, match="not callable"):
        label.text()


def test_a_property_is_set_either_way(qt):
    label = qt.QLabel()
    label.text = "a"
    assert label.text == "a"
    label.setText("b")
    assert label.text == "b"


def test_an_unknown_attribute_is_refused(qt):
    button = qt.QPushButton()
    with pytest.raises(AttributeError, match="does not exist on QPushButton"):
        button.foo = 1
    with pytest.raises(AttributeError, match="foo"):
        button.foo  # noqa: B018


def test_an_empty_layout_is_false_and_not_among_the_children(qt):
    import slicer

    widget = qt.QWidget()
    outer, inner = qt.QVBoxLayout(widget), qt.QHBoxLayout()
    inner.objectName = "inner"
    outer.addLayout(inner)
    assert not inner
    assert not hasattr(slicer.util.childWidgetVariables(widget), "inner")
    inner.addWidget(qt.QLabel("heart"))
    assert inner
    assert slicer.util.childWidgetVariables(widget).inner is inner


def test_values_of_the_wrong_type_are_refused(qt):
    with pytest.raises(TypeError):
        qt.QCheckBox().checked = "false"
    with pytest.raises(TypeError):
        qt.QLabel().text = None
    with pytest.raises(TypeError):
        qt.QSpinBox().value = 1.5


def test_an_unknown_signal_raises(qt):
    with pytest.raises(AttributeError, match="no signal clickd"):
        qt.QPushButton().connect("clickd()", print)


def test_surplus_arguments_are_dropped_but_not_for_partials(qt):
    button = qt.QPushButton()
    got = []
    button.connect("clicked(bool)", lambda: got.append("none"))
    button.connect("clicked(bool)", lambda value=7: got.append(value))
    button.connect("clicked(bool)", partial(lambda *a: got.append(a), "x"))
    button.click()
    assert got == ["none", False, ("x", False)]


def test_disconnect(qt):
    button = qt.QPushButton()
    got = []
    f = lambda: got.append(1)  # noqa: E731
    button.connect("clicked()", f)
    assert button.disconnect("clicked()", f)
    assert not button.disconnect("clicked()", f)
    button.click()
    assert got == []


def test_an_exception_in_a_slot_is_kept_for_the_end_of_the_test(qt):
    from bench import failures

    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    (text,) = failures.take()
    assert "ZeroDivisionError" in text


def test_single_shot(qt, wait_for):
    got = []
    qt.QTimer.singleShot(1, lambda: got.append(1))
    wait_for(lambda: got)


def test_a_signal_is_connected_emitted_and_called_by_its_name(qt):
    button, got = qt.QPushButton(), []
    button.clicked.connect(got.append)
    button.clicked.emit(True)
    button.clicked(False)
    assert got == [True, False]


def test_a_name_that_means_two_signals_in_slicer_is_refused(qt):
    import slicer

    with pytest.raises(TypeError, match="overloads"):
        qt.QComboBox().currentIndexChanged.connect(print)
    with pytest.raises(TypeError, match="overloads"):
        slicer.qMRMLNodeComboBox().currentNodeChanged.connect(print)


def test_what_only_qt_6_has_is_refused(qt):
    with pytest.raises(AttributeError, match="checkStateChanged"):
        qt.QCheckBox().connect("checkStateChanged(Qt::CheckState)", print)
    with pytest.raises(AttributeError, match="setScreen"):
        qt.QWidget().setScreen  # noqa: B018
    with pytest.raises(AttributeError, match=r"bench has no qt\.QPermission"):
        qt.QPermission  # noqa: B018


def test_a_static_function_with_the_name_of_a_method_is_refused(qt):
    with pytest.raises(TypeError, match="mix up"):
        qt.QProcess.startDetached("true", [])


def test_the_panel_gives_qt_no_arguments_by_name(slicer_started):
    """PythonQt takes them by position alone, PySide6 also by name."""
    from bench import qt5

    methods = {name for entry in qt5.TABLE.values() for name in entry["methods"]}
    # What texts, paths and files of Python have too.
    methods -= {"format", "contains", "mkdir", "error", "read", "write", "open", "remove"}
    by_name = [
        f"{path.name}:{call.lineno} {call.func.attr}"
        for path in PANEL.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        if call.keywords and call.func.attr in methods
    ]
    assert by_name == []


def test_a_child_is_an_attribute_by_its_name(qt):
    parent = qt.QWidget()
    child = qt.QLabel("x", parent)
    child.name = "label"
    assert parent.label is child
    assert child.objectName == "label"


def test_a_widget_drawn_in_python_is_drawn(qt):
    class Chart(qt.QWidget):
        def __init__(self):
            super().__init__()
            self.values = [1, 2]

        def paintEvent(self, event):
            painter = qt.QPainter(self)
            painter.fillRect(self.rect, qt.QColor(255, 0, 0))
            painter.end()

    chart = Chart()
    chart.resize(20, 20)
    assert chart.grab().toImage().pixelColor(5, 5).red() == 255


def test_an_exception_while_drawing_fails_the_test(qt):
    class Broken(qt.QWidget):
        def paintEvent(self, event):
            raise ValueError("broken chart")

    with pytest.raises(ValueError, match="broken chart"):
        Broken().grab()
