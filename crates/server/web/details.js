// A picture's settings.
import { html } from "./vendor/preact.js";
import { isTold } from "./form.js";
import { models, samplers, schedulers } from "./store.js";
import { toast } from "./notice.js";
import { Button, ago } from "./ui.js";

const NAMES = {
	negative_prompt: "Negative prompt",
	num_inference_steps: "Steps",
	guidance_scale: "Guidance",
	clip_skip: "CLIP skip",
	prompt_style: "Prompt syntax",
	variation_seed: "Variation seed",
	variation_strength: "Variation strength",
	vae: "VAE",
};
const SILENT = { prompt_style: "a1111", clip_skip: 1 };
const nameOf = (key) => NAMES[key] ?? (key[0].toUpperCase() + key.slice(1)).replaceAll("_", " ");
const plain = (value) => {
	if (value === null || typeof value !== "object") return String(value);
	return Object.entries(value)
		.map(([key, inner]) => (key === "blob" ? `${String(inner).slice(0, 12)}…` : `${key} ${plain(inner)}`))
		.join(", ");
};

/** @param {any} job @param {any} [result] @returns {[string, string][]} */
export function rowsOf(job, result) {
	const { prompt, seed, width, height, n, model, sampler, schedule, ...others } = job.request;
	const named = (list, id) => list.find((one) => one.id === id)?.name ?? id;
	const rows = [["Prompt", prompt]];
	const add = (name, value) => value !== undefined && value !== null && value !== "" && rows.push([name, plain(value)]);
	add("Negative prompt", others.negative_prompt);
	add("Seed", result?.seed ?? seed);
	add("Size", result ? `${result.width}×${result.height}` : width && `${width}×${height}`);
	add("Model", models.value.find((one) => one.id === job.model)?.id ?? job.model ?? model);
	add("Sampler", sampler && named(samplers.value, sampler));
	add("Scheduler", schedule && named(schedulers.value, schedule));
	for (const [key, value] of Object.entries(others)) if (key !== "negative_prompt" && isTold(key, value) && SILENT[key] !== value) add(nameOf(key), value);
	if (n > 1) add("Pictures at once", n);
	if (result?.verdict && result.verdict !== "allow") add("Safety", result.verdict);
	if (result?.bytes)
		add("File", `${(result.media_type ?? "").replace("image/", "").toUpperCase()}, ${(result.bytes / 1024).toFixed(result.bytes < 102400 ? 1 : 0)} KB`);
	add("Made", ago(job.since ?? job.submitted));
	return rows;
}

export function Details({ job, result }) {
	const rows = rowsOf(job, result);
	const copy = async () => {
		try {
			await navigator.clipboard.writeText(rows.map(([name, text]) => `${name}: ${text}`).join("\n"));
			toast("Settings copied.");
		} catch {
			toast("This browser does not let pages copy here.", { kind: "error" });
		}
	};
	return html`<div class="details">
		<dl>${rows.map(([name, text]) => html`<div key=${name} class=${text.length > 40 ? "long" : ""}><dt>${name}</dt><dd>${text}</dd></div>`)}</dl>
		<${Button} kind="plain link" label="Copy these settings" onClick=${copy} />
		${job.warnings?.length > 0 && html`<ul class="hint">${job.warnings.map((line) => html`<li key=${line}>${line}</li>`)}</ul>`}
	</div>`;
}
