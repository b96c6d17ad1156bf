// Event stream.
import { away, get } from "./api.js";
import { FINAL, jobs, keep, loadJobs, loadSession, progress, refresh, refreshQueue, scopes, waiting } from "./store.js";

let source = null;
let retry = null;

export function listen() {
	close();
	source = new EventSource("/v1/events");
	source.onopen = reload;
	source.addEventListener("state", (event) => state(JSON.parse(event.data)));
	source.addEventListener("progress", (event) => {
		const data = JSON.parse(event.data);
		const job = jobs.value.get(data.job);
		if (job && FINAL.has(job.state)) return;
		progress.value = { ...progress.value, [data.job]: data.progress };
		if (!job || job.state === "queued") refresh(data.job);
	});
	source.addEventListener("resync", reload);
	source.addEventListener("bye", () => again());
	// The browser gives up after a refusal.
	source.onerror = () => again();
}

export function close() {
	clearTimeout(retry);
	source?.close();
	source = null;
}

function again() {
	close();
	// Look whether it is the server that is away.
	get("/v1/session").catch(() => {});
	retry = setTimeout(async () => {
		try {
			const session = await loadSession();
			if (session.key) listen();
		} catch {
			again();
		}
	}, 1500);
}

// Events may have been missed.
async function reload() {
	away.value = false;
	try {
		await loadJobs();
		// Also those that the first page no longer has.
		for (const job of jobs.value.values()) if (!FINAL.has(job.state)) refresh(job.id);
		await countWaiting();
	} catch {}
}

function state(event) {
	const known = jobs.value.get(event.job);
	if (known)
		keep({ ...known, state: event.state, attempt: event.attempt, since: event.at, progress: known.state === event.state ? progress.value[event.job] : null });
	refresh(event.job);
	refreshQueue();
	if (event.state === "held" || FINAL.has(event.state)) countWaiting().catch(() => {});
}

export async function countWaiting() {
	if (scopes.value.has("review")) waiting.value = (await get("/v1/review")).held.length;
}
