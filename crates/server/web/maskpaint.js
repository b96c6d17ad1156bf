// A mask, as steps that can be undone.

const COLOUR = [214, 0, 140];
const PAINT = `rgb(${COLOUR})`;

export class MaskPaint {
	/** @param {HTMLCanvasElement} canvas */
	constructor(canvas) {
		this.canvas = canvas;
		this.context = canvas.getContext("2d", { willReadFrequently: true });
		this.done = [];
		this.undone = [];
	}

	get width() {
		return this.canvas.width;
	}

	get height() {
		return this.canvas.height;
	}

	/** @param {"brush" | "eraser"} tool @param {number} size in pixels of the picture */
	begin(tool, size, x, y) {
		this.#add({ kind: "stroke", tool, size, points: [[x, y]] });
	}

	extend(x, y) {
		const stroke = this.done.at(-1);
		if (stroke?.kind !== "stroke") return;
		stroke.points.push([x, y]);
		this.#stroke({ ...stroke, points: stroke.points.slice(-2) });
	}

	/** Draws the stroke as one, as after an undo and a redo. */
	end() {
		this.#draw();
	}

	invert() {
		this.#add({ kind: "invert" });
	}

	clear() {
		this.#add({ kind: "clear" });
	}

	fill() {
		this.#add({ kind: "fill" });
	}

	/** By the opacity of a picture if it has any, else by its brightness. @param {HTMLImageElement} image */
	load(image) {
		const scratch = new OffscreenCanvas(this.width, this.height);
		const context = scratch.getContext("2d", { willReadFrequently: true });
		context.drawImage(image, 0, 0, this.width, this.height);
		const pixels = context.getImageData(0, 0, this.width, this.height);
		const { data } = pixels;
		let opaque = true;
		for (let i = 3; i < data.length && opaque; i += 4) opaque = data[i] === 255;
		for (let i = 0; i < data.length; i += 4) {
			const bright = (data[i] * 299 + data[i + 1] * 587 + data[i + 2] * 114) / 1000;
			data[i + 3] = opaque ? bright : (data[i + 3] * bright) / 255;
			[data[i], data[i + 1], data[i + 2]] = COLOUR;
		}
		context.putImageData(pixels, 0, 0);
		this.#add({ kind: "image", image: scratch });
	}

	undo() {
		if (!this.done.length) return;
		this.undone.push(this.done.pop());
		this.#draw();
	}

	redo() {
		if (!this.undone.length) return;
		this.done.push(this.undone.pop());
		this.#draw();
	}

	/** The masked share, 0 to 1. */
	share() {
		const small = new OffscreenCanvas(64, 64);
		const context = small.getContext("2d", { willReadFrequently: true });
		context.drawImage(this.canvas, 0, 0, 64, 64);
		const { data } = context.getImageData(0, 0, 64, 64);
		let sum = 0;
		for (let i = 3; i < data.length; i += 4) sum += data[i];
		return sum / 255 / 4096;
	}

	/** @returns {HTMLCanvasElement} white where it is masked */
	image() {
		const canvas = document.createElement("canvas");
		canvas.width = this.width;
		canvas.height = this.height;
		const context = canvas.getContext("2d");
		context.drawImage(this.canvas, 0, 0);
		const paint = (mode, colour) => {
			context.globalCompositeOperation = mode;
			context.fillStyle = colour;
			context.fillRect(0, 0, this.width, this.height);
		};
		paint("source-in", "#fff");
		paint("destination-over", "#000");
		return canvas;
	}

	#add(step) {
		this.undone = [];
		this.done.push(step);
		this.#apply(step);
	}

	#draw() {
		this.context.clearRect(0, 0, this.width, this.height);
		for (const step of this.done) this.#apply(step);
	}

	#apply(step) {
		const { context, width, height } = this;
		if (step.kind === "stroke") this.#stroke(step);
		else if (step.kind === "clear") context.clearRect(0, 0, width, height);
		else if (step.kind === "image") {
			context.clearRect(0, 0, width, height);
			context.drawImage(step.image, 0, 0);
		} else {
			// "xor" with a full canvas leaves what was empty.
			context.globalCompositeOperation = step.kind === "invert" ? "xor" : "source-over";
			context.fillStyle = PAINT;
			context.fillRect(0, 0, width, height);
			context.globalCompositeOperation = "source-over";
		}
	}

	#stroke({ tool, size, points }) {
		const { context } = this;
		context.globalCompositeOperation = tool === "eraser" ? "destination-out" : "source-over";
		context.strokeStyle = context.fillStyle = PAINT;
		context.lineWidth = size;
		context.lineCap = context.lineJoin = "round";
		context.beginPath();
		context.moveTo(...points[0]);
		if (points.length === 1) {
			context.arc(...points[0], size / 2, 0, 2 * Math.PI);
			context.fill();
		} else {
			for (const point of points.slice(1)) context.lineTo(...point);
			context.stroke();
		}
		context.globalCompositeOperation = "source-over";
	}
}
