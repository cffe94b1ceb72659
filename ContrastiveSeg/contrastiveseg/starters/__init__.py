"""The starter checkpoints that ship, as data: NAME.safetensors."""
