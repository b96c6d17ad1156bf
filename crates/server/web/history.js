// Earlier prompts.
import { html, signal, useState } from "./vendor/preact.js";
import { store, stored } from "./prefs.js";
import { listed } from "./store.js";
import { form, set } from "./form.js";
import { Dialog, Search } from "./ui.js";

const KEY = "calotype.history";
const past = signal(stored(KEY, []));

/** @param {{prompt: string, negative_prompt: string}} fields */
export function remember({ prompt, negative_prompt }) {
	if (!prompt.trim()) return;
	past.value = [{ prompt, negative_prompt }, ...past.value.filter((one) => one.prompt !== prompt)].slice(0, 200);
	store(KEY, past.value);
	at = -1;
}

export function prompts() {
	const seen = new Set();
	const jobs = listed.value.map((job) => ({ prompt: job.request.prompt, negative_prompt: job.request.negative_prompt ?? "" }));
	return [...past.value, ...jobs].filter((one) => one.prompt && !seen.has(one.prompt) && seen.add(one.prompt));
}

let at = -1;
let draft = "";
/** @param {1 | -1} way 1 is older */
export function step(way) {
	const list = prompts();
	if (at === -1 && way === 1) draft = form.value.prompt;
	const next = Math.max(-1, Math.min(list.length - 1, at + way));
	if (next === at) return;
	at = next;
	set(at === -1 ? { prompt: draft } : list[at]);
}

export function HistoryDialog({ onClose }) {
	const [query, setQuery] = useState("");
	const found = prompts().filter((one) => one.prompt.toLowerCase().includes(query.toLowerCase()));
	const use = (one) => (set(one), onClose());
	return html`<${Dialog} title="Earlier prompts" onClose=${onClose}>
		<${Search} label="Search in earlier prompts" value=${query} onChange=${setQuery} />
		${found.length === 0 && html`<p class="dim">${query ? "No prompt has these words." : "Nothing yet: prompts are kept here once they were used."}</p>`}
		<ul class="plainlist rows">
			${found.slice(0, 100).map(
				(one) => html`<li key=${one.prompt}><button class="plain line" onClick=${() => use(one)}>
				<span>${one.prompt}</span>${one.negative_prompt && html`<span class="dim">without ${one.negative_prompt}</span>`}
			</button></li>`,
			)}
		</ul>
	<//>`;
}
