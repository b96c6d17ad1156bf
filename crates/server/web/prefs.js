// Choices for this browser.
import { effect, signal } from "./vendor/preact.js";

const KEY = "calotype.prefs";
const DEFAULTS = {
	theme: "system",
	format: "png",
	quality: 90,
	blur: "flagged",
	preview: true,
	smooth: true,
	singleKeys: true,
	thumb: 132,
};

/** The browser's storage may be forbidden or hold anything. @param {string} key */
export function stored(key, otherwise) {
	try {
		return JSON.parse(localStorage.getItem(key)) ?? otherwise;
	} catch {
		return otherwise;
	}
}

/** @param {string} key @param {unknown} value */
export function store(key, value) {
	try {
		localStorage.setItem(key, JSON.stringify(value));
	} catch {
		// It is not remembered then.
	}
}

export const prefs = signal({ ...DEFAULTS, ...stored(KEY, {}) });

/** @param {Partial<typeof DEFAULTS>} patch */
export function setPrefs(patch) {
	prefs.value = { ...prefs.value, ...patch };
}

effect(() => {
	store(KEY, prefs.value);
	document.documentElement.dataset.theme = prefs.value.theme;
});
