"""Jobs on another machine, over the system's ssh."""
