// Keyboard.
import { html, signal } from "./vendor/preact.js";
import { generate, stop } from "./generate.js";
import { painting } from "./init.js";
import { ACTIONS, actByKey, undoDiscard } from "./actions.js";
import { staged, pictures } from "./store.js";
import { making } from "./grid.js";
import { prefs } from "./prefs.js";
import { Dialog } from "./ui.js";

export const helping = signal(false);

const LIST = [
	[
		"Everywhere",
		[
			["Ctrl Enter", "Generate"],
			["Esc", "Stop what is being made"],
			["?", "This list"],
			["/", "To the prompt"],
			["G", "To the gallery"],
			["X", "Compare settings"],
			["Alt 1 … 6", "To another tab"],
		],
	],
	["In the prompt", [["Alt ↑ ↓", "Earlier prompts"]]],
	[
		"On a picture",
		[
			["← → ↑ ↓", "Another picture"],
			["Enter", "Fill the window"],
			...ACTIONS.filter((one) => one.key).map((one) => [one.key.length > 1 ? one.key : one.key.toUpperCase(), one.name]),
			["Z", "Undo the deletion"],
		],
	],
	[
		"While painting a mask",
		[
			["B  E", "Brush, eraser"],
			["[  ]", "Smaller, larger; also the wheel"],
			["← → ↑ ↓", "Move the brush, with Shift further"],
			["Space", "Paint; held with arrows it draws"],
			["Ctrl Z", "Undo; with Shift redo"],
			["I  X", "Invert, clear"],
		],
	],
	[
		"In the review",
		[
			["1", "Release"],
			["2", "Reject"],
			["N", "Next"],
			["S", "Show it sharp"],
		],
	],
];

export function Help() {
	return html`<${Dialog} wide title="Keys" onClose=${() => (helping.value = false)}>
		<div class="keylist">${LIST.map(
			([title, rows]) => html`<section key=${title}><h3>${title}</h3>
			<dl>${rows.map(
				([key, what]) =>
					html`<div key=${key}><dt>${key
						.split(" ")
						.filter(Boolean)
						.map((part) => html`<kbd>${part}</kbd> `)}</dt><dd>${what}</dd></div>`,
			)}</dl></section>`,
		)}</div>
		<p class="hint">Keys of one letter can be turned off in the settings.</p>
	<//>`;
}

/** @param {() => string[]} tabs @param {() => string} current */
export function listenToKeys(tabs, current) {
	addEventListener("keydown", (event) => {
		if (event.defaultPrevented) return;
		const { key } = event;
		if (event.altKey && /^Digit[1-9]$/.test(event.code)) {
			const tab = tabs()[Number(event.code.slice(5)) - 1];
			if (tab) {
				event.preventDefault();
				location.hash = tab;
			}
			return;
		}
		if (document.querySelector("dialog[open]")) return;
		if ((event.ctrlKey || event.metaKey) && key === "Enter") {
			event.preventDefault();
			if (current() === "create") generate();
			return;
		}
		if (key === "Escape") {
			stop();
			return;
		}
		const typing = event.target.matches?.("textarea, select, input:not([type=range]):not([type=checkbox])");
		if (typing || event.ctrlKey || event.metaKey || event.altKey || !prefs.value.singleKeys) return;
		if (key === "?") helping.value = true;
		else if (current() !== "create") return;
		else if (key === "/") document.getElementById("prompt")?.focus();
		else if (key === "g") document.querySelector(".thumb[tabindex='0']")?.focus();
		else if (key === "x") making.value = true;
		else if (key === "z") undoDiscard();
		else if (!painting.value && event.target.closest?.(".stage")) {
			const at = staged.value;
			const one = at && pictures.value.find(({ job, result }) => job.id === at.job.id && (at.n === null ? job.results.length === 1 : result.n === at.n));
			if (!one || !actByKey(key, one.job, one.result)) return;
		} else return;
		event.preventDefault();
	});
}
