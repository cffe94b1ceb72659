"""ContrastiveSeg's engine: contrastive pre-training, fine-tuning and segmentation of medical volumes.

Importing this package loads nothing heavy: torch, MONAI and SimpleITK come in with the rooms that need them.
"""

__version__ = "0.1.0"
