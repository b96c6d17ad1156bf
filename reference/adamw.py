"""Prints the golden sequence of crates/tensor/tests/ops/optimizer.rs: five steps of torch.optim.AdamW in double precision."""

import torch

GRADIENTS = [[0.5, -1.0, 2.0, 0.0], [0.25, 3.0, -2.0, 2**-20], [-1.5, 0.125, 0.0, 0.0], [4.0, 1.0, 0.5, -(2**-20)], [0.0, -0.75, 1.0, 8.0]]

value = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64, requires_grad=True)
optimizer = torch.optim.AdamW([value], lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2)
for gradient in GRADIENTS:
    value.grad = 0.5 * torch.tensor(gradient, dtype=torch.float64)
    optimizer.step()
    print(value.tolist())
state = optimizer.state[value]
print("m", state["exp_avg"].tolist())
print("v", state["exp_avg_sq"].tolist())
