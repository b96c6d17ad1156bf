// Tabs, and the start.
import { computed, effect, html, render, signal } from "./vendor/preact.js";
import { away, hooks, lineOf, sleep } from "./api.js";
import { loadLists, loadSession, progress, queued, running, scopes, session, waiting } from "./store.js";
import { close, countWaiting, listen } from "./events.js";
import { form, model, restoreFiles, settle } from "./form.js";
import { estimate, generate, sending, stop } from "./generate.js";
import { Notices } from "./notice.js";
import { Prompt } from "./prompt.js";
import { Settings } from "./settings.js";
import { Init, painting } from "./init.js";
import { Stage, viewing } from "./stage.js";
import { Gallery } from "./gallery.js";
import { making } from "./grid.js";
import { Incoming, listenToFiles, receive } from "./incoming.js";
import { Help, helping, listenToKeys } from "./shortcuts.js";
import { chooseFile } from "./files.js";
import { Button, duration } from "./ui.js";
import { Icon } from "./icons.js";
import { later } from "./later.js";

const Login = later("login", "Login");
const MaskEditor = later("mask", "MaskEditor");
const Viewer = later("viewer", "Viewer");
const GridDialog = later("compare", "GridDialog");

const TABS = [
	["create", "Create", "generate"],
	["queue", "Queue", "read"],
	["review", "Review", "review"],
	["audit", "Audit", "audit"],
	["keys", "Keys", "admin"],
	["settings", "Settings", null],
];
const tabs = computed(() => TABS.filter(([, , scope]) => !scope || scopes.value.has(scope)));
const hash = signal(location.hash.slice(1));
const tab = computed(() => (tabs.value.some(([id]) => id === hash.value) ? hash.value : tabs.value[0][0]));
const narrow = signal(matchMedia("(max-width: 760px)").matches);
const started = signal(false);
const trouble = signal(null);

addEventListener("hashchange", () => (hash.value = location.hash.slice(1)));
matchMedia("(max-width: 760px)").addEventListener("change", (event) => (narrow.value = event.matches));

function Header() {
	const open = running.value.length + queued.value.length;
	const count = { queue: open, review: waiting.value };
	return html`<header class="top">
		<a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), document.getElementById("main").focus())}>To the content</a>
		<a class="brand" href="#create"><img src="/web/icon.svg" alt="" width="28" height="28" /><h1>Calotype</h1></a>
		<nav aria-label="Parts of the page">
			${tabs.value.map(([id, name]) => html`<a key=${id} href=${`#${id}`} aria-current=${tab.value === id ? "page" : undefined}>${name}${count[id] > 0 && html`<span class="count"><span class="unseen">, </span>${count[id]}</span>`}</a>`)}
		</nav>
		<span class="grow"></span>
		<${Button} small kind="plain" icon="upload" label="Open a picture" onClick=${async () => receive(await chooseFile())} />
		<${Button} small kind="plain" icon="help" label="Keys" onClick=${() => (helping.value = true)} />
	</header>`;
}

function Submit() {
	const seconds = estimate.value?.estimate_s;
	const size = estimate.value?.size;
	const { n, prompt } = form.value;
	const job = narrow.value && (running.value[0] ?? queued.value[0]);
	const now = job && progress.value[job.id];
	const note = job
		? `${Math.round((now?.fraction ?? 0) * 100)} %`
		: [size && `${size[0]}×${size[1]}`, seconds != null && `about ${duration(seconds)}`].filter(Boolean).join(" · ");
	return html`<div class="submit">
		<button class="primary large" disabled=${(sending.value && away.value) || !prompt.trim()} aria-keyshortcuts="Control+Enter" onClick=${generate}>
			<${Icon} name="spark" /><span>${sending.value ? "Sending…" : n > 1 ? `Generate ${n}` : "Generate"}</span>
		</button>
		<span class="dim">${note}</span>
		<span class="grow"></span>
		${job ? html`<${Button} small icon="stop" label="Stop" onClick=${stop} />` : html`<${Button} small kind="plain" icon="grid" label="Compare settings (X)" onClick=${() => (making.value = true)} />`}
	</div>`;
}

function Create() {
	const current = model();
	const summary = `${form.value.width}×${form.value.height} · ${form.value.num_inference_steps} steps${current ? ` · ${current.id}` : ""}`;
	const settings = html`<${Settings} /><${Init} />`;
	return html`<div class="create">
		<h2 class="unseen">Create</h2>
		<div class="composer">
			<div class="scroll">
				<${Prompt} />
				${narrow.value ? html`<details class="fold"><summary><span>Settings</span><span class="dim note">${summary}</span><${Icon} name="chevron" /></summary><div class="inside">${settings}</div></details>` : settings}
			</div>
			<${Submit} />
		</div>
		<${Stage} />
		<${Gallery} />
	</div>`;
}

const VIEWS = {
	create: Create,
	queue: later("queue", "Queue"),
	review: later("review", "Review"),
	audit: later("audit", "Audit"),
	keys: later("keys", "Keys"),
	settings: later("preferences", "Preferences"),
};

function App() {
	if (trouble.value) return html`<main class="login" id="main"><div class="card form"><h1>Calotype</h1><p>${trouble.value}</p></div></main>`;
	if (!session.value) return html`<main class="login" id="main"><p class="dim">Loading…</p></main>`;
	if (!session.value.key) return html`<${Login} onIn=${start} />`;
	const View = VIEWS[tab.value];
	return html`
		<${Header} />
		${away.value && html`<p class="away" role="status"><${Icon} name="warning" />The server is away, trying again…</p>`}
		<main id="main" tabindex="-1">${started.value ? html`<${View} />` : html`<p class="dim empty">Loading…</p>`}</main>
		${painting.value && form.value.init && html`<${MaskEditor} onClose=${() => (painting.value = false)} />`}
		${viewing.value && html`<${Viewer} />`}
		${making.value && html`<${GridDialog} />`}
		${helping.value && html`<${Help} />`}
		<${Incoming} />
		<${Notices} />`;
}

async function start() {
	await loadLists();
	settle();
	await restoreFiles();
	started.value = true;
	// Without the scope there are no events for this key.
	if (scopes.value.has("read")) listen();
	else countWaiting().catch(() => {});
}

async function boot() {
	for (;;) {
		try {
			await loadSession();
			trouble.value = null;
			break;
		} catch (error) {
			trouble.value = error.code === "away" ? "The server is away, trying again…" : lineOf(error);
			await sleep(2000);
		}
	}
	if (session.value.key) await start();
}

hooks.loggedOut = () => {
	if (!session.value?.key) return;
	close();
	session.value = { ...session.value, login_required: true, key: null };
};

effect(() => {
	const now = running.value[0] && progress.value[running.value[0].id];
	document.title = now ? `${Math.round((now.fraction ?? 0) * 100)} % · Calotype` : "Calotype";
});

listenToKeys(
	() => tabs.value.map(([id]) => id),
	() => tab.value,
);
listenToFiles();
render(html`<${App} />`, document.getElementById("app"));
boot();
