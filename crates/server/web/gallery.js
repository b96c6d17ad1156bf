// All pictures.
import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { chosen, follow, loadMore, more, pictures, staged } from "./store.js";
import { actByKey, keyOf, show, undoDiscard } from "./actions.js";
import { isBlurred, isWithheld } from "./picture.js";
import { viewing } from "./stage.js";
import { prefs } from "./prefs.js";
import { Icon } from "./icons.js";
import { Search } from "./ui.js";

function Thumb({ job, result, current, first }) {
	const withheld = isWithheld(result);
	return html`<li>
		<button class=${`thumb ${isBlurred(result) ? "blurred" : ""}`} data-key=${keyOf(job, result)} aria-current=${current ? "true" : undefined} tabindex=${current || first ? 0 : -1}
			onClick=${() => show(job, result.n)} onDblClick=${() => (viewing.value = true)}>
			${withheld ? html`<span class="dim"><${Icon} name="eye" />held back</span>` : html`<img src=${result.url} alt=${job.request.prompt || "A picture without a prompt"} loading="lazy" decoding="async" />`}
		</button>
	</li>`;
}

function keys(event) {
	const button = event.target.closest(".thumb");
	if (!button || event.ctrlKey || event.metaKey || event.altKey) return;
	const all = [...event.currentTarget.querySelectorAll(".thumb")];
	const index = all.indexOf(button);
	const columns = all.findIndex((other) => other.offsetTop > all[0].offsetTop);
	const row = columns < 1 ? all.length : columns;
	const to = { ArrowRight: index + 1, ArrowLeft: index - 1, ArrowDown: index + row, ArrowUp: index - row, Home: 0, End: all.length - 1 }[event.key];
	if (to !== undefined) {
		const next = all[Math.max(0, Math.min(all.length - 1, to))];
		event.preventDefault();
		next.focus();
		next.click();
		return;
	}
	const one = pictures.value.find(({ job, result }) => keyOf(job, result) === button.dataset.key);
	if (event.key === "Enter") viewing.value = true;
	else if (event.key === "z") undoDiscard();
	else if (event.key === "Backspace") actByKey("Delete", one.job, one.result);
	else if (!one || !prefs.value.singleKeys || !actByKey(event.key, one.job, one.result)) return;
	event.preventDefault();
	event.stopPropagation();
	if (event.key === "Delete" || event.key === "Backspace")
		requestAnimationFrame(() => document.querySelectorAll(".thumb")[Math.min(index, all.length - 2)]?.focus());
}

/** Older pictures are fetched when its end comes into view. */
export function Gallery() {
	const [query, setQuery] = useState("");
	const end = useRef(null);
	const list = useRef(null);
	useEffect(() => {
		const watcher = new IntersectionObserver(([entry]) => entry.isIntersecting && loadMore().catch(() => {}), { rootMargin: "400px" });
		if (end.current) watcher.observe(end.current);
		return () => watcher.disconnect();
	}, [more.value]);
	useEffect(() => list.current?.style.setProperty("--thumb", `${prefs.value.thumb}px`), [prefs.value.thumb]);
	const words = query.toLowerCase().split(/\s+/).filter(Boolean);
	const found = pictures.value.filter(({ job, result }) =>
		words.every((word) => `${job.request.prompt} ${result.seed} ${job.model}`.toLowerCase().includes(word)),
	);
	const at = follow.value && !chosen.value ? staged.value && { job: staged.value.job.id, n: 0 } : chosen.value;
	const isCurrent = ({ job, result }) => at && at.job === job.id && (at.n === result.n || (at.n === null && job.results.length === 1));
	const any = found.some(isCurrent);
	return html`<section class="gallery" aria-label="Gallery">
		<header>
			<h2>Gallery</h2>
			<span class="dim">${pictures.value.length}${more.value ? "+" : ""}</span>
			<${Search} label="Search in the gallery" value=${query} onChange=${setQuery} />
		</header>
		${pictures.value.length === 0 && html`<p class="dim empty">Your pictures will be here, also after a reload.</p>`}
		<ul class="thumbs plainlist" ref=${list} onKeyDown=${keys}>
			${found.map((one, index) => html`<${Thumb} key=${keyOf(one.job, one.result)} ...${one} current=${!!isCurrent(one)} first=${!any && index === 0} />`)}
		</ul>
		${more.value && html`<button class="plain link" ref=${end} onClick=${() => loadMore().catch(() => {})}>Older pictures</button>`}
	</section>`;
}
