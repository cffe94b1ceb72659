"""The sections Model and Segment as a user has them before the eyes."""

SECONDS = 90


class Driver:
    """The panel as a user has it before the eyes."""

    def __init__(self, module, wait_for):
        self.panel, self.wait_for = module.panel, wait_for
        self.session = module.panel.session
        self.shell = module.panel.ui
        self.model = module.panel.sections["model"].ui
        self.segment = module.panel.sections["segment"].ui
        self.task = module.panel.sections["segment"].task

    def choose(self, text):
        """Pick the entry that begins with ``text`` from the checkpoints."""
        combo = self.model.checkpointComboBox
        pick(combo, next(i for i in range(combo.count) if combo.itemText(i).startswith(text)))

    def choose_volume(self, volume):
        """Take a volume, whichever the views show."""
        self.settle()
        self.segment.inputSelector.setCurrentNode(volume)

    def start(self):
        self.settle()
        self.segment.segmentButton.click()
        assert self.task.busy

    def finish(self):
        self.wait_for(lambda: not self.task.busy, SECONDS)

    def click_segment(self):
        self.start()
        self.finish()

    def wait_for_tiles(self):
        """Until the network is at work."""
        self.wait_for(lambda: 0 < self.segment.progressBar.value < 900, SECONDS)

    def settle(self):
        """Let what was put off for a moment happen."""
        import slicer

        for _ in range(3):
            slicer.app.processEvents()

    def why_not(self):
        self.settle()
        assert not self.segment.segmentButton.enabled
        return self.segment.segmentButton.toolTip

    def files(self):
        """What lies in this session's folder."""
        folder = self.session.folder()
        return sorted(p.name for p in folder.rglob("*")) if folder.exists() else []


def pick(combo, index):
    """Open the combo box, go to an entry, and take it by the key Enter."""
    import qt

    combo.showPopup()
    combo.view().setCurrentIndex(combo.model().index(index, 0))
    for kind in (qt.QEvent.KeyPress, qt.QEvent.KeyRelease):
        qt.QApplication.sendEvent(combo.view(), qt.QKeyEvent(kind, qt.Qt.Key_Return, qt.Qt.NoModifier))


def segmentations():
    import slicer

    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
