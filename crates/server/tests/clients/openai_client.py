"""Drives a server by OpenAI's client for Python: python openai_client.py BASE_URL KEY."""

import base64
import io
import sys
import urllib.request

import openai
from PIL import Image

base_url, key = sys.argv[1], sys.argv[2]
client = openai.OpenAI(base_url=base_url, api_key=key)


def image(data):
    return Image.open(io.BytesIO(base64.b64decode(data)))


assert "built-in" in [model.id for model in client.models.list()]
assert client.models.retrieve("built-in").owned_by == "calotype"

made = client.images.generate(
    prompt="a fox", model="built-in", n=2, size="64x64", response_format="b64_json",
    extra_body={"seed": 7, "steps": 4, "negative_prompt": "dog", "cfg_scale": 5.5, "sampler": "euler_a"})
assert [image(datum.b64_json).size for datum in made.data] == [(64, 64)] * 2 and made.created > 0
assert made.data[1].model_extra["seed"] == 8 and made.usage.total_tokens == 0
link = client.images.generate(prompt="a fox", response_format="url", output_format="webp", extra_body={"steps": 2}).data[0].url
assert Image.open(io.BytesIO(urllib.request.urlopen(link).read())).format == "WEBP"

events = list(client.images.generate(
    prompt="a fox", stream=True, partial_images=2, size="256x256", output_format="jpeg", quality="low", extra_body={"steps": 40}))
assert [event.type for event in events][-1] == "image_generation.completed"
partial = [event for event in events if event.type == "image_generation.partial_image"]
assert [event.partial_image_index for event in partial] == list(range(len(partial))) and 1 <= len(partial) <= 2
assert all(image(event.b64_json).size == (256, 256) and image(event.b64_json).format == "JPEG" for event in events)

buffer = io.BytesIO()
image(made.data[0].b64_json).save(buffer, "PNG")
picture = buffer.getvalue()
mask = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
mask.paste((0, 0, 0, 0), (0, 0, 32, 64))
buffer = io.BytesIO()
mask.save(buffer, "PNG")
edited = client.images.edit(image=("a.png", picture, "image/png"), mask=("m.png", buffer.getvalue(), "image/png"), prompt="a cat", extra_body={"steps": 4})
assert image(edited.data[0].b64_json).size == (64, 64)
events = list(client.images.edit(image=[("a.png", picture, "image/png")], prompt="a cat", stream=True, extra_body={"steps": 2, "strength": 0.5}))
assert [event.type for event in events] == ["image_edit.completed"]
varied = client.images.create_variation(image=("a.png", picture, "image/png"), n=2)
assert len(varied.data) == 2

for expected, call in (
    (openai.BadRequestError, lambda: client.images.generate(prompt="x", size="65x65")),
    (openai.BadRequestError, lambda: client.images.generate(prompt="x", output_format="gif")),
    (openai.BadRequestError, lambda: client.images.generate(prompt="x", background="transparent")),
    (openai.NotFoundError, lambda: client.images.generate(prompt="x", model="dall-e-3")),
    (openai.NotFoundError, lambda: client.models.retrieve("none")),
    (openai.AuthenticationError, lambda: client.with_options(api_key="wrong").images.generate(prompt="x")),
):
    try:
        call()
    except expected as error:
        assert error.body["message"] and "type" in error.body, error.body
    else:
        raise AssertionError("it was met")

# A connection that breaks is tried again, and is one job.
try:
    client.with_options(timeout=0.4, max_retries=1).images.generate(prompt="a fox", size="512x512", extra_body={"steps": 100, "seed": 1})
except openai.APITimeoutError:
    pass
else:
    raise AssertionError("it was too fast")
request = urllib.request.Request(f"{base_url}/jobs?limit=2", headers={"authorization": f"Bearer {key}"})
jobs = __import__("json").load(urllib.request.urlopen(request))["jobs"]
assert [job["request"]["num_inference_steps"] for job in jobs][0] == 100 and jobs[1]["request"]["num_inference_steps"] != 100, jobs
print("openai for Python: all is as it should be")
