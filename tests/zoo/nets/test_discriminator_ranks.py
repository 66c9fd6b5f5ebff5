"""Batch statistics over two gloo ranks are those of one process that holds all pictures."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from zoo.losses import relativistic_hinge_d
from zoo.nets import Discriminator
from zoo.ranks import mean_over_ranks


def losses_and_state(part: slice) -> tuple[list[Tensor], dict[str, Tensor], list[Tensor]]:
    """Loss of a part of four real and four fake pictures, with its gradients; buffers after it; logits."""
    torch.manual_seed(0)
    net = Discriminator(2, sync_batchnorm=True).double()
    net.advance()
    real, fake = torch.rand(2, 4, 3, 160, 160, dtype=torch.float64).square().unbind()
    logits = [net(pictures[part])[0] for pictures in (real, fake)]
    loss = relativistic_hinge_d(*logits, mean_over_ranks)
    loss.backward()
    return [loss.detach(), *(p.grad for p in net.parameters())], dict(net.named_buffers()), logits  # type: ignore[misc]


def on_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    means, buffers, logits = losses_and_state(slice(2 * rank, 2 * rank + 2))
    for mean in means:  # as DistributedDataParallel does with gradients
        dist.all_reduce(mean)
        mean /= 2
    torch.save([means, buffers, [logit.detach() for logit in logits]], folder / f"{rank}.pt")
    dist.barrier()
    os._exit(0)  # without the teardown of gloo's threads, which aborts once in many runs


def test_two_ranks_have_the_loss_gradients_and_averages_of_one_process(tmp_path: Path) -> None:
    mp.spawn(on_rank, (tmp_path,), nprocs=2)
    means, buffers, logits = losses_and_state(slice(None))
    seen = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for rank in range(2):
        assert all(torch.equal(*pair) for pair in zip(seen[rank][0], seen[0][0], strict=True))
        for ours, expected in zip(seen[rank][0], means, strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-10)
        for name, expected in buffers.items():
            torch.testing.assert_close(seen[rank][1][name], expected, rtol=1e-9, atol=1e-12, msg=name)
        for ours, expected in zip(seen[rank][2], logits, strict=True):
            torch.testing.assert_close(ours, expected[2 * rank : 2 * rank + 2], rtol=1e-9, atol=1e-9)
