"use strict";
// Draws the charts of the page from the statistics in #data, as SVG. A chart is of one of two kinds: `lines` over
// numbers (with mark `scatter`: points alone), and `rows`, one for each name (with mark `bar`: bars from zero).
// Text from the data only ever becomes text nodes and attributes that hold no code.

const DATA = JSON.parse(document.getElementById("data").textContent);
const COLOURS = 10;
const SHAPES = [
  (r) => `M${-r},0a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0`,
  (r) => `M${-r},${-r}h${2 * r}v${2 * r}h${-2 * r}z`,
  (r) => `M0,${-1.3 * r}L${1.2 * r},${0.9 * r}H${-1.2 * r}z`,
  (r) => `M0,${-1.4 * r}L${1.4 * r},0L0,${1.4 * r}L${-1.4 * r},0z`,
  (r) => `M0,${1.3 * r}L${1.2 * r},${-0.9 * r}H${-1.2 * r}z`,
];
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];
const CHARACTER = 6.7; // pixels, of a label

// ---- arms

/** How an arm looks everywhere: the reference grey, the others in the palette's order. */
function look(arm) {
  if (arm === DATA.reference) return { colour: "reference", shape: SHAPES[0], dash: "" };
  const k = DATA.arms.filter((name) => name !== DATA.reference).indexOf(arm);
  return { colour: `s${k % COLOURS}`, shape: SHAPES[(k + 1) % SHAPES.length], dash: DASHES[Math.floor(k / COLOURS) % DASHES.length] };
}

// ---- numbers as text

const forms = new Map();

/** As `toLocaleString`, which is slow because it makes the form anew for each number. */
function written(value, options) {
  const name = JSON.stringify(options);
  if (!forms.has(name)) forms.set(name, new Intl.NumberFormat("en-GB", options));
  return forms.get(name).format(value);
}

const plain = (value, digits) => written(value, { minimumFractionDigits: digits, maximumFractionDigits: digits });
const signed = (value, text) => (value > 0 ? "+" : value < 0 ? "−" : "") + text.replace("-", "");

/** A value as it is shown; `step` is the distance of two ticks on an axis, for as few digits as it needs. */
function said(value, format, step) {
  const digits = (s, most) => (step ? Math.min(most, Math.max(0, -Math.floor(Math.log10(s) + 1e-9))) : null);
  if (format === "percent") return `${plain(100 * value, digits(100 * step, 2) ?? 1)} %`;
  if (format === "points") return signed(value, plain(100 * value, digits(100 * step, 2) ?? 1));
  if (Math.abs(value) >= 1e6) {
    return written(value, { notation: value < 1e15 ? "compact" : "scientific", maximumSignificantDigits: 3 });
  }
  if (format === "count") return written(value, { maximumFractionDigits: 1 });
  return written(value, { maximumSignificantDigits: 4 });
}

/** Round numbers that divide a range into about `wanted` parts. */
function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step || 0); // no -0
  return { found, step };
}

// ---- SVG

function element(parent, name, attributes = {}, text) {
  const made = parent.ownerDocument.createElementNS(parent.namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

const html = (parent, name, attributes, text) => element(parent, name, attributes, text);

function mark(svg, arm, x, y, radius, kind) {
  const { colour, shape } = look(arm);
  return element(svg, "path", { d: shape(radius), transform: `translate(${x},${y})`, class: `mark ${kind} ${colour}` });
}

/** The least and the greatest of all that is drawn, a little room around it. */
function domain(values, zero, room = 0.06) {
  let low = Math.min(...values), high = Math.max(...values);
  if (zero) { low = Math.min(0, low); high = Math.max(0, high); }
  const space = (high - low || Math.abs(high) || 1) * room;
  return [zero && low === 0 ? 0 : low - space, zero && high === 0 ? 0 : high + space];
}

const finite = (list) => list.flat().filter((value) => typeof value === "number");
const drawnValues = (one) => finite([one.y, one.low ?? [], one.high ?? [], ...(one.dots ?? [])]);

function reduced(series, format) {
  const found = series.flatMap(drawnValues);
  return format === "percent" ? found.map((value) => Math.min(1, Math.max(0, value))) : found;
}

// ---- the two kinds

function lines(svg, chart, series, width, format) {
  const height = width < 480 ? 240 : 300;
  const scatter = chart.mark === "scatter";
  const box = { left: 58, right: width - (scatter ? 48 : 16), top: 12, bottom: height - 24 };
  const xs = finite(series.map((one) => one.x)), log = chart.x.log && Math.min(...xs) > 0;
  const scale = log ? Math.log : (value) => value;
  const [x0, x1] = domain(xs.map(scale), chart.x.zero, xs.length > 1 ? 0.03 : 0.5);
  const bounded = format === "percent";
  let [y0, y1] = domain(reduced(series, format), false);
  const { step } = ticks(y0, y1, 5);
  [y0, y1] = [Math.floor(y0 / step + 1e-9) * step, Math.ceil(y1 / step - 1e-9) * step];
  if (bounded) { y0 = Math.max(0, y0); y1 = Math.min(1, y1); }
  const up = ticks(y0, y1, (y1 - y0) / step);
  const X = (value) => box.left + ((scale(value) - x0) / (x1 - x0 || 1)) * (box.right - box.left);
  const Y = (value) => box.bottom - ((Math.min(y1, Math.max(y0, value)) - y0) / (y1 - y0 || 1)) * (box.bottom - box.top);
  for (const value of up.found) {
    element(svg, "line", { x1: box.left, x2: box.right, y1: Y(value), y2: Y(value), class: "grid" });
    element(svg, "text", { x: box.left - 8, y: Y(value) + 4, class: "tick end" }, said(value, format, up.step));
  }
  const along = log ? { found: [...new Set(xs)].sort((a, b) => a - b) } : ticks(x0, x1, Math.min(8, width / 80));
  let free = -Infinity;
  for (const value of along.found) {
    const text = said(value, chart.x.format), half = (text.length * CHARACTER) / 2;
    if (X(value) - half < free || (chart.x.format === "count" && !log && value !== Math.round(value))) continue;
    free = X(value) + half + 6;
    element(svg, "line", { x1: X(value), x2: X(value), y1: box.bottom, y2: box.bottom + 4, class: "axis" });
    element(svg, "text", { x: X(value), y: box.bottom + 18, class: "tick middle" }, text);
  }
  element(svg, "line", { x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, class: "axis" });
  const stops = new Map();
  for (const one of series) {
    const { colour, dash } = look(one.arm);
    const at = one.x.map((x, k) => [X(x), Y(one.y[k])]);
    if (one.low && !scatter && at.length > 1) {
      const upper = one.x.map((x, k) => `${X(x)},${Y(one.high[k])}`), lower = one.x.map((x, k) => `${X(x)},${Y(one.low[k])}`);
      element(svg, "polygon", { points: [...upper, ...lower.reverse()].join(" "), class: `band ${colour}` });
    }
    if (!scatter) element(svg, "polyline", { points: at.map((p) => p.join()).join(" "), class: `line ${colour}`, "stroke-dasharray": dash });
    at.forEach(([x, y], k) => {
      if (one.low && (scatter || at.length === 1) && one.low[k] !== one.high[k]) {
        element(svg, "line", { x1: x, x2: x, y1: Y(one.low[k]), y2: Y(one.high[k]), class: `whisker ${colour}` });
      }
      if (scatter) element(svg, "text", { x: x + 10, y: y + 4, class: "tick" }, one.labels === "all" ? "all" : plain(+one.labels, 0));
      if (at.length <= 30) mark(svg, one.arm, x, y, scatter ? 6 : 4, "mean");
      const place = scatter ? `${x},${y}` : one.x[k];
      const title = () => `${said(one.x[k], "count")} ${chart.x.title || one.quantity}`;
      if (!stops.has(place)) stops.set(place, { x, y, title, said: [] });
      stops.get(place).said.push({ arm: one.arm, text: () => {
        const spread = one.low && one.low[k] !== one.high[k] ? ` (${said(one.low[k], format)} to ${said(one.high[k], format)})` : "";
        return `${one.arm}${scatter ? `, ${one.labels} labels` : ""}: ${said(one.y[k], format)}${spread}`;
      } });
    });
  }
  const cross = element(svg, "line", { y1: box.top, y2: box.bottom, class: "cross" });
  const list = [...stops.values()].sort((a, b) => a.x - b.x);
  const distance = scatter ? (stop, x, y) => (stop.x - x) ** 2 + (stop.y - y) ** 2 : (stop, x) => Math.abs(stop.x - x);
  return { height, stops: list, title: chart.x.title || series[0].quantity, distance, show: (stop) => { cross.setAttribute("x1", stop.x); cross.setAttribute("x2", stop.x); } };
}

const MOST_ROWS = 40;

/** The rows in their order, by the mean of what is shown; of very many, those that gain and that lose most. */
function ordered(chart, series) {
  let names = [...new Set(series.flatMap((one) => one.x))];
  if (chart.order !== "value") return { names: names.slice(0, 200), left: Math.max(0, names.length - 200) };
  const values = (name) => series.map((one) => one.y[one.x.indexOf(name)]).filter((value) => value !== undefined);
  const sums = new Map(names.map((name) => [name, values(name).reduce((a, b) => a + b) / values(name).length]));
  names.sort((a, b) => sums.get(b) - sums.get(a));
  const left = Math.max(0, names.length - MOST_ROWS);
  if (left) names = [...names.slice(0, MOST_ROWS / 2), ...names.slice(-MOST_ROWS / 2)];
  return { names, left };
}

function rows(svg, chart, series, width, format) {
  const bars = chart.mark === "bar";
  const { names, left } = ordered(chart, series);
  const places = new Map(series.map((one) => [one, new Map(one.x.map((name, k) => [name, k]))]));
  const together = Math.max(...names.map((name) => series.filter((one) => places.get(one).has(name)).length));
  const step = Math.max(24, 8 + 11 * together);
  const longest = Math.max(...names.map((name) => name.length));
  const room = Math.min(width * 0.4, 14 + longest * CHARACTER), letters = Math.floor((room - 14) / CHARACTER);
  const box = { left: room, right: width - 20, top: 8, bottom: 8 + step * names.length };
  const height = box.bottom + 24;
  const values = series.flatMap(drawnValues);
  const [v0, v1] = domain(chart.y.line ? [...values, chart.y.line] : values, bars || chart.y.zero || format === "points");
  const V = (value) => box.left + ((value - v0) / (v1 - v0 || 1)) * (box.right - box.left);
  const along = ticks(v0, v1, Math.min(7, (box.right - box.left) / 70));
  for (const value of along.found) {
    element(svg, "line", { x1: V(value), x2: V(value), y1: box.top, y2: box.bottom, class: value ? "grid" : "axis" });
    element(svg, "text", { x: V(value), y: box.bottom + 16, class: "tick middle" }, said(value, format, along.step));
  }
  if (chart.y.line) element(svg, "line", { x1: V(chart.y.line), x2: V(chart.y.line), y1: box.top, y2: box.bottom, class: "even" });
  const stops = names.map((name, row) => {
    const middle = box.top + step * (row + 0.5);
    if (together > 1 && row) element(svg, "line", { x1: box.left, x2: box.right, y1: middle - step / 2, y2: middle - step / 2, class: "grid" });
    const label = element(svg, "text", { x: box.left - 10, y: middle + 4, class: "tick end" });
    label.textContent = name.length > letters + 1 ? `${name.slice(0, letters)}…` : name;
    const here = series.filter((one) => places.get(one).has(name));
    const texts = here.map((one, place) => {
      const k = places.get(one).get(name), { colour } = look(one.arm);
      const y = middle + 11 * (place - (here.length - 1) / 2);
      const known = one.low && one.low[k] !== null;
      if (bars) {
        element(svg, "rect", { x: V(0), y: y - 4.5, width: Math.max(0, V(one.y[k]) - V(0)), height: 9, class: `bar ${colour}` });
      } else {
        if (known) element(svg, "line", { x1: V(one.low[k]), x2: V(one.high[k]), y1: y, y2: y, class: `whisker ${colour}` });
        for (const value of one.dots?.[k] ?? []) mark(svg, one.arm, V(value), y, 2.2, "seed");
        mark(svg, one.arm, V(one.y[k]), y, 4.5, "mean");
      }
      const text = () => {
        const ends = known ? ` [${said(one.low[k], format)}, ${said(one.high[k], format)}]` : one.note ? `; ${one.note}` : "";
        const seeds = one.dots?.[k]?.length;
        return `${one.arm}: ${said(one.y[k], format)}${ends}${seeds ? `, ${seeds} seed${seeds > 1 ? "s" : ""}` : ""}`;
      };
      return { arm: one.arm, text };
    });
    return { x: (box.left + box.right) / 2, y: middle, title: () => name, said: texts };
  });
  const cross = element(svg, "rect", { x: 0, width, height: step, y: -step, class: "row" });
  svg.prepend(cross);
  const rest = left ? `; of ${left} more between these, see the table` : "";
  const distance = (stop, x, y) => Math.abs(stop.y - y);
  return { height, stops, title: chart.y.title + rest, distance, show: (stop) => cross.setAttribute("y", stop.y - step / 2) };
}

// ---- a figure: choices, legend, drawing, what the pointer is on

class Figure {
  constructor(figure, chart) {
    Object.assign(this, { figure, chart, chosen: {}, at: -1 });
    this.controls = html(figure, "div", { class: "controls" });
    this.legend = html(figure, "div", { class: "legend", "aria-hidden": "true" });
    this.stage = html(figure, "div", { class: "stage" });
    this.tip = html(figure, "div", { class: "tip", role: "status", hidden: "" });
    figure.prepend(figure.querySelector("figcaption"));
    this.selects = (chart.choose ?? []).map((tag) => {
      const label = html(this.controls, "label", {}, tag === "labels" ? "labels " : "");
      const select = html(label, "select", { "aria-label": `${tag} of this chart` });
      select.addEventListener("change", () => { this.chosen[tag] = select.value; this.draw(); });
      return { tag, label, select };
    });
    new ResizeObserver(() => this.stage.clientWidth && this.stage.clientWidth !== this.width && this.draw()).observe(this.stage);
  }

  /** The series that the page's filter leaves, and for each choice what can be chosen. */
  visible() {
    const { state, chart } = { state: this.state, chart: this.chart };
    let series = chart.series.filter((one) => ["arm", "labels", "checkpoint"].every((tag) => !(tag in one) || state[tag].has(one[tag])));
    series = series.map((one) => {
      if (!one.at) return one;
      const kept = one.at.map((labels, k) => (state.labels.has(labels) ? k : -1)).filter((k) => k >= 0);
      return { ...one, ...Object.fromEntries(["x", "y", "low", "high"].map((name) => [name, kept.map((k) => one[name][k])])) };
    }).filter((one) => one.x.length);
    for (const { tag, label, select } of this.selects) {
      const options = [...new Set(series.map((one) => one[tag]))];
      if (!options.includes(this.chosen[tag])) this.chosen[tag] = options[0];
      select.replaceChildren(...options.map((value) => new Option(value, value, false, value === this.chosen[tag])));
      label.hidden = options.length < 2;
      series = series.filter((one) => one[tag] === this.chosen[tag]);
    }
    return series;
  }

  draw(state = this.state) {
    this.state = state;
    this.width = this.stage.clientWidth;
    if (!this.width) return; // in a closed part of the page
    this.hide();
    const series = this.visible(), { chart } = this;
    const arms = DATA.arms.filter((arm) => series.some((one) => one.arm === arm));
    this.legend.replaceChildren();
    for (const arm of arms) key(html(this.legend, "span"), arm);
    this.stage.replaceChildren();
    if (!series.length) return void html(this.stage, "p", { class: "note" }, "Nothing of this is chosen above.");
    const format = chart.y.formats?.[this.chosen.quantity] ?? chart.y.format;
    const svg = vector(this.stage, { width: this.width, tabindex: "0", role: "img" });
    svg.setAttribute("aria-label", `${this.figure.querySelector("figcaption").textContent} Arrow keys read the values.`);
    this.drawn = (chart.kind === "rows" ? rows : lines)(svg, chart, series, this.width, format);
    html(this.stage, "p", { class: "axis-title" }, this.drawn.title);
    svg.setAttribute("height", this.drawn.height);
    svg.setAttribute("viewBox", `0 0 ${this.width} ${this.drawn.height}`);
    svg.addEventListener("pointermove", (event) => this.near(event));
    svg.addEventListener("pointerdown", (event) => this.near(event));
    svg.addEventListener("pointerleave", () => this.hide());
    svg.addEventListener("blur", () => this.hide());
    svg.addEventListener("keydown", (event) => this.step(event));
  }

  near(event) {
    const box = this.stage.getBoundingClientRect();
    const far = this.drawn.stops.map((stop) => this.drawn.distance(stop, event.clientX - box.left, event.clientY - box.top));
    this.show(far.indexOf(Math.min(...far)));
  }

  step(event) {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") return this.hide();
    if (!move) return;
    event.preventDefault();
    const count = this.drawn.stops.length;
    this.show((this.at < 0 && move < 0 ? count - 1 : this.at + move + count) % count);
  }

  show(index) {
    if (index === this.at) return;
    this.at = index;
    const stop = this.drawn.stops[index];
    this.drawn.show(stop);
    this.tip.replaceChildren();
    html(this.tip, "strong", {}, stop.title());
    for (const { arm, text } of stop.said.slice(0, 24)) key(html(this.tip, "span"), arm, text());
    this.tip.hidden = false;
    const most = this.figure.clientWidth - this.tip.offsetWidth - 4, right = stop.x + 14;
    this.tip.style.left = `${Math.max(4, right > most ? stop.x - this.tip.offsetWidth - 14 : right)}px`;
    this.tip.style.top = `${this.stage.offsetTop + Math.max(0, Math.min(stop.y - 20, this.drawn.height - this.tip.offsetHeight - 40))}px`;
  }

  hide() {
    this.tip.hidden = true;
    this.at = -1;
  }
}

function vector(parent, attributes) {
  const svg = new DOMParser().parseFromString('<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml").documentElement;
  const made = document.importNode(svg, true);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  parent.append(made);
  return made;
}

/** An arm's mark and its name. */
function key(parent, arm, text = arm) {
  const svg = vector(parent, { width: 12, height: 12, viewBox: "-6 -6 12 12", class: "key", "aria-hidden": "true" });
  mark(svg, arm, 0, 0, 4, "mean");
  parent.append(text);
}
