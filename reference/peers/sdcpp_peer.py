"""stable-diffusion.cpp, through its Python binding.

It has no single steps to call, so its progress callback, which it waits for, holds a generation between two turns.
"""

import os
import time

from stable_diffusion_cpp import StableDiffusion


def run(spec, protocol):
    work = {"unet_step": unet_step, "vae_decode": vae_decode, "txt2img": txt2img}.get(spec["work"])
    if work is None:
        protocol.say(skipped="does no such work")
        return
    model = StableDiffusion(
        model_path=spec["model"], wtype=spec["precision"], n_threads=spec["threads"], verbose=False, vae_decode_only=True
    )

    def generate(steps, guidance, callback):
        size = {"width": spec["width"], "height": spec["height"]}
        model.generate_image(
            prompt="a cat", sample_steps=steps, cfg_scale=guidance, progress_callback=callback, seed=1, **size
        )

    work(spec, protocol, generate)


def unet_step(_spec, protocol, generate):
    """Each step of one long generation is a turn; the first warms up."""
    last = None

    def turn(step, _steps, _seconds):
        nonlocal last
        if step < 1:
            return
        if last is None:
            protocol.say(ready={})
        else:
            protocol.say(seconds=time.perf_counter() - last)
        if not protocol.another():
            os._exit(0)
        last = time.perf_counter()

    generate(1000, 7.5, turn)


def vae_decode(_spec, protocol, generate):
    """A turn is what is left of a generation after its only step, which is without guidance since it is not timed."""
    begun = None

    def turn(step, steps, _seconds):
        nonlocal begun
        if step < steps:
            return
        if begun is None:
            protocol.say(ready={})
            if not protocol.another():
                os._exit(0)
        begun = time.perf_counter()

    while True:
        generate(1, 1.0, turn)
        protocol.say(seconds=time.perf_counter() - begun)
        if not protocol.another():
            return


def txt2img(spec, protocol, generate):
    marks = []
    generate(spec["steps"], 7.5, lambda step, _steps, _seconds: marks.append(time.monotonic()) if step >= 1 else None)
    protocol.say(first_step_at=marks[0], step=(marks[-1] - marks[0]) / (len(marks) - 1))
