// Queue tab.
import { html, useState } from "./vendor/preact.js";
import { FINAL, cancel, follow, keep, listed, queued, refreshQueue, running } from "./store.js";
import { cancelAll, retry } from "./generate.js";
import { post } from "./api.js";
import { fail, say } from "./notice.js";
import { show } from "./actions.js";
import { Progress } from "./stage.js";
import { Button, Dialog, ago, duration } from "./ui.js";

/**
 * Priorities for this order: higher ones come first, of equal ones the older.
 * @param {{id: string, seq: number, priority: number}[]} order
 * @returns {{id: string, priority: number}[]}
 */
export function priorities(order) {
	const changes = [];
	let below = null;
	for (const job of [...order].reverse()) {
		const least = below === null ? job.priority : job.seq < below.seq ? below.priority : below.priority + 1;
		const priority = Math.max(job.priority, least);
		if (priority !== job.priority) changes.push({ id: job.id, priority });
		below = { seq: job.seq, priority };
	}
	return changes;
}

async function move(job, to) {
	const order = queued.value.filter((other) => other.id !== job.id);
	order.splice(to, 0, job);
	try {
		for (const change of priorities(order)) keep(await post(`/v1/jobs/${change.id}/move`, { priority: change.priority }));
		keep(...order.map((one, index) => ({ ...(queued.value.find((other) => other.id === one.id) ?? one), position: index + 1 })));
		say(`Now number ${to + 1}.`);
	} catch (error) {
		fail(error);
	}
	refreshQueue();
}

const open = (job) => {
	show(job, null);
	follow.value = !FINAL.has(job.state);
	location.hash = "create";
};
const stopOne = (job) => cancel(job.id).catch(fail);

function Row({ job, index, last }) {
	const { request } = job;
	const facts = [
		request.width && `${request.width}×${request.height}`,
		request.num_inference_steps && `${request.num_inference_steps} steps`,
		request.n > 1 && `${request.n} pictures`,
		job.model,
	]
		.filter(Boolean)
		.join(" · ");
	return html`<li class="card">
		<div class="grow">
			<button class="plain line" onClick=${() => open(job)}><span>${request.prompt || "No prompt"}</span><span class="dim">${facts}</span></button>
			${index === undefined && !FINAL.has(job.state) && job.state !== "held" && html`<${Progress} job=${job} quiet />`}
		</div>
		${
			index !== undefined &&
			html`
			<span class="dim">${job.estimate_s ? `about ${duration(job.estimate_s)}` : ""}</span>
			<${Button} small kind="plain" icon="first" label="Make it next" disabled=${index === 0} onClick=${() => move(job, 0)} />
			<${Button} small kind="plain" icon="up" label="Earlier" disabled=${index === 0} onClick=${() => move(job, index - 1)} />
			<${Button} small kind="plain" icon="down" label="Later" disabled=${last} onClick=${() => move(job, index + 1)} />`
		}
		${!FINAL.has(job.state) && html`<${Button} small kind="plain" icon="close" label="Cancel this job" onClick=${() => stopOne(job)} />`}
		${FINAL.has(job.state) && html`<span class=${`state ${job.state}`}>${job.state}</span><span class="dim">${ago(job.since)}</span>`}
		${["failed", "cancelled", "expired"].includes(job.state) && html`<${Button} small kind="plain" icon="reuse" label="Try again" onClick=${() => retry(job)} />`}
	</li>`;
}

export function Queue() {
	const [asking, setAsking] = useState(false);
	const wait = queued.value;
	const over = listed.value.filter((job) => FINAL.has(job.state)).slice(0, 30);
	const held = listed.value.filter((job) => job.state === "held");
	const list = (title, jobs, row) => jobs.length > 0 && html`<h3>${title}</h3><ul class="cards plainlist">${jobs.map(row)}</ul>`;
	const row = (job) => html`<${Row} key=${job.id} job=${job} />`;
	return html`<div class="page">
		<div class="row"><h2>Queue</h2><span class="grow"></span>
			<${Button} icon="stop" label="Cancel all" disabled=${wait.length + running.value.length === 0} onClick=${() => setAsking(true)} /></div>
		${wait.length + running.value.length === 0 && html`<p class="dim empty">Nothing is being made and nothing waits.</p>`}
		${list("Now", running.value, row)}
		${list("Next", wait, (job, index) => html`<${Row} key=${job.id} job=${job} index=${index} last=${index === wait.length - 1} />`)}
		${list("Held for review", held, row)}
		${list("Done", over, row)}
		${
			asking &&
			html`<${Dialog} title="Cancel all?" onClose=${() => setAsking(false)}
			footer=${html`<${Button} label="Keep them" onClick=${() => setAsking(false)} /><${Button} kind="primary" label="Cancel all" onClick=${() => (setAsking(false), cancelAll())} />`}>
			<p>${wait.length + running.value.length} jobs are stopped. Finished pictures stay.</p><//>`
		}
	</div>`;
}
