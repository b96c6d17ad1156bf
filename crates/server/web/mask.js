// Mask editor.
import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { form, maskWith } from "./form.js";
import { MaskPaint } from "./maskpaint.js";
import { chooseFile, give, loadImage, pngOf, upload } from "./files.js";
import { fail, say } from "./notice.js";
import { Button, Dialog, NumberField } from "./ui.js";

/** @param {{onClose: () => void}} props */
export function MaskEditor({ onClose }) {
	const { init, mask } = form.value;
	const canvas = useRef(null);
	const area = useRef(null);
	const ring = useRef(null);
	const paint = useRef(null);
	const at = useRef({ x: 0, y: 0, holding: false });
	const [tool, setTool] = useState("brush");
	const [size, setSize] = useState(0);
	const [ready, setReady] = useState(false);
	const [busy, setBusy] = useState(false);
	const [, redraw] = useState(0);
	const changed = () => redraw((count) => count + 1);

	useEffect(() => {
		let current = true;
		(async () => {
			try {
				const picture = await loadImage(init.url);
				const before = mask?.url ? await loadImage(mask.url) : null;
				if (!current) return;
				canvas.current.width = picture.naturalWidth;
				canvas.current.height = picture.naturalHeight;
				area.current.style.aspectRatio = `${picture.naturalWidth} / ${picture.naturalHeight}`;
				area.current.style.setProperty("--ratio", picture.naturalWidth / picture.naturalHeight);
				paint.current = new MaskPaint(canvas.current);
				if (before) paint.current.load(before);
				at.current = { x: picture.naturalWidth / 2, y: picture.naturalHeight / 2, holding: false };
				setSize(Math.max(2, Math.round(Math.min(picture.naturalWidth, picture.naturalHeight) / 8)));
				setReady(true);
				canvas.current.focus();
			} catch (error) {
				fail(error);
				onClose();
			}
		})();
		return () => (current = false);
	}, []);

	const largest = ready ? Math.max(canvas.current.width, canvas.current.height) : 512;
	const resize = (to) => setSize(Math.max(1, Math.min(largest, Math.round(to))));
	const grow = (way) => resize(way > 0 ? Math.max(size + 1, size * 1.15) : Math.min(size - 1, size / 1.15));
	const place = () => {
		if (!ready) return;
		const scale = canvas.current.clientWidth / canvas.current.width;
		const { style } = ring.current;
		style.width = style.height = `${Math.max(4, size * scale)}px`;
		style.left = `${at.current.x * scale}px`;
		style.top = `${at.current.y * scale}px`;
	};
	useEffect(place);

	const point = (event) => {
		const box = canvas.current.getBoundingClientRect();
		return [((event.clientX - box.left) * canvas.current.width) / box.width, ((event.clientY - box.top) * canvas.current.height) / box.height];
	};
	const down = (event) => {
		if (event.button > 0 || !ready) return;
		canvas.current.setPointerCapture(event.pointerId);
		const [x, y] = point(event);
		at.current = { x, y, holding: true };
		paint.current.begin(event.shiftKey ? "eraser" : tool, size, x, y);
		place();
	};
	const move = (event) => {
		const [x, y] = point(event);
		if (at.current.holding && event.buttons) for (const part of event.getCoalescedEvents?.() ?? [event]) paint.current.extend(...point(part));
		at.current = { ...at.current, x, y };
		place();
	};
	const up = () => {
		if (!at.current.holding) return;
		at.current.holding = false;
		paint.current.end();
		changed();
	};
	// Only a handler that is not passive keeps the page from scrolling.
	useEffect(() => {
		const wheel = (event) => {
			event.preventDefault();
			grow(event.deltaY < 0 ? 1 : -1);
		};
		area.current.addEventListener("wheel", wheel, { passive: false });
		return () => area.current?.removeEventListener("wheel", wheel);
	});

	const act = (what, said) => () => {
		paint.current[what]();
		changed();
		say(`${said}. ${Math.round(paint.current.share() * 100)} % is masked.`);
	};
	const undo = act("undo", "Undone");
	const redo = act("redo", "Done again");
	const invert = act("invert", "Inverted");
	const clear = act("clear", "Cleared");
	const load = async () => {
		const file = await chooseFile();
		if (!file) return;
		const url = URL.createObjectURL(file);
		try {
			paint.current.load(await loadImage(url));
			changed();
		} catch (error) {
			fail(error);
		} finally {
			URL.revokeObjectURL(url);
		}
	};
	const save = async () => {
		const url = URL.createObjectURL(await pngOf(paint.current.image()));
		give(url, "mask.png");
		setTimeout(() => URL.revokeObjectURL(url), 10000);
	};
	const use = async () => {
		setBusy(true);
		try {
			maskWith({ ...(await upload(await pngOf(paint.current.image()))), name: "the painted mask" });
			onClose();
		} catch (error) {
			fail(error);
			setBusy(false);
		}
	};

	const step = (dx, dy, shift) => {
		const far = shift ? Math.max(8, size) : Math.max(1, Math.round(size / 4));
		const { width, height } = canvas.current;
		const x = Math.max(0, Math.min(width, at.current.x + dx * far));
		const y = Math.max(0, Math.min(height, at.current.y + dy * far));
		at.current = { ...at.current, x, y };
		if (at.current.holding) paint.current.extend(x, y);
		place();
	};
	const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
	const keys = (event) => {
		if (!ready || event.target.matches("input[type=number]")) return;
		const onCanvas = event.target === canvas.current;
		const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
		if (event.ctrlKey || event.metaKey) {
			if (key === "z") (event.shiftKey ? redo : undo)();
			else if (key === "y") redo();
			else if (key === "Enter") use();
			else return;
		} else if (onCanvas && ARROWS[key]) step(...ARROWS[key], event.shiftKey);
		else if (onCanvas && key === " ") {
			if (!event.repeat && !at.current.holding) {
				at.current.holding = true;
				paint.current.begin(tool, size, at.current.x, at.current.y);
				say(`${tool === "brush" ? "Painting" : "Erasing"} at ${Math.round(at.current.x)}, ${Math.round(at.current.y)}`);
			}
		} else if (key === "[") grow(-1);
		else if (key === "]") grow(1);
		else if (key === "b") setTool("brush");
		else if (key === "e") setTool("eraser");
		else if (key === "i") invert();
		else if (key === "x") clear();
		else return;
		event.preventDefault();
		event.stopPropagation();
	};
	const release = (event) => {
		if (event.key === " " && event.target === canvas.current) up();
	};

	const footer = html`<span class="dim grow">${ready ? `${Math.round(paint.current.share() * 100)} % is masked` : ""}</span>
		<${Button} label="Cancel" onClick=${onClose} />
		<${Button} kind="primary" label="Use this mask" disabled=${!ready || busy} onClick=${use} />`;
	const choice = (name, icon, label) =>
		html`<${Button} icon=${icon} label=${label} aria-pressed=${tool === name ? "true" : "false"} onClick=${() => setTool(name)} />`;
	return html`<${Dialog} wide title="Paint what is made anew" onClose=${onClose} footer=${footer}>
		<div class="maskeditor" onKeyDown=${keys} onKeyUp=${release}>
			<div class="tools" role="toolbar" aria-label="Tools for the mask">
				${choice("brush", "brush", "Brush")}${choice("eraser", "eraser", "Eraser")}
				<${NumberField} label="Size" range value=${size || 1} min=${1} max=${largest} onChange=${resize} />
				<span class="gap"></span>
				<${Button} small icon="undo" label="Undo" disabled=${!paint.current?.done.length} onClick=${undo} />
				<${Button} small icon="redo" label="Redo" disabled=${!paint.current?.undone.length} onClick=${redo} />
				<${Button} small icon="invert" label="Invert" disabled=${!ready} onClick=${invert} />
				<${Button} small icon="trash" label="Clear" disabled=${!ready} onClick=${clear} />
				<${Button} small icon="upload" label="Load a mask from a file" disabled=${!ready} onClick=${load} />
				<${Button} small icon="download" label="Save the mask to a file" disabled=${!ready} onClick=${save} />
			</div>
			<div class="easel">
				<div class="canvas" ref=${area}>
					<img src=${init.url} alt="" draggable=${false} />
					<canvas ref=${canvas} tabindex="0" role="application" aria-label="Mask. Arrow keys move the brush, with Shift further; Space paints, held down with arrows it draws; [ and ] change its size."
						onPointerDown=${down} onPointerMove=${move} onPointerUp=${up} onPointerCancel=${up}></canvas>
					<span class=${`ring ${tool}`} ref=${ring}></span>
				</div>
			</div>
			<p class="hint">[ ] or wheel: size · Ctrl Z: undo · arrows and Space: paint</p>
		</div>
	<//>`;
}
