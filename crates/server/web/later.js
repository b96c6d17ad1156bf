// Parts that are loaded when they are shown.
import { html, useEffect, useState } from "./vendor/preact.js";
import { Button } from "./ui.js";

/** @param {string} file @param {string} name of a component in it */
export function later(file, name) {
	let Part;
	return function Later(props) {
		const [tries, setTries] = useState(0);
		const [failed, setFailed] = useState(-1);
		useEffect(() => {
			// A name that failed stays failed.
			import(`./${file}.js?${tries}`).then(
				(module) => setFailed(((Part = module[name]), -2)),
				() => setFailed(tries),
			);
		}, [tries]);
		return Part ? html`<${Part} ...${props} />` : html`<p class="dim empty">${failed < tries ? "Loading…" : html`<${Button} label="Try again" onClick=${() => setTries(tries + 1)} />`}</p>`;
	};
}
