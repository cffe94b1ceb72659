"""Section Model: which checkpoint, and what it is."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from contrastiveseg.checkpoints.card import Card, Label
from contrastiveseg.checkpoints.describe import card_rows

from .. import settings
from ..mrml.parameters import Parameters
from ..plain_text import plain_tip
from ..timer import single_shot
from ..workflows.catalog import Entry
from ..workflows.downloading import Offer, download, offers, question
from ..workflows.session import Session
from .section import Section
from .silent import silent

#: More labels than these are counted only; the tool tip has them all.
_MOST_LABELS = 24
#: Beside the names in the list of checkpoints, for its scroll bar; pixels.
_LIST_MARGIN = 40
_ROWS = ("method", "backbone", "expects", "labels", "origin", "scores", "license", "citation")


class ModelSection(Section):
    """The combo box offers what :attr:`Session.catalog` holds; the session knows which one is chosen."""

    def __init__(self, session: Session, ui: Any) -> None:
        super().__init__(session, ui)
        self._entries: list[Entry] = []
        self._offers: list[Offer] = []
        self._tip = ui.checkpointComboBox.toolTip
        #: That the scene's checkpoint is missing, as long as another one stands in for it.
        self._missing = ""
        self._stand_in: Path | None = None
        self._show_timer = single_shot(self._show)
        ui.checkpointComboBox.connect("activated(int)", self._on_activated)
        ui.checkpointComboBox.connect("currentIndexChanged(int)", self._on_index)
        ui.adviceButton.connect("clicked()", self._on_advice)
        ui.detailsButton.connect("toggled(bool)", self._show)
        menu = qt.QMenu(ui.modelsFolderButton)
        for text, do in (
            (_("Show in the file manager"), self._show_folder),
            (_("Use another folder…"), self._choose_folder),
            (_("Read again"), session.refresh_catalog),
        ):
            menu.addAction(text).connect("triggered()", do)
        ui.modelsFolderButton.setMenu(menu)
        self.listen(session.catalog_changed, self._fill)
        self.listen(session.checkpoint_changed, self._show)
        self._fill()

    def set_parameters(self, parameters: Parameters) -> None:
        wanted = (parameters.checkpoint, settings.text("LastCheckpoint"))
        usable = [e for e in self._entries if e.card is not None]
        by_name = {e.path.name: e for e in usable}
        chosen = next((by_name[name] for name in wanted if name in by_name), None)
        chosen = chosen or next((e for e in usable if e.segments), None) or next(iter(usable), None)
        self._missing, self._stand_in = "", chosen.path if chosen else None
        if parameters.checkpoint and parameters.checkpoint not in by_name:
            text = _("The checkpoint {name}, which the scene was saved with, is not among yours.")
            self._missing = text.format(name=parameters.checkpoint)
            if chosen is not None:
                self._missing += " " + _("{name} is chosen instead.").format(name=chosen.name)
            self.session.log(self._missing)
        self.session.set_checkpoint(self._stand_in)

    def cleanup(self) -> None:
        super().cleanup()
        # The widgets live a little longer.
        self._show_timer.blockSignals(True)

    def _fill(self) -> None:
        self._entries = self.session.catalog.entries()
        combo = self.ui.checkpointComboBox
        with silent(combo):
            combo.clear()
            for entry in self._entries:
                combo.addItem(_title(entry))
                combo.setItemData(combo.count - 1, plain_tip(entry.problem or str(entry.path)), qt.Qt.ToolTipRole)
            self._offers = offers(self.session)
            for offer in self._offers:
                size = offer.model.size / 10**6
                combo.addItem(_("{name} (to download, {size:.1f} MB)").format(name=offer.model.name, size=size))
                combo.setItemData(combo.count - 1, plain_tip(offer.model.purpose), qt.Qt.ToolTipRole)
            combo.insertSeparator(combo.count)
            combo.addItem(_("Browse…"))
        # Names differ at their ends: the list is as wide as they are, the panel is not.
        metrics = qt.QFontMetrics(combo.font)
        texts = [combo.itemText(index) for index in range(combo.count)]
        combo.view().setMinimumWidth(max(metrics.boundingRect(text).width() for text in texts) + _LIST_MARGIN)
        # The chosen one may be gone, or have been written again.
        chosen = self.session.checkpoint
        self.session.set_checkpoint(chosen.path if chosen else None)

    def _on_index(self, index: int) -> None:
        """Another entry is shown, by the user or by a script."""
        if not 0 <= index < len(self._entries):
            # No checkpoint. Later: should the user have chosen it, Qt goes on to say which entry was activated.
            self._show_timer.start(0)
        elif self.session.checkpoint is None or self.session.checkpoint.path != self._entries[index].path:
            self.session.set_checkpoint(self._entries[index].path)

    def _on_activated(self, index: int) -> None:
        if index < len(self._entries):
            # The user's choice, also of what is shown already.
            self._missing = ""
            self._show()
            return
        self._show()
        if index < len(self._entries) + len(self._offers):
            offer = self._offers[index - len(self._entries)]
            if self.session.obstacle:
                self.session.report(self.session.obstacle)
            elif self.session.confirm(question(offer.model)):
                download(self.session, offer)
            return
        path = qt.QFileDialog.getOpenFileName(
            self.ui.checkpointComboBox,
            _("Choose a checkpoint"),
            settings.text("LastCheckpointFolder"),
            _("Checkpoints, nnU-Net's models and MONAI bundles") + " (*.safetensors *.zip *.pth)",
        )
        if path:
            settings.set_text("LastCheckpointFolder", str(Path(path).parent))
            self.session.add_checkpoint(Path(path))

    def _show(self) -> None:
        """The chosen checkpoint in the box and on its card."""
        entry = self.session.checkpoint
        paths = [e.path for e in self._entries]
        combo = self.ui.checkpointComboBox
        combo.setCurrentIndex(paths.index(entry.path) if entry else -1)
        combo.toolTip = plain_tip("\n".join(filter(None, (combo.currentText, self._tip))))
        card = entry.card if entry else None
        # Folded to two lines, so that the button Segment is in sight on a small screen.
        self.ui.card.setVisible(card is not None and self.ui.detailsButton.checked)
        for widget in (self.ui.summaryLabel, self.ui.detailsButton):
            widget.setVisible(card is not None)
        if card is not None:
            self._show_card(card)
        if (entry.path if entry else None) != self._stand_in:
            self._missing = ""
        advice = " ".join(filter(None, (self._missing, _advice(entry))))
        self.ui.adviceLabel.setText(advice)
        self.ui.adviceLabel.setVisible(bool(advice))
        self.ui.adviceButton.setVisible(card is not None and card.kind == "pretrained")
        if entry is not None and card is not None:
            settings.set_text("LastCheckpoint", entry.path.name)
            if self.session.parameters is not None and not self._missing:
                self.session.parameters.checkpoint = entry.path.name

    def _show_card(self, card: Card) -> None:
        rows: dict[str, list[str]] = {}
        for title, value in card_rows(card, _):
            rows.setdefault(title, []).append(value)
        texts = {title: ", ".join(values) for title, values in rows.items()}
        start = _("from {start}").format(start=texts["from"])
        values = {
            "method": texts["method"],
            "backbone": texts["network"],
            "expects": texts["expects"],
            "labels": _swatches(card.labels),
            "origin": ", ".join(filter(None, (texts["trained on"], start, texts.get("made")))),
            "scores": texts.get("score", ""),
            "license": texts.get("license", ""),
            "citation": texts.get("cite", ""),
        }
        for row in _ROWS:
            label, value = getattr(self.ui, f"{row}Label"), getattr(self.ui, f"{row}Value")
            value.setText(values[row])
            label.setVisible(bool(values[row]))
            value.setVisible(bool(values[row]))
        labels = values["labels"] or html.escape(values["method"])
        self.ui.summaryLabel.setText(f"{labels}<br>{html.escape(values['expects'])}")
        names = plain_tip(", ".join(label.name for label in card.labels))
        self.ui.summaryLabel.toolTip = self.ui.labelsValue.toolTip = names
        self.ui.originValue.toolTip = plain_tip(", ".join(case.name for case in card.provenance.cases[:100]))

    def _on_advice(self) -> None:
        self.session.section_wanted.emit("fineTune")

    def _show_folder(self) -> None:
        folder = self.session.catalog.models
        folder.mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def _choose_folder(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(
            self.ui.checkpointComboBox, _("Folder of your checkpoints"), str(self.session.catalog.models)
        )
        if folder:
            self.session.set_models_folder(Path(folder))


def _title(entry: Entry) -> str:
    if entry.card is None:
        return _("{name} (cannot be used)").format(name=entry.name)
    if not entry.segments:
        return _("{name} (pre-trained)").format(name=entry.name)
    return entry.name


def _advice(entry: Entry | None) -> str:
    if entry is None:
        return _("Choose a checkpoint above, or drop a .safetensors file on this panel.")
    if entry.card is None:
        return entry.problem
    if not entry.segments:
        return _("Fine-tune it first: only pre-trained, it knows no labels yet. A few labeled volumes are enough.")
    return ""


def _swatches(labels: tuple[Label, ...]) -> str:
    """Rich text: a square in each label's color before its name; Slicer chooses a color for those without."""
    parts = []
    for label in labels[:_MOST_LABELS]:
        name = html.escape(label.name).replace(" ", "&nbsp;")
        if label.color is not None:
            red, green, blue = label.color
            name = f'<span style="color:rgb({red},{green},{blue})">■</span>&nbsp;{name}'
        parts.append(name)
    if len(labels) > _MOST_LABELS:
        parts.append(_("and {count} more").format(count=len(labels) - _MOST_LABELS))
    # Where the squares do not part them, commas do.
    return ("&ensp; " if all(label.color is not None for label in labels) else ", ").join(parts)
