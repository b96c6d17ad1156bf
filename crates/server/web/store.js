// What is known of the server.
import { batch, computed, effect, signal } from "./vendor/preact.js";
import { call, get } from "./api.js";

/** States after which nothing more happens. */
export const FINAL = new Set(["succeeded", "failed", "cancelled", "expired", "rejected"]);
/** States in which the engine works on a job. */
export const RUNNING = new Set(["leased", "running", "checking"]);

/** As `GET /v1/session` tells it. */
export const session = signal(null);
export const models = signal([]);
export const samplers = signal([]);
export const schedulers = signal([]);
export const upscalers = signal([]);
export const adapters = signal([]);
export const styles = signal([]);

/** Jobs by id; their progress, which often changes, is apart. */
export const jobs = signal(new Map());
export const progress = signal({});
/** Where the list goes on. */
export const more = signal(undefined);
/** Jobs that are deleted unless it is undone. */
export const hidden = signal(new Set());
/** Pictures that wait for review. */
export const waiting = signal(null);

/** What is shown large; `n` is null for a whole job. */
export const chosen = signal(null);
/** Whether what is made now is shown instead. */
export const follow = signal(true);

let who;
effect(() => {
	const key = session.value?.key?.id;
	if (key === who) return;
	who = key;
	// Another key's jobs are not for these eyes.
	batch(() => {
		jobs.value = new Map();
		progress.value = {};
		chosen.value = waiting.value = null;
		more.value = undefined;
	});
});

export const limits = computed(() => session.value?.limits ?? { max_side: 2048, max_pixels: 4194304, max_steps: 150, max_images: 8 });
export const scopes = computed(() => new Set(session.value?.key?.scopes ?? []));

/** Jobs, newest first. */
export const listed = computed(() => [...jobs.value.values()].filter((job) => !hidden.value.has(job.id)).sort((a, b) => b.seq - a.seq));
export const running = computed(() => listed.value.filter((job) => RUNNING.has(job.state)).reverse());
/** Queued jobs, the next one first. */
export const queued = computed(() =>
	listed.value
		.filter((job) => job.state === "queued")
		.sort((a, b) => (a.position ?? Infinity) - (b.position ?? Infinity) || b.priority - a.priority || a.seq - b.seq),
);
export const pictures = computed(() =>
	listed.value.filter((job) => job.state === "succeeded").flatMap((job) => job.results.map((result) => ({ job, result }))),
);

export const staged = computed(() => {
	const active = running.value[0] ?? queued.value[0];
	if (follow.value && active) return { job: active, n: null };
	const picked = chosen.value && !hidden.value.has(chosen.value.job) ? jobs.value.get(chosen.value.job) : null;
	if (picked) return { job: picked, n: chosen.value.n };
	const last = listed.value[0];
	return last ? { job: last, n: null } : null;
});

/** @param {any} job */
export function keep(...list) {
	batch(() => {
		const map = new Map(jobs.value);
		const now = { ...progress.value };
		for (const job of list) {
			map.set(job.id, job);
			if (job.progress && !FINAL.has(job.state)) now[job.id] = job.progress;
			else delete now[job.id];
		}
		jobs.value = map;
		progress.value = now;
	});
}

/** @param {string} id */
export function forget(id) {
	const map = new Map(jobs.value);
	map.delete(id);
	jobs.value = map;
}

/** The newest jobs; older ones that are known stay. */
export async function loadJobs() {
	const answer = await get("/v1/jobs?limit=50");
	const oldest = answer.jobs.at(-1)?.seq ?? 0;
	batch(() => {
		const told = new Set(answer.jobs.map((job) => job.id));
		// What should be in the answer and is not was removed elsewhere.
		const gone = [...jobs.value.values()].filter((job) => !told.has(job.id) && (answer.next === null || job.seq >= oldest));
		for (const job of gone) forget(job.id);
		keep(...answer.jobs);
		if (more.value === undefined || answer.next === null) more.value = answer.next;
	});
}

let loadingMore = false;
export async function loadMore() {
	if (loadingMore || more.value == null) return;
	loadingMore = true;
	try {
		const answer = await get(`/v1/jobs?limit=50&before=${more.value}`);
		batch(() => {
			keep(...answer.jobs);
			more.value = answer.next;
		});
	} finally {
		loadingMore = false;
	}
}

const asked = new Map();
/** @param {string} id */
export async function refresh(id) {
	if (asked.has(id)) {
		asked.set(id, true);
		return;
	}
	asked.set(id, false);
	try {
		keep(await get(`/v1/jobs/${id}`));
	} catch (error) {
		if (error.status === 404) forget(id);
		else if (error.code !== "away") throw error;
	} finally {
		const again = asked.get(id);
		asked.delete(id);
		if (again) refresh(id);
	}
}

let positions;
/** The places in the queue change with every job that begins. */
export function refreshQueue() {
	clearTimeout(positions);
	positions = setTimeout(async () => {
		if (!queued.value.length) return;
		try {
			keep(...(await get("/v1/jobs?state=queued&limit=200")).jobs);
		} catch {}
	}, 400);
}

export async function loadSession() {
	session.value = await get("/v1/session");
	return session.value;
}

/** A list that can't be had is empty. */
export async function loadLists() {
	const list = (path, member, into) =>
		get(path).then(
			(answer) => (into.value = answer[member] ?? []),
			() => {},
		);
	await Promise.all([
		list("/v1/models", "models", models),
		list("/v1/samplers", "samplers", samplers),
		list("/v1/schedulers", "schedulers", schedulers),
		list("/v1/upscalers", "upscalers", upscalers),
		list("/v1/adapters", "adapters", adapters),
		list("/v1/styles", "styles", styles),
	]);
}

/** @param {string} id */
export async function cancel(id) {
	keep(await call("DELETE", `/v1/jobs/${id}`));
	refreshQueue();
}

/** The address of an input picture. @param {any} job @param {any} picture */
export function inputOf(job, picture) {
	if (!picture) return null;
	if (picture.blob) return `/v1/jobs/${job.id}/inputs/${picture.blob}`;
	if (picture.result) return `/v1/jobs/${picture.result.replace("/", "/results/")}`;
	return picture.data?.startsWith("data:") ? picture.data : null;
}
