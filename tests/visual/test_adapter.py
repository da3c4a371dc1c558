import torch

from espnet2_avsep.visual.adapter import MeanAdapter, StandardiseAdapter


def test_mean():
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(MeanAdapter()(x), x.mean(2))
    unit = MeanAdapter(normalise=True)(x)
    torch.testing.assert_close(unit.norm(dim=-1), torch.ones(2, 3))


def test_standardise_has_the_statistics_of_all_that_was_seen():
    torch.manual_seed(0)
    adapter = StandardiseAdapter(dim=3, eps=0.0)
    scale, shift = torch.tensor([1.0, 10.0, 0.1]), torch.tensor([5.0, -3.0, 0.0])
    batches = [torch.randn(4, 2, 1, 3) * scale + shift for _ in range(5)]
    for batch in batches:
        adapter(batch)
    seen = torch.cat(batches).view(-1, 3).double()
    torch.testing.assert_close(adapter.mean, seen.mean(0))
    torch.testing.assert_close(adapter.variance, seen.var(0, correction=0))
    adapter.eval()
    result = torch.cat([adapter(b) for b in batches]).view(-1, 3)
    torch.testing.assert_close(result.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(result.std(0, correction=0), torch.ones(3))
    count = adapter.count.clone()
    adapter(batches[0])
    assert adapter.count == count == 40


def test_standardise_is_saved_with_the_weights():
    adapter = StandardiseAdapter(dim=2)
    adapter(torch.randn(8, 1, 1, 2))
    other = StandardiseAdapter(dim=2)
    other.load_state_dict(adapter.state_dict())
    x = torch.randn(1, 1, 1, 2)
    torch.testing.assert_close(other.eval()(x), adapter.eval()(x))
