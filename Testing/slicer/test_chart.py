"""The live chart: what it keeps of a long training, and that it draws in the palette's colors."""

import pytest


@pytest.fixture
def chart(_honest):
    from ContrastiveSegPanel.ui.chart import Chart

    made = Chart()
    made.resize(300, Chart.HEIGHT)
    yield made
    made.close()


def drawn(chart):
    """The chart's pixels: (height, width, 3)."""
    import numpy as np
    import qt

    image = chart.grab().toImage().convertToFormat(qt.QImage.Format_RGB888)
    rows = np.frombuffer(bytes(image.constBits()), np.uint8).reshape(image.height(), -1)
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)


def test_a_long_curve_keeps_its_shape_in_few_points(scene):
    from ContrastiveSegPanel.ui.chart import Series

    series = Series()
    for step in range(40_000):
        series.add(step, 40_000 - step)
    assert Series.CAPACITY // 3 < len(series.points) < Series.CAPACITY
    assert all(value == pytest.approx(40_000 - step) for step, value in series.points)
    assert [step for step, _value in series.points] == sorted(step for step, _value in series.points)
    assert series.points[-1][0] > 39_000


def test_a_short_curve_is_kept_as_it_is(scene):
    from ContrastiveSegPanel.ui.chart import Series

    series = Series()
    for step in range(10):
        series.add(step, step * step)
    assert series.points == [(step, step * step) for step in range(10)]


def test_the_best_is_told_not_the_last(chart):
    chart.begin()
    for step, dice in ((10, 0.5), (20, 0.8), (30, 0.7)):
        chart.add_dice(step, dice)
    assert chart.current.best == (20, 0.8)


def test_an_empty_chart_draws_its_grid_alone(chart):
    chart.clear()
    pixels = drawn(chart)
    chart.begin()
    assert (drawn(chart) == pixels).all()


@pytest.mark.parametrize("dark", [False, True])
def test_curves_are_seen_on_light_and_dark(chart, dark):
    import numpy as np
    import qt

    palette = qt.QPalette(chart.palette)
    ground, ink = qt.QColor(30, 30, 30), qt.QColor(230, 230, 230)
    if not dark:
        ground, ink = ink, ground
    accent = qt.QColor(40, 120, 220)
    palette.setColor(qt.QPalette.Window, ground)
    palette.setColor(qt.QPalette.WindowText, ink)
    palette.setColor(qt.QPalette.Highlight, accent)
    chart.setPalette(palette)
    chart.setAutoFillBackground(True)
    chart.begin()
    for step in range(50):
        chart.add_loss(step, 1 / (1 + step))
    before = drawn(chart)
    for step in (10, 30, 50):
        chart.add_dice(step, step / 60)
    after = drawn(chart)
    color = np.array([ink.red(), ink.green(), ink.blue()])
    assert (abs(before - color).sum(2) < 60).sum() > 100
    blue = np.array([accent.red(), accent.green(), accent.blue()])
    assert (abs(before - blue).sum(2) < 60).sum() == 0
    assert (abs(after - blue).sum(2) < 60).sum() > 50


def test_a_level_curve_and_a_single_point_can_be_drawn(chart):
    chart.begin()
    chart.add_loss(0, 0.5)
    drawn(chart)
    chart.add_loss(1, 0.5)
    chart.add_dice(1, 0.0)
    drawn(chart)


def test_drawing_days_of_training_takes_no_time(chart):
    import time

    chart.begin()
    for step in range(50_000):
        chart.trainings[-1].loss.add(step, step % 17)
    drawn(chart)
    start = time.process_time()
    drawn(chart)
    assert time.process_time() - start < 0.05
