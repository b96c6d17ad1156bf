// Settings tab.
import { html } from "./vendor/preact.js";
import { prefs, setPrefs } from "./prefs.js";
import { limits, session } from "./store.js";
import { remove } from "./api.js";
import { close } from "./events.js";
import { DEFAULTS, set } from "./form.js";
import { fail } from "./notice.js";
import { Button, Check, NumberField, Select } from "./ui.js";
import { helping } from "./shortcuts.js";

async function leave() {
	try {
		await remove("/v1/session");
		close();
		// The next person at this browser starts anew.
		set(DEFAULTS);
		for (const name of ["history", "grids"]) localStorage.removeItem(`calotype.${name}`);
		location.reload();
	} catch (error) {
		fail(error);
	}
}

export function Preferences() {
	const { theme, format, quality, blur, preview, smooth, singleKeys, thumb } = prefs.value;
	const { login_required, key, version, safety } = session.value;
	return html`<div class="page narrow">
		<h2>Settings</h2>
		<section class="card form"><h3>Look</h3>
			<${Select} label="Theme" value=${theme} options=${[
				["system", "As the system"],
				["light", "Light"],
				["dark", "Dark"],
			]} onChange=${(theme) => setPrefs({ theme })} />
			<${NumberField} label="Pictures in the gallery" unit="pixels wide" range value=${thumb} min=${72} max=${320} step=${4} onChange=${(thumb) => setPrefs({ thumb })} />
			<${Check} label="Enlarge small pictures smoothly" hint="otherwise with sharp pixels" value=${smooth} onChange=${(smooth) => setPrefs({ smooth })} />
			<${Check} label="Show the picture while it is made" value=${preview} onChange=${(preview) => setPrefs({ preview })} />
			<${Select} label="Blur pictures" value=${blur} options=${[
				["flagged", "That the checker marks"],
				["always", "All, until clicked"],
				["never", "None"],
			]} onChange=${(blur) => setPrefs({ blur })} />
		</section>
		<section class="card form"><h3>Files</h3>
			<${Select} label="Format of new pictures" value=${format} options=${[
				["png", "PNG, without loss"],
				["jpeg", "JPEG"],
				["webp", "WebP"],
			]} onChange=${(format) => setPrefs({ format })} />
			${format !== "png" && html`<${NumberField} label="Quality" range value=${quality} min=${1} max=${100} onChange=${(quality) => setPrefs({ quality })} />`}
		</section>
		<section class="card form"><h3>Keys</h3>
			<${Check} label="Keys of one letter" hint="U uses all settings of a picture, ? shows the list" value=${singleKeys} onChange=${(singleKeys) => setPrefs({ singleKeys })} />
			<${Button} icon="help" label="List of keys" onClick=${() => (helping.value = true)} />
		</section>
		<section class="card form"><h3>Server</h3>
			<dl class="plaindl">
				<div><dt>Version</dt><dd>${version}</dd></div>
				<div><dt>Logged in as</dt><dd>${login_required ? (key?.name ?? "nobody") : "this machine, without a key"}</dd></div>
				<div><dt>May</dt><dd>${key?.scopes.join(", ")}</dd></div>
				<div><dt>Checker of pictures</dt><dd>${safety ? "on" : "off"}</dd></div>
				<div><dt>Limits</dt><dd>${limits.value.max_side} pixels a side, ${limits.value.max_steps} steps, ${limits.value.max_images} pictures</dd></div>
			</dl>
			${login_required && html`<${Button} label="Log out" onClick=${leave} />`}
		</section>
	</div>`;
}
