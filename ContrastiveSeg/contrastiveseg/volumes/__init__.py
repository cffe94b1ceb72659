"""Volumes: read, write, geometry, plan, normalize, cache, sample, augment."""
