// Pictures over two settings.
import { signal } from "./vendor/preact.js";
import { store, stored } from "./prefs.js";

const KEY = "calotype.grids";
const grids = signal(stored(KEY, []));
export const making = signal(false);

/** @param {string} id */
export const gridOf = (id) => grids.value.find((grid) => grid.jobs.includes(id));

export function addGrid(grid) {
	grids.value = [grid, ...grids.value].slice(0, 30);
	store(KEY, grids.value);
}
