// The picture that is shown large.
import { html, useEffect, useRef, signal } from "./vendor/preact.js";
import { FINAL, models, progress, session, staged } from "./store.js";
import { retry, stop, useAll } from "./generate.js";
import { model, set } from "./form.js";
import { Actions, comparing, show } from "./actions.js";
import { Details } from "./details.js";
import { Picture, isBlurred, isWithheld, useShape } from "./picture.js";
import { prefs } from "./prefs.js";
import { say } from "./notice.js";
import { gridOf } from "./grid.js";
import { Button, duration } from "./ui.js";
import { Icon } from "./icons.js";
import { later } from "./later.js";

const GridTable = later("compare", "GridTable");

export const viewing = signal(false);

/** @param {any} job @param {any} [now] */
export function statusLine(job, now = progress.value[job.id]) {
	if (job.state === "queued") return job.position > 1 ? `Waiting, number ${job.position} in the queue` : "Waiting, next in the queue";
	if (job.state === "checking") return "Checking the picture";
	if (!now) return job.attempt > 1 ? "Starting again" : "Starting";
	const stage = now.stage ? now.stage[0].toUpperCase() + now.stage.slice(1) : "Working";
	const step = now.steps > 1 && now.step ? `, step ${now.step} of ${now.steps}` : "";
	return `${stage}${step}`;
}

export function Progress({ job, quiet }) {
	const now = progress.value[job.id];
	const percent = Math.round((now?.fraction ?? 0) * 100);
	const bar = useRef(null);
	useEffect(() => {
		bar.current.style.width = `${percent}%`;
	}, [percent]);
	const left = now?.eta_s ?? (job.state === "queued" ? job.estimate_s : null);
	return html`<div class="progress">
		<div class="row"><span>${statusLine(job, now)}</span><span class="grow"></span><span class="dim">${left != null ? `about ${duration(left)}${job.state === "queued" ? "" : " left"}` : ""}</span></div>
		<div class="bar" role="progressbar" aria-label=${quiet ? `Progress of ${job.request.prompt}` : "Progress of this picture"} aria-valuemin="0" aria-valuemax="100" aria-valuenow=${percent} aria-valuetext=${`${percent} %, ${statusLine(job, now)}`}><span ref=${bar}></span></div>
	</div>`;
}

// Says each tenth, the end, and what went wrong.
function Teller({ job }) {
	const last = useRef({});
	const now = progress.value[job.id];
	const tenth = Math.floor((now?.fraction ?? 0) * 10);
	useEffect(() => {
		const before = last.current;
		last.current = { id: job.id, state: job.state, tenth };
		if (before.id !== job.id) return;
		if (before.state !== job.state) {
			if (job.state === "succeeded") say(job.results.length > 1 ? `Done: ${job.results.length} pictures.` : "Done: the picture is ready.");
			else if (job.state === "failed") say(`Failed: ${job.error?.message ?? "no reason told"}`);
			else if (FINAL.has(job.state) || job.state === "held") say(`The picture is ${job.state}.`);
		} else if (before.tenth < tenth && tenth < 10) say(`${tenth * 10} percent`);
	}, [job.id, job.state, tenth]);
	return null;
}

function Making({ job }) {
	const now = progress.value[job.id];
	const { width, height } = job.request;
	const box = useShape(width ?? 512, height ?? 512);
	const preview = prefs.value.preview ? now?.preview : null;
	return html`<div class="shape-box making" ref=${box}>
		${preview ? html`<img class=${prefs.value.blur === "always" ? "blurred" : ""} src=${preview} alt=${`Preview of: ${job.request.prompt}`} />` : html`<div class="blank"><${Icon} name="spark" /></div>`}
	</div>`;
}

function Ended({ job }) {
	const texts = {
		cancelled: ["stop", "Stopped", "Nothing was kept."],
		expired: ["history", "Expired", "It waited longer than it was allowed to."],
		rejected: ["eye", "Rejected", "A person looked at this picture and does not release it."],
		held: ["eye", "Held for review", "A person looks at this picture before it is shown. You can go on meanwhile."],
		succeeded: ["eye", "Held back", "The checker does not release what was made."],
		failed: ["warning", "It did not work", job.error?.message ?? "The server gave no reason."],
	};
	const [icon, title, text] = texts[job.state] ?? texts.failed;
	return html`<div class="ended">
		<${Icon} name=${icon} />
		<h3>${title}</h3>
		<p>${text}</p>
		<p class="dim quote">${job.request.prompt}</p>
		<div class="row wrap center">
			${["failed", "cancelled", "expired"].includes(job.state) && html`<${Button} icon="reuse" label="Try again" onClick=${() => retry(job)} />`}
			<${Button} kind="plain" label="Use its settings" onClick=${() => useAll(job)} />
		</div>
	</div>`;
}

const COLOURS = ["red", "blue", "yellow", "green", "white"];
function Welcome() {
	const subjects = model()?.subjects ?? [];
	const some = subjects.length
		? [0.13, 0.37, 0.58, 0.83].map((part, index) => `a ${subjects[Math.floor(part * subjects.length)]} on a ${COLOURS[index]} background`)
		: ["a lighthouse at dusk, long exposure", "a bowl of lemons, oil painting"];
	return html`<div class="welcome">
		<img src="/web/icon.svg" alt="" width="72" height="72" />
		<h3>Write what you want to see</h3>
		<p class="dim">Then press Generate or <kbd>Ctrl</kbd> <kbd>Enter</kbd>. Drop a picture anywhere to read its settings or to start from it.</p>
		<p class="chips center">${some.map((text) => html`<button key=${text} class="chip" onClick=${() => (set({ prompt: text }), document.getElementById("prompt")?.focus())}>${text}</button>`)}</p>
		${models.value.length === 0 && session.value && html`<p class="dim">The server has no model yet.</p>`}
	</div>`;
}

function Contact({ job }) {
	return html`<div class=${`sheetgrid ${job.results.length > 4 ? "many" : ""}`}>
		${job.results.map(
			(
				result,
			) => html`<button key=${result.n} class="plain cell" aria-label=${`Picture ${result.n + 1} of ${job.results.length}, seed ${result.seed}`} onClick=${() => show(job, result.n)}>
			${isWithheld(result) ? html`<span class="dim">held back</span>` : html`<img class=${isBlurred(result) ? "blurred" : ""} src=${result.url} alt="" />`}
		</button>`,
		)}
	</div>`;
}

export function Stage() {
	const at = staged.value;
	if (!at) return html`<section class="stage" aria-label="Picture"><${Welcome} /></section>`;
	const { job } = at;
	const grid = gridOf(job.id);
	const many = job.results.length > 1;
	const table = grid && at.n === null;
	const result = job.state === "succeeded" && !table ? (job.results.find((one) => one.n === at.n) ?? (many ? null : job.results[0])) : null;
	const active = !FINAL.has(job.state) && job.state !== "held";
	let body;
	if (table) body = html`<${GridTable} grid=${grid} />`;
	else if (active) body = html`<${Making} job=${job} />`;
	else if (result) body = html`<${Picture} key=${result.url} job=${job} result=${result} compare=${comparing.value} onOpen=${() => (viewing.value = true)} />`;
	else if (job.state === "succeeded" && many) body = html`<${Contact} job=${job} />`;
	else body = html`<${Ended} job=${job} />`;
	return html`<section class="stage" aria-label="Picture">
		<${Teller} job=${job} />
		<div class="easel">${body}</div>
		${active && html`<div class="row under"><${Progress} job=${job} /><${Button} icon="stop" label="Stop" aria-keyshortcuts="Escape" onClick=${stop} /></div>`}
		${
			result &&
			html`<${Actions} job=${job} result=${result} more=${html`
				${(many || grid) && html`<${Button} small kind="plain" icon="grid" label="All pictures of this run" onClick=${() => show(job, null)} />`}
				<${Button} small kind="plain" icon="expand" label="Fill the window" onClick=${() => (viewing.value = true)} />`} />
			<${Details} job=${job} result=${result} />`
		}
		${!result && !table && job.state === "succeeded" && html`<p class="hint center">${job.results.length} pictures. Choose one to see it large.</p>`}
	</section>`;
}
