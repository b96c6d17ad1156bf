// Picture to start from.
import { html, signal, useEffect, useRef } from "./vendor/preact.js";
import { form, grows, maskWith, set, startFrom } from "./form.js";
import { chooseFile, upload } from "./files.js";
import { fail } from "./notice.js";
import { Button, Check, Fold, NumberField, Select } from "./ui.js";

const SIDES = ["left", "right", "top", "bottom"];

export const painting = signal(false);

/** @param {Blob | null} file */
export async function startFromFile(file) {
	if (!file) return;
	try {
		startFrom(await upload(file));
	} catch (error) {
		fail(error);
	}
}

function Empty() {
	const drop = (event) => {
		event.preventDefault();
		event.stopPropagation();
		startFromFile(event.dataTransfer.files[0]);
	};
	return html`<div class="dropzone" onDragOver=${(event) => event.preventDefault()} onDrop=${drop}>
		<${Button} icon="picture" label="Choose a picture" onClick=${async () => startFromFile(await chooseFile())} />
		<p class="hint">or drop one here, paste one, or take one from the gallery</p>
	</div>`;
}

function Handles() {
	const { outpaint, init } = form.value;
	const box = useRef(null);
	const put = (side, value) => set({ outpaint: { ...form.value.outpaint, [side]: Math.max(0, Math.min(1024, Math.round(value / 8) * 8)) } });
	const drag = (side) => (event) => {
		event.preventDefault();
		const from = { x: event.clientX, y: event.clientY, value: form.value.outpaint[side] };
		const scale = (init.width ?? 512) / Math.max(40, box.current.querySelector("img")?.clientWidth ?? 100);
		const move = (now) => {
			const moved = { left: from.x - now.clientX, right: now.clientX - from.x, top: from.y - now.clientY, bottom: now.clientY - from.y }[side];
			put(side, from.value + moved * scale);
		};
		const end = () => {
			removeEventListener("pointermove", move);
			removeEventListener("pointerup", end);
		};
		addEventListener("pointermove", move);
		addEventListener("pointerup", end);
	};
	useEffect(() => {
		const longest = Math.max((init.width ?? 512) + outpaint.left + outpaint.right, (init.height ?? 512) + outpaint.top + outpaint.bottom);
		const { style } = box.current.querySelector(".frame");
		for (const side of SIDES) style.setProperty(`--${side}`, `${(outpaint[side] / longest) * 120}px`);
		style.setProperty("--side", `${((init.width ?? 512) / longest) * 120}px`);
	});
	const number = (side) =>
		html`<${NumberField} key=${side} label=${side[0].toUpperCase() + side.slice(1)} value=${outpaint[side]} min=${0} max=${1024} step=${8} onChange=${(value) => put(side, value)} />`;
	return html`<div class="sides" ref=${box}>
		<div class="frame">
			<img src=${init.url} alt="" draggable=${false} />
			${SIDES.map((side) => html`<span key=${side} class=${`handle ${side}`} onPointerDown=${drag(side)}></span>`)}
		</div>
		<div class="grid2">${SIDES.map(number)}</div>
	</div>`;
}

function Sides() {
	const { outpaint } = form.value;
	return html`<${Fold} title="New sides" note=${grows() ? SIDES.map((side) => outpaint[side]).join(" · ") : "none"} open=${grows()}>
		<${Handles} />
		${grows() && html`<button class="plain link" onClick=${() => set({ outpaint: { left: 0, right: 0, top: 0, bottom: 0 } })}>No new sides</button>`}
	<//>`;
}

function Mask() {
	const { mask, mask_blur, invert_mask, only_masked_padding, fill } = form.value;
	return html`<div class="block">
		<div class="row wrap">
			<${Button} icon="brush" label=${mask ? "Change the mask" : "Paint a mask"} onClick=${() => (painting.value = true)} />
			${mask && html`<${Button} icon="close" label="No mask" onClick=${() => maskWith(null)} />`}
			${mask?.url && html`<img class="maskthumb" src=${mask.url} alt="The mask: what is white is made anew" />`}
		</div>
		${
			mask &&
			html`<div class="grid2">
			<${NumberField} label="Soft edge" unit="pixels" range value=${mask_blur} min=${0} max=${64} onChange=${(mask_blur) => set({ mask_blur })} />
			<${Select} label="Masked part starts from" value=${fill} onChange=${(fill) => set({ fill })}
				options=${[
					["original", "The picture"],
					["fill", "Surrounding colours"],
					["latent-noise", "Noise"],
					["latent-nothing", "Nothing"],
				]} />
			<${Check} label="Change what is not masked" value=${invert_mask} onChange=${(invert_mask) => set({ invert_mask })} />
			<${Check} label="Work on the masked part only" hint="at the full size" value=${only_masked_padding !== null} onChange=${(on) => set({ only_masked_padding: on ? 32 : null })} />
			${only_masked_padding !== null && html`<${NumberField} label="Room around it" unit="pixels" value=${only_masked_padding} min=${0} max=${512} onChange=${(only_masked_padding) => set({ only_masked_padding })} />`}
		</div>`
		}
	</div>`;
}

export function Init() {
	const { init, strength, resize_mode } = form.value;
	return html`<${Fold} title="Start from a picture" note=${init ? init.name : "no"} open=${!!init}>
		${
			!init
				? html`<${Empty} />`
				: html`<div class="initrow">
					<img src=${init.url} alt=${`The picture to start from: ${init.name}`} />
					<div>
						<p>${init.name}${init.width && html`<br /><span class="dim">${init.width}×${init.height}</span>`}</p>
						<div class="row wrap">
							<${Button} small kind="plain" icon="upload" label="Another picture" onClick=${async () => startFromFile(await chooseFile())} />
							<${Button} small kind="plain" icon="close" label="Start without a picture" onClick=${() => startFrom(null)} />
						</div>
					</div>
				</div>
				<${NumberField} label="Strength" range value=${strength} min=${0} max=${1} step=${0.05} onChange=${(strength) => set({ strength })}
					hint=${strength <= 0.3 ? "Close to the picture" : strength >= 0.8 ? "Little of the picture is left" : "Some of both"} />
				${
					!grows() &&
					html`<${Select} label="If the shape differs" value=${resize_mode} onChange=${(resize_mode) => set({ resize_mode })}
					options=${[
						["crop", "Crop"],
						["just-resize", "Stretch"],
						["fill", "Extend the edges"],
						["latent", "Stretch the latents"],
					]} />`
				}
				<${Mask} />
				<${Sides} />`
		}
	<//>`;
}
