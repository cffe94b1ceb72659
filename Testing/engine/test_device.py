import torch

from contrastiveseg.device import shield_thin_convolutions


def gradients_differ(convolution: torch.nn.Module) -> bool:
    """Whether the bfloat16 weight gradient on a 2-voxel-thick map depends on what memory held before."""
    torch.manual_seed(0)
    x = torch.randn(4, 64, 2, 3, 2)
    seen = []
    for fill in (0.0, 1e4, float("nan"), 1e4, float("nan"), 0.0, float("nan"), 1e4):
        litter = [torch.full((n,), fill) for n in (10**4, 10**5, 10**6) for _ in range(3)]
        litter += [torch.full((n,), fill, dtype=torch.bfloat16) for n in (10**4, 10**5, 10**6)]
        del litter
        convolution.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            convolution(x).float().square().mean().backward()
        seen.append(convolution.weight.grad.clone())
    return not all(torch.allclose(seen[0], other, rtol=0.05, atol=1e-3) for other in seen[1:])


def test_shielded_convolutions_have_sound_gradients_on_thin_maps():
    convolution = torch.nn.Conv3d(64, 64, 3, padding=1)
    before = {k: v.clone() for k, v in convolution.state_dict().items()}
    shield_thin_convolutions(convolution)
    assert not gradients_differ(convolution)
    assert all(torch.equal(v, before[k]) for k, v in convolution.state_dict().items())
