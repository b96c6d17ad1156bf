// Login.
import { html, useState } from "./vendor/preact.js";
import { lineOf, post } from "./api.js";
import { session } from "./store.js";
import { Icon } from "./icons.js";

/** @param {{onIn: () => void}} props called once the key was taken */
export function Login({ onIn }) {
	const [key, setKey] = useState("");
	const [error, setError] = useState(null);
	const [busy, setBusy] = useState(false);
	const enter = async (event) => {
		event.preventDefault();
		setBusy(true);
		setError(null);
		try {
			session.value = await post("/v1/session", { key: key.trim() });
			onIn();
		} catch (problem) {
			setError(problem.status === 401 ? "The server does not know this key, or it is revoked or expired." : lineOf(problem));
			document.getElementById("key")?.focus();
		} finally {
			setBusy(false);
		}
	};
	return html`<main class="login" id="main">
		<form class="card form" onSubmit=${enter}>
			<img src="/web/icon.svg" alt="" width="56" height="56" />
			<h1>Calotype</h1>
			<p class="dim">Give the key that you were sent. It stays on this server, in a cookie.</p>
			<div class="field"><label for="key">Key</label>
				<input id="key" type="password" autocomplete="current-password" required value=${key} placeholder="calo_…" aria-invalid=${error ? "true" : undefined} aria-describedby=${error ? "key-fault" : undefined} onInput=${(event) => setKey(event.target.value)} /></div>
			${error && html`<p class="fault" id="key-fault" role="alert"><${Icon} name="warning" />${error}</p>`}
			<button class="primary" disabled=${busy || !key.trim()}>Enter</button>
		</form>
	</main>`;
}
