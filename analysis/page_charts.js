"use strict";
const COLOUR = {
  J_s: "#0072B2",
  J_a: "#D55E00",
  contact: "#D55E00",
  limit: "#009E73",
  friction_loss: "#999999",
  equality: "#999999",
  free: "#0072B2",
  zero: "#56B4E9",
  nonzero: "#E69F00",
};
// Cividis, every eighth of it: readable for people with any kind of colour vision.
const CIVIDIS = [
  [0, 34, 78],
  [27, 53, 109],
  [67, 78, 108],
  [97, 104, 112],
  [125, 124, 120],
  [155, 145, 119],
  [187, 166, 108],
  [222, 191, 85],
  [254, 232, 56],
];
const data = JSON.parse(document.getElementById("data").textContent);
const BANDS = 20;
const tip = document.getElementById("tip");

function element(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "rect", "line", "text", "circle"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
function share(value, digits = 1) {
  return value === null ? "–" : (100 * value).toFixed(digits) + " %";
}
function number(value, digits = 3) {
  return value === null || value === undefined ? "–" : Number(value.toPrecision(digits)).toLocaleString("en");
}
function cividis(value) {
  const place = Math.min(Math.max(value, 0), 1) * (CIVIDIS.length - 1),
    low = Math.min(Math.floor(place), CIVIDIS.length - 2);
  return `rgb(${CIVIDIS[low].map((c, i) => Math.round(c + (CIVIDIS[low + 1][i] - c) * (place - low))).join(",")})`;
}
function showTip(event, text) {
  if (!text) {
    tip.hidden = true;
    return;
  }
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8)) + "px";
  tip.style.top =
    (event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 10 : event.clientY + 18) + "px";
}
function hover(target, read) {
  target.addEventListener("pointermove", (event) => {
    const box = target.getBoundingClientRect();
    showTip(event, read(event.clientX - box.left, event.clientY - box.top, box));
  });
  target.addEventListener("pointerleave", () => {
    tip.hidden = true;
  });
}
/* As wide as wanted, or as there is room for; then it keeps its shape. */
function canvas(width, height) {
  const made = element("canvas"),
    ratio = window.devicePixelRatio || 1;
  made.width = width * ratio;
  made.height = height * ratio;
  made.style.width = width + "px";
  made.style.aspectRatio = `${width} / ${height}`;
  const context = made.getContext("2d");
  context.scale(ratio, ratio);
  context.font = "10px system-ui, 'DejaVu Sans', sans-serif";
  return [made, context];
}
/* Room for a figure of the whole width, px. */
function room() {
  return Math.max(280, Math.min(1120, document.querySelector("main").clientWidth));
}
/* What the colours between low and high mean. */
function colourBar(low, high, words) {
  const [made, c] = canvas(160, 12);
  for (let x = 0; x < 160; x++) {
    c.fillStyle = cividis(x / 159);
    c.fillRect(x, 0, 1, 12);
  }
  return element("p", { class: "note bar" }, low, made, `${high} ${words}`);
}
function colourNames(pairs) {
  const made = element("p", { class: "note legend" });
  for (const [words, colour] of pairs) made.append(element("span", { style: `border-top:8px solid ${colour}` }, words));
  return made;
}
/* Ticks in seconds below a figure over an episode. */
function timeAxis(c, left, right, y, seconds) {
  const rough = seconds / Math.max(2, (right - left) / 80),
    power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  c.fillStyle = "#333";
  c.textAlign = "center";
  c.textBaseline = "top";
  for (let tick = 0; tick * step <= seconds * 1.0001; tick++) {
    const x = left + ((tick * step) / seconds) * (right - left);
    c.fillRect(x, y, 1, 4);
    c.fillText(String(Number((tick * step).toPrecision(4))), Math.min(x, right - 6), y + 6);
  }
  c.textAlign = "right";
  c.fillText("time, s", right, y + 18);
}
function yLabel(svg, words, height) {
  svg.append(element("text", { transform: `translate(11 ${height / 2}) rotate(-90)`, "text-anchor": "middle" }, words));
}
function figure(parent, title, caption, ...content) {
  const made = element("figure", {}, element("h3", {}, title), ...content, element("figcaption", {}, caption));
  parent.append(made);
  return made;
}

function lines(series, options) {
  const width = 420,
    height = 240,
    m = { l: 58, r: 18, t: 8, b: 34 };
  const all = series.flatMap((one) => one.points),
    logX = options.logX,
    logY = options.logY;
  const scale = (values, log, low, high, limits) => {
    const f = log ? Math.log10 : (v) => v,
      [a, b] = (limits || [Math.min(...values), Math.max(...values)]).map(f);
    const place = (v) => low + ((high - low) * (f(v) - a)) / (b - a || 1);
    let ticks = [];
    if (log) {
      const powers = (factors, by) => {
        for (let e = Math.floor(a); e <= b + 1e-9; e += by) for (const one of factors) ticks.push(one * 10 ** e);
      };
      powers([1], Math.max(1, Math.ceil((b - a) / 6)));
      const inside = () => ticks.filter((t) => Math.log10(t) > a - 1e-9 && Math.log10(t) < b + 1e-9);
      // Within one decade or two its own ticks are too few.
      if (inside().length < 3) {
        ticks = [];
        powers([1, 2, 5], 1);
      }
      ticks = inside();
    } else ticks = [0, 0.25, 0.5, 0.75, 1].map((t) => a + t * (b - a));
    return [place, ticks];
  };
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
  if (!all.length) {
    svg.append(element("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, options.empty || "nothing"));
    return svg;
  }
  const [x, xTicks] = scale(
    all.map((p) => p[0]),
    logX,
    m.l,
    width - m.r,
    options.limitsX,
  );
  const [y, yTicks] = scale(
    all.map((p) => p[1]),
    logY,
    height - m.b,
    m.t,
    options.limitsY,
  );
  const words = (v, log) =>
    log && (v < 1e-2 || v > 9999) ? "1e" + Math.round(Math.log10(v)) : String(Number(v.toPrecision(3)));
  for (const t of xTicks)
    svg.append(element("text", { x: x(t), y: height - m.b + 14, "text-anchor": "middle" }, words(t, logX)));
  for (const t of yTicks)
    svg.append(
      element("line", { x1: m.l, x2: width - m.r, y1: y(t), y2: y(t), stroke: "#e4e4e4" }),
      element("text", { x: m.l - 5, y: y(t) + 4, "text-anchor": "end" }, words(t, logY)),
    );
  svg.append(element("text", { x: (m.l + width) / 2, y: height - 4, "text-anchor": "middle" }, options.x));
  yLabel(svg, options.y, height - m.b);
  for (const one of series) {
    const path = one.points.map((p, i) => (i ? "L" : "M") + x(p[0]).toFixed(1) + " " + y(p[1]).toFixed(1)).join("");
    svg.append(
      element("path", {
        d: path,
        fill: "none",
        stroke: one.colour,
        "stroke-width": 1.6,
        "stroke-dasharray": one.dash || "none",
      }),
    );
    if (one.points.length < 30)
      for (const p of one.points) svg.append(element("circle", { cx: x(p[0]), cy: y(p[1]), r: 2, fill: one.colour }));
  }
  hover(svg, (px, py, box) => {
    const k = width / box.width;
    let best = null,
      least = 900;
    for (const one of series)
      for (const p of one.points) {
        const d = (x(p[0]) - px * k) ** 2 + (y(p[1]) - py * k) ** 2;
        if (d < least) {
          least = d;
          best = `${one.name}\n${options.x}: ${number(p[0])}\n${options.y}: ${number(p[1])}${p[2] ? "\n" + p[2] : ""}`;
        }
      }
    return best || "";
  });
  const legend = element("p", { class: "note legend" });
  for (const one of series)
    legend.append(
      element(
        "span",
        {
          style: `border-top:2px ${!one.dash ? "solid" : one.dash.startsWith("1") ? "dotted" : "dashed"} ${one.colour}`,
        },
        one.name,
      ),
    );
  const group = element("div", {}, svg);
  if (series.length > 1) group.append(legend);
  return group;
}

function levels(one, which, colours) {
  const width = 420,
    height = 200,
    m = { l: 58, r: 8, t: 8, b: 34 };
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
  const x = (v) => m.l + v * (width - m.l - m.r),
    y = (v) => height - m.b - v * (height - m.b - m.t);
  for (const t of [0, 0.5, 1])
    svg.append(
      element("text", { x: x(t), y: height - m.b + 14, "text-anchor": "middle" }, String(t)),
      element("line", { x1: m.l, x2: width - m.r, y1: y(t), y2: y(t), stroke: "#e4e4e4" }),
      element("text", { x: m.l - 5, y: y(t) + 4, "text-anchor": "end" }, String(t)),
    );
  svg.append(element("text", { x: (m.l + width) / 2, y: height - 4, "text-anchor": "middle" }, `sparsity of ${which}`));
  yLabel(svg, "share of rows", height - m.b);
  for (const [level, ...counts] of one.levels[which]) {
    let below = 0;
    counts.forEach((count, mode) => {
      if (!count) return;
      const part = count / one.rows;
      const bar = element("rect", {
        x: x(level) - 3,
        width: 6,
        y: y(below + part),
        height: Math.max(0.7, y(below) - y(below + part)),
        fill: colours[mode],
      });
      hover(
        bar,
        () =>
          `sparsity ${number(level, 4)}: ${count.toLocaleString("en")} rows (${share(part, 2)}) ${["free", "at a limit, without contact", "in contact"][mode]}`,
      );
      svg.append(bar);
      below += part;
    });
  }
  return svg;
}

function map(one) {
  const found = one.map,
    size = 400,
    [made, c] = canvas(size, size),
    at = (i) => [12 + (found.x[i] / 1000) * (size - 24), 12 + (found.y[i] / 1000) * (size - 24)];
  found.modes.forEach((_, i) => {
    const [x, y] = at(i);
    c.fillStyle = found.legend[found.modes[i]][1];
    c.beginPath();
    c.arc(x, y, 2.4, 0, 7);
    c.fill();
  });
  c.strokeStyle = "#000";
  c.lineWidth = 0.6;
  c.beginPath();
  found.sequence.forEach((i, k) => (k ? c.lineTo(...at(i)) : c.moveTo(...at(i))));
  c.stroke();
  hover(made, (px, py, box) => {
    const k = size / box.width;
    let best = -1,
      least = 64;
    for (let i = 0; i < found.x.length; i++) {
      const [x, y] = at(i),
        d = (x - px * k) ** 2 + (y - py * k) ** 2;
      if (d < least) {
        least = d;
        best = i;
      }
    }
    return best < 0
      ? ""
      : `row ${found.rows[best].toLocaleString("en")}\n${found.legend[found.modes[best]][0]}\nsparsity ${number(found.sparsity[best])}`;
  });
  return made;
}
