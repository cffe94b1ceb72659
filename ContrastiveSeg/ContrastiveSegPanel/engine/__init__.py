"""The engine's processes: running them, and what they need installed."""
