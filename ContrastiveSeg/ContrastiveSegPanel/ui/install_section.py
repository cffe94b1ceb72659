"""The banner over the sections: Python packages that are missing, and the buttons to install them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from ..engine import dependencies
from ..workflows.session import Session
from .section import Section


class InstallSection(Section):
    """Visible only while something is missing; nothing is installed before the user presses a button and agrees."""

    def __init__(self, session: Session, ui: Any) -> None:
        super().__init__(session, ui)
        self._installing = False
        ui.installButton.connect("clicked()", self._install)
        ui.installFolderButton.connect("clicked()", self._install_from_folder)
        self.listen(session.missing_changed, self._show)
        self._show()

    def _show(self) -> None:
        missing = self.session.missing
        self.ui.installBanner.setVisible(bool(missing))
        names = ", ".join(missing)
        if self._installing:
            text = _("Installing Python packages. The log shows the progress.")
        elif dependencies.unfinished():
            text = _("An installation was not finished. Still missing: {names}.").format(names=names)
        else:
            text = _("Python packages are missing: {names}. Without them nothing can be computed.").format(names=names)
        self.ui.installLabel.setText(text)
        for button in (self.ui.installButton, self.ui.installFolderButton):
            button.enabled = not self._installing

    def _install(self, folder: Path | None = None) -> None:
        if obstacle := dependencies.obstacle(folder):
            self.session.report(obstacle)
        elif dependencies.confirm(folder):
            self._installing = True
            self._show()
            self.session.section_wanted.emit("log")
            dependencies.install(self.session.log, self._on_end, folder)

    def _install_from_folder(self) -> None:
        folder = qt.QFileDialog.getExistingDirectory(self.ui.installBanner, _("Folder with wheels (.whl files)"))
        if folder:
            self._install(Path(folder))

    def _on_end(self, problem: str | None) -> None:
        self._installing = False
        self.session.look_for_packages()
        if problem is not None:
            self.session.report(problem)
