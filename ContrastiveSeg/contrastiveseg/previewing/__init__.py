"""A few painted strokes spread over their volume at once: a linear classifier on a network's features."""
