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
  const matrix = new Matrix(one, Math.min(room(), 560)), pictures = element("div", { class: "pictures" });
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
  const rowHeight = 13, curve = 110, width = room(), named = Math.min(150, .28 * width), letters = Math.floor(named / 6), bottom = curve + 12 + rowHeight * Math.max(1, bands.length), height = bottom + 30;
  const [track, c] = canvas(width, height), x = k => named + k / steps * (width - named - 6);
  c.fillStyle = "#333"; c.textAlign = "right"; c.textBaseline = "middle";
  for (const v of [0, .5, 1]) { const y = 6 + (1 - v) * (curve - 14); c.fillText((v === 1 && named > 100 ? "sparsity " : "") + v, named - 6, y); c.fillStyle = "#e4e4e4"; c.fillRect(named, y, width, 1); c.fillStyle = "#333"; }
  ["J_s", "J_a"].forEach((name, which) => {
    c.strokeStyle = COLOUR[name]; c.lineWidth = 1.2; c.beginPath();
    t.pattern.forEach((p, k) => { const y = 6 + (1 - zeros[p][which]) * (curve - 14); k ? c.lineTo(x(k), y) : c.moveTo(x(k), y); c.lineTo(x(k + 1), y); });
    c.stroke();
  });
  bands.forEach(([constraint, spans], line) => {
    const y = curve + 8 + line * rowHeight, { name, kind } = one.constraints[constraint];
    c.fillStyle = "#333"; c.fillText(name.length > letters ? name.slice(0, letters - 1) + "…" : name, named - 6, y + rowHeight / 2);
    c.fillStyle = COLOUR[kind];
    for (const [from, to] of spans) c.fillRect(x(from), y + 1, Math.max(1, x(to) - x(from)), rowHeight - 3);
  });
  if (!t.active.length) { c.textAlign = "left"; c.fillText("no contact or limit acts", named + 6, curve + 14); }
  timeAxis(c, named, width - 6, bottom, steps * one.dt);
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

/* All episodes, a line each: how sparse, step by step. */
function strips(parent, one) {
  const s = one.strips, raw = atob(s.values), lines = s.episodes.length, left = 46, width = room(), right = width - 6;
  const tall = Math.max(4, Math.min(14, Math.floor(260 / lines))), bottom = 4 + lines * tall, [made, c] = canvas(width, bottom + 30);
  const across = (right - left) / s.columns, steps = s.columns * s.every;
  const cells = line => Math.ceil(s.lengths[line] / s.every), level = (line, k) => raw.charCodeAt(line * s.columns + k) / 255;
  for (let line = 0; line < lines; line++) for (let k = 0; k < cells(line); k++) {
    c.fillStyle = cividis(level(line, k));
    c.fillRect(left + k * across, 4 + line * tall, across + .5, tall > 6 ? tall - 1 : tall);
  }
  c.fillStyle = "#333"; c.textAlign = "right"; c.textBaseline = "middle";
  const each = Math.ceil(12 / tall);
  for (let line = 0; line < lines; line += each) c.fillText(s.episodes[line], left - 5, 4 + (line + .5) * tall);
  if (bottom > 50) { c.save(); c.translate(7, bottom / 2); c.rotate(-Math.PI / 2); c.textAlign = "center"; c.fillText("episode", 0, 0); c.restore(); }
  timeAxis(c, left, right, bottom, steps * one.dt);
  hover(made, (x, y, box) => {
    const scale = width / box.width, line = Math.floor((y * scale - 4) / tall), k = Math.floor((x * scale - left) / across);
    if (line < 0 || line >= lines || k < 0 || k >= cells(line)) return "";
    const first = k * s.every, last = Math.min(s.lengths[line], first + s.every) - 1;
    return `episode ${s.episodes[line]}, return ${number(s.returns[line])}\nsteps ${first}${last > first ? " to " + last : ""}: sparsity ${number(s.low + level(line, k) * (s.high - s.low))}`;
  });
  const some = lines < s.of ? `${lines} of ${s.of.toLocaleString("en")} episodes, evenly spaced. ` : "";
  figure(parent, "Q2, Q3. All episodes", `Sparsity of [J_s | J_a] over time${s.every > 1 ? `, means of ${s.every} steps` : ""}. ${some}The explorer (dynamic-sparsity explore) shows any of them step by step, with the robot.`,
    made, colourBar(number(s.low), number(s.high), "sparsity"));
}

/* How often an entry is zero, or how large it is at most. */
function heatMap(parent, one) {
  const heat = new Matrix(one, Math.min(room(), 820)), text = element("figcaption"), bar = element("div"), tabs = element("div", { class: "tabs" });
  const sizes = one.largest.filter(size => size > 0), [low, high] = [Math.max(1e-12, Math.min(...sizes)), Math.max(...sizes)].map(Math.log10);
  const say = (lowText, highText, words, caption) => { bar.replaceChildren(colourBar(lowText, highText, words)); text.textContent = caption; };
  const modes = {
    "share of zeros": () => {
      heat.draw(e => cividis(one.zeros[e] / one.rows), e => one.zeros[e] === one.rows);
      say("0 %", "100 %", "of the rows are zero", "× is zero in every row. Left J_s, right J_a; row = effect, column = cause.");
    },
    "largest |J|": () => {
      heat.draw(e => one.largest[e] > 0 ? cividis((Math.log10(one.largest[e]) - low) / (high - low || 1)) : "#fff", e => one.zeros[e] === one.rows);
      say((10 ** low).toExponential(0), (10 ** high).toExponential(0), "largest |J| in any row, SI units, logarithmic", "White: exactly 0 in every row; × is below the threshold in every row.");
    },
  };
  for (const [name, show] of Object.entries(modes)) {
    const tab = element("button", { type: "button", "aria-pressed": false }, name);
    tab.addEventListener("click", () => { for (const other of tabs.children) other.setAttribute("aria-pressed", other === tab); show(); });
    tabs.append(tab);
  }
  heat.canvas.classList.add("heat");
  heat.read(e => `zero in ${share(one.zeros[e] / one.rows, 2)} of the rows${one.zeros[e] === one.rows ? ": in every row" : ""}\nlargest |J| ${number(one.largest[e])}\nswitches ${one.switches[e].toLocaleString("en")} times`);
  parent.append(element("figure", {}, element("h3", {}, "Q1. How often each derivative is zero, and how large it gets"), tabs, heat.canvas, bar, text));
  tabs.firstChild.click();
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
  heatMap(parent, one);
  strips(parent, one);
  scrub(parent, one);
  const grid = element("div", { class: "grid" });
  parent.append(grid);
  const modes = ["#0072B2", "#009E73", "#D55E00"];
  figure(grid, "Q2. Sparsity of J_s", `Share of rows at each level; blue free, green at a limit, orange in contact. Mean ${number(s.sparsity_s)}.`, levels(one, "J_s", modes));
  if (one.actions.length) figure(grid, "Q2. Sparsity of J_a", `Likewise. Mean ${number(s.sparsity_a)}.`, levels(one, "J_a", modes));
  if (one.map) figure(grid, "Q2. Map of (s, a, s′)", `t-SNE, perplexity ${number(one.map.perplexity)}, coloured by mode; the line is one consecutive sequence.`, map(one), colourNames(one.map.legend));
  figure(grid, "Q3. How long entries stay zero, and non-zero", `Runs per control step of duration; dashed: only runs that no end of an episode cuts off. Means by Kaplan and Meier: zero ${number(s.zero_run)}, non-zero ${number(s.nonzero_run)} steps. ${s.never_switch.toLocaleString("en")} pairs of entry and episode never switch and are left out.`,
    lines(one.runs, { logX: true, logY: true, x: "duration, control steps", y: "runs per step", limitsX: [1, Math.max(2, one.longest)], empty: "no entry ever switches" }));
  figure(grid, "Beyond: other thresholds", "Share of zeros in J_s where |J| is below a threshold; dashed: times the largest entry of the row's J_s; dotted: of variables in units of their standard deviation.",
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
/* Figures are as wide as the page was when they were drawn. */
let widthDrawn = room(), redraw = 0;
addEventListener("resize", () => {
  clearTimeout(redraw);
  redraw = setTimeout(() => {
    if (room() === widthDrawn) return;
    widthDrawn = room();
    for (const section of document.querySelectorAll("section[data-drawn]")) section.querySelector(":scope > .tabs [aria-pressed=true]").click();
  }, 200);
});
const ZERO_WORDS = {
  stored: at => `|J| < ${at}, decided in float64`,
  absolute: at => `|J| < ${at}`,
  relative: at => `|J| < ${at} times the row's largest`,
  dimensionless: at => `|J| < ${at}, variables in units of their standard deviation`,
};
document.getElementById("threshold").textContent =
  [...new Set(data.studies.map(one => ZERO_WORDS[one.mask_scale](one.mask_threshold.toExponential(0))))].join("; or ");
front();
sections();
if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
