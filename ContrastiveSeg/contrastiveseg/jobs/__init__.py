"""Job descriptions, running them, and the warm worker."""
