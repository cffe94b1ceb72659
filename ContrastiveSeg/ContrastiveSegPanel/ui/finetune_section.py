"""Section Fine-tune: from a few labeled volumes of the scene to a checkpoint that segments the others."""

from __future__ import annotations

from functools import partial
from typing import Any

from slicer.i18n import tr as _

from contrastiveseg.descriptions import FinetuneJob
from contrastiveseg.errors import InputError
from contrastiveseg.results import FinetuneResult

from ..mrml.parameters import Parameters
from ..timer import single_shot
from ..workflows.case_hints import channel_problems, label_maps_hint
from ..workflows.cases import TRAIN, UNLABELED, VALIDATION, Case, Cases, Structure
from ..workflows.conversion import Conversion
from ..workflows.interrupted import Interrupted
from ..workflows.labeled_parts import LabeledParts, guesses_hint, is_background
from ..workflows.missing_structures import MissingStructure, missing_structures
from ..workflows.session import Session
from ..workflows.task import duration
from ..workflows.training import Callbacks
from ..workflows.training_files import CaseLabels, circular_references, training_files
from .case_channels import CaseChannels
from .cases_table import CasesTable, StructuresTable
from .device_box import chosen_device
from .finetune_outcome import NONE_CORRECTED, Corrected, FinetuneOutcome, Source
from .label_next import LabelNext
from .learn_again import LearnAgain
from .missing_table import MissingTable
from .start_choice import StartChoice
from .training_section import TrainingSection, dated

_MINUTES = (2, 10, 60)
#: A burst of changes in the scene (a study being read) is shown once.
_REFRESH_MS = 50


class FineTuneSection(TrainingSection):
    """The scene's cases, what to learn from them, and the training; "Label next" is a part of it."""

    def __init__(self, session: Session, ui: Any) -> None:
        self._cases = Cases()
        self._parts = LabeledParts()
        self._missing: list[MissingStructure] = []
        self._rows: list[Case] = []
        self._structures: list[Structure] = []
        self._timer = single_shot(self.refresh)
        self._timer.setInterval(_REFRESH_MS)
        tip = _("Learn to segment like the labeled volumes")
        super().__init__(
            session, ui, "fineTune", "finetune", ui.methodComboBox, ui.nameLineEdit, minutes=_MINUTES, tip=tip
        )
        self._cases_table = CasesTable(ui.casesTable, self._cases, self._parts)
        self._structures_table = StructuresTable(ui.structuresTable, self._cases)
        self._missing_table = MissingTable(ui.missingTable, ui.missingLabel, self._cases.changed.emit)
        self._channels = CaseChannels(session, ui, self._cases, self.remember)
        self._conversion = Conversion(self._converted)
        ui.convertButton.connect("clicked()", self._conversion.start)
        ui.convertButton.setVisible(False)
        self._learn_again = LearnAgain(session, ui, self.learn_again, self._cases.changed.emit)
        self._outcome = FinetuneOutcome(session, ui, self.shown.emit)
        self._starts = StartChoice(session, ui, self.remember)
        self._label_next = LabelNext(session, ui, self._cases, self._parts)
        ui.compareCheckBox.connect("toggled(bool)", self.remember)
        for signal in (self._cases.changed, self._parts.changed, session.entered, session.training_changed):
            self.listen(signal, self._refresh_soon)
        others = session.catalog_changed, session.missing_changed
        for signal in (session.methods_changed, session.checkpoint_changed, *others):
            self.listen(signal, self._refresh_soon)

    @property
    def outcome(self) -> str:
        """The scores of the last training that are shown, as rich text, or ""."""
        return self._outcome.text

    def goes_on(self) -> str:
        return _("The scene was closed. Fine-tuning goes on.")

    def set_parameters(self, parameters: Parameters) -> None:
        self._parameters = None
        self._cases.restore(parameters.structures)
        self._channels.load(parameters)
        self._methods.show(parameters.fine_tune_method)
        self._advanced.show(parameters.fine_tune_advanced)
        self._budget.show(parameters.fine_tune_budget)
        self.ui.compareCheckBox.setChecked(parameters.compare_scratch)
        self._starts.load(parameters.compared_starts)
        self._label_next.set_parameters(parameters)
        self._parameters = parameters
        self.show_state()
        # Not at once: with many volumes it takes as long as the rest of the panel, and the module is being opened.
        self._refresh_soon()

    def forget_parameters(self) -> None:
        super().forget_parameters()
        self._label_next.forget_parameters()

    def cancel(self) -> None:
        self.training.leave_scene()
        self._outcome.leave_scene()
        self._parts.stop()
        self._label_next.cancel()
        self._conversion.stop()
        self.forget_ended()

    def cleanup(self) -> None:
        # What follows, and the widgets, which live a little longer, would start it anew.
        self._timer.blockSignals(True)
        self._parts.stop()
        self._outcome.scores.cancel()
        self._conversion.stop()
        self._cases.cleanup()
        self._label_next.cleanup()
        super().cleanup()

    def refresh(self) -> None:
        """Show the scene's cases and structures as they are now."""
        self._cases.channels = self._channels.names
        self._rows, self._structures = self._cases.rows(), self._cases.structures()
        self._parts.look(self._rows)
        empty = {case.volume_id: self._parts.of(case).empty for case in self._rows if case.labeled}
        self._missing = missing_structures(self._rows, self._structures, empty)
        self._cases_table.show(self._rows, self._outcome.dice)
        self._channels.show(self._rows)
        self._starts.show()
        self._structures_table.show(self._structures)
        self._missing_table.show(self._missing)
        self._learn_again.show(self._rows, self._structures, self.session.training or bool(self.training_obstacle()))
        self.ui.casesHint.setText(self._hint())
        self.ui.convertButton.setVisible(bool(label_maps_hint()))
        if self._parameters is not None:
            self._parameters.structures = self._cases.choices()
        self.show_state()
        self._label_next.show_state()

    def _refresh_soon(self) -> None:
        self._timer.start()

    def remember(self) -> None:
        if self._parameters is not None:
            self._parameters.fine_tune_method = self._methods.current
            self._parameters.fine_tune_advanced = self._advanced.changes
            self._parameters.fine_tune_budget = self._budget.text
            self._parameters.compare_scratch = self.ui.compareCheckBox.checked
            self._parameters.compared_starts = self._starts.ticked
            self._channels.store(self._parameters)
        self._refresh_soon()

    def _hint(self) -> str:
        parts = [(case, self._parts.of(case)) for case in self._rows if case.labeled]
        return " ".join(filter(None, (self._cases_hint(), guesses_hint(parts), label_maps_hint())))

    def _cases_hint(self) -> str:
        if not self._rows:
            return _("Load volumes (Sample Data has some to try), then segment two or three in the Segment Editor.")
        count = {role: sum(case.role == role for case in self._rows) for role in (TRAIN, UNLABELED, VALIDATION)}
        if not count[TRAIN]:
            return _("None to learn from yet: segment two or three in the Segment Editor.")
        hint = _("{train} to learn from, {validation} to validate on.").format(**count)
        if count[UNLABELED]:
            used = self._methods.uses_unlabeled
            hint += " " + (
                _("{unlabeled} unlabeled, also learned from.") if used else _("{unlabeled} unlabeled, not used.")
            ).format(**count)
            hint += " " + self._methods.advice if used else ""
        if count[TRAIN] > 1 and not count[VALIDATION]:
            hint += " " + _("Give one the role Validation to see how good the result is.")
        return hint

    def setup_obstacle(self) -> str:
        entry = self.session.checkpoint
        if general := self.training_obstacle():
            return general
        if entry is None or entry.card is None:
            return _("Choose a checkpoint to start from in the section Model.")
        trained_on = sum(case.role == TRAIN for case in self._rows)
        if not trained_on:
            return _("Give at least one volume a segmentation and the role Train.")
        if not self._names_to_learn():
            return _("Tick at least one segment to learn.")
        used = [
            case for case in self._rows if case.labeled or (case.role == UNLABELED and self._methods.uses_unlabeled)
        ]
        if problems := channel_problems(used, self._cases.channels):
            return problems
        validated = any(case.role == VALIDATION for case in self._rows)
        if (self.ui.compareCheckBox.checked or self._starts.starts) and not validated and trained_on < 2:
            return _("To compare, one more labeled volume is needed that is not learned from.")
        return ""

    def default_name(self) -> str:
        names = self._names_to_learn()
        structures = "-".join(names[:3]) + (_("-and-more") if len(names) > 3 else "")
        return dated(structures or "checkpoint")

    def _converted(self, problems: str) -> None:
        if problems:
            self.session.report(problems)
        self.refresh()

    def _names_to_learn(self) -> list[str]:
        learned = (s.learn_as for s in self._structures if s.learn)
        return list(dict.fromkeys(name for name in learned if not is_background(name)))

    def _case_labels(self) -> dict[str, CaseLabels]:
        """By volume ID, what the labels of each labeled case leave open."""
        asked = {missing.case.volume_id for missing in self._missing}
        return {
            case.volume_id: CaseLabels(
                self._parts.of(case).part,
                frozenset(m.name for m in self._missing if m.case.volume_id == case.volume_id and not m.absent)
                if case.volume_id in asked
                else None,
                self._parts.of(case).region,
            )
            for case in self._rows
            if case.labeled
        }

    def learn_again(self) -> None:
        """Fine-tune with the corrected results, and tell how the checkpoint did on them before and after."""
        self.refresh()
        obstacle = self.obstacle()
        if obstacle:
            self.session.report(obstacle)
            return
        taught = self._learn_again.taught
        self._launch([case for case in self._rows if case.volume_id in taught])

    def launch(self) -> None:
        self._launch([])

    def _launch(self, corrected: list[Case]) -> None:
        """``corrected``: the cases to score before and after."""
        # What was painted a moment ago counts.
        self._parts.finish(self._cases.rows())
        self.refresh()
        entry = self.session.checkpoint
        if self.setup_obstacle() or entry is None or entry.card is None:
            return
        prepared = self.prepare()
        if prepared is None:
            return
        try:
            files = training_files(
                self._rows,
                self._structures,
                entry.card.labels,
                prepared.folder,
                self._methods.uses_unlabeled,
                self.session.log,
                self._cases.channels,
                self._case_labels(),
            )
        except (InputError, OSError) as problem:
            self.training.discard(prepared)
            self.session.report(problem)
            return
        job = FinetuneJob(
            checkpoint=str(entry.path),
            output=str(prepared.output),
            method=self._methods.current,
            settings=self._advanced.settings,
            compare_scratch=self.ui.compareCheckBox.checked,
            compare=self._starts.starts,
            device=chosen_device(self.session),
            **self._budget.fields,
            **files.fields,
        )
        circular = circular_references(self._rows, files.volume_ids, entry.path.name)
        again = Corrected(self._labeled_throughout(corrected), self._structures, entry.path)
        source = Source(files.volume_ids, circular, self._outcome.scene_number, again)
        self.training.start(prepared, files.steps, job, Callbacks(partial(self._outcome.begin, source), self._done))

    def _labeled_throughout(self, corrected: list[Case]) -> list[Case]:
        """Those of the ``corrected`` cases that can be scored; the log names the others."""
        for case in corrected:
            if not self._parts.of(case).throughout:
                text = _("{name} is not scored before and after: not all of its volume is labeled.")
                self.session.log(text.format(name=case.name))
        return [case for case in corrected if self._parts.of(case).throughout]

    def going_on_with(self, training: Interrupted) -> Callbacks | None:
        if not isinstance(training.job, FinetuneJob):
            return None
        # Which volumes of the scene it learns from, if any, is not known any more.
        return Callbacks(partial(self._outcome.begin, Source({}, [], -1, NONE_CORRECTED)), self._done)

    def _done(self, result: FinetuneResult) -> None:
        self._outcome.show(result)
        # One that was gone on with, or watched again, has trained before.
        before = 60 * result.minutes > self.training.seconds
        text = _("Done, after {training} of training: {name}.") if before else ""
        text = text or _("Done in {time}, {training} of it training: {name}.")
        took = {"time": duration(self.training.seconds), "training": duration(60 * result.minutes)}
        self.show_done(text.format(**took, name=self.training.output_name))
        self.refresh()
        self._outcome.score_corrected(self.training.output)
