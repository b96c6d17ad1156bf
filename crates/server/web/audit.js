// Audit log.
import { html, useEffect, useState } from "./vendor/preact.js";
import { get } from "./api.js";
import { fail } from "./notice.js";
import { Button, Search } from "./ui.js";

const shown = (value) => (value !== null && typeof value === "object" ? (value.text ?? JSON.stringify(value)) : String(value));

function Line({ line }) {
	const { time, kind, ...others } = line;
	const rest = Object.entries(others).filter(([, value]) => value !== null && value !== "" && value?.length !== 0);
	const short = ["verdict", "reason", "prompt", "who", "key_id"].filter((name) => line[name]).map((name) => shown(line[name]));
	return html`<li class="card"><details class="grow"><summary><span class="dim">${new Date(time).toLocaleString()}</span> <strong>${kind}</strong> ${short.join(" · ")}</summary>
		<dl>${rest.map(([key, value]) => html`<div key=${key} class="long"><dt>${key.replaceAll("_", " ")}</dt><dd>${shown(value)}</dd></div>`)}</dl></details></li>`;
}

export function Audit() {
	const [state, setState] = useState({ lines: null, next: null, head: "" });
	const [query, setQuery] = useState("");
	const load = async (before) => {
		try {
			const answer = await get(`/v1/audit?limit=100${before ? `&before=${before}` : ""}${query ? `&q=${encodeURIComponent(query)}` : ""}`);
			setState((was) => ({ ...answer, lines: before ? [...was.lines, ...answer.lines] : answer.lines }));
		} catch (error) {
			setState((was) => ({ ...was, lines: was.lines ?? [] }));
			if (error.status !== 404) fail(error);
		}
	};
	useEffect(() => {
		const timer = setTimeout(() => load(null), query ? 300 : 0);
		return () => clearTimeout(timer);
	}, [query]);
	return html`<div class="page">
		<div class="row wrap"><h2>Audit</h2><span class="grow"></span><${Search} label="Search in the audit log" value=${query} onChange=${setQuery} /></div>
		${state.head && html`<p class="dim">Hash of the newest line: <code class="hash">${state.head}</code></p>`}
		${state.lines?.length === 0 && html`<p class="dim empty">${query ? "No line has these words." : "Nothing is recorded yet."}</p>`}
		<ul class="cards plainlist">${(state.lines ?? []).map((line, index) => html`<${Line} key=${index} line=${line} />`)}</ul>
		${state.next != null && html`<${Button} label="Older lines" onClick=${() => load(state.next)} />`}
	</div>`;
}
