// Line drawings.
import { html } from "./vendor/preact.js";

const PATHS = {
	close: "M6 6l12 12M18 6L6 18",
	plus: "M12 5v14M5 12h14",
	minus: "M5 12h14",
	up: "M12 19V5M6 11l6-6 6 6",
	down: "M12 5v14M6 13l6 6 6-6",
	first: "M6 4h12M12 20V8M7 13l5-5 5 5",
	left: "M15 5l-7 7 7 7",
	right: "M9 5l7 7-7 7",
	chevron: "M6 9l6 6 6-6",
	stop: "M7 7h10v10H7z",
	spark: "M12 3l1.8 5.2L19 10l-5.2 1.8L12 17l-1.8-5.2L5 10l5.2-1.8zM19 16l.8 2.2L22 19l-2.2.8L19 22l-.8-2.2L16 19l2.2-.8z",
	dice: "M5 5h14v14H5zM9 9h.01M15 15h.01M15 9h.01M9 15h.01",
	lock: "M6 11h12v9H6zM9 11V8a3 3 0 016 0v3",
	unlock: "M6 11h12v9H6zM9 11V8a3 3 0 015.8-1",
	swap: "M7 4L4 7l3 3M4 7h13M17 14l3 3-3 3M20 17H7",
	picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01",
	brush: "M14 4l6 6-8 8H6v-6zM6 18l-3 3",
	eraser: "M9 19L3.5 13.5 13 4l7 7-8 8zM9 19h11M8.5 8.5l7 7",
	undo: "M8 5L4 9l4 4M4 9h10a6 6 0 010 12h-3",
	redo: "M16 5l4 4-4 4M20 9H10a6 6 0 000 12h3",
	invert: "M12 4a8 8 0 100 16zM12 4a8 8 0 010 16",
	trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
	download: "M12 4v11M7 11l5 5 5-5M4 20h16",
	upload: "M12 16V5M7 9l5-5 5 5M4 20h16",
	copy: "M9 9h11v11H9zM5 15H4V4h11v1",
	share: "M12 15V4M8 7l4-4 4 4M5 12v8h14v-8",
	reuse: "M20 11a8 8 0 10-2 6M20 4v7h-7",
	seed: "M12 21v-8M12 13c0-4-3-6-7-6 0 4 3 6 7 6zM12 10c0-4 3-6 7-6 0 4-3 6-7 6z",
	grow: "M4 9V4h5M20 15v5h-5M4 4l7 7M20 20l-7-7",
	fork: "M6 4v6a4 4 0 004 4h4a4 4 0 004-4V4M12 14v6",
	sides: "M8 8h8v8H8zM12 2v3M12 19v3M2 12h3M19 12h3",
	compare: "M12 3v18M4 6h5v12H4M20 6h-5v12h5",
	history: "M4 12a8 8 0 108-8 8 8 0 00-6 3M4 4v4h4M12 8v4l3 2",
	style: "M4 20l4-1L19 8l-3-3L5 16zM14 7l3 3",
	key: "M14 10a4 4 0 11-4 4 4 4 0 014-4M11 13L20 4M17 7l2 2",
	info: "M12 11v6M12 7h.01M12 3a9 9 0 100 18 9 9 0 000-18z",
	warning: "M12 4l9 16H3zM12 10v4M12 17h.01",
	check: "M5 13l4 4L19 7",
	eye: "M2 12s4-7 10-7 10 7 10 7-4 7-10 7S2 12 2 12zM12 9a3 3 0 100 6 3 3 0 000-6z",
	help: "M9 9a3 3 0 116 0c0 2-3 2-3 5M12 18h.01",
	grid: "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
	expand: "M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5",
};

/** @param {{name: keyof typeof PATHS}} props */
export function Icon({ name }) {
	return html`<svg class="drawn" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d=${PATHS[name]} /></svg>`;
}
