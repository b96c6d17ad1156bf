// Picture files.
import { call } from "./api.js";

let opened = null;

// Null where the browser forbids it.
function base() {
	opened ??= new Promise((done) => {
		try {
			const asking = indexedDB.open("calotype", 1);
			asking.onupgradeneeded = () => asking.result.createObjectStore("files");
			asking.onsuccess = () => done(asking.result);
			asking.onerror = () => done(null);
		} catch {
			done(null);
		}
	});
	return opened;
}

/** @param {string} name @param {Blob | null} file */
export async function keepFile(name, file) {
	const files = (await base())?.transaction("files", "readwrite").objectStore("files");
	if (file) files?.put(file, name);
	else files?.delete(name);
}

/** @param {string} name @returns {Promise<Blob | null>} */
export async function keptFile(name) {
	const database = await base();
	if (!database) return null;
	return new Promise((done) => {
		const asking = database.transaction("files").objectStore("files").get(name);
		asking.onsuccess = () => done(asking.result ?? null);
		asking.onerror = () => done(null);
	});
}

/** Sends a picture to the server. @param {Blob} file */
export async function upload(file) {
	const sent = await call("POST", "/v1/blobs", { body: file });
	return { blob: sent.blob, width: sent.width, height: sent.height, name: file.name || "a picture", file, url: URL.createObjectURL(file) };
}

/** @param {string} [accept] @returns {Promise<File | null>} */
export function chooseFile(accept = "image/png,image/jpeg,image/webp") {
	return new Promise((done) => {
		const input = document.createElement("input");
		input.type = "file";
		input.accept = accept;
		input.className = "unseen";
		input.tabIndex = -1;
		const end = (file) => {
			input.remove();
			done(file);
		};
		input.onchange = () => end(input.files[0] ?? null);
		input.oncancel = () => end(null);
		document.body.append(input);
		input.click();
	});
}

/** Saves a file. @param {string} url @param {string} name */
export function give(url, name) {
	const link = document.createElement("a");
	link.href = url;
	link.download = name;
	document.body.append(link);
	link.click();
	link.remove();
}

/** @param {string} url @returns {Promise<HTMLImageElement>} */
export function loadImage(url) {
	return new Promise((done, failed) => {
		const image = new Image();
		image.onload = () => done(image);
		image.onerror = () => failed(new Error("The picture can't be shown: it is damaged, or its file is gone."));
		image.src = url;
	});
}

/** @param {HTMLCanvasElement} canvas @returns {Promise<Blob>} */
export function pngOf(canvas) {
	return new Promise((done, failed) =>
		canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("The picture is too large for this browser."))), "image/png"),
	);
}
