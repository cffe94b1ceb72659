"""The checkpoint file: one safetensors file with its card in the header."""
