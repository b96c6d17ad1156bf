// Requests and errors.
import { signal } from "./vendor/preact.js";

/** Whether the server does not answer. */
export const away = signal(false);

export const hooks = { loggedOut: () => {} };

/** An error that the server answers; with the code "away" it does not answer. */
export class Problem extends Error {
	/** @param {number} status @param {object} body as RFC 9457 has it @param {number | null} retryAfter seconds */
	constructor(status, body, retryAfter = null) {
		super(body.detail || body.title || `the server answered ${status}`);
		this.status = status;
		this.code = body.code ?? "";
		this.param = body.param ?? null;
		this.hint = body.hint ?? null;
		this.retryAfter = retryAfter;
	}

	get line() {
		const wait = this.retryAfter ? ` Try again in ${this.retryAfter} s.` : "";
		const hint = this.hint ? ` ${this.hint}` : "";
		return `${this.message}${/[.!?]$/.test(this.message) ? "" : "."}${hint}${wait}`;
	}
}

/**
 * The JSON that the server answers, null for none.
 * @param {string} method
 * @param {string} path
 * @param {{json?: unknown, body?: Blob, headers?: Record<string, string>, signal?: AbortSignal, keepalive?: boolean}} [options]
 */
export async function call(method, path, options = {}) {
	const headers = { accept: "application/json", ...options.headers };
	let body = options.body;
	if (options.json !== undefined) {
		headers["content-type"] = "application/json";
		body = JSON.stringify(options.json);
	} else if (body) {
		headers["content-type"] = body.type || "application/octet-stream";
	}
	let answer;
	try {
		answer = await fetch(path, { method, headers, body, signal: options.signal, keepalive: options.keepalive, credentials: "same-origin" });
	} catch (error) {
		if (error.name === "AbortError") throw error;
		away.value = true;
		throw new Problem(0, { code: "away", detail: "The server does not answer" });
	}
	if (answer.ok) {
		away.value = false;
		const text = await answer.text();
		return text ? JSON.parse(text) : null;
	}
	if (answer.status === 502 || answer.status === 504) away.value = true;
	if (answer.status === 401 && path !== "/v1/session") hooks.loggedOut();
	const problem = await answer.json().catch(() => ({}));
	throw new Problem(answer.status, problem, Number(answer.headers.get("retry-after")) || null);
}

/** @param {string} path */
export const get = (path, options) => call("GET", path, options);
/** @param {string} path @param {unknown} json */
export const post = (path, json, options) => call("POST", path, { json, ...options });
/** @param {string} path */
export const remove = (path, options) => call("DELETE", path, options);

/** A random name: `crypto.randomUUID` is there on safe origins only. */
export function unique() {
	return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {number} ms */
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** @param {unknown} error */
export const lineOf = (error) => (error instanceof Problem ? error.line : String(error?.message ?? error));
