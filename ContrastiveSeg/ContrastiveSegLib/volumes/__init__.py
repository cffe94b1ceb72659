"""Volumes: read, write, geometry, plan, normalise, cache, sample, augment."""
