// A picture over the whole window.
import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { pictures, staged } from "./store.js";
import { Actions, actByKey, comparing, keyOf, show } from "./actions.js";
import { Details } from "./details.js";
import { Picture } from "./picture.js";
import { viewing } from "./stage.js";
import { painting } from "./init.js";
import { prefs } from "./prefs.js";
import { Button, useModal } from "./ui.js";

export function Viewer() {
	const node = useRef(null);
	const [details, setDetails] = useState(false);
	const close = () => (viewing.value = false);
	useModal(node, close);
	const list = pictures.value;
	const at = staged.value;
	const index = Math.max(
		0,
		list.findIndex(({ job, result }) => at && job.id === at.job.id && (at.n === null || at.n === result.n)),
	);
	const one = list[index];
	useEffect(() => {
		if (!one || painting.value) close();
	});
	const go = (way) => {
		const next = list[index + way];
		if (next) show(next.job, next.result.n);
	};
	const keys = (event) => {
		if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input")) return;
		if (event.key === "ArrowRight") go(1);
		else if (event.key === "ArrowLeft") go(-1);
		else if (!one || !prefs.value.singleKeys || !actByKey(event.key, one.job, one.result)) return;
		event.preventDefault();
		event.stopPropagation();
	};
	return html`<dialog ref=${node} class="viewer" aria-label="Picture" onKeyDown=${keys}>
		${
			one &&
			html`<div class="room">
			<div class="easel" key=${keyOf(one.job, one.result)}><${Picture} job=${one.job} result=${one.result} compare=${comparing.value} /></div>
			<${Button} small kind="round left" icon="left" label="Newer picture" disabled=${index === 0} onClick=${() => go(-1)} />
			<${Button} small kind="round right" icon="right" label="Older picture" disabled=${index >= list.length - 1} onClick=${() => go(1)} />
			<${Actions} job=${one.job} result=${one.result} more=${html`
				<span class="dim count-of">${index + 1} of ${list.length}</span>
				<${Button} small kind="plain" icon="info" label="Settings of this picture" aria-expanded=${String(details)} onClick=${() => setDetails(!details)} />
				<${Button} small kind="plain" icon="close" label="Close" onClick=${close} />`} />
			${details && html`<${Details} job=${one.job} result=${one.result} />`}
		</div>`
		}
	</dialog>`;
}
