// API keys.
import { html, useEffect, useState } from "./vendor/preact.js";
import { get, post, remove } from "./api.js";
import { fail, toast } from "./notice.js";
import { Button, Check, Dialog, NumberField, TextField } from "./ui.js";

const SCOPES = [
	["generate", "make pictures"],
	["read", "see jobs and pictures"],
	["review", "decide about held pictures"],
	["audit", "read the audit log"],
	["admin", "manage keys"],
];
const day = (ms) => (ms ? new Date(ms).toLocaleDateString() : "");

export function Keys() {
	const [keys, setKeys] = useState(null);
	const [name, setName] = useState("");
	const [scopes, setScopes] = useState(new Set(["generate", "read"]));
	const [days, setDays] = useState(null);
	const [made, setMade] = useState(null);
	const [leaving, setLeaving] = useState(null);
	const load = () =>
		get("/v1/keys").then(
			(answer) => setKeys(answer.keys),
			(error) => (setKeys([]), fail(error)),
		);
	useEffect(() => void load(), []);
	const make = async (event) => {
		event.preventDefault();
		try {
			setMade(await post("/v1/keys", { name: name.trim(), scopes: [...scopes], ...(days && { expires_in_days: days }) }));
			setName("");
			load();
		} catch (error) {
			fail(error);
		}
	};
	const revoke = async () => {
		setLeaving(null);
		try {
			await remove(`/v1/keys/${leaving.id}`);
			toast(`${leaving.name} is revoked.`);
			load();
		} catch (error) {
			fail(error);
		}
	};
	const copy = () =>
		navigator.clipboard.writeText(made.key).then(
			() => toast("Copied."),
			() => toast("This browser does not let pages copy here.", { kind: "error" }),
		);
	const toggle = (scope, on) => {
		const next = new Set(scopes);
		if (on) next.add(scope);
		else next.delete(scope);
		setScopes(next);
	};
	return html`<div class="page">
		<h2>Keys</h2>
		<form class="card form" onSubmit=${make}>
			<${TextField} label="Name of the new key" value=${name} onChange=${setName} required maxlength="100" />
			<fieldset class="block"><legend>It may</legend>
				<div class="grid2">${SCOPES.map(([scope, what]) => html`<${Check} key=${scope} label=${what} value=${scopes.has(scope)} onChange=${(on) => toggle(scope, on)} />`)}</div></fieldset>
			<${NumberField} label="Ends after" unit="days" value=${days} min=${1} max=${3650} placeholder="never" onChange=${setDays} />
			<button class="primary" disabled=${!name.trim() || scopes.size === 0}>Make a key</button>
		</form>
		<ul class="cards plainlist">
			${(keys ?? []).map(
				(key) => html`<li key=${key.id} class="card">
				<div class="grow"><strong>${key.name}</strong> <span class="dim">${key.id}</span><br />
					<span class="dim">${key.scopes.join(", ")}${key.created ? ` · made ${day(key.created)}` : ""}${key.expires ? ` · ends ${day(key.expires)}` : ""}${key.last_used ? ` · used ${day(key.last_used)}` : ""}</span></div>
				${key.revoked ? html`<span class="state failed">revoked</span>` : html`<${Button} icon="trash" label="Revoke" aria-label=${`Revoke ${key.name}`} onClick=${() => setLeaving(key)} />`}
			</li>`,
			)}
		</ul>
		${keys?.length === 0 && html`<p class="dim empty">There are no keys yet.</p>`}
		${
			made &&
			html`<${Dialog} title="The new key" onClose=${() => setMade(null)} footer=${html`<${Button} icon="copy" label="Copy" onClick=${copy} /><${Button} kind="primary" label="I have it" onClick=${() => setMade(null)} />`}>
			<p>It is shown once. Whoever has it can use the server as ${made.name ?? "this person"}.</p><p><code class="hash">${made.key}</code></p><//>`
		}
		${
			leaving &&
			html`<${Dialog} title=${`Revoke ${leaving.name}?`} onClose=${() => setLeaving(null)} footer=${html`<${Button} label="Keep it" onClick=${() => setLeaving(null)} /><${Button} kind="primary" label="Revoke" onClick=${revoke} />`}>
			<p>Programs that use this key stop working at once. This can't be undone.</p><//>`
		}
	</div>`;
}
