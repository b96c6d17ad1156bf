// Combobox with a list, as ARIA has it.
import { html, useRef, useState } from "./vendor/preact.js";
import { useId } from "./ui.js";
import { Icon } from "./icons.js";

/**
 * @param {{label: string, value: string, options: {id: string, name: string, note?: string}[], onChange: (id: string) => void}} props
 */
export function Picker({ label, value, options, onChange, hint, clears, placeholder }) {
	const id = useId();
	const input = useRef(null);
	const [query, setQuery] = useState(null);
	const [active, setActive] = useState(0);
	const open = query !== null;
	const current = options.find((option) => option.id === value);
	const words = (query ?? "").toLowerCase().split(/\s+/).filter(Boolean);
	const matches = (option) => words.every((word) => `${option.name} ${option.id} ${option.note ?? ""}`.toLowerCase().includes(word));
	const found = open ? options.filter(matches).slice(0, 200) : [];

	const show = () => {
		if (open) return;
		setQuery("");
		setActive(
			clears
				? 0
				: Math.max(
						0,
						options.findIndex((option) => option.id === value),
					),
		);
	};
	const shut = () => setQuery(null);
	const choose = (option) => {
		shut();
		if (option) onChange(option.id);
	};
	const move = (to) => {
		const next = (to + found.length) % found.length || 0;
		setActive(next);
		document.getElementById(`${id}o${next}`)?.scrollIntoView({ block: "nearest" });
	};
	const keys = (event) => {
		if (event.ctrlKey || event.metaKey || event.altKey) return;
		const { key } = event;
		if (!open && (key === "ArrowDown" || key === "ArrowUp" || key === "Enter")) show();
		else if (key === "ArrowDown") move(active + 1);
		else if (key === "ArrowUp") move(active - 1);
		else if (key === "Home" && open) move(0);
		else if (key === "End" && open) move(found.length - 1);
		else if (key === "Enter" && open) choose(found[active]);
		else if (key === "Escape" && open) shut();
		else return;
		event.preventDefault();
		event.stopPropagation();
	};
	return html`<div class="field picker">
		<label for=${id}>${label}</label>
		<div class="row">
			<input id=${id} ref=${input} type="text" role="combobox" autocomplete="off" spellcheck=${false} aria-expanded=${open ? "true" : "false"} aria-controls=${`${id}l`}
				aria-autocomplete="list" aria-activedescendant=${open && found.length ? `${id}o${active}` : undefined} aria-describedby=${hint ? `${id}h` : undefined}
				value=${open ? query : clears ? "" : (current?.name ?? value)} placeholder=${open ? (current?.name ?? placeholder ?? "Type to search") : placeholder}
				onClick=${show} onKeyDown=${keys} onBlur=${shut}
				onInput=${(event) => (setQuery(event.target.value), setActive(0))} />
			<${Icon} name="chevron" />
		</div>
		<ul id=${`${id}l`} role="listbox" aria-label=${label} hidden=${!open}>
			${found.map(
				(
					option,
					index,
				) => html`<li id=${`${id}o${index}`} key=${option.id} role="option" aria-selected=${option.id === value ? "true" : "false"} class=${index === active ? "active" : ""}
				onMouseDown=${(event) => (event.preventDefault(), choose(option))}>
				<span>${option.name}</span>${option.note && html`<span class="dim">${option.note}</span>`}
			</li>`,
			)}
			${open && found.length === 0 && html`<li role="option" aria-selected="false" aria-disabled="true" class="dim">Nothing has this name</li>`}
		</ul>
		${hint && html`<p class="hint" id=${`${id}h`}>${hint}</p>`}
	</div>`;
}
