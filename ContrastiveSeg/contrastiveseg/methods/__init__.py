"""One file a method. See :mod:`.method` for the door."""
