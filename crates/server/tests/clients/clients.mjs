// Drives a server by OpenAI's client for JavaScript and by the AI SDK: node clients.mjs BASE_URL KEY.
import assert from 'node:assert/strict';
import { createOpenAI } from '@ai-sdk/openai';
import { experimental_generateImage as generateImage } from 'ai';
import OpenAI, { toFile } from 'openai';

const [baseURL, apiKey] = process.argv.slice(2);
globalThis.AI_SDK_LOG_WARNINGS = false;
const client = new OpenAI({ baseURL, apiKey });
const bytes = (data) => Buffer.from(data, 'base64');
const isPng = (data) => bytes(data).subarray(1, 4).toString() === 'PNG';

const made = await client.images.generate({
  prompt: 'a fox', model: 'built-in', n: 2, size: '64x64', response_format: 'b64_json', seed: 7, steps: 4,
});
assert.equal(made.data.length, 2);
assert.ok(made.data.every((datum) => isPng(datum.b64_json)));
assert.equal(made.data[0].seed, 7);

const types = [];
const stream = await client.images.generate({ prompt: 'a fox', stream: true, partial_images: 1, size: '256x256', steps: 40 });
for await (const event of stream) types.push(event.type);
assert.deepEqual(types, ['image_generation.partial_image', 'image_generation.completed']);

const picture = await toFile(bytes(made.data[0].b64_json), 'a.png', { type: 'image/png' });
const edited = await client.images.edit({ image: picture, prompt: 'a cat', n: 1, steps: 4 });
assert.ok(isPng(edited.data[0].b64_json));
const several = await client.images.edit({ image: [picture], prompt: 'a cat', steps: 4 });
assert.ok(isPng(several.data[0].b64_json));

await assert.rejects(client.images.generate({ prompt: 'x', model: 'dall-e-3' }), OpenAI.NotFoundError);
await assert.rejects(client.images.generate({ prompt: 'x', size: '65x65' }), OpenAI.BadRequestError);
await assert.rejects(new OpenAI({ baseURL, apiKey: 'wrong' }).images.generate({ prompt: 'x' }), OpenAI.AuthenticationError);

// Whoever ends a stream ends its job.
const ended = await client.images.generate({ prompt: 'a fox', stream: true, partial_images: 1, size: '512x512', steps: 150 });
for await (const event of ended) {
  assert.equal(event.type, 'image_generation.partial_image');
  break;
}
ended.controller.abort();

const { images } = await generateImage({
  model: createOpenAI({ baseURL, apiKey }).image('built-in'), prompt: 'a fox', size: '64x64', n: 2, providerOptions: { openai: { steps: 4 } },
});
assert.equal(images.length, 2);
assert.ok(images.every((image) => isPng(image.base64)));
console.log('openai and AI SDK for JavaScript: all is as it should be');
