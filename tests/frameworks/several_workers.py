"""What one of several gloo processes computes for test_workers.py: `python -m ... RANK WORKERS PORT_FILE OUT`."""

import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from lstcl_platform.frameworks.batch_norm import BatchNorm
from lstcl_platform.frameworks.moco_v3 import contrastive_loss
from lstcl_platform.frameworks.pairs import unit_rows
from lstcl_platform.frameworks.workers import gather
from tests.fixtures import arrays
from tests.frameworks.small import SPECS, small, views

STEPS = 2
PARTS = 2
JOINED = 24
"""Videos of a global step: dealt to 1, 2 or 3 workers, whole or in `PARTS` micro-batches."""


def share(x, rank, workers):
    """Rank's equal part along the batch axis, in order."""
    return x.chunk(workers)[rank]


def reference_loss(rank, workers):
    """Losses and query gradients at the oracle's temperatures."""
    oracle = {name: torch.from_numpy(value).double() for name, value in arrays("moco_v3_loss").items()}
    losses, gradients = [], []
    for temperature in oracle["temperatures"].tolist():
        queries = share(oracle["queries"], rank, workers).clone().requires_grad_()
        keys = gather(unit_rows(share(oracle["keys"], rank, workers))).flatten(0, 1)
        loss = contrastive_loss(unit_rows(queries), keys, temperature=temperature) * 2 * temperature
        loss.backward()
        losses.append(loss.item())
        gradients.append(queries.grad)
    return {"losses": losses, "gradients": torch.stack(gradients)}


def batch_norm(rank, workers, dtype=torch.float64):
    """Output, gradients and running statistics of a BatchNorm over rows far from zero."""
    generator = torch.Generator().manual_seed(3)
    rows = torch.randn(JOINED, 6, dtype=torch.float64, generator=generator) * 2 + 100
    cotangent = torch.randn(JOINED, 6, dtype=torch.float64, generator=generator)
    norm = BatchNorm(6).double()
    with torch.no_grad():
        norm.weight.copy_(torch.randn(6, dtype=torch.float64, generator=generator))
        norm.bias.copy_(torch.randn(6, dtype=torch.float64, generator=generator))
    norm = norm.to(dtype)
    x = share(rows, rank, workers).to(dtype).requires_grad_()
    out = norm(x)
    (out * share(cotangent, rank, workers)).sum().backward()
    gradients = torch.stack([norm.weight.grad, norm.bias.grad])
    if workers > 1:
        dist.all_reduce(gradients)
    return {
        "out": out.detach(),
        "input_grad": x.grad,
        "parameter_grads": gradients,
        "buffers": {name: value.clone() for name, value in norm.named_buffers()},
        "evaluated": norm.eval()(x).detach(),
    }


def training(rank, workers, name, parts):
    """Losses, averaged gradients, retrieval and final state of a few steps, each in `parts` micro-batches."""
    framework = small(name)
    model = DistributedDataParallel(framework, broadcast_buffers=False) if workers > 1 else framework
    trained = [p for p in framework.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-3, weight_decay=0.1)
    losses, gradients, retrieved = [], [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        for part, pair in enumerate(views(seed=step, batch=JOINED).chunk(parts, dim=1)):
            if framework.momentum is not None:
                framework.momentum = 0.9 + 0.05 * step if part == 0 else 1.0
            loss = model(*(share(view, rank, workers) for view in pair))
            (loss / parts).backward()
            losses.append(loss.item())
            retrieved.append(framework.stats["retrieval_top1"].item())
        gradients.append({n: p.grad.clone() for n, p in framework.named_parameters() if p.requires_grad})
        optimizer.step()
    return {
        "losses": losses,
        "retrieved": retrieved,
        "gradients": gradients,
        "state": framework.state_dict(),
    }


def everything(rank, workers):
    """All answers of one worker."""
    return {
        "reference_loss": reference_loss(rank, workers),
        "batch_norm": batch_norm(rank, workers),
        "batch_norm_float32": batch_norm(rank, workers, torch.float32),
        **{(name, parts): training(rank, workers, name, parts) for name in SPECS for parts in (1, PARTS)},
    }


def main():
    rank, workers, meeting, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=workers, timeout=timedelta(seconds=300)
    )
    torch.save(everything(rank, workers), out)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
