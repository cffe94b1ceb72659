"""One file a method. See :mod:`.objective` for the door."""
