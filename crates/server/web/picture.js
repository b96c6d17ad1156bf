// One picture.
import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { prefs } from "./prefs.js";
import { inputOf } from "./store.js";
import { Button } from "./ui.js";
import { Icon } from "./icons.js";

export const isBlurred = (result) => prefs.value.blur === "always" || (prefs.value.blur === "flagged" && ["blur", "label", "flag"].includes(result.verdict));
export const isWithheld = (result) => result.verdict === "block" || result.verdict === "hold";

/** Gives a box the shape of a picture, at most eight times its size. @param {number} width @param {number} height */
export function useShape(width, height) {
	const node = useRef(null);
	useEffect(() => {
		const { style } = node.current;
		style.setProperty("--ratio", width / height);
		style.setProperty("--most", `${width * 8}px`);
	}, [width, height]);
	return node;
}

export function Picture({ job, result, compare, onOpen }) {
	const box = useShape(result.width, result.height);
	const [clear, setClear] = useState(false);
	const [part, setPart] = useState(50);
	const before = compare ? inputOf(job, job.request.init?.picture) : null;
	const blurred = isBlurred(result) && !clear;
	const slider = useRef(null);
	useEffect(() => {
		if (before) slider.current?.style.setProperty("--part", `${part}%`);
	}, [before, part]);
	if (isWithheld(result)) {
		return html`<div class="shape-box withheld" ref=${box}><div><${Icon} name="eye" /><p>The checker holds this picture back.</p></div></div>`;
	}
	const smooth = prefs.value.smooth ? "" : "crisp";
	return html`<div class="shape-box" ref=${box}>
		<div class=${`turn ${blurred ? "blurred" : ""}`} ref=${slider}>
			<img key=${result.url} class=${smooth} src=${result.url} alt=${job.request.prompt || "A picture without a prompt"} width=${result.width} height=${result.height} onDblClick=${onOpen} />
			${
				before &&
				html`<img class=${`before ${smooth}`} src=${before} alt="What it began with" />
				<label class="unseen" for="compare">How much is shown of what it began with, percent</label>
				<input id="compare" class="compare" type="range" min="0" max="100" value=${part} onInput=${(event) => setPart(event.target.valueAsNumber)} />
				<span class="seam" aria-hidden="true"></span>`
			}
		</div>
		${blurred && html`<div class="veil"><p>Blurred${result.verdict && result.verdict !== "allow" ? `: the checker says "${result.verdict}"` : " by your settings"}</p><${Button} icon="eye" label="Show it" onClick=${() => setClear(true)} /></div>`}
	</div>`;
}
