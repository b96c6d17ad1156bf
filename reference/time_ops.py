"""Times the operations that make most of a UNet's work, in PyTorch f32 on two threads, as GFLOP/s.

Run it in turns with `cargo run --release -p calotype-tensor --example time_ops` and compare medians.
"""

import statistics
import time

import torch

torch.set_num_threads(2)
torch.set_grad_enabled(False)


def measure(name, flops, run):
    run()
    times = []
    for _ in range(9):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    print(f"{flops / statistics.median(times) / 1e9:7.1f} GFLOP/s  {name}", flush=True)


x = torch.randn(2, 320, 64, 64).to(memory_format=torch.channels_last)
conv = torch.nn.Conv2d(320, 320, 3, padding=1).to(memory_format=torch.channels_last)
measure("conv 3x3 320->320 at 64x64, batch 2", 2 * 2 * 64 * 64 * 9 * 320 * 320, lambda: conv(x))

x = torch.randn(2, 1280, 16, 16).to(memory_format=torch.channels_last)
conv16 = torch.nn.Conv2d(1280, 1280, 3, padding=1).to(memory_format=torch.channels_last)
measure("conv 3x3 1280->1280 at 16x16, batch 2", 2 * 2 * 16 * 16 * 9 * 1280 * 1280, lambda: conv16(x))

rows = torch.randn(8192, 320)
linear = torch.nn.Linear(320, 2560)
measure("linear 8192x320x2560", 2 * 8192 * 320 * 2560, lambda: linear(rows))

q, k, v = (torch.randn(2, 8, 4096, 40) for _ in range(3))
measure("attention 16x4096x40", 4 * 16 * 4096 * 4096 * 40, lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v))
