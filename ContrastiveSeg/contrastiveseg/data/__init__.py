"""Training data: preprocessed volumes, cached on disk, and the batches of patches drawn from them and augmented."""
