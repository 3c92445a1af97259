"use strict";
const COLOUR = { J_s: "#0072B2", J_a: "#D55E00", contact: "#D55E00", limit: "#009E73", friction_loss: "#999999",
  free: "#0072B2", zero: "#56B4E9", nonzero: "#E69F00" };
// Cividis, every eighth of it: readable for people with any kind of colour vision.
const CIVIDIS = [[0, 34, 78], [27, 53, 109], [67, 78, 108], [97, 104, 112], [125, 124, 120], [155, 145, 119], [187, 166, 108],
  [222, 191, 85], [254, 232, 56]];
const data = JSON.parse(document.getElementById("data").textContent);
const BANDS = 20;
const longest = Math.max(...data.studies.map(one => one.longest));
const tip = document.getElementById("tip");

function element(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "rect", "line", "text", "circle"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
function share(value, digits = 1) { return value === null ? "–" : (100 * value).toFixed(digits) + " %"; }
function number(value, digits = 3) { return value === null || value === undefined ? "–" : Number(value.toPrecision(digits)).toLocaleString("en"); }
function cividis(value) {
  const place = Math.min(Math.max(value, 0), 1) * (CIVIDIS.length - 1), low = Math.min(Math.floor(place), CIVIDIS.length - 2);
  return `rgb(${CIVIDIS[low].map((c, i) => Math.round(c + (CIVIDIS[low + 1][i] - c) * (place - low))).join(",")})`;
}
function showTip(event, text) {
  if (!text) { tip.hidden = true; return; }
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8)) + "px";
  tip.style.top = (event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 10 : event.clientY + 18) + "px";
}
function hover(target, read) {
  target.addEventListener("pointermove", event => {
    const box = target.getBoundingClientRect();
    showTip(event, read(event.clientX - box.left, event.clientY - box.top, box));
  });
  target.addEventListener("pointerleave", () => { tip.hidden = true; });
}
function canvas(width, height) {
  const made = element("canvas"), ratio = window.devicePixelRatio || 1;
  made.width = width * ratio; made.height = height * ratio;
  made.style.width = width + "px"; made.style.height = height + "px";
  const context = made.getContext("2d");
  context.scale(ratio, ratio);
  context.font = "10px system-ui, 'DejaVu Sans', sans-serif";
  return [made, context];
}
function figure(parent, title, caption, ...content) {
  const made = element("figure", {}, element("h3", {}, title), ...content, element("figcaption", {}, caption));
  parent.append(made);
  return made;
}

/* A matrix [J_s | J_a] of cells with names on both sides; colour(entry) and text(entry) by the entry's number. */
class Matrix {
  constructor(one, size) {
    this.one = one; this.rows = one.effects.length; this.columns = this.rows + one.actions.length;
    this.cell = size; this.gap = 6;
    this.names = size >= 9;
    this.left = this.names ? 8 + 6.1 * Math.max(...one.effects.map(n => n.length)) : 0;
    this.top = this.names ? 8 + 6.1 * Math.max(...one.effects.concat(one.actions).map(n => n.length)) : 0;
    [this.canvas, this.context] = canvas(this.left + this.columns * size + this.gap + 2, this.top + this.rows * size + 2);
    if (this.names) this.label();
  }
  x(column) { return this.left + column * this.cell + (column >= this.rows ? this.gap : 0); }
  entry(row, column) {
    const da = this.columns - this.rows;
    return column < this.rows ? row * this.rows + column : this.rows * this.rows + row * da + column - this.rows;
  }
  label() {
    const c = this.context, causes = this.one.effects.concat(this.one.actions);
    c.fillStyle = "#222"; c.textBaseline = "middle"; c.textAlign = "right";
    this.one.effects.forEach((name, row) => c.fillText(name + "′", this.left - 4, this.top + (row + .5) * this.cell));
    causes.forEach((name, column) => {
      c.save(); c.translate(this.x(column) + this.cell / 2, this.top - 4); c.rotate(-Math.PI / 2); c.textAlign = "left";
      c.fillText(name, 0, 0); c.restore();
    });
  }
  draw(colour, mark = () => false) {
    const c = this.context, inner = this.cell > 6 ? this.cell - .5 : this.cell;
    for (let row = 0; row < this.rows; row++) for (let column = 0; column < this.columns; column++) {
      const entry = this.entry(row, column), x = this.x(column), y = this.top + row * this.cell;
      c.fillStyle = colour(entry);
      c.fillRect(x, y, inner, inner);
      if (mark(entry)) {
        c.strokeStyle = "#000"; c.lineWidth = 1; c.beginPath(); const a = this.cell * .3, b = this.cell * .7;
        c.moveTo(x + a, y + a); c.lineTo(x + b, y + b); c.moveTo(x + b, y + a); c.lineTo(x + a, y + b); c.stroke();
      }
    }
  }
  read(text) {
    hover(this.canvas, (x, y, box) => {
      const scale = box.width / parseFloat(this.canvas.style.width), px = x / scale, row = Math.floor((y / scale - this.top) / this.cell);
      let column = Math.floor((px - this.left) / this.cell);
      if (column >= this.rows) column = Math.max(this.rows, Math.floor((px - this.left - this.gap) / this.cell));
      if (row < 0 || row >= this.rows || column < 0 || column >= this.columns) return "";
      const cause = column < this.rows ? this.one.effects[column] : this.one.actions[column - this.rows] + " (action)";
      return `${cause} → ${this.one.effects[row]}′\n${text(this.entry(row, column))}`;
    });
  }
}
function cellSize(one, width) { return Math.max(4, Math.min(16, Math.floor(width / (one.effects.length + one.actions.length)))); }

/* Lines over one or two logarithmic axes; hovering reads the nearest point. */
function lines(series, options) {
  const width = 420, height = 240, m = { l: 46, r: 18, t: 8, b: 34 };
  const all = series.flatMap(one => one.points), logX = options.logX, logY = options.logY;
  const scale = (values, log, low, high, limits) => {
    const f = log ? Math.log10 : v => v, [a, b] = (limits || [Math.min(...values), Math.max(...values)]).map(f);
    const place = v => low + (high - low) * (f(v) - a) / ((b - a) || 1);
    let ticks = [];
    if (log) for (let e = Math.ceil(a - 1e-9); e <= b + 1e-9; e += Math.max(1, Math.ceil((b - a) / 6))) ticks.push(10 ** e);
    else ticks = [0, .25, .5, .75, 1].map(t => a + t * (b - a));
    return [place, ticks];
  };
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
  if (!all.length) { svg.append(element("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, options.empty || "nothing")); return svg; }
  const [x, xTicks] = scale(all.map(p => p[0]), logX, m.l, width - m.r, options.limitsX);
  const [y, yTicks] = scale(all.map(p => p[1]), logY, height - m.b, m.t, options.limitsY);
  const words = (v, log) => log && (v < 1e-2 || v > 9999) ? "1e" + Math.round(Math.log10(v)) : String(Number(v.toPrecision(3)));
  for (const t of xTicks) svg.append(element("text", { x: x(t), y: height - m.b + 14, "text-anchor": "middle" }, words(t, logX)));
  for (const t of yTicks) svg.append(element("line", { x1: m.l, x2: width - m.r, y1: y(t), y2: y(t), stroke: "#e4e4e4" }),
    element("text", { x: m.l - 5, y: y(t) + 4, "text-anchor": "end" }, words(t, logY)));
  svg.append(element("text", { x: (m.l + width) / 2, y: height - 4, "text-anchor": "middle" }, options.x));
  for (const one of series) {
    const path = one.points.map((p, i) => (i ? "L" : "M") + x(p[0]).toFixed(1) + " " + y(p[1]).toFixed(1)).join("");
    svg.append(element("path", { d: path, fill: "none", stroke: one.colour, "stroke-width": 1.6, "stroke-dasharray": one.dash || "none" }));
    if (one.points.length < 30) for (const p of one.points) svg.append(element("circle", { cx: x(p[0]), cy: y(p[1]), r: 2, fill: one.colour }));
  }
  hover(svg, (px, py, box) => {
    const k = width / box.width;
    let best = null, least = 900;
    for (const one of series) for (const p of one.points) {
      const d = (x(p[0]) - px * k) ** 2 + (y(p[1]) - py * k) ** 2;
      if (d < least) { least = d; best = `${one.name}\n${options.x}: ${number(p[0])}\n${options.y}: ${number(p[1])}${p[2] ? "\n" + p[2] : ""}`; }
    }
    return best || "";
  });
  const legend = element("p", { class: "note legend" });
  for (const one of series) legend.append(element("span", { style: `border-top:2px ${one.dash ? "dashed" : "solid"} ${one.colour}` }, one.name));
  const group = element("div", {}, svg);
  if (series.length > 1) group.append(legend);
  return group;
}

function levels(one, which, colours) {
  const width = 420, height = 200, m = { l: 46, r: 8, t: 8, b: 34 };
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
  const x = v => m.l + v * (width - m.l - m.r), y = v => height - m.b - v * (height - m.b - m.t);
  for (const t of [0, .5, 1]) svg.append(element("text", { x: x(t), y: height - m.b + 14, "text-anchor": "middle" }, String(t)),
    element("line", { x1: m.l, x2: width - m.r, y1: y(t), y2: y(t), stroke: "#e4e4e4" }), element("text", { x: m.l - 5, y: y(t) + 4, "text-anchor": "end" }, String(t)));
  svg.append(element("text", { x: (m.l + width) / 2, y: height - 4, "text-anchor": "middle" }, `sparsity of ${which}`));
  for (const [level, ...counts] of one.levels[which]) {
    let below = 0;
    counts.forEach((count, mode) => {
      if (!count) return;
      const part = count / one.rows;
      const bar = element("rect", { x: x(level) - 3, width: 6, y: y(below + part), height: Math.max(.7, y(below) - y(below + part)), fill: colours[mode] });
      hover(bar, () => `sparsity ${number(level, 4)}: ${count.toLocaleString("en")} rows (${share(part, 2)}) ${["free", "at a limit, without contact", "in contact"][mode]}`);
      svg.append(bar);
      below += part;
    });
  }
  return svg;
}

function map(one) {
  const found = one.map, size = 400, [made, c] = canvas(size, size), at = i => [12 + found.x[i] / 1000 * (size - 24), 12 + found.y[i] / 1000 * (size - 24)];
  found.sparsity.forEach((value, i) => { const [x, y] = at(i); c.fillStyle = cividis(value); c.beginPath(); c.arc(x, y, 2.4, 0, 7); c.fill(); });
  c.strokeStyle = "#000"; c.lineWidth = .6; c.beginPath();
  found.sequence.forEach((i, k) => k ? c.lineTo(...at(i)) : c.moveTo(...at(i)));
  c.stroke();
  hover(made, (px, py, box) => {
    const k = size / box.width;
    let best = -1, least = 64;
    for (let i = 0; i < found.x.length; i++) { const [x, y] = at(i), d = (x - px * k) ** 2 + (y - py * k) ** 2; if (d < least) { least = d; best = i; } }
    return best < 0 ? "" : `row ${found.rows[best].toLocaleString("en")}\nsparsity ${number(found.sparsity[best])}`;
  });
  return made;
}

function bitsOf(text, count) {
  const raw = atob(text), found = new Uint8Array(count);
  for (let i = 0; i < count; i++) found[i] = raw.charCodeAt(i >> 3) >> (i & 7) & 1;
  return found;
}

/* One episode: picture, mask, sparsity and what is active, all at the same step. */
function scrub(parent, one) {
  const t = one.timeline, steps = t.pattern.length, ds = one.effects.length, entries = ds * (ds + one.actions.length);
  const masks = t.masks.map(text => bitsOf(text, entries));
  const zeros = masks.map(mask => {
    let s = 0, a = 0;
    mask.forEach((v, i) => { if (!v) i < ds * ds ? s++ : a++; });
    return [s / (ds * ds), one.actions.length ? a / (ds * one.actions.length) : 0];
  });
  const matrix = new Matrix(one, cellSize(one, 460)), pictures = element("div", { class: "pictures" });
  let frame = null;
  if (t.frames) {
    frame = element("div", { class: "frame", role: "img", "aria-label": "the robot at this step" });
    frame.style.backgroundImage = `url(${t.frames.sheet})`;
    frame.style.backgroundSize = `${240 * t.frames.columns}px auto`;
    pictures.append(frame);
  }
  pictures.append(matrix.canvas);
  const acting = ([, spans]) => spans.reduce((sum, [a, b]) => sum + b - a, 0);
  const least = t.active.map(acting).sort((a, b) => b - a)[BANDS - 1] || 0, bands = t.active.filter(one => acting(one) >= least);
  const rowHeight = 13, curve = 110, named = 150, width = 1120, height = curve + 16 + rowHeight * Math.max(1, bands.length);
  const [track, c] = canvas(width, height), x = k => named + k / steps * (width - named - 6);
  c.fillStyle = "#333"; c.textAlign = "right"; c.textBaseline = "middle";
  for (const v of [0, .5, 1]) { const y = 6 + (1 - v) * (curve - 14); c.fillText("sparsity " + v, named - 6, y); c.fillStyle = "#e4e4e4"; c.fillRect(named, y, width, 1); c.fillStyle = "#333"; }
  ["J_s", "J_a"].forEach((name, which) => {
    c.strokeStyle = COLOUR[name]; c.lineWidth = 1.2; c.beginPath();
    t.pattern.forEach((p, k) => { const y = 6 + (1 - zeros[p][which]) * (curve - 14); k ? c.lineTo(x(k), y) : c.moveTo(x(k), y); c.lineTo(x(k + 1), y); });
    c.stroke();
  });
  bands.forEach(([constraint, spans], line) => {
    const y = curve + 8 + line * rowHeight, { name, kind } = one.constraints[constraint];
    c.fillStyle = "#333"; c.fillText(name.slice(0, 26), named - 6, y + rowHeight / 2);
    c.fillStyle = COLOUR[kind];
    for (const [from, to] of spans) c.fillRect(x(from), y + 1, Math.max(1, x(to) - x(from)), rowHeight - 3);
  });
  if (!t.active.length) c.fillText("no contact or limit acts", named + 160, curve + 14);
  const cursor = element("div", { class: "cursor" }), holder = element("div", { class: "track" }, track, cursor);
  const slider = element("input", { type: "range", min: 0, max: steps - 1, value: 0, "aria-label": `step of ${one.task}'s episode` });
  const play = element("button", { type: "button" }, "Play"), now = element("p", { class: "now", "aria-live": "off" });
  let current = -1, timer = 0;
  function go(step) {
    step = Math.max(0, Math.min(steps - 1, step));
    if (step === current) return;
    current = step;
    slider.value = step;
    const mask = masks[t.pattern[step]], before = masks[t.pattern[Math.max(0, step - 1)]];
    matrix.draw(e => mask[e] !== before[e] ? (mask[e] ? "#E69F00" : "#56B4E9") : mask[e] ? "#0b3c5d" : "#e6e9ec", e => one.zeros[e] === one.rows);
    if (frame) {
      const k = Math.min(t.frames.count - 1, Math.round(step / t.frames.every));
      frame.style.backgroundPosition = `-${240 * (k % t.frames.columns)}px -${180 * Math.floor(k / t.frames.columns)}px`;
    }
    const active = t.active.filter(([, spans]) => spans.some(([a, b]) => a <= step && step < b)).map(([n]) => one.constraints[n].name);
    const [s, a] = zeros[t.pattern[step]];
    now.textContent = `step ${step}, ${(step * one.dt).toFixed(3)} s: sparsity of J_s ${s.toFixed(3)}, of J_a ${a.toFixed(3)}; pattern ${t.pattern[step] + 1} of ${masks.length} in this episode; active: ${active.join(", ") || "nothing"}`;
    const box = track.getBoundingClientRect();
    cursor.style.left = (x(step + .5) * (box.width || width) / width) + "px";
  }
  slider.addEventListener("input", () => go(Number(slider.value)));
  const drag = event => { const box = track.getBoundingClientRect(); go(Math.floor(((event.clientX - box.left) * width / box.width - named) / (width - named - 6) * steps)); };
  holder.addEventListener("pointerdown", event => { holder.setPointerCapture(event.pointerId); drag(event); });
  holder.addEventListener("pointermove", event => { if (event.buttons) drag(event); });
  play.addEventListener("click", () => {
    if (timer) { clearInterval(timer); timer = 0; play.textContent = "Play"; return; }
    play.textContent = "Pause";
    timer = setInterval(() => { if (!play.isConnected) { clearInterval(timer); return; } go((current + 1) % steps); }, Math.max(20, 1000 * one.dt));
  });
  matrix.read(e => `${masks[t.pattern[current]][e] ? "non-zero" : "zero"} at step ${current}`);
  figure(parent, `Episode ${t.episode}, step by step`, `The episode in which most entries switch. Mask: dark is non-zero, light is zero, orange and blue entries have just become non-zero and zero; × is zero in every row of the data.${bands.length < t.active.length ? ` Bands: the ${bands.length} of ${t.active.length} contacts and limits that act longest.` : ""}${frame ? ` A picture every ${t.frames.every === 1 ? "" : t.frames.every + " "}step${t.frames.every === 1 ? "" : "s"}; the task's goal is not drawn, as it is no part of the state.` : ""}`,
    element("div", { class: "scrub" }, pictures, element("div", { class: "controls" }, play, slider), now, holder));
  now.style.gridColumn = "1 / 3";
  go(0);
}

function table(header, rows, left = 1) {
  const head = element("tr", {}, ...header.map((h, i) => element("th", i < left ? { class: "left" } : {}, h)));
  return element("div", { class: "scroll" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows.map(row =>
    element("tr", {}, ...row.map((cell, i) => element("td", i < left ? { class: "left" } : {}, cell)))))));
}

function draw(one, parent) {
  parent.replaceChildren();
  const s = one.summary;
  parent.append(element("p", {}, `${one.rows.toLocaleString("en")} rows of ${one.episodes.toLocaleString("en")} episodes; a contact acts in ${share(s.contact)}, a limit alone in ${share(s.limit)}; control step ${number(one.dt)} s; mean return ${number(s.mean_return)}.`));
  const heat = new Matrix(one, cellSize(one, 760));
  heat.draw(e => cividis(one.zeros[e] / one.rows), e => one.zeros[e] === one.rows);
  heat.canvas.classList.add("heat");
  heat.read(e => `zero in ${share(one.zeros[e] / one.rows, 2)} of the rows${one.zeros[e] === one.rows ? ": in every row" : ""}\nswitches ${one.switches[e].toLocaleString("en")} times`);
  figure(parent, "Q1. How often each derivative is zero", "Share of rows, dark blue never to yellow always; × is zero in every row. Left J_s, right J_a; row = effect, column = cause.", heat.canvas);
  scrub(parent, one);
  const grid = element("div", { class: "grid" });
  parent.append(grid);
  const modes = ["#0072B2", "#009E73", "#D55E00"];
  figure(grid, "Q2. Sparsity of J_s", `Share of rows at each level; blue free, green at a limit, orange in contact. Mean ${number(s.sparsity_s)}.`, levels(one, "J_s", modes));
  if (one.actions.length) figure(grid, "Q2. Sparsity of J_a", `Likewise. Mean ${number(s.sparsity_a)}.`, levels(one, "J_a", modes));
  if (one.map) figure(grid, "Q2. Map of (s, a, s′)", `t-SNE, perplexity ${number(one.map.perplexity)}, coloured by the sparsity of [J_s | J_a], dark 0 to yellow 1; the line is one consecutive sequence.`, map(one));
  figure(grid, "Q3. How long entries stay zero, and non-zero", `Runs per control step of duration; dashed: only runs that no end of an episode cuts off. Means by Kaplan and Meier: zero ${number(s.zero_run)}, non-zero ${number(s.nonzero_run)} steps. ${s.never_switch.toLocaleString("en")} pairs of entry and episode never switch and are left out.`,
    lines(one.runs, { logX: true, logY: true, x: "duration, control steps", y: "runs per step", limitsX: [1, longest], empty: "no entry ever switches" }));
  figure(grid, "Beyond: other thresholds", "Share of zeros in J_s where |J| is below a threshold; dashed: times the largest entry of the row's J_s.",
    lines(one.thresholds, { logX: true, x: "threshold", y: "share of zeros", limitsY: [0, 1] }));
  figure(grid, "Beyond: several steps", "Share of zeros in the Jacobian of k steps, the product of the single steps' Jacobians.",
    lines(one.horizons, { logX: true, x: "steps k", y: "share of zeros", limitsY: [0, 1] }));
  figure(parent, "Q2. The most frequent patterns", `${s.patterns.toLocaleString("en")} patterns in all, ${s.covering.toLocaleString("en")} make up 99 % of the rows. The set of active constraints explains ${share(s.explained)} of the pattern's entropy. Active: constraints and the share of the pattern's rows in which they act.`,
    table(["rows", "sparsity", "zeros in J_s", "in J_a", "active"], one.patterns.map(p => [share(p.share, 2), number(p.sparsity), String(p.zeros_s), String(p.zeros_a), p.active]), 0));
  figure(parent, "Q3. What changes together with the pattern", `The pattern changes at ${share(s.changes)} of the steps. Base rate: the precision that chance alone would give. Lag: mean distance to the nearest such change, where within 10 steps.`,
    table(["change of", "changes", "precision", "recall", "base rate", "lag, steps"], one.changes));
  figure(parent, "Beyond: effective dimension", "Singular values with all variables in units of their standard deviation; effective rank: exp of their entropy.",
    table(["matrix", "mode", "rows", "effective rank", "rank", "of"], one.spectra, 2));
}

const COLUMNS = [["task", "task"], ["data", "data"], ["rows", "rows"], ["contact", "contact"], ["limit", "limit"], ["always zero in J_s", "zeros_s"], ["paper", "paper_s"],
  ["in J_a", "zeros_a"], ["sparsity J_s", "sparsity_s"], ["J_a", "sparsity_a"], ["patterns", "patterns"], ["explained", "explained"],
  ["changes", "changes"], ["precision", "precision"], ["recall", "recall"], ["zero run", "zero_run"], ["non-zero run", "nonzero_run"]];
function front() {
  const head = element("tr"), body = document.querySelector("#front tbody");
  const cell = (one, key) => {
    const s = one.summary;
    if (key === "task") return element("td", {}, element("a", { href: "#" + one.task }, one.task));
    if (key === "data") return element("td", { class: "left" }, one.data);
    if (key === "rows") return element("td", {}, one.rows.toLocaleString("en"));
    if (key === "zeros_s") return element("td", {}, `${s.zeros_s} (${share(s.zeros_s / one.effects.length ** 2)})`);
    if (key === "paper_s") return element("td", s.paper_s === null ? {} : { class: s.paper_s === s.zeros_s && s.paper_a === s.zeros_a ? "yes" : "no" }, s.paper_s === null ? "–" : `${s.paper_s}, ${s.paper_a}`);
    if (["contact", "limit", "explained", "changes"].includes(key)) return element("td", {}, share(s[key]));
    return element("td", {}, number(s[key]));
  };
  const value = (one, key) => key in one ? one[key] : one.summary[key];
  const fill = studies => body.replaceChildren(...studies.map(one => element("tr", {}, ...COLUMNS.map(([, key]) => cell(one, key)))));
  COLUMNS.forEach(([title, key]) => {
    const th = element("th", { tabindex: 0 }, title);
    th.addEventListener("click", () => {
      const order = th.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending", sign = order === "ascending" ? 1 : -1;
      for (const other of head.children) other.removeAttribute("aria-sort");
      th.setAttribute("aria-sort", order);
      fill([...data.studies].sort((a, b) => { const x = value(a, key), y = value(b, key); return x === y ? 0 : x === null ? 1 : y === null ? -1 : (x < y ? -1 : 1) * sign; }));
    });
    th.addEventListener("keydown", event => { if (event.key === "Enter") th.click(); });
    head.append(th);
  });
  document.querySelector("#front thead").append(head);
  fill(data.studies);
}

function sections() {
  const parent = document.getElementById("sections"), watcher = new IntersectionObserver(found => {
    for (const one of found) if (one.isIntersecting && !one.target.dataset.drawn) one.target.drawNow();
  }, { rootMargin: "800px" });
  for (const task of [...new Set(data.studies.map(one => one.task))]) {
    const chosen = data.studies.filter(one => one.task === task), content = element("div"), tabs = element("div", { class: "tabs" });
    const section = element("section", { id: task, "data-task": task }, element("h2", {}, task), tabs, content);
    const show = one => {
      for (const tab of tabs.children) tab.setAttribute("aria-pressed", tab.textContent === one.data);
      section.dataset.drawn = one.data;
      draw(one, content);
    };
    for (const one of chosen) { const tab = element("button", { type: "button", "aria-pressed": false }, one.data); tab.addEventListener("click", () => show(one)); tabs.append(tab); }
    section.drawNow = () => show(chosen[0]);
    const compared = data.comparisons.filter(row => row[0] === task).map(row => row.slice(1));
    if (compared.length) figure(section, "Beyond: data sets side by side", "Two stores that differ in the policy, or in the dynamics. Zero in every row: entries of [J_s | J_a]. Differences: of an entry's share of zeros. Distance: Jensen–Shannon, of the distributions of the sparsity of J_s, 0 equal to 1 disjoint.",
      table(["A", "B", "zero in every row of A", "of B", "of A only", "of B only", "mean sparsity A", "B", "changes A", "B", "mean difference", "largest", "distance"], compared, 2));
    parent.append(section);
    watcher.observe(section);
  }
}
document.getElementById("threshold").textContent = [...new Set(data.studies.map(one => one.mask_threshold.toExponential(0)))].join(", ");
front();
sections();
if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
