// The form, to a request and back.
import { effect, signal } from "./vendor/preact.js";
import { store, stored, prefs } from "./prefs.js";
import { models, limits, styles } from "./store.js";
import { ownStyles } from "./styles.js";
import { keepFile, keptFile } from "./files.js";

const KEY = "calotype.form";

export const DEFAULTS = {
	prompt: "",
	negative_prompt: "",
	styles: [],
	prompt_style: "a1111",
	model: "",
	vae: "",
	sampler: "",
	schedule: "",
	num_inference_steps: 30,
	guidance_scale: 7,
	seed: null,
	n: 1,
	width: 512,
	height: 512,
	aspect: false,
	clip_skip: 1,
	tiling: "none",
	eta: null,
	variation_seed: null,
	variation_strength: 0,
	hires: false,
	hires_scale: 2,
	hires_strength: 0.5,
	hires_steps: null,
	hires_upscaler: "",
	init: null,
	strength: 0.75,
	resize_mode: "crop",
	mask: null,
	mask_blur: 4,
	invert_mask: false,
	only_masked_padding: null,
	fill: "original",
	outpaint: { left: 0, right: 0, top: 0, bottom: 0 },
	extra: {},
	extra_init: {},
};

export const form = signal({ ...DEFAULTS, ...stored(KEY, { width: 0 }) });

/** @param {Partial<typeof DEFAULTS>} patch */
export function set(patch) {
	form.value = { ...form.value, ...patch };
}

/** The chosen model, else the server's. */
export function model() {
	const list = models.value.filter((model) => model.kind !== "vae");
	return list.find((model) => model.id === form.value.model) ?? list.find((model) => model.is_default) ?? list[0] ?? null;
}

/** The nearest side that can be made. @param {number} side */
export function fitSide(side) {
	const multiple = model()?.size_multiple ?? 8;
	return Math.max(multiple, Math.min(Math.floor(limits.value.max_side / multiple) * multiple, Math.round(side / multiple) * multiple));
}

/** Takes its size too, unless another was chosen. @param {string} id */
export function chooseModel(id) {
	const before = model()?.size;
	const { width, height } = form.value;
	set({ model: id });
	const size = model()?.size;
	if (size && (!before || (before[0] === width && before[1] === height))) set({ width: size[0], height: size[1] });
}

/** A new form takes the size of the model. */
export function settle() {
	const { width, height, model: id } = form.value;
	const size = model()?.size ?? [512, 512];
	if (!width || !height) set({ width: size[0], height: size[1] });
	if (id && models.value.length && !models.value.some((model) => model.id === id)) set({ model: "" });
}

const refer = (picture) => (picture.result ? { result: picture.result } : { blob: picture.blob });
const whole = (sides) => Object.values(sides).some((side) => side > 0);

/** Whether sides are added. */
export const grows = (fields = form.value) => !!fields.init && whole(fields.outpaint);

/** Prompt and negative prompt with their styles. */
export function styled(fields = form.value) {
	const text = { prompt: fields.prompt, negative_prompt: fields.negative_prompt };
	for (const style of [...ownStyles.value, ...styles.value].filter((style) => fields.styles.includes(style.name))) {
		for (const name of ["prompt", "negative_prompt"]) {
			const words = style[name] ?? "";
			text[name] = words.includes("{prompt}") ? words.replaceAll("{prompt}", text[name]) : [text[name], words].filter(Boolean).join(", ");
		}
	}
	return text;
}

// Fields that are members of a request, by the same names.
const MEMBERS = [
	"prompt_style",
	"model",
	"vae",
	"sampler",
	"schedule",
	"num_inference_steps",
	"guidance_scale",
	"seed",
	"n",
	"clip_skip",
	"tiling",
	"eta",
	"width",
	"height",
	"variation_seed",
	"variation_strength",
];
const OF_INIT = ["strength", "resize_mode"];
const OF_INPAINT = ["mask_blur", "invert_mask", "fill", "only_masked_padding"];

/** The members that say something. */
const pick = (from, names) => Object.fromEntries(names.map((name) => [name, from[name]]).filter(([, value]) => value !== "" && value != null));

/** The body of `POST /v1/jobs`. */
export function toRequest(fields = form.value) {
	const { format, quality } = prefs.value;
	const request = { ...fields.extra, ...styled(fields), ...pick(fields, MEMBERS), output_format: format };
	if (format !== "png") request.quality = quality;
	if (!fields.variation_strength) {
		delete request.variation_seed;
		delete request.variation_strength;
	} else request.variation_seed ??= randomSeed();
	if (grows(fields)) {
		delete request.width;
		delete request.height;
	}
	if (fields.init) {
		const { inpaint, ...others } = fields.extra_init;
		request.init = { ...others, picture: refer(fields.init), ...pick(fields, OF_INIT) };
		if (grows(fields)) request.init.outpaint = fields.outpaint;
		if (fields.mask) request.init.inpaint = { ...inpaint, mask: refer(fields.mask), ...pick(fields, OF_INPAINT) };
	} else if (fields.hires) {
		const side = (name) => fitSide(fields[name] * fields.hires_scale);
		const { hires_strength: strength, hires_steps: num_inference_steps, hires_upscaler: upscaler } = fields;
		request.hires = pick({ width: side("width"), height: side("height"), strength, num_inference_steps, upscaler }, [
			"width",
			"height",
			"strength",
			"num_inference_steps",
			"upscaler",
		]);
	}
	return request;
}

// Of one sending, not of the picture.
const PASSING = new Set(["output_format", "quality", "priority", "expires_in_s", "batch_size"]);
// Told even where they are as by default.
const USUAL = { emphasis: "original", rng: "cpu" };

export const isTold = (name, value) => value != null && value !== "" && USUAL[name] !== value && !PASSING.has(name);

/**
 * Takes over a request; what it does not say is as by default.
 * @param {any} request
 * @param {{address?: (picture: any) => string | null, seed?: number}} [options] where its pictures are; the seed of one of several
 */
export function fromRequest(request, options = {}) {
	const [width, height] = model()?.size ?? [512, 512];
	const { prompt = "", negative_prompt = "", init, hires, ...rest } = request;
	const fields = {
		...DEFAULTS,
		num_inference_steps: 50,
		guidance_scale: 7.5,
		prompt_style: "plain",
		width,
		height,
		aspect: form.value.aspect,
		prompt,
		negative_prompt,
		...pick(rest, MEMBERS),
	};
	fields.extra = Object.fromEntries(Object.entries(rest).filter(([name, value]) => !MEMBERS.includes(name) && isTold(name, value)));
	if (options.seed !== undefined) Object.assign(fields, { seed: options.seed, n: 1 });
	if (hires) {
		const scale = Math.round((hires.width / fields.width) * 100) / 100;
		Object.assign(fields, {
			hires: true,
			hires_scale: scale,
			hires_strength: hires.strength ?? 0.5,
			hires_steps: hires.num_inference_steps ?? null,
			hires_upscaler: hires.upscaler ?? "",
		});
	}
	if (init) {
		const { picture, outpaint, inpaint, ...others } = init;
		const { mask, ...of_mask } = inpaint ?? {};
		const shown = (given, name) => (given?.blob || given?.result ? { ...given, name, url: options.address?.(given) ?? null } : null);
		Object.assign(fields, { resize_mode: "just-resize", mask_blur: 0 }, pick(others, OF_INIT), pick(of_mask, OF_INPAINT));
		fields.init = shown(picture, "the picture it started from");
		fields.mask = shown(mask, "its mask");
		fields.outpaint = { ...DEFAULTS.outpaint, ...outpaint };
		fields.extra_init = { ...others, inpaint: of_mask };
	}
	set(fields);
}

export const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

/** A picture to start from, or null; its size is taken. */
export function startFrom(init) {
	keepFile("init", init?.file ?? null);
	keepFile("mask", null);
	const patch = { init, mask: null, outpaint: DEFAULTS.outpaint, extra_init: {} };
	if (init?.width) {
		const shrink = Math.min(1, Math.sqrt(limits.value.max_pixels / (init.width * init.height)));
		Object.assign(patch, { width: fitSide(init.width * shrink), height: fitSide(init.height * shrink) });
	}
	set(patch);
}

/** @param {any} mask */
export function maskWith(mask) {
	keepFile("mask", mask?.file ?? null);
	set({ mask });
}

/** Files that were chosen before a reload. */
export async function restoreFiles() {
	for (const name of ["init", "mask"]) {
		const picture = form.value[name];
		if (!picture || picture.url) continue;
		const file = await keptFile(name);
		set({ [name]: file ? { ...picture, file, url: URL.createObjectURL(file) } : null });
	}
}

const lasting = (picture) => picture && { ...picture, file: undefined, url: picture.url?.startsWith("blob:") ? null : picture.url };
const write = () => store(KEY, { ...form.value, init: lasting(form.value.init), mask: lasting(form.value.mask) });

let writing;
effect(() => {
	void form.value;
	clearTimeout(writing);
	writing = setTimeout(write, 300);
});
addEventListener("pagehide", write);
