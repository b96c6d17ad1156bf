// Compared settings.
import { html, useState } from "./vendor/preact.js";
import { jobs, samplers, schedulers } from "./store.js";
import { form, randomSeed, toRequest } from "./form.js";
import { sendAll } from "./generate.js";
import { show } from "./actions.js";
import { addGrid, making } from "./grid.js";
import { Dialog, Select, TextField } from "./ui.js";

const MOST = 36;

const numbers = (name, title, current) => ({
	title,
	example: current,
	read: (text) => (Number.isFinite(Number(text)) ? Number(text) : null),
	put: (value) => ({ [name]: value }),
});
const named = (name, title, list) => ({
	title,
	example: () =>
		list.value
			.slice(0, 3)
			.map((one) => one.name)
			.join(", "),
	read: (text) => list.value.find((one) => [one.id, one.name].some((known) => known.toLowerCase() === text.toLowerCase()))?.id ?? null,
	put: (value) => ({ [name]: value }),
});
const AXES = {
	none: { title: "Nothing", example: () => "", read: () => null, put: () => ({}) },
	num_inference_steps: numbers("num_inference_steps", "Steps", () => "10, 20, 40"),
	guidance_scale: numbers("guidance_scale", "Guidance", () => "3, 5, 7, 9"),
	seed: numbers("seed", "Seed", () => "1, 2, 3"),
	sampler: named("sampler", "Sampler", samplers),
	schedule: named("schedule", "Scheduler", schedulers),
	strength: numbers("strength", "Strength", () => "0.3, 0.5, 0.7"),
	clip_skip: numbers("clip_skip", "CLIP skip", () => "1, 2"),
	words: {
		title: "Words of the prompt",
		example: () => "red, blue, green (the first one is what stands in the prompt)",
		read: (text) => text,
		put: (value, fields, all) => ({ prompt: fields.prompt.replaceAll(all[0], value) }),
	},
};

const read = (axis, text) => {
	if (axis === "none") return [null];
	const values = text.split(",").map((part) => AXES[axis].read(part.trim()));
	return text.trim() && values.every((value) => value !== null) ? values : null;
};

export function GridDialog() {
	const [x, setX] = useState(["num_inference_steps", ""]);
	const [y, setY] = useState(["none", ""]);
	const close = () => (making.value = false);
	const [xs, ys] = [read(...x), read(...y)];
	const count = (xs?.length ?? 0) * (ys?.length ?? 0);
	const make = async () => {
		close();
		const fields = { ...form.value, n: 1, seed: form.value.seed ?? randomSeed() };
		const requests = ys.flatMap((b) =>
			xs.map((a) => {
				const row = { ...fields, ...AXES[y[0]].put(b, fields, ys) };
				return toRequest({ ...row, ...AXES[x[0]].put(a, row, xs) });
			}),
		);
		const made = await sendAll(requests);
		if (made.length !== requests.length) return;
		addGrid({ x: [x[0], xs], y: [y[0], ys], jobs: made.map((job) => job.id) });
	};
	const axis = (label, [name, text], put) => html`<div class="grid2">
		<${Select} label=${label} value=${name} options=${Object.entries(AXES).map(([id, one]) => [id, one.title])} onChange=${(name) => put([name, AXES[name].example().split(" (")[0]])} />
		${name !== "none" && html`<${TextField} label="Values, with commas" value=${text} placeholder=${AXES[name].example()} onChange=${(text) => put([name, text])} aria-invalid=${text && !read(name, text) ? "true" : undefined} />`}
	</div>`;
	return html`<${Dialog} title="Compare settings" onClose=${close}
		footer=${html`<span class="dim grow">${count > MOST ? `At most ${MOST} pictures` : count ? `${count} pictures` : "Give values for each setting"}</span><button class="primary" disabled=${!count || count > MOST || !form.value.prompt.trim()} onClick=${make}>Make them</button>`}>
		<p class="dim">One picture for each pair of values, all else as in the form, with one seed.</p>
		${axis("Across", x, setX)}${axis("Down", y, setY)}
	<//>`;
}

export function GridTable({ grid }) {
	const [x, xs] = grid.x;
	const [y, ys] = grid.y;
	const cell = (id) => {
		const job = jobs.value.get(id);
		const result = job?.results[0];
		if (!result) return html`<span class="dim">${job?.state ?? "deleted"}</span>`;
		return html`<button class="plain cell" onClick=${() => show(job, result.n)}><img src=${result.url} alt=${job.request.prompt} /></button>`;
	};
	return html`<div class="tablebox" tabindex="0" role="region" aria-label="Compared settings"><table class="xy">
		<thead><tr><td></td>${xs.map((value) => html`<th scope="col" key=${value}>${AXES[x].title} ${value}</th>`)}</tr></thead>
		<tbody>${ys.map(
			(value, row) => html`<tr key=${value}><th scope="row">${y === "none" ? "" : `${AXES[y].title} ${value}`}</th>
			${xs.map((_, column) => html`<td key=${column}>${cell(grid.jobs[row * xs.length + column])}</td>`)}</tr>`,
		)}</tbody>
	</table></div>`;
}
