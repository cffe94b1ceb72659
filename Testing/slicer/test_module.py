"""The module's own file: what Slicer is told, how it opens, closes and reloads, and what scripts can do with it."""


def test_opens(module, screenshot):
    screenshot(module.parent, "opened")
