// Styles and presets to choose from.
import { html, useState } from "./vendor/preact.js";
import { DEFAULTS, form, set } from "./form.js";
import { dropStyle, ownStyles, saveStyle } from "./styles.js";
import { Button, Check, Dialog, TextField } from "./ui.js";
import { toast } from "./notice.js";

// All but the text and the pictures.
function settings() {
	const { prompt, negative_prompt, styles, init, mask, seed, ...fields } = form.value;
	return fields;
}

export function StylesDialog({ all, onClose }) {
	const [name, setName] = useState("");
	const [whole, setWhole] = useState(false);
	const chosen = new Set(form.value.styles);
	const toggle = (style) => {
		if (style.fields) {
			set({ ...DEFAULTS, ...form.value, ...style.fields });
			toast(`The settings of "${style.name}" are in the form.`);
		}
		if (!style.prompt && !style.negative_prompt) return;
		set({ styles: chosen.has(style.name) ? form.value.styles.filter((other) => other !== style.name) : [...form.value.styles, style.name] });
	};
	const save = (event) => {
		event.preventDefault();
		const { prompt, negative_prompt } = form.value;
		saveStyle(whole ? { name: name.trim(), prompt: "", negative_prompt: "", fields: settings() } : { name: name.trim(), prompt, negative_prompt });
		toast(`"${name.trim()}" is saved in this browser.`);
		setName("");
	};
	return html`<${Dialog} title="Styles and presets" onClose=${onClose}>
		<p class="dim">A style adds its text to the prompt, or puts the prompt where it says {prompt}. A preset sets all settings but the text.</p>
		${all.length === 0 && html`<p>There are none yet. Save the first one below.</p>`}
		<ul class="plainlist rows">
			${all.map(
				(style) => html`<li key=${style.name} class="split">
				<button class="plain line" aria-pressed=${style.fields ? undefined : chosen.has(style.name) ? "true" : "false"} onClick=${() => toggle(style)}>
					<span>${style.name}${chosen.has(style.name) ? " ✓" : ""}</span>
					<span class="dim">${style.fields ? `preset: ${style.fields.width}×${style.fields.height}, ${style.fields.num_inference_steps} steps` : [style.prompt, style.negative_prompt && `without ${style.negative_prompt}`].filter(Boolean).join(" · ")}</span>
				</button>
				${ownStyles.value.includes(style) && html`<${Button} small kind="plain" icon="trash" label=${`Drop ${style.name}`} onClick=${() => dropStyle(style.name)} />`}
			</li>`,
			)}
		</ul>
		<form class="block" onSubmit=${save}>
			<h3>Save what is in the form</h3>
			<${TextField} label="Name" value=${name} onChange=${setName} required />
			<${Check} label="All settings instead of the text (a preset)" value=${whole} onChange=${setWhole} />
			<button class="primary" disabled=${!name.trim()}>Save</button>
		</form>
	<//>`;
}
