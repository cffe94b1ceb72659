"""What is no network that can be imported: files of other kinds, damaged or harmful ones."""

import pickle

import pytest
import torch
from test_foreign import Macl, randomized

from contrastiveseg.api import import_checkpoint
from contrastiveseg.checkpoints.format import load
from contrastiveseg.cli import main
from contrastiveseg.errors import InputError


def test_a_transformer_of_nnssl_is_refused(tmp_path, output):
    path = tmp_path / "checkpoint_final.pth"
    torch.save({"network_weights": {"eva.blocks.0.norm1.weight": torch.ones(8)}}, path)
    with pytest.raises(InputError, match="holds no tensor that 'nnssl' knows"):
        import_checkpoint(path, "nnssl", output)


class Malicious:
    def __reduce__(self):
        return (print, ("code was run",))


def test_code_in_a_file_is_never_run(tmp_path, output, capsys):
    path = tmp_path / "evil.pth"
    path.write_bytes(pickle.dumps({"net": Malicious()}))
    with pytest.raises(InputError, match="cannot be read as tensors alone"):
        import_checkpoint(path, "macl", output)
    assert "code was run" not in capsys.readouterr().out
    assert not output.exists()


@pytest.mark.parametrize(
    ("content", "source", "words"),
    [
        ({"a": torch.ones(1)}, "macl", "holds no tensor that 'macl' knows"),
        ([torch.ones(1)], "macl", "no tensors by name"),
        ({"share_encoder.center.0.weight": torch.ones(1)}, "macl", "it has no encoder.0.0.conv.weight"),
        ({"share_encoder.contr_1_1.0.weight": torch.ones(4, 1, 3, 3)}, "macl", "missing encoder"),
        ({"share_encoder.contr_1_1.0.weight": torch.ones(())}, "macl", "its tensors fit no network"),
        ({"share_encoder.contr_1_1.0.weight": torch.ones(4)}, "macl", "its tensors fit no network"),
        ({"conv_final.0.weight": torch.ones(4)}, "segresnet", "its tensors fit no network"),
        ({"share_encoder.contr_1_1.0.weight": torch.ones(1, 1).expand(2**40, 1)}, "macl", "cannot be built"),
        ({"convInit.conv.weight": torch.ones(4, 1, 3, 3, 3)}, "segresnet", "multiple of 8"),
        ({"block_one.conv.0.weight": torch.ones(4, 1).to_sparse()}, "vnet", r"block_one\.conv\.0\.weight is sparse"),
        ({"block_one.conv.0.weight": torch.ones(4, 1, device="meta")}, "vnet", "without values"),
        ({"a": torch.ones(1)}, "nnunet1", "There are: macl, vnet, segresnet, dynunet"),
        ({"a": torch.ones(1)}, "nnunet", "lacks network_weights"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path, output, content, source, words):
    path = tmp_path / "file.pth"
    torch.save(content, path)
    with pytest.raises(InputError, match=words):
        import_checkpoint(path, source, output)
    assert not output.exists()


def test_weights_that_are_not_numbers_are_not_imported(tmp_path, output):
    weights = Macl(f=4).state_dict()
    weights["share_encoder.center.0.bias"][0] = float("nan")
    torch.save(weights, tmp_path / "file.pth")
    with pytest.raises(InputError, match=r"encoder\.4\.1\.conv\.bias holds values that are not numbers"):
        import_checkpoint(tmp_path / "file.pth", "macl", output)
    assert not output.exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x02", b"words", b"\x93NUMPY" + bytes(80), bytes(range(256))])
@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_a_file_of_another_kind_is_refused_without_bad_advice(tmp_path, output, content, ending):
    path = tmp_path / f"model{ending}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as tensors alone") as refused:
        import_checkpoint(path, "macl", output)
    assert "weights_only" not in str(refused.value)


def test_an_output_is_overwritten_only_if_asked(tmp_path, output):
    output.write_bytes(b"mine")
    path = tmp_path / "model.pth"
    torch.save(randomized(Macl()).state_dict(), path)
    with pytest.raises(InputError, match="add --overwrite"):
        import_checkpoint(path, "macl", output)
    assert output.read_bytes() == b"mine"
    assert main(["import", str(path), "--from", "macl", "--output", str(output), "--overwrite"]) == 0
    assert load(output)[0].kind == "pretrained"
