// Sending jobs.
import { effect, signal } from "./vendor/preact.js";
import { away, lineOf, post, sleep, unique } from "./api.js";
import { fail, toast } from "./notice.js";
import { fitSide, form, fromRequest, randomSeed, set, startFrom, toRequest } from "./form.js";
import { FINAL, cancel, chosen, follow, inputOf, keep, queued, refreshQueue, running, session } from "./store.js";
import { remember } from "./history.js";
import { upload } from "./files.js";

export const sending = signal(false);
/** What the server says about the form. */
export const estimate = signal(null);
/** The fault of the form. */
export const fault = signal(null);

/**
 * Sends a job, again and under the same key while the server is away: it is made once.
 * @param {object} request
 */
export async function send(request) {
	const key = unique();
	for (let tries = 0; ; tries++) {
		try {
			const job = await post("/v1/jobs", request, { headers: { "idempotency-key": key } });
			keep(job);
			refreshQueue();
			return job;
		} catch (error) {
			if (error.code !== "away" || tries >= 40) throw error;
			await sleep(1500);
		}
	}
}

/** @param {object[]} requests */
export async function sendAll(requests) {
	sending.value = true;
	fault.value = null;
	try {
		const made = [];
		for (const request of requests) made.push(await send(request));
		follow.value = true;
		chosen.value = { job: made.at(-1).id, n: null };
		return made;
	} catch (error) {
		if (error.param) fault.value = { param: error.param, text: lineOf(error) };
		fail(error);
		return [];
	} finally {
		sending.value = false;
	}
}

let before = Promise.resolve();
/** Makes what the form says now, after what was asked for before. */
export function generate() {
	// While the server is away the job that is on its way is sent again by itself.
	if (!form.value.prompt.trim() || (sending.value && away.value)) return;
	const fields = form.value;
	remember(fields);
	before = before.then(() => make(fields));
}

async function make(fields) {
	let [job] = await sendAll([toRequest(fields)]);
	if (!job && fault.value?.param.startsWith("init") && (fields.init?.file || fields.mask?.file)) {
		// The server keeps files for a day that no job uses; they are still here.
		const again = async (picture) => (picture?.file ? await upload(picture.file) : picture);
		try {
			const sent = { init: await again(fields.init), mask: await again(fields.mask) };
			set(sent);
			[job] = await sendAll([toRequest({ ...fields, ...sent })]);
		} catch (error) {
			fail(error);
		}
	}
	if (job?.warnings?.length) toast(job.warnings[0], { ms: 9000 });
}

/** Stops what is made now, else what was sent last. */
export async function stop() {
	const job = running.value[0] ?? queued.value.at(-1);
	if (!job) return;
	try {
		await cancel(job.id);
	} catch (error) {
		fail(error);
	}
}

/** @param {any} job */
export async function retry(job) {
	try {
		keep(await post(`/v1/jobs/${job.id}/retry`, {}));
		follow.value = true;
		refreshQueue();
	} catch (error) {
		fail(error);
	}
}

const addressOf = (job) => (picture) => inputOf(job, picture);
const seedOf = (job, result) => result?.seed ?? job.request.seed;

export function useAll(job, result) {
	fromRequest(job.request, { address: addressOf(job), seed: job.results.length > 1 ? seedOf(job, result) : undefined });
	if (job.results.length <= 1) set({ seed: seedOf(job, result) });
	toast("All settings of this picture are in the form.");
}

export function useSeed(job, result) {
	set({ seed: seedOf(job, result) });
	toast(`Seed ${seedOf(job, result)} is locked.`);
}

/** The next picture starts from this one. */
export function startWith(job, result) {
	const init = { result: `${job.id}/${result.n}`, url: result.url, width: result.width, height: result.height, name: `seed ${result.seed}` };
	startFrom(init);
	return init;
}

// As if one picture had been asked for alone.
function alone(job, result) {
	const request = { ...job.request, seed: seedOf(job, result), n: 1 };
	if (job.request.variation_seed != null) request.variation_seed = job.request.variation_seed + result.n;
	delete request.priority;
	return request;
}

/** Larger by a second pass; one that had a start, from itself. */
export function hires(job, result) {
	const side = [fitSide(result.width * 2), fitSide(result.height * 2)];
	const strength = form.value.hires_strength;
	const request = alone(job, result);
	if (request.init || request.hires) {
		request.init = { picture: { result: `${job.id}/${result.n}` }, strength: Math.min(strength, 0.5) };
		delete request.hires;
		[request.width, request.height] = side;
	} else {
		request.hires = { width: side[0], height: side[1], strength };
	}
	return sendAll([request]);
}

export function variations(job, result) {
	const count = Math.min(4, session.value?.limits?.max_images ?? 4);
	return sendAll([{ ...alone(job, result), n: count, variation_seed: randomSeed(), variation_strength: 0.2 }]);
}

let asking;
let abort;
effect(() => {
	const fields = form.value;
	clearTimeout(asking);
	if (!session.value?.key) return;
	asking = setTimeout(async () => {
		abort?.abort();
		abort = new AbortController();
		const request = toRequest({ ...fields, seed: fields.seed ?? 0 });
		try {
			estimate.value = await post("/v1/jobs/estimate", request, { signal: abort.signal });
			fault.value = null;
		} catch (error) {
			if (error.name === "AbortError" || error.code === "away") return;
			estimate.value = null;
			if (error.param) fault.value = { param: error.param, text: lineOf(error) };
		}
	}, 400);
});

export const busy = () => running.value.length + queued.value.length > 0;

export async function cancelAll() {
	const open = [...queued.value, ...running.value].filter((job) => !FINAL.has(job.state));
	const results = await Promise.allSettled(open.map((job) => cancel(job.id)));
	const failed = results.find((result) => result.status === "rejected");
	if (failed) fail(failed.reason);
	else toast(`${open.length} cancelled.`);
}
