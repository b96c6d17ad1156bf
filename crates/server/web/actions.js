// Actions on a picture.
import { html, signal } from "./vendor/preact.js";
import { call } from "./api.js";
import { chosen, follow, forget, hidden, pictures } from "./store.js";
import { hires, startWith, useAll, useSeed, variations } from "./generate.js";
import { set, startFrom } from "./form.js";
import { painting } from "./init.js";
import { fail, toast } from "./notice.js";
import { give, loadImage, pngOf } from "./files.js";
import { Button } from "./ui.js";

/** Whether before and after are compared. */
export const comparing = signal(false);

export const keyOf = (job, result) => `${job.id}/${result.n}`;

export function show(job, n) {
	comparing.value = false;
	follow.value = false;
	chosen.value = { job: job.id, n };
}

const leaving = new Map();

/** Deletes a job in five seconds, unless it is undone. */
export function discard(job) {
	const list = pictures.value.map((one) => one.job.id);
	const next = list[list.lastIndexOf(job.id) + 1] ?? list[list.indexOf(job.id) - 1];
	hidden.value = new Set([...hidden.value, job.id]);
	if (chosen.value?.job === job.id || chosen.value === null) chosen.value = next ? { job: next, n: null } : null;
	const back = () => {
		leaving.delete(job.id);
		hidden.value = new Set([...hidden.value].filter((id) => id !== job.id));
	};
	const undo = () => {
		back();
		chosen.value = { job: job.id, n: null };
	};
	const gone = async () => {
		if (!leaving.has(job.id)) return;
		leaving.delete(job.id);
		try {
			await call("DELETE", `/v1/jobs/${job.id}?forget=true`, { keepalive: true });
			forget(job.id);
		} catch (error) {
			fail(error);
		}
		back();
	};
	const count = job.results.length;
	const close = toast(count > 1 ? `${count} pictures deleted.` : "Deleted.", { ms: 5000, gone, action: { label: "Undo", run: undo } });
	leaving.set(job.id, { gone, undo: () => (close(), undo()) });
}

export function undoDiscard() {
	[...leaving.values()].at(-1)?.undo();
}

// Who leaves the page has not undone.
addEventListener("pagehide", () => [...leaving.values()].forEach((one) => one.gone()));

const nameOf = (job, result) => {
	const words =
		job.request.prompt
			.replace(/[^\p{L}\p{N}]+/gu, "-")
			.replace(/^-+|-+$/g, "")
			.slice(0, 60) || "picture";
	return `${words}-${result.seed}.${{ "image/jpeg": "jpg", "image/webp": "webp" }[result.media_type] ?? "png"}`;
};

// The clipboard only takes PNG, and only on safe origins.
async function copy(job, result) {
	if (!navigator.clipboard?.write) {
		toast("This browser lets pages copy pictures over HTTPS or on this machine only. Download it instead.", { kind: "error" });
		return;
	}
	const png = async () => {
		const image = await loadImage(result.url);
		const canvas = document.createElement("canvas");
		canvas.width = image.naturalWidth;
		canvas.height = image.naturalHeight;
		canvas.getContext("2d").drawImage(image, 0, 0);
		return pngOf(canvas);
	};
	try {
		await navigator.clipboard.write([new ClipboardItem({ "image/png": png() })]);
		toast("Copied.");
	} catch (error) {
		fail(error);
	}
}

async function share(job, result) {
	try {
		const blob = await (await fetch(result.url)).blob();
		await navigator.share({ files: [new File([blob], nameOf(job, result), { type: blob.type })], title: job.request.prompt });
	} catch (error) {
		fail(error);
	}
}

export const ACTIONS = [
	{ id: "all", key: "u", icon: "reuse", name: "Use all settings", run: useAll, main: true },
	{ id: "seed", key: "s", icon: "seed", name: "Use seed", run: useSeed, main: true },
	{
		id: "init",
		key: "i",
		icon: "picture",
		name: "Start from it",
		run: (job, result) => (startWith(job, result), toast("The next picture starts from this one.")),
		main: true,
	},
	{ id: "mask", key: "m", icon: "brush", name: "Paint a mask", run: (job, result) => (startWith(job, result), (painting.value = true)) },
	{
		id: "sides",
		key: "o",
		icon: "sides",
		name: "Add sides",
		run: (job, result) => {
			const side = Math.max(8, Math.round(result.width / 32) * 8);
			startFrom({ result: keyOf(job, result), url: result.url, width: result.width, height: result.height, name: `seed ${result.seed}` });
			set({ outpaint: { left: side, right: side, top: 0, bottom: 0 }, prompt: job.request.prompt, strength: 1 });
			toast("It gets new sides left and right: see Start from a picture.");
		},
	},
	{ id: "hires", key: "h", icon: "grow", name: "Enlarge", run: hires, main: true },
	{ id: "vary", key: "v", icon: "fork", name: "Variations", run: variations, main: true },
	{
		id: "compare",
		key: "b",
		icon: "compare",
		name: "Before and after",
		run: () => (comparing.value = !comparing.value),
		when: ({ request }) => request.init && !request.init.outpaint,
	},
	{ id: "download", key: "d", icon: "download", name: "Download", run: (job, result) => give(`${result.url}?download=1`, nameOf(job, result)) },
	{ id: "copy", key: "c", icon: "copy", name: "Copy", run: copy },
	{ id: "share", icon: "share", name: "Share", run: share, when: () => !!navigator.canShare },
	{ id: "delete", key: "Delete", icon: "trash", name: "Delete", run: (job) => discard(job) },
];

/** The actions as buttons, the usual ones with their names. */
export function Actions({ job, result, more }) {
	const shown = ACTIONS.filter((one) => !one.when || one.when(job));
	const button = (one) => html`<${Button} key=${one.id} small=${!one.main} kind=${one.main ? "quiet" : "plain"} icon=${one.icon} label=${one.name}
		aria-keyshortcuts=${one.key} aria-pressed=${one.id === "compare" ? String(comparing.value) : undefined} onClick=${() => one.run(job, result)} />`;
	return html`<div class="actions" role="toolbar" aria-label="What to do with this picture">
		<div>${shown.filter((one) => one.main).map(button)}</div>
		<div>${shown.filter((one) => !one.main).map(button)}${more}</div>
	</div>`;
}

/** @param {string} key @returns {boolean} whether it stands for an action */
export function actByKey(key, job, result) {
	const action = ACTIONS.find((one) => one.key === (key.length === 1 ? key.toLowerCase() : key));
	if (!action || (action.when && !action.when(job))) return false;
	action.run(job, result);
	return true;
}
