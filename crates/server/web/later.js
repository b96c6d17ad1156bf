// Parts of the page that are loaded when they are first shown, so that the first picture waits for less.
import { html, useEffect, useState } from "./vendor/preact.js";
import { Button } from "./ui.js";

/** The component `name` of a module beside this one. */
export function later(file, name) {
	let Part = null;
	return function Later(props) {
		const [state, setState] = useState("loading");
		const [tries, setTries] = useState(0);
		useEffect(() => {
			if (Part) return;
			setState("loading");
			// A module that failed under one name stays failed under it.
			import(`./${file}${tries ? `?${tries}` : ""}`).then(
				(module) => {
					Part = module[name];
					setState("loaded");
				},
				() => setState("failed"),
			);
		}, [tries]);
		if (Part) return html`<${Part} ...${props} />`;
		if (state === "failed") return html`<p class="dim empty" role="alert">This part could not be loaded. <${Button} label="Try again" onClick=${() => setTries(tries + 1)} /></p>`;
		return html`<p class="dim empty">Loading…</p>`;
	};
}
