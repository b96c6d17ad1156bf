// Own styles and presets.
import { effect, signal } from "./vendor/preact.js";
import { store, stored } from "./prefs.js";

const KEY = "calotype.styles";

/** With `fields` one is a preset of all settings. */
export const ownStyles = signal(stored(KEY, []));

effect(() => store(KEY, ownStyles.value));

/** @param {{name: string, prompt?: string, negative_prompt?: string, fields?: object}} style */
export function saveStyle(style) {
	ownStyles.value = [...ownStyles.value.filter((other) => other.name !== style.name), style];
}

/** @param {string} name */
export function dropStyle(name) {
	ownStyles.value = ownStyles.value.filter((other) => other.name !== name);
}
