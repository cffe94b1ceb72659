"""The scene: MRML nodes as the engine's files, and the engine's results as nodes."""
