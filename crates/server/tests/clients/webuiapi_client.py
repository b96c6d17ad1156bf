"""Drives a server by webuiapi as its users do: python webuiapi_client.py HOST PORT KEY."""

import asyncio
import sys
import threading
import time

import webuiapi
from PIL import Image

host, port, key = sys.argv[1], int(sys.argv[2]), sys.argv[3]

# Without a login its constructor asks for scripts, and takes a refusal.
webuiapi.WebUIApi(host=host, port=port)
api = webuiapi.WebUIApi(host=host, port=port, sampler="Euler a", steps=4, username="anybody", password=key)
assert not (api.has_controlnet or api.has_adetailer or api.has_animatediff)

# Lists and options.
titles = api.util_get_model_names()
assert api.util_get_current_model() in titles, titles
assert "DPM++ 2M" in api.util_get_sampler_names() and "karras" in api.util_get_scheduler_names()
api.util_set_model(titles[0])
assert api.util_get_current_model() == titles[0]
api.util_wait_for_ready(check_interval=0.1)
assert api.set_options({"samples_format": "png"}) is None
assert [row["name"] for row in api.get_upscalers()][0] == "None"
assert len(api.get_latent_upscale_modes()) == 6
for empty in (api.get_sd_vae, api.get_loras, api.get_hypernetworks, api.get_face_restorers, api.get_realesrgan_models):
    assert empty() == [], empty
assert api.get_embeddings() == {"loaded": {}, "skipped": {}}
assert api.get_memory()["ram"]["total"] > 0
assert api.get_cmd_flags() and api.get_prompt_styles() == [] and api.refresh_checkpoints() is None
assert api.interrupt() == {} and api.skip() is None
assert api.get_progress()["state"]["job_count"] == 0

# Images from text.
size = {"width": 64, "height": 64}
first = api.txt2img(prompt="a fox", negative_prompt="dog", seed=1003, cfg_scale=7, batch_size=2, n_iter=2, **size)
assert len(first.images) == 4 and first.info["all_seeds"] == [1003, 1004, 1005, 1006], first.info
assert first.images[0].size == (64, 64) and "Steps: 4" in first.images[0].info["parameters"]
assert first.parameters["prompt"] == "a fox"
again = api.txt2img(prompt="a fox", negative_prompt="dog", seed=1005, cfg_scale=7, **size)
assert again.image.tobytes() == first.images[2].tobytes()
large = api.txt2img(
    prompt="a fox", seed=5, enable_hr=True, hr_scale=2, hr_upscaler=webuiapi.HiResUpscaler.Latent, hr_second_pass_steps=2,
    denoising_strength=0.6, **size)
assert large.image.size == (128, 128)
named = api.txt2img(prompt="a fox", restore_faces=True, **size)
assert any("restore_faces" in warning for warning in named.info["calotype_warnings"]), named.info

# Images from images.
changed = api.img2img(images=[first.image], prompt="a cat", seed=5, cfg_scale=6.5, denoising_strength=0.6, **size)
assert changed.image.size == (64, 64) and changed.info["denoising_strength"] == 0.6
mask = Image.new("RGB", (64, 64), (0, 0, 0))
mask.paste((255, 255, 255), (0, 0, 32, 64))
painted = api.img2img(images=[first.image], mask_image=mask, inpainting_fill=1, prompt="a cat", seed=104, denoising_strength=0.7, **size)
assert painted.image.size == (64, 64)

# Extras.
assert api.extra_single_image(image=first.image, upscaler_1="Lanczos", upscaling_resize=1.5).image.size == (96, 96)
both = api.extra_batch_images(images=first.images[:2], upscaler_1="Nearest", upscaling_resize=2)
assert [image.size for image in both.images] == [(128, 128)] * 2
assert "a fox" in api.png_info(first.image).info

# What is not here is an error, as it is there. (The client keeps scripts from call to call, unless it is given none.)
for bad in (
    lambda: api.txt2img(prompt="x", script_name="X/Y/Z plot"),
    lambda: api.txt2img(prompt="x", sampler_name="none"),
    lambda: api.txt2img(prompt="x", alwayson_scripts={}, controlnet_units=[webuiapi.ControlNetUnit(image=first.image, module="canny", model="m")]),
    lambda: api.txt2img(prompt="x", alwayson_scripts={}, reactor=webuiapi.ReActor(img=first.image)),
    lambda: webuiapi.WebUIApi(host=host, port=port, username="x", password="wrong").txt2img(prompt="x"),
):
    try:
        bad()
    except RuntimeError as error:
        assert error.args[0] in (401, 404, 422), error
    else:
        raise AssertionError("it was met")


# Several at once, and one that is interrupted.
async def several():
    return await asyncio.gather(*(api.txt2img(prompt="a fox", seed=n, use_async=True, **size) for n in range(3)))


assert [result.info["seed"] for result in asyncio.run(several())] == [0, 1, 2]
ended = []
thread = threading.Thread(target=lambda: ended.append(api.txt2img(prompt="a fox", steps=150, width=512, height=512, batch_size=4)))
thread.start()
begin = time.time()
while not api.get_progress()["state"]["sampling_step"]:
    assert time.time() - begin < 60
    time.sleep(0.05)
assert 0 < api.get_progress()["progress"] <= 1
assert api.interrupt() == {}
thread.join()
assert ended[0].images == [] and "interrupted" in ended[0].info["calotype_warnings"][0]
api.util_wait_for_ready(check_interval=0.1)
print("webuiapi: all is as it should be")
