"""A small live chart of a training: the loss, and the Dice on validation cases where there are any."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import qt
from slicer.i18n import tr as _

from ..workflows.training import Training

_MARGIN, _LEGEND, _DASH = 6, 20, 14


class Series:
    """A curve of at most ``CAPACITY`` points: when it is full, neighbors are averaged, so that days of training stay
    quick to draw and small to keep.

    Attributes:
        points: (step, value), by step.
    """

    CAPACITY = 600

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []
        self._merged = 1
        self._waiting: list[tuple[float, float]] = []

    def add(self, step: float, value: float) -> None:
        self._waiting.append((step, value))
        if len(self._waiting) < self._merged:
            return
        self.points.append(_mean(self._waiting))
        self._waiting.clear()
        if len(self.points) >= self.CAPACITY:
            self.points = [_mean(self.points[i : i + 2]) for i in range(0, len(self.points), 2)]
            self._merged *= 2


@dataclass
class Curves:
    """One training. ``latest`` is the newest loss, which the averaged points do not hold."""

    loss: Series = field(default_factory=Series)
    dice: Series = field(default_factory=Series)
    latest: float | None = None

    @property
    def best(self) -> tuple[float, float] | None:
        """Step and value of the highest validation Dice so far."""
        return max(self.dice.points, key=lambda point: point[1], default=None)


class Chart(qt.QWidget):
    """The loss over its own range and, in the highlight color, validation Dice from 0 to 1; both over the steps.

    Colors and font are the palette's, so that it reads well in light and dark themes.
    """

    HEIGHT = 130

    def __init__(self) -> None:
        qt.QWidget.__init__(self)
        self.setMinimumHeight(self.HEIGHT)
        self.trainings: list[Curves] = []

    @property
    def current(self) -> Curves | None:
        return self.trainings[-1] if self.trainings else None

    def clear(self) -> None:
        self.trainings = []
        self.update()

    def begin(self) -> None:
        """A training begins; one after the first is there to compare with, and faint."""
        self.trainings.append(Curves())
        self.update()

    def add_loss(self, step: int, value: float) -> None:
        self.trainings[-1].loss.add(step, value)
        self.trainings[-1].latest = value
        self.update()

    def add_dice(self, step: int, value: float) -> None:
        self.trainings[-1].dice.add(step, value)
        self.update()

    def paintEvent(self, event: Any) -> None:
        painter = qt.QPainter(self)
        try:
            self._paint(painter)
        finally:
            # A painter that stays open after an exception would bring Qt down.
            painter.end()

    def _paint(self, painter: Any) -> None:
        ink = self.palette.color(qt.QPalette.WindowText)
        accent = self.palette.color(qt.QPalette.Highlight)
        left, top = _MARGIN, _LEGEND
        width, height = self.width - 2 * _MARGIN, self.height - _LEGEND - _MARGIN
        painter.setPen(_faint(ink, 60))
        for part in range(5):
            y = top + round(height * part / 4)
            painter.drawLine(left, y, left + width, y)
        losses = [value for curves in self.trainings for _step, value in curves.loss.points]
        steps = [s for curves in self.trainings for series in (curves.loss, curves.dice) for s, _value in series.points]
        if not steps:
            painter.setPen(ink)
            painter.drawText(_MARGIN, _LEGEND - 6, _("Loss and validation Dice, from the first step on"))
            return
        painter.setRenderHint(qt.QPainter.Antialiasing)
        low, high = min(losses, default=0.0), max(losses, default=1.0)
        last = max(steps) or 1.0

        def draw(series: Series, floor: float, ceiling: float, color: Any, dots: bool) -> None:
            pen = qt.QPen(color)
            pen.setWidthF(1.5)
            painter.setPen(pen)
            span = ceiling - floor or 1.0
            points = [
                (left + width * step / last, top + height * (ceiling - value) / span) for step, value in series.points
            ]
            path = qt.QPainterPath()
            for number, (x, y) in enumerate(points):
                (path.lineTo if number else path.moveTo)(x, y)
                if dots:
                    painter.drawEllipse(round(x) - 2, round(y) - 2, 4, 4)
            painter.drawPath(path)

        for curves in self.trainings:
            alpha = 255 if curves is self.trainings[0] else 90
            draw(curves.loss, low, high, _faint(ink, alpha), dots=False)
            draw(curves.dice, 0.0, 1.0, _faint(accent, alpha), dots=True)
        self._paint_legend(painter, ink, accent)

    def _paint_legend(self, painter: Any, ink: Any, accent: Any) -> None:
        """Text in the palette's own color, which can always be read, beside a dash in the curve's."""
        curves, base = self.trainings[0], _LEGEND - 6
        entries = []
        if curves.latest is not None:
            entries.append((_MARGIN, ink, _("loss {value:.3f}").format(value=curves.latest)))
        if curves.best is not None:
            values = {"value": curves.dice.points[-1][1], "best": curves.best[1]}
            text = _("Dice {value:.3f}, best {best:.3f}").format(**values)
            width = qt.QFontMetrics(self.font).boundingRect(text).width()
            entries.append((self.width - _MARGIN - width - _DASH - 4, accent, text))
        for left, color, text in entries:
            painter.fillRect(left, base - 5, _DASH, 3, color)
            painter.setPen(ink)
            painter.drawText(left + _DASH + 4, base, text)


def chart_in(frame: Any, training: Training) -> Chart:
    """The curves of ``training`` in ``frame``, which is hidden until there is something to draw."""
    chart = Chart()
    frame.layout().addWidget(chart)
    frame.setVisible(False)
    training.started.connect(chart.clear)
    training.curve_started.connect(chart.begin)
    training.loss.connect(chart.add_loss)
    training.dice.connect(chart.add_dice)
    return chart


def _mean(points: list[tuple[float, float]]) -> tuple[float, float]:
    return sum(step for step, _value in points) / len(points), sum(value for _step, value in points) / len(points)


def _faint(color: Any, alpha: int) -> Any:
    return qt.QColor(color.red(), color.green(), color.blue(), alpha)
