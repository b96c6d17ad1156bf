// Prompts.
import { html, signal, useLayoutEffect, useRef, useState } from "./vendor/preact.js";
import { form, model, set } from "./form.js";
import { adapters, styles } from "./store.js";
import { estimate, fault } from "./generate.js";
import { HistoryDialog, step } from "./history.js";
import { ownStyles } from "./styles.js";
import { Picker } from "./picker.js";
import { Button, Dialog, NumberField } from "./ui.js";
import { Icon } from "./icons.js";
import { later } from "./later.js";

const StylesDialog = later("styledialog", "StylesDialog");

export const dialog = signal(null);

function Growing({ id, label, value, onInput, placeholder, rows, describedby, invalid, onKeyDown }) {
	const node = useRef(null);
	useLayoutEffect(() => {
		node.current.style.height = "auto";
		node.current.style.height = `${Math.min(node.current.scrollHeight + 2, window.innerHeight * 0.4)}px`;
	}, [value]);
	return html`<label for=${id} class="unseen">${label}</label>
		<textarea id=${id} ref=${node} rows=${rows} value=${value} placeholder=${placeholder} aria-describedby=${describedby} aria-invalid=${invalid ? "true" : undefined} spellcheck=${true}
			onInput=${(event) => onInput(event.target.value)} onKeyDown=${onKeyDown}></textarea>`;
}

function Tokens() {
	const told = estimate.value;
	if (!told) return html`<span id="tokens" class="dim">${"\u00a0"}</span>`;
	const room = 75 * Math.max(1, told.chunks);
	return html`<span id="tokens" class="dim" title="What the text encoder reads at once is 75 tokens">${told.tokens} of ${room} tokens${told.chunks > 1 ? ` · ${told.chunks} parts` : ""}</span>`;
}

/** Puts text where the cursor is. @param {string} text */
export function insert(text) {
	const box = document.getElementById("prompt");
	const { prompt } = form.value;
	const at = box?.selectionStart ?? prompt.length;
	const before = prompt.slice(0, at);
	const gap = before && !/[\s(,]$/.test(before) ? " " : "";
	set({ prompt: before + gap + text + prompt.slice(at) });
	requestAnimationFrame(() => {
		box?.focus();
		const end = at + gap.length + text.length;
		box?.setSelectionRange(end, end);
	});
}

/** @param {any} adapter @param {number} weight */
export function tagOf(adapter, weight) {
	const number = String(Math.round(weight * 100) / 100);
	if (/^<[^>]*>$/.test(adapter.tag)) return adapter.tag.replace(/:[^:>]*>$/, `:${number}>`);
	return weight === 1 ? adapter.tag : `(${adapter.tag}:${number})`;
}

function AdapterDialog({ onClose }) {
	const [id, setId] = useState("");
	const [weight, setWeight] = useState(1);
	const options = adapters.value.map((one) => ({ id: `${one.kind}/${one.name}`, name: one.name, note: one.kind }));
	const picked = adapters.value.find((one) => `${one.kind}/${one.name}` === id);
	const use = () => {
		onClose();
		set({ prompt_style: "a1111" });
		insert(tagOf(picked, weight));
	};
	return html`<${Dialog} title="LoRAs and embeddings" onClose=${onClose}
		footer=${html`<${Button} kind="primary" label="Put into the prompt" disabled=${!picked} onClick=${use} />`}>
		${
			options.length === 0
				? html`<p>The server has none. Files in the folders <code>Lora</code> and <code>embeddings</code> beside its models appear here.</p>`
				: html`<${Picker} label="Name" value=${id} options=${options} onChange=${setId} placeholder="Type to search" />
				<${NumberField} label="Weight" range value=${weight} min=${-2} max=${2} step=${0.05} onChange=${setWeight} />
				${picked && html`<p>Goes into the prompt as <code>${tagOf(picked, weight)}</code></p>`}
				${picked?.words?.length > 0 && html`<p>Words it was trained with:</p><p class="chips">${picked.words.map((word) => html`<button class="chip" onClick=${() => insert(word)}>${word}</button>`)}</p>`}`
		}
	<//>`;
}

function ChosenStyles() {
	if (!form.value.styles.length) return null;
	const drop = (name) => set({ styles: form.value.styles.filter((other) => other !== name) });
	return html`<ul class="chips plainlist" aria-label="Chosen styles">
		${form.value.styles.map((name) => html`<li key=${name}><button class="chip" aria-label=${`Leave out the style ${name}`} onClick=${() => drop(name)}>${name}<${Icon} name="close" /></button></li>`)}
	</ul>`;
}

export function Prompt() {
	const { prompt, negative_prompt } = form.value;
	const wrong = fault.value?.param === "prompt" || fault.value?.param === "negative_prompt" ? fault.value.text : null;
	const subjects = model()?.subjects;
	const keys = (event) => {
		if (!event.altKey || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
		event.preventDefault();
		step(event.key === "ArrowUp" ? 1 : -1);
	};
	return html`<section class="prompt" aria-label="Prompt">
		<div class="paper">
			<${Growing} id="prompt" label="Prompt" rows="3" value=${prompt} onInput=${(prompt) => set({ prompt })} onKeyDown=${keys}
				placeholder=${subjects ? "a red apple on a blue background" : "What should be in the picture?"} describedby=${wrong ? "prompt-fault" : "tokens"} invalid=${wrong} />
			<div class="tools">
				<${Button} small kind="plain" icon="history" label="Earlier prompts" onClick=${() => (dialog.value = "history")} />
				<${Button} small kind="plain" icon="style" label="Styles and presets" onClick=${() => (dialog.value = "styles")} />
				<${Button} small kind="plain" icon="plus" label="Add a LoRA or embedding" onClick=${() => (dialog.value = "adapters")} />
				<span class="grow"></span>
				<${Tokens} />
			</div>
			<${ChosenStyles} />
		</div>
		<div class="paper negative">
			<${Growing} id="negative" label="Negative prompt" rows="1" value=${negative_prompt} onInput=${(negative_prompt) => set({ negative_prompt })} placeholder="What should not be in it? (optional)" />
		</div>
		${wrong && html`<p class="fault" id="prompt-fault"><${Icon} name="warning" />${wrong}</p>`}
		${dialog.value === "history" && html`<${HistoryDialog} onClose=${() => (dialog.value = null)} />`}
		${dialog.value === "adapters" && html`<${AdapterDialog} onClose=${() => (dialog.value = null)} />`}
		${dialog.value === "styles" && html`<${StylesDialog} all=${[...ownStyles.value, ...styles.value]} onClose=${() => (dialog.value = null)} />`}
	</section>`;
}
