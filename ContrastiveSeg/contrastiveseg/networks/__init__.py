"""Backbones that all speak one language: a feature pyramid of encoder and decoder levels."""
