"""Golden data of calotype-diffusion: CompVis' own samplers, with a stand-in for the network.

Runs the code of a checkout of CompVis/stable-diffusion that you point it at (only `ldm/models/diffusion` and what it imports),
on the CPU. Writes crates/diffusion/tests/goldens/compvis.txt, all numbers as the hexadecimal bits of f32.

    python reference/compvis_samplers.py --stable-diffusion stable-diffusion
"""

import argparse
import contextlib
import io
import sys
import types
from pathlib import Path

import numpy as np
import torch

from samplers import OUT, SEED, bits, network

SHAPE = (4, 3, 5)
STEPS = {
    "ddim": (1, 2, 5, 7, 12, 20, 30, 50, 100, 250, 500),
    "plms": (1, 2, 4, 5, 7, 12, 20, 50, 500),
    "dpm_solver": (2, 3, 7, 12, 14, 15, 20, 50, 200, 1000),
}


class Model:
    """As much of LatentDiffusion as the samplers see: the schedule of `configs/stable-diffusion/v1-inference.yaml`."""

    num_timesteps = 1000
    device = torch.device("cpu")

    def __init__(self, util):
        betas = util.make_beta_schedule("linear", 1000, linear_start=0.00085, linear_end=0.012)
        alphas_cumprod = np.cumprod(1.0 - betas, axis=0)
        self.betas = torch.tensor(betas, dtype=torch.float32)
        self.alphas_cumprod = torch.tensor(alphas_cumprod, dtype=torch.float32)
        self.alphas_cumprod_prev = torch.tensor(np.append(1.0, alphas_cumprod[:-1]), dtype=torch.float32)

    def apply_model(self, x, t, condition):
        return network(x, t[0])


def on_the_cpu(cls):
    """Their `register_buffer` moves everything to a GPU."""
    return type(cls.__name__, (cls,), {"register_buffer": lambda self, name, value: setattr(self, name, value)})


def run(sampler, steps, batch, eta):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        samples, _ = sampler.sample(S=steps, batch_size=batch, shape=SHAPE, conditioning=torch.zeros(batch), eta=eta, verbose=False)
    return samples


def lines(samplers):
    yield f"# torch {torch.__version__}, seed {SEED}, latents (B, 4, 3, 5) in NCHW order; the stream's next four numbers"
    yield "# sampler steps eta batch_size batches bits next"
    cases = [(name, steps, 0.0, 1, 1) for name in STEPS for steps in STEPS[name]]
    cases += [("ddim", steps, eta, 1, 1) for steps, eta in ((1, 1.0), (12, 0.5), (30, 1.0), (50, 0.7))]
    cases += [("ddim", 12, 0.7, 2, 3), ("ddim", 7, 0.0, 3, 2), ("plms", 7, 0.0, 2, 3), ("dpm_solver", 7, 0.0, 2, 3)]
    for name, steps, eta, batch, batches in cases:
        torch.manual_seed(SEED)
        for _ in range(batches):
            x = run(samplers[name], steps, batch, eta)
        yield f"{name} {steps} {eta} {batch} {batches} {bits(x)} {bits(torch.randn(4))}"
    for name in STEPS:
        refused = []
        for steps in range(1, 1001):
            try:
                if name == "dpm_solver":
                    assert steps >= 2
                else:
                    samplers[name].make_schedule(ddim_num_steps=steps, verbose=False)
            except (IndexError, AssertionError):
                refused.append(steps)
        yield f"refused {name} {','.join(map(str, refused))}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser()
    parser.add_argument("--stable-diffusion", type=Path, required=True)
    sys.path.insert(0, str(parser.parse_args().stable_diffusion))
    sys.modules["ldm.util"] = types.SimpleNamespace(instantiate_from_config=None)
    from ldm.models.diffusion import ddim, plms
    from ldm.models.diffusion.dpm_solver import sampler as dpm_solver
    from ldm.modules.diffusionmodules import util

    model = Model(util)
    classes = {"ddim": ddim.DDIMSampler, "plms": plms.PLMSSampler, "dpm_solver": dpm_solver.DPMSolverSampler}
    samplers = {name: on_the_cpu(cls)(model) for name, cls in classes.items()}
    (OUT / "compvis.txt").write_text("\n".join(lines(samplers)) + "\n")
