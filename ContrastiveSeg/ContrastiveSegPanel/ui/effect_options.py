"""What the effect of the Segment Editor shows: the sections Preview and Fine-tune of the panel, by a few buttons.

The panel's own sections do the work, also while they are not to be seen; so one set of rules holds in both places.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import qt
from slicer.i18n import tr as _

from ..plain_text import plain_label
from ..timer import single_shot
from .full_height import FullHeight
from .silent import silent

if TYPE_CHECKING:
    from .panel import Panel


class EffectOptions:
    """The buttons, which press those of the panel.

    Args:
        segmentation: gives the segmentation that is edited, or None.

    Attributes:
        widget: what is shown.
    """

    def __init__(self, segmentation: Callable[[], Any]) -> None:
        self._segmentation = segmentation
        self._panel: Panel | None = None
        # Sections go on changing their buttons after they have told of it.
        self._timer = single_shot(self._show_state)
        self.preview, self.cancel = _button(_("Preview"), self._preview), _button(_("Cancel"), self._cancel)
        self.take, self.undo = _button(_("Take it"), self._take), _button(_("Undo"), self._undo)
        self.learn_again = _button(_("Learn again"), self._learn)
        self.every_stroke = qt.QCheckBox(_("After every stroke"))
        self.every_stroke.connect("toggled(bool)", self._on_follow)
        self.checkpoint, self.status = plain_label(""), plain_label("")
        # Before and after, as the panel made it of escaped names.
        self.outcome = plain_label("")
        self.outcome.textFormat = qt.Qt.RichText
        for label in (self.checkpoint, self.status, self.outcome):
            # The editor would get as wide as their texts.
            label.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Preferred)
            label.wordWrap = True
        self.widget = qt.QWidget()
        column, row = qt.QVBoxLayout(self.widget), qt.QHBoxLayout()
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.checkpoint)
        for button in (self.preview, self.cancel, self.take, self.undo):
            row.addWidget(button)
        column.addLayout(row)
        for widget in (self.every_stroke, self.status, self.learn_again, self.outcome):
            column.addWidget(widget)
        self._height = FullHeight(self.widget)
        self._show_state()

    def show(self, panel: Panel) -> None:
        """The user comes to the effect; ``panel``: as it is now, since the module may have been loaded anew."""
        self.leave()
        self._panel = panel
        panel.session.refresh_catalog()
        panel.session.warm_up()
        for section in self._sections:
            section.shown.connect(self._show_soon)
        self.follow()
        _preview, tune = self._sections
        tune.refresh()
        self._show_state()

    def leave(self) -> None:
        """The user goes to another effect, or away from the editor; what runs goes on."""
        self._timer.stop()
        for section in self._sections:
            section.shown.disconnect(self._show_soon)
        self._panel = None

    def close(self) -> None:
        """The editor goes, and the widget with it."""
        self.leave()
        self._height.cleanup()

    @property
    def _sections(self) -> list[Any]:
        return [] if self._panel is None else [self._panel.sections[name] for name in ("preview", "fineTune")]

    def follow(self) -> None:
        """Let the panel preview what is edited now."""
        for section in self._sections[:1]:
            section.ui.strokesSelector.setCurrentNode(self._segmentation())

    def _show_soon(self) -> None:
        self._timer.start(0)

    def _show_state(self) -> None:
        if self._panel is None:
            return
        preview, tune = self._sections
        busy, ui = preview.task.busy, preview.ui
        for mine, theirs in (
            (self.preview, ui.previewButton),
            (self.cancel, ui.previewCancelButton),
            (self.take, ui.takeButton),
            (self.undo, ui.takeBackButton),
            (self.learn_again, tune.ui.learnAgainButton),
        ):
            mine.setEnabled(theirs.enabled)
            mine.setToolTip(theirs.toolTip)
        self.preview.setVisible(not busy)
        self.cancel.setVisible(busy)
        with silent(self.every_stroke):
            self.every_stroke.setChecked(ui.followCheckBox.checked)
        self.every_stroke.setToolTip(ui.followCheckBox.toolTip)
        entry = self._panel.session.checkpoint
        name = entry.name if entry is not None else _("none")
        text = _("Checkpoint: {name}. Choose another one in the module Contrastive Segmentation.").format(name=name)
        self.checkpoint.setText(text)
        self.status.setText("\n".join(filter(None, (preview.status, tune.status))))
        self.outcome.setText(tune.outcome)
        self.outcome.setVisible(bool(tune.outcome))

    # Without a panel the editor shows none of the buttons.

    def _preview(self) -> None:
        self.follow()
        self._sections[0].start()

    def _cancel(self) -> None:
        self._sections[0].task.cancel()

    def _take(self) -> None:
        self._sections[0].ui.takeButton.click()

    def _undo(self) -> None:
        self._sections[0].ui.takeBackButton.click()

    def _learn(self) -> None:
        self._sections[1].ui.learnAgainButton.click()

    def _on_follow(self) -> None:
        self.follow()
        self._sections[0].ui.followCheckBox.setChecked(self.every_stroke.checked)


def _button(text: str, on_click: Callable[[], None]) -> Any:
    button = qt.QPushButton(text)
    button.connect("clicked()", on_click)
    return button
