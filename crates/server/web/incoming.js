// Pictures that are dropped, pasted or opened.
import { html, signal } from "./vendor/preact.js";
import { call } from "./api.js";
import { form, fromRequest, maskWith } from "./form.js";
import { upload } from "./files.js";
import { startFromFile } from "./init.js";
import { fail, toast } from "./notice.js";
import { Button, Dialog } from "./ui.js";
import { rowsOf } from "./details.js";

const come = signal(null);
const over = signal(false);

/** @param {File | Blob | null | undefined} file */
export async function receive(file) {
	if (!file) return;
	if (!/^image\/(png|jpeg|webp)$/.test(file.type)) {
		toast(`${file.name || "This"} is not a PNG, JPEG or WebP picture.`, { kind: "error" });
		return;
	}
	const url = URL.createObjectURL(file);
	come.value = { file, url, info: null };
	try {
		const info = await call("POST", "/v1/png-info", { body: file });
		if (come.value?.url === url) come.value = { file, url, info };
	} catch (error) {
		if (come.value?.url === url) come.value = { file, url, info: { request: null, parameters: null, warnings: [] } };
		fail(error);
	}
}

export function listenToFiles() {
	const isFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
	addEventListener("dragover", (event) => {
		if (!isFile(event)) return;
		event.preventDefault();
		over.value = true;
	});
	addEventListener("dragleave", (event) => event.relatedTarget === null && (over.value = false));
	addEventListener("drop", (event) => {
		if (event.defaultPrevented || !isFile(event)) return;
		event.preventDefault();
		receive(event.dataTransfer.files[0]);
	});
	addEventListener("drop", () => (over.value = false), true);
	addEventListener("paste", (event) => {
		const file = [...(event.clipboardData?.files ?? [])].find((file) => file.type.startsWith("image/"));
		if (!file || document.querySelector("dialog[open]")) return;
		event.preventDefault();
		receive(file);
	});
}

export function Incoming() {
	const one = come.value;
	if (!one) return over.value ? html`<div class="overlay" aria-hidden="true"><p>Drop the picture</p></div>` : null;
	const close = () => {
		URL.revokeObjectURL(one.url);
		come.value = null;
	};
	const { info } = one;
	const useSettings = () => {
		fromRequest(info.request);
		close();
		toast("Its settings are in the form.");
	};
	const useMask = async () => {
		try {
			maskWith({ ...(await upload(one.file)), name: "a mask from a file" });
			close();
		} catch (error) {
			fail(error);
		}
	};
	const start = () => {
		startFromFile(one.file);
		close();
	};
	const footer = html`
		${form.value.init && html`<${Button} icon="brush" label="Use as the mask" onClick=${useMask} />`}
		<${Button} icon="picture" label="Start from it" onClick=${start} />
		<${Button} kind="primary" icon="reuse" label="Use its settings" disabled=${!info?.request} onClick=${useSettings} />`;
	return html`<${Dialog} title="What is it for?" onClose=${close} footer=${footer}>
		<div class="incoming">
			<img src=${one.url} alt="The picture that came" />
			<div>
				${info === null && html`<p class="dim">Reading its settings…</p>`}
				${info && !info.request && html`<p>It has no settings that can be read${info.parameters ? ", only this text:" : "."}</p>`}
				${
					info?.request &&
					html`${info.program && html`<p class="dim">Made with ${info.program}</p>`}
					<dl>${rowsOf({ request: { prompt: "", ...info.request } })
						.filter(([name]) => name !== "Made")
						.map(([name, text]) => html`<div key=${name} class=${text.length > 40 ? "long" : ""}><dt>${name}</dt><dd>${text}</dd></div>`)}</dl>`
				}
				${info && !info.request && info.parameters && html`<p class="quote">${info.parameters}</p>`}
				${info?.warnings?.length > 0 && html`<ul class="hint">${info.warnings.map((line) => html`<li key=${line}>${line}</li>`)}</ul>`}
			</div>
		</div>
	<//>`;
}
