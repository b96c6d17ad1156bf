// Settings of a picture.
import { html } from "./vendor/preact.js";
import { DEFAULTS, chooseModel, fitSide, form, grows, model, randomSeed, set } from "./form.js";
import { limits, models, pictures, samplers, schedulers, upscalers } from "./store.js";
import { fault } from "./generate.js";
import { Picker } from "./picker.js";
import { Button, Check, Fold, NumberField, Select } from "./ui.js";
import { Icon } from "./icons.js";

const mega = (bytes) => (bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.round(bytes / 1e6)} MB`);

function Model() {
	const list = models.value.filter((one) => one.kind !== "vae");
	const note = (one) =>
		[one.what, one.size && `${one.size[0]}×${one.size[1]}`, one.bytes && mega(one.bytes), one.is_loaded && "loaded", one.problem].filter(Boolean).join(" · ");
	const current = model();
	return html`<${Picker} label="Model" value=${form.value.model || current?.id || ""} options=${list.map((one) => ({ id: one.id, name: one.id, note: note(one) }))} onChange=${chooseModel}
		hint=${current?.license ? `Licence: ${current.license}` : undefined} />`;
}

// Usual shapes with about as many pixels as the model was trained on.
function presets() {
	const [w, h] = model()?.size ?? [512, 512];
	const area = w * h;
	return ["1:1", "4:3", "3:2", "16:9", "3:4", "2:3", "9:16"].map((name) => {
		const [x, y] = name.split(":");
		const width = x === y ? w : fitSide(Math.sqrt((area * x) / y));
		const height = x === y ? h : fitSide(Math.sqrt((area * y) / x));
		return { name, width, height, shape: x / y };
	});
}

function Size() {
	const { width, height, aspect, init } = form.value;
	const multiple = model()?.size_multiple ?? 8;
	const side = (name, other) => (value) => {
		const patch = { [name]: value };
		if (aspect) patch[other] = fitSide((value * form.value[other]) / form.value[name]);
		set(patch);
	};
	if (grows()) return html`<p class="hint">The size follows from the picture and the sides that are added.</p>`;
	const field = (label, name, other) =>
		html`<${NumberField} label=${label} value=${form.value[name]} min=${multiple} max=${limits.value.max_side} onChange=${side(name, other)} />`;
	const odd = (width % multiple !== 0 || height % multiple !== 0) && !init;
	return html`<fieldset class="block">
		<legend>Size</legend>
		<div class="shapes">
			${presets().map(
				(one) => html`<button key=${one.name} class="shape" aria-pressed=${one.width === width && one.height === height ? "true" : "false"}
				title=${`${one.width} × ${one.height}`} onClick=${() => set({ width: one.width, height: one.height })}>
				<svg viewBox="0 0 24 24" aria-hidden="true"><rect x=${12 - 9 * Math.min(1, one.shape)} y=${12 - 9 * Math.min(1, 1 / one.shape)} width=${18 * Math.min(1, one.shape)} height=${18 * Math.min(1, 1 / one.shape)} rx="1.5" /></svg>
				${one.name}
			</button>`,
			)}
		</div>
		<div class="pair">
			${field("Width", "width", "height")}
			<div class="between">
				<${Button} small kind="plain" icon="swap" label="Swap width and height" onClick=${() => set({ width: height, height: width })} />
				<${Button} small kind="plain" icon=${aspect ? "lock" : "unlock"} label="Keep the shape" aria-pressed=${aspect ? "true" : "false"} onClick=${() => set({ aspect: !aspect })} />
			</div>
			${field("Height", "height", "width")}
		</div>
		${odd && html`<p class="hint">This model makes sides that are multiples of ${multiple}. <button class="plain link" onClick=${() => set({ width: fitSide(width), height: fitSide(height) })}>Take ${fitSide(width)}×${fitSide(height)}</button></p>`}
	</fieldset>`;
}

function Seed() {
	const { seed } = form.value;
	const last = pictures.value[0]?.result.seed;
	const base = seed ?? last ?? randomSeed();
	const tools = html`
		<${Button} small kind="plain" icon="minus" label="Seed minus 1" onClick=${() => set({ seed: Math.max(0, base - 1) })} />
		<${Button} small kind="plain" icon="plus" label="Seed plus 1" onClick=${() => set({ seed: base + 1 })} />
		<${Button} small kind="plain" icon=${seed === null ? "unlock" : "lock"} label=${seed === null ? "Lock the last seed" : "Unlock: a new seed each time"} aria-pressed=${seed === null ? "false" : "true"} onClick=${() => set({ seed: seed === null ? base : null })} />
		<${Button} small kind="plain" icon="dice" label="Random seed each time" disabled=${seed === null} onClick=${() => set({ seed: null })} />`;
	return html`<${NumberField} label="Seed" value=${seed} min=${0} max=${Number.MAX_SAFE_INTEGER} placeholder="random" onChange=${(seed) => set({ seed })} after=${tools} />`;
}

function Sampling() {
	const { sampler, schedule, num_inference_steps, guidance_scale } = form.value;
	const named = (list, none) => [
		{ id: "", name: none },
		...list.map((one) => ({ id: one.id, name: one.name, note: one.id === one.name ? undefined : one.id })),
	];
	return html`<div class="grid2">
			<${NumberField} label="Steps" range value=${num_inference_steps} min=${1} max=${limits.value.max_steps} onChange=${(num_inference_steps) => set({ num_inference_steps })} />
			<${NumberField} label="Guidance" range value=${guidance_scale} min=${1} max=${20} step=${0.5} onChange=${(guidance_scale) => set({ guidance_scale })} />
			<${Picker} label="Sampler" value=${sampler} options=${named(samplers.value, "Default")} onChange=${(sampler) => set({ sampler })} />
			<${Picker} label="Scheduler" value=${schedule} options=${named(schedulers.value, "Default")} onChange=${(schedule) => set({ schedule })} />
		</div>`;
}

function Hires() {
	const { hires, hires_scale, hires_strength, hires_steps, hires_upscaler, width, height, init } = form.value;
	if (init) return null;
	const size = `${fitSide(width * hires_scale)}×${fitSide(height * hires_scale)}`;
	return html`<${Fold} title="Larger in a second pass" note=${hires ? size : "off"} open=${hires}>
		<${Check} label="Make the picture, then enlarge it and work on it again" value=${hires} onChange=${(hires) => set({ hires })} />
		${
			hires &&
			html`<div class="grid2">
			<${NumberField} label="Scale" range value=${hires_scale} min=${1} max=${4} step=${0.25} onChange=${(hires_scale) => set({ hires_scale })} hint=${`to ${size}`} />
			<${NumberField} label="Strength" range value=${hires_strength} min=${0} max=${1} step=${0.05} onChange=${(hires_strength) => set({ hires_strength })} />
			<${NumberField} label="Steps" value=${hires_steps} min=${1} max=${limits.value.max_steps} placeholder="as the first" onChange=${(hires_steps) => set({ hires_steps })} />
			<${Picker} label="Upscaler" value=${hires_upscaler} options=${[{ id: "", name: "Default" }, ...upscalers.value]} onChange=${(hires_upscaler) => set({ hires_upscaler })} />
		</div>`
		}
	<//>`;
}

function Rarer() {
	const { prompt_style, clip_skip, tiling, eta, vae, variation_seed, variation_strength, sampler, extra } = form.value;
	const vaes = [{ id: "", name: "The model's own" }, ...models.value.filter((one) => one.kind === "vae").map((one) => ({ id: one.id, name: one.id }))];
	const hasEta = !sampler || samplers.value.find((one) => one.id === sampler)?.options?.includes("eta");
	const drop = (name) => {
		const { [name]: _, ...rest } = extra;
		set({ extra: rest });
	};
	return html`<${Fold} title="More settings" note=${variation_strength > 0 ? "variation" : ""} open=${Object.keys(extra).length > 0}>
		<div class="grid2">
			<${Picker} label="VAE" value=${vae} options=${vaes} onChange=${(vae) => set({ vae })} />
			<${Select} label="Prompt syntax" value=${prompt_style} options=${[
				["a1111", "(weights:1.2), [a|b], AND"],
				["plain", "Plain text"],
			]} onChange=${(prompt_style) => set({ prompt_style })} />
			<${NumberField} label="CLIP skip" value=${clip_skip} min=${1} max=${12} onChange=${(clip_skip) => set({ clip_skip })} />
			<${Select} label="Seamless tiles" value=${tiling} options=${[
				["none", "No"],
				["xy", "In both directions"],
				["x", "Sideways"],
				["y", "Up and down"],
			]} onChange=${(tiling) => set({ tiling })} />
			<${NumberField} label="Variation strength" range value=${variation_strength} min=${0} max=${1} step=${0.05} onChange=${(variation_strength) => set({ variation_strength })} />
			<${NumberField} label="Variation seed" value=${variation_seed} min=${0} max=${Number.MAX_SAFE_INTEGER} placeholder="random" onChange=${(variation_seed) => set({ variation_seed })} />
			${hasEta && html`<${NumberField} label="Eta" value=${eta} min=${0} max=${1} step=${0.05} placeholder="the sampler's" onChange=${(eta) => set({ eta })} />`}
		</div>
		${
			Object.keys(extra).length > 0 &&
			html`<h3>Also taken over</h3>
			<ul class="chips plainlist">${Object.entries(extra).map(([name, value]) => html`<li key=${name}><button class="chip" aria-label=${`Leave out ${name}`} onClick=${() => drop(name)}>${name}: ${typeof value === "object" ? JSON.stringify(value) : String(value)}<${Icon} name="close" /></button></li>`)}</ul>`
		}
	<//>`;
}

export function Settings() {
	const other = fault.value && !["prompt", "negative_prompt"].includes(fault.value.param) ? fault.value.text : null;
	return html`<section class="settings" aria-label="Settings of the picture">
		${other && html`<p class="fault" role="alert"><${Icon} name="warning" />${other}</p>`}
		<${Model} />
		<${Size} />
		<${Sampling} />
		<div class="grid2 seedrow">
			<${Seed} />
			<${NumberField} label="Pictures" range value=${form.value.n} min=${1} max=${limits.value.max_images} onChange=${(n) => set({ n })} />
		</div>
		<${Hires} />
		<${Rarer} />
		<button class="plain link" onClick=${() => set({ ...DEFAULTS, prompt: form.value.prompt, negative_prompt: form.value.negative_prompt, width: model()?.size?.[0] ?? 512, height: model()?.size?.[1] ?? 512 })}>Reset all settings</button>
	</section>`;
}
