"""A checkpoint for cases of two volumes."""

import shutil

from contrastiveseg.descriptions import FinetuneJob


def two_channel_checkpoint(dataset, folder, output):
    """A checkpoint fine-tuned for two steps on the data set with every image twice."""
    from contrastiveseg.training.finetune import finetune

    images = folder / "two"
    images.mkdir()
    for file in (dataset / "imagesTr").iterdir():
        for channel in (0, 1):
            shutil.copy(file, images / file.name.replace(".nii.gz", f"_{channel:04d}.nii.gz"))
    job = FinetuneJob(
        checkpoint="none",
        images=(str(images),),
        labels=(str(dataset / "labelsTr"),),
        output=str(output),
        steps=2,
        precision="32",
        threads=1,
    )
    finetune(job)
    return output
