"""Synthetic volumes: body regions drawn from formulas, with variation, and imaged as MR or CT would be."""
