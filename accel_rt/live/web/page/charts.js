// Charts of the last two minutes, drawn on canvases in the page's own colours.

const PADDING = { left: 34, right: 8, top: 8, bottom: 18 };
const STEPS = [1, 2, 2.5, 5, 10];

/**
 * A chart on `canvas` whose names and values stand in `keys`.
 * options: samples (its width), interval_s (between samples), stacked,
 * series(history) -> [{ name, color (a CSS variable), values, fill, dashed }].
 */
export class Chart {
  constructor(canvas, keys, options) {
    this.canvas = canvas;
    this.keys = keys;
    this.options = options;
    this.history = [];
    this.pointed = null; // sample under the pointer, counted from the newest
    canvas.addEventListener("pointermove", (event) => this.point(event.offsetX));
    canvas.addEventListener("pointerleave", () => this.point(null));
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  show(history) {
    this.history = history;
    this.draw();
  }

  point(x) {
    const right = this.canvas.clientWidth - PADDING.right;
    this.pointed = x === null ? null : Math.max(0, Math.round((right - x) / this.step()));
    this.draw();
  }

  step() {
    const width = this.canvas.clientWidth - PADDING.left - PADDING.right;
    return width / (this.options.samples - 1);
  }

  draw() {
    const { canvas } = this;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (width === 0 || height === 0) return;
    const ratio = devicePixelRatio;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(canvas);
    const color = (name) => style.getPropertyValue(name);

    const series = this.options.series(this.history);
    const layers = this.options.stacked ? stack(series) : series;
    const top = niceTop(Math.max(1, ...layers.map(({ values }) => mostly(values))));
    const plot = { ...PADDING, right: width - PADDING.right, bottom: height - PADDING.bottom };
    const y = (value) => plot.bottom - (value / top) * (plot.bottom - plot.top);
    const x = (index, count) => plot.right - (count - 1 - index) * this.step();

    this.drawAxes(context, plot, top, y, color, style.fontFamily);
    context.save();
    context.beginPath();
    context.rect(plot.left, 0, plot.right - plot.left, plot.bottom + 1);
    context.clip();
    for (const layer of [...layers].reverse()) drawLayer(context, layer, x, y, color);
    context.restore();
    this.drawPointer(context, plot, color);
    this.writeKeys(series);
  }

  drawAxes(context, plot, top, y, color, family) {
    context.font = `11px ${family}`;
    context.fillStyle = color("--quiet");
    context.strokeStyle = color("--line");
    context.lineWidth = 1;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const value of [0, top / 2, top]) {
      const line = Math.round(y(value)) + 0.5;
      context.beginPath();
      context.moveTo(plot.left, line);
      context.lineTo(plot.right, line);
      context.stroke();
      context.fillText(String(Number(value.toPrecision(3))), plot.left - 6, line);
    }
    context.textBaseline = "alphabetic";
    const seconds = Math.round((this.options.samples - 1) * this.options.interval_s);
    context.textAlign = "left";
    context.fillText(`${seconds} s ago`, plot.left, plot.bottom + 14);
    context.textAlign = "right";
    context.fillText("now", plot.right, plot.bottom + 14);
  }

  drawPointer(context, plot, color) {
    if (this.pointed === null || this.pointed >= this.history.length) return;
    const line = Math.round(plot.right - this.pointed * this.step()) + 0.5;
    context.strokeStyle = color("--quiet");
    context.beginPath();
    context.moveTo(line, plot.top);
    context.lineTo(line, plot.bottom);
    context.stroke();
  }

  writeKeys(series) {
    const back = this.pointed ?? 0;
    this.keys.replaceChildren(
      ...series.map(({ name, color, values }) => {
        const key = document.createElement("span");
        const swatch = document.createElement("i");
        swatch.style.background = `var(${color})`;
        const value = document.createElement("b");
        value.textContent = number(values[values.length - 1 - back]);
        key.append(swatch, name, value);
        return key;
      }),
    );
  }
}

/** A number as short as it can be read, – for none. */
export function number(value) {
  if (value === null || value === undefined) return "–";
  return value >= 100 ? Math.round(value).toLocaleString() : String(Number(value.toFixed(1)));
}

/** Each series on top of those before it. */
function stack(series) {
  let below = null;
  return series.map((one) => {
    const values = one.values.map((value, i) => (value ?? 0) + (below?.[i] ?? 0));
    const layer = { ...one, values, below };
    below = values;
    return layer;
  });
}

/** The value that 97% of `values` do not exceed: a lone peak must not flatten all the rest. */
function mostly(values) {
  const sorted = values.filter((value) => value !== null).sort((a, b) => a - b);
  return sorted[Math.floor(0.97 * (sorted.length - 1))] ?? 0;
}

/** The least round number that is not below `value`. */
function niceTop(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return unit * STEPS.find((step) => unit * step >= value);
}

function drawLayer(context, { values, below, color: name, fill, dashed }, x, y, color) {
  const count = values.length;
  const known = values.map((value, i) => [i, value]).filter(([, value]) => value !== null);
  if (known.length === 0) return;
  context.beginPath();
  for (const [i, value] of known) context.lineTo(x(i, count), y(value));
  context.strokeStyle = context.fillStyle = color(name);
  context.lineWidth = 1.75;
  context.lineJoin = "round";
  context.setLineDash(dashed ? [4, 4] : []);
  context.stroke();
  context.setLineDash([]);
  if (!fill) return;
  for (const [i] of known.reverse()) context.lineTo(x(i, count), y(below?.[i] ?? 0));
  context.globalAlpha = fill;
  context.fill();
  context.globalAlpha = 1;
}
