// Review tab.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact.js";
import { get, post } from "./api.js";
import { waiting } from "./store.js";
import { fail, say, toast } from "./notice.js";
import { Button, TextField, ago } from "./ui.js";
import { Icon } from "./icons.js";

// The scores of this picture, the highest first; a reason of another form is shown as it is.
function Reasons({ reason, n }) {
	const scores = (reason?.images ?? []).filter((image) => image.n === n).flatMap((image) => image.verdict?.scores ?? []);
	if (!scores.length) return html`<p class="quote">${JSON.stringify(reason)}</p>`;
	scores.sort((a, b) => b.value - a.value);
	return html`<dl class="scores">
		${scores.map(({ classifier, score, value, flag, block, action }) => {
			const name = `${classifier} ${score}`;
			const limit = block ?? flag;
			return html`<div key=${name}><dt>${name}${limit != null && html` <span class="dim">(${action}, from ${limit.toFixed(2)} on)</span>`}</dt>
				<dd><meter min="0" max="1" high=${limit} value=${value} aria-label=${name}></meter> ${value.toFixed(3)}</dd></div>`;
		})}
	</dl>`;
}

/** The tab. Keys: 1 releases, 2 rejects, N goes on. */
export function Review() {
	const [held, setHeld] = useState(null);
	const [at, setAt] = useState(0);
	const [about, setAbout] = useState({});
	const [busy, setBusy] = useState(false);
	const place = useRef(null);
	const load = async () => {
		try {
			const answer = await get("/v1/review");
			setHeld(answer.held);
			waiting.value = answer.held.length;
		} catch (error) {
			fail(error);
		}
	};
	useEffect(() => void load(), [waiting.value]);
	const index = held?.length ? at % held.length : 0;
	const one = held?.[index];
	// The next picture begins blurred, from its first frame on.
	const id = one && `${one.job}/${one.n}`;
	const { open = false, reason = "" } = about.id === id ? about : {};
	const setReason = (reason) => setAbout({ id, open, reason });
	const turn = () => setAbout({ id, open: !open, reason });
	const next = () => setAt(index + 1);
	const decide = async (decision) => {
		if (!one || busy) return;
		setBusy(true);
		try {
			await post(`/v1/review/${one.job}`, { decision, reason });
			const left = held.filter((other) => other.job !== one.job);
			setHeld(left);
			setAt(Math.min(index, Math.max(0, left.length - 1)));
			waiting.value = left.length;
			toast(decision === "release" ? "Released." : "Rejected.");
			say(`${left.length} left.`);
			place.current?.focus();
		} catch (error) {
			fail(error);
			load();
		} finally {
			setBusy(false);
		}
	};
	// A key must not decide on the picture before.
	useLayoutEffect(() => {
		const keys = (event) => {
			if (
				event.ctrlKey ||
				event.metaKey ||
				event.altKey ||
				event.target.matches("input:not([type=checkbox]), textarea, select") ||
				document.querySelector("dialog[open]")
			)
				return;
			const run = { 1: () => decide("release"), 2: () => decide("reject"), n: next, N: next, s: turn }[event.key];
			if (!run) return;
			event.preventDefault();
			run();
		};
		addEventListener("keydown", keys);
		return () => removeEventListener("keydown", keys);
	});
	return html`<div class="page review" ref=${place} tabindex="-1">
		<div class="row"><h2>Review</h2><span class="grow"></span>${held?.length > 0 && html`<span class="dim">${index + 1} of ${held.length}</span>`}</div>
		${held === null && html`<p class="dim">Loading…</p>`}
		${held?.length === 0 && html`<div class="ended"><${Icon} name="check" /><h3>Nothing waits for you</h3><p class="dim">Pictures that the checker is not sure about come here.</p></div>`}
		${
			one &&
			html`<div class="reviewing" key=${id}>
			<div>
				<img class="held" src=${open ? one.original : one.blurred} alt=${open ? "The picture that is held, as it is" : "The picture that is held, blurred"} />
				<${Button} icon="eye" label=${open ? "Blur it again" : "Show it sharp"} aria-pressed=${String(open)} aria-keyshortcuts="s" onClick=${turn} />
			</div>
			<div>
				<p class="dim">Held ${ago(one.since)}, asked for by ${one.owner}</p>
				<h3>Why</h3>
				<${Reasons} reason=${one.reason} n=${one.n} />
				<details class="fold"><summary><span>Show the prompt</span><${Icon} name="chevron" /></summary><div class="inside"><p class="quote">${one.prompt}</p></div></details>
				<${TextField} label="Reason for your decision (optional)" value=${reason} onChange=${setReason} maxlength="500" />
				<div class="row wrap">
					<button class="primary" disabled=${busy} aria-keyshortcuts="1" onClick=${() => decide("release")}><${Icon} name="check" /><span>Release <kbd>1</kbd></span></button>
					<button disabled=${busy} aria-keyshortcuts="2" onClick=${() => decide("reject")}><${Icon} name="close" /><span>Reject <kbd>2</kbd></span></button>
					<button class="plain" aria-keyshortcuts="n" onClick=${next}><${Icon} name="right" /><span>Next <kbd>N</kbd></span></button>
				</div>
			</div>
		</div>`
		}
	</div>`;
}
