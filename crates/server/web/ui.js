// Parts of forms.
import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { Icon } from "./icons.js";

let ids = 0;
export function useId() {
	const id = useRef(null);
	id.current ??= `u${++ids}`;
	return id.current;
}

/** A button with a drawing; if it is small, its name is only read out. */
export function Button({ icon, label, small, kind = "", children, ...rest }) {
	return html`<button type="button" class=${`${kind} ${small ? "icon" : ""}`} aria-label=${small ? label : undefined} title=${small ? label : undefined} ...${rest}>
		${icon && html`<${Icon} name=${icon} />`}${!small && html`<span>${label}</span>`}${children}
	</button>`;
}

export function NumberField({ label, value, min, max, step = 1, range, onChange, hint, placeholder, unit, after }) {
	const id = useId();
	// What is typed stays as it is: "1.0" may become "1.05".
	const [text, setText] = useState(null);
	const within = (number) => Math.min(max ?? Infinity, Math.max(min ?? -Infinity, number));
	const input = (event) => {
		setText(event.target.value);
		const number = event.target.valueAsNumber;
		if (Number.isFinite(number) && within(number) === number) onChange(number);
	};
	const done = (event) => {
		const number = event.target.valueAsNumber;
		setText(null);
		if (Number.isFinite(number)) onChange(within(number));
		else if (placeholder !== undefined) onChange(null);
	};
	return html`<div class="field">
		<label for=${id}>${label}${unit && html`<span class="dim"> ${unit}</span>`}</label>
		<div class="row">
			${
				range &&
				html`<input type="range" tabindex="-1" aria-hidden="true" min=${min} max=${max} step=${step} value=${value ?? min}
				onInput=${(event) => onChange(event.target.valueAsNumber)} />`
			}
			<input id=${id} type="number" min=${min} max=${max} step=${step === 1 ? 1 : "any"} value=${text ?? value ?? ""} placeholder=${placeholder}
				aria-describedby=${hint ? `${id}h` : undefined} onInput=${input} onChange=${done} onBlur=${() => setText(null)} />
			${after}
		</div>
		${hint && html`<p class="hint" id=${`${id}h`}>${hint}</p>`}
	</div>`;
}

/** @param {{label: string, value: string, options: [string, string][], onChange: (value: string) => void}} props */
export function Select({ label, value, options, onChange, hint }) {
	const id = useId();
	return html`<div class="field">
		<label for=${id}>${label}</label>
		<select id=${id} value=${value} aria-describedby=${hint ? `${id}h` : undefined} onChange=${(event) => onChange(event.target.value)}>
			${options.map(([id, name]) => html`<option key=${id} value=${id} selected=${id === value}>${name}</option>`)}
		</select>
		${hint && html`<p class="hint" id=${`${id}h`}>${hint}</p>`}
	</div>`;
}

export function Check({ label, value, onChange, hint }) {
	return html`<label class="check"><input type="checkbox" checked=${value} onChange=${(event) => onChange(event.target.checked)} />
		<span>${label}${hint && html`<span class="hint">${hint}</span>`}</span></label>`;
}

export function TextField({ label, value, onChange, ...rest }) {
	const id = useId();
	return html`<div class="field"><label for=${id}>${label}</label>
		<input id=${id} type="text" value=${value} onInput=${(event) => onChange(event.target.value)} ...${rest} /></div>`;
}

export function Search({ label, value, onChange }) {
	return html`<input type="search" aria-label=${label} placeholder="Search" value=${value} onInput=${(event) => onChange(event.target.value)} />`;
}

export function Fold({ title, note, open, children }) {
	const [isOpen, setOpen] = useState(!!open);
	useEffect(() => open && setOpen(true), [open]);
	return html`<details class="fold" open=${isOpen} onToggle=${(event) => setOpen(event.currentTarget.open)}>
		<summary><span>${title}</span>${note && html`<span class="dim note">${note}</span>`}<${Icon} name="chevron" /></summary>
		${isOpen && html`<div class="inside">${children}</div>`}
	</details>`;
}

/** Opens a dialog; `onClose` is called however the browser closes it. */
export function useModal(node, onClose) {
	const shut = useRef(onClose);
	shut.current = onClose;
	useEffect(() => {
		const dialog = node.current;
		const before = document.activeElement;
		const closed = () => shut.current();
		dialog.addEventListener("close", closed);
		dialog.showModal();
		return () => {
			dialog.removeEventListener("close", closed);
			dialog.close();
			if (before?.isConnected) before.focus();
		};
	}, []);
}

export function Dialog({ title, onClose, wide, children, footer }) {
	const node = useRef(null);
	const id = useId();
	useModal(node, onClose);
	const outside = (event) => event.target === node.current && onClose();
	return html`<dialog ref=${node} class=${wide ? "wide" : ""} aria-labelledby=${id} onMouseDown=${outside}>
		<div class="sheet">
			<header><h2 id=${id}>${title}</h2><${Button} small kind="plain" icon="close" label="Close" onClick=${onClose} /></header>
			<div class="body">${children}</div>
			${footer && html`<footer>${footer}</footer>`}
		</div>
	</dialog>`;
}

/** @param {number | null | undefined} seconds */
export function duration(seconds) {
	if (seconds == null || !Number.isFinite(seconds)) return "";
	if (seconds < 10) return `${Math.max(0.1, seconds).toFixed(1)}\u00a0s`;
	if (seconds < 90) return `${Math.round(seconds)}\u00a0s`;
	if (seconds < 5400) return `${Math.round(seconds / 60)}\u00a0min`;
	return `${(seconds / 3600).toFixed(1)}\u00a0h`;
}

/** @param {number} ms since 1970 */
export function ago(ms) {
	const seconds = (Date.now() - ms) / 1000;
	if (seconds < 60) return "just now";
	if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
	if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
	return new Date(ms).toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
}
