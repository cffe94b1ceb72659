"""V-Net with few channels."""

import contrastiveseg as cs
from contrastiveseg.networks.vnet import vnet


@cs.register_backbone("narrow-vnet")
def narrow_vnet(dimensions: int, in_channels: int, *, width: int = 4) -> cs.Backbone:
    """V-Net with a quarter of the channels."""
    return vnet(dimensions, in_channels, width=width)
