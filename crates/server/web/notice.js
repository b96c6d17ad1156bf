// Messages.
import { html, signal } from "./vendor/preact.js";
import { lineOf } from "./api.js";
import { Icon } from "./icons.js";

const toasts = signal([]);
const spoken = signal("");
let next = 1;

/** For screen readers. @param {string} text */
export function say(text) {
	// The same text is only said again if it changes.
	spoken.value = spoken.value === text ? `${text}\u00a0` : text;
}

/**
 * Shows a message.
 * @param {string} text
 * @param {{kind?: "info" | "error", action?: {label: string, run: () => void}, ms?: number, gone?: () => void}} [options]
 * @returns {() => void} takes it away
 */
export function toast(text, options = {}) {
	const id = next++;
	const ms = options.ms ?? (options.kind === "error" ? 12000 : 4000);
	const close = () => {
		if (!toasts.value.some((other) => other.id === id)) return;
		clearTimeout(timer);
		toasts.value = toasts.value.filter((other) => other.id !== id);
	};
	const timer = setTimeout(() => {
		close();
		options.gone?.();
	}, ms);
	toasts.value = [...toasts.value.slice(-3), { id, text, close, ...options }];
	say(text);
	return close;
}

/** @param {unknown} error */
export function fail(error) {
	if (error?.name === "AbortError") return;
	toast(lineOf(error), { kind: "error" });
}

export function Notices() {
	return html`
		<section class="toasts" aria-label="Messages">
			${toasts.value.map(
				(one) => html`<div key=${one.id} class=${`toast ${one.kind ?? "info"}`}>
					<${Icon} name=${one.kind === "error" ? "warning" : "info"} />
					<span>${one.text}</span>
					${one.action && html`<button class="plain strong" onClick=${() => (one.close(), one.action.run())}>${one.action.label}</button>`}
					<button class="plain icon" aria-label="Close this message" onClick=${() => (one.close(), one.action && one.gone?.())}><${Icon} name="close" /></button>
				</div>`,
			)}
		</section>
		<div class="unseen" role="status" aria-live="polite">${spoken.value}</div>
	`;
}
