function heatMap(parent, one) {
  const heat = new Matrix(one, Math.min(room(), 820)),
    text = element("figcaption"),
    bar = element("div"),
    tabs = element("div", { class: "tabs" });
  const sizes = one.largest.filter((size) => size > 0),
    [low, high] = [Math.max(1e-12, Math.min(...sizes)), Math.max(...sizes)].map(Math.log10);
  const say = (lowText, highText, words, caption) => {
    bar.replaceChildren(colourBar(lowText, highText, words));
    text.textContent = caption;
  };
  const modes = {
    "share of zeros": () => {
      heat.draw(
        (e) => cividis(one.zeros[e] / one.rows),
        (e) => one.zeros[e] === one.rows,
      );
      say(
        "0 %",
        "100 %",
        "of the rows are zero",
        "× is zero in every row. Left J_s, right J_a; row = effect, column = cause.",
      );
    },
    "largest |J|": () => {
      heat.draw(
        (e) => (one.largest[e] > 0 ? cividis((Math.log10(one.largest[e]) - low) / (high - low || 1)) : "#fff"),
        (e) => one.zeros[e] === one.rows,
      );
      say(
        (10 ** low).toExponential(0),
        (10 ** high).toExponential(0),
        "largest |J| in any row, SI units, logarithmic",
        "White: exactly 0 in every row; × is below the threshold in every row.",
      );
    },
  };
  for (const [name, show] of Object.entries(modes)) {
    const tab = element("button", { type: "button", "aria-pressed": false }, name);
    tab.addEventListener("click", () => {
      for (const other of tabs.children) other.setAttribute("aria-pressed", other === tab);
      show();
    });
    tabs.append(tab);
  }
  heat.canvas.classList.add("heat");
  heat.read(
    (e) =>
      `zero in ${share(one.zeros[e] / one.rows, 2)} of the rows${one.zeros[e] === one.rows ? ": in every row" : ""}\nlargest |J| ${number(one.largest[e])}\nswitches ${one.switches[e].toLocaleString("en")} times`,
  );
  parent.append(
    element(
      "figure",
      {},
      element("h3", {}, "Q1. How often each derivative is zero, and how large it gets"),
      tabs,
      heat.canvas,
      bar,
      text,
    ),
  );
  tabs.firstChild.click();
}

function table(header, rows, left = 1) {
  const head = element("tr", {}, ...header.map((h, i) => element("th", i < left ? { class: "left" } : {}, h)));
  return element(
    "div",
    { class: "scroll" },
    element(
      "table",
      {},
      element("thead", {}, head),
      element(
        "tbody",
        {},
        ...rows.map((row) =>
          element("tr", {}, ...row.map((cell, i) => element("td", i < left ? { class: "left" } : {}, cell))),
        ),
      ),
    ),
  );
}

function draw(one, parent) {
  parent.replaceChildren();
  const s = one.summary;
  parent.append(
    element(
      "p",
      {},
      `${one.rows.toLocaleString("en")} rows of ${one.episodes.toLocaleString("en")} episodes; a contact acts in ${share(s.contact)}, a limit alone in ${share(s.limit)}; control step ${number(one.dt)} s; mean return ${number(s.mean_return)}.`,
    ),
  );
  heatMap(parent, one);
  strips(parent, one);
  scrub(parent, one);
  const grid = element("div", { class: "grid" });
  parent.append(grid);
  const modes = ["#0072B2", "#009E73", "#D55E00"];
  figure(
    grid,
    "Q2. Sparsity of J_s",
    `Share of rows at each level; blue free, green at a limit, orange in contact. Mean ${number(s.sparsity_s)}.`,
    levels(one, "J_s", modes),
  );
  if (one.actions.length)
    figure(grid, "Q2. Sparsity of J_a", `Likewise. Mean ${number(s.sparsity_a)}.`, levels(one, "J_a", modes));
  if (one.map)
    figure(
      grid,
      "Q2. Map of (s, a, s′)",
      `t-SNE, perplexity ${number(one.map.perplexity)}, coloured by mode; the line is one consecutive sequence.`,
      map(one),
      colourNames(one.map.legend),
    );
  figure(
    grid,
    "Q3. How long entries stay zero, and non-zero",
    `Runs per control step of duration; dashed: only runs that no end of an episode cuts off. Means by Kaplan and Meier: zero ${number(s.zero_run)}, non-zero ${number(s.nonzero_run)} steps. ${s.never_switch.toLocaleString("en")} pairs of entry and episode never switch and are left out.`,
    lines(one.runs, {
      logX: true,
      logY: true,
      x: "duration, control steps",
      y: "runs per step",
      limitsX: [1, Math.max(2, one.longest)],
      empty: "no entry ever switches",
    }),
  );
  figure(
    grid,
    "Beyond: other thresholds",
    "Share of zeros in J_s where |J| is below a threshold; dashed: times the largest entry of the row's J_s; dotted: of variables in units of their standard deviation.",
    lines(one.thresholds, { logX: true, x: "threshold", y: "share of zeros", limitsY: [0, 1] }),
  );
  figure(
    grid,
    "Beyond: several steps",
    "Share of zeros in the Jacobian of k steps, the product of the single steps' Jacobians.",
    lines(one.horizons, { logX: true, x: "steps k", y: "share of zeros", limitsY: [0, 1] }),
  );
  figure(
    parent,
    "Q2. The most frequent patterns",
    `${s.patterns.toLocaleString("en")} patterns in all, ${s.covering.toLocaleString("en")} make up 99 % of the rows. The set of active constraints explains ${share(s.explained)} of the pattern's entropy. Active: constraints and the share of the pattern's rows in which they act.`,
    table(
      ["rows", "sparsity", "zeros in J_s", "in J_a", "active"],
      one.patterns.map((p) => [share(p.share, 2), number(p.sparsity), String(p.zeros_s), String(p.zeros_a), p.active]),
      0,
    ),
  );
  figure(
    parent,
    "Q3. What changes together with the pattern",
    `The pattern changes at ${share(s.changes)} of the steps. Base rate: the precision that chance alone would give. Lag: mean distance to the nearest such change, where within 10 steps.`,
    table(["change of", "changes", "precision", "recall", "base rate", "lag, steps"], one.changes),
  );
  figure(
    parent,
    "Beyond: effective dimension",
    "Singular values with all variables in units of their standard deviation; effective rank: exp of their entropy.",
    table(["matrix", "mode", "rows", "effective rank", "rank", "of"], one.spectra, 2),
  );
}

const COLUMNS = [
  ["task", "task"],
  ["data", "data"],
  ["rows", "rows"],
  ["contact", "contact"],
  ["limit", "limit"],
  ["always zero in J_s", "zeros_s"],
  ["paper", "paper_s"],
  ["in J_a", "zeros_a"],
  ["sparsity J_s", "sparsity_s"],
  ["J_a", "sparsity_a"],
  ["patterns", "patterns"],
  ["explained", "explained"],
  ["changes", "changes"],
  ["precision", "precision"],
  ["recall", "recall"],
  ["zero run", "zero_run"],
  ["non-zero run", "nonzero_run"],
];
function front() {
  const head = element("tr"),
    body = document.querySelector("#front tbody");
  const cell = (one, key) => {
    const s = one.summary;
    if (key === "task") return element("td", {}, element("a", { href: "#" + one.task }, one.task));
    if (key === "data") return element("td", { class: "left" }, one.data);
    if (key === "rows") return element("td", {}, one.rows.toLocaleString("en"));
    if (key === "zeros_s") return element("td", {}, `${s.zeros_s} (${share(s.zeros_s / one.effects.length ** 2)})`);
    if (key === "paper_s")
      return element(
        "td",
        s.paper_s === null ? {} : { class: s.paper_s === s.zeros_s && s.paper_a === s.zeros_a ? "yes" : "no" },
        s.paper_s === null ? "–" : `${s.paper_s}, ${s.paper_a}`,
      );
    if (["contact", "limit", "explained", "changes"].includes(key)) return element("td", {}, share(s[key]));
    return element("td", {}, number(s[key]));
  };
  const value = (one, key) => (key in one ? one[key] : one.summary[key]);
  const fill = (studies) =>
    body.replaceChildren(...studies.map((one) => element("tr", {}, ...COLUMNS.map(([, key]) => cell(one, key)))));
  COLUMNS.forEach(([title, key]) => {
    const th = element(
      "th",
      key === "task" || key === "data" ? { class: "left", tabindex: 0 } : { tabindex: 0 },
      title,
    );
    th.addEventListener("click", () => {
      const order = th.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending",
        sign = order === "ascending" ? 1 : -1;
      for (const other of head.children) other.removeAttribute("aria-sort");
      th.setAttribute("aria-sort", order);
      fill(
        [...data.studies].sort((a, b) => {
          const x = value(a, key),
            y = value(b, key);
          return x === y ? 0 : x === null ? 1 : y === null ? -1 : (x < y ? -1 : 1) * sign;
        }),
      );
    });
    th.addEventListener("keydown", (event) => {
      if (event.key === "Enter") th.click();
    });
    head.append(th);
  });
  document.querySelector("#front thead").append(head);
  fill(data.studies);
}

function sections() {
  const parent = document.getElementById("sections"),
    watcher = new IntersectionObserver(
      (found) => {
        for (const one of found) if (one.isIntersecting && !one.target.dataset.drawn) one.target.drawNow();
      },
      { rootMargin: "800px" },
    );
  for (const task of [...new Set(data.studies.map((one) => one.task))]) {
    const chosen = data.studies.filter((one) => one.task === task),
      content = element("div"),
      tabs = element("div", { class: "tabs" });
    const section = element("section", { id: task, "data-task": task }, element("h2", {}, task), tabs, content);
    const show = (one) => {
      for (const tab of tabs.children) tab.setAttribute("aria-pressed", tab.textContent === one.data);
      section.dataset.drawn = one.data;
      draw(one, content);
    };
    for (const one of chosen) {
      const tab = element("button", { type: "button", "aria-pressed": false }, one.data);
      tab.addEventListener("click", () => show(one));
      tabs.append(tab);
    }
    section.drawNow = () => show(chosen[0]);
    const compared = data.comparisons.filter((row) => row[0] === task).map((row) => row.slice(1));
    if (compared.length)
      figure(
        section,
        "Beyond: data sets side by side",
        "Two stores that differ in the policy, or in the dynamics. Zero in every row: entries of [J_s | J_a]. Differences: of an entry's share of zeros. Distance: Jensen–Shannon, of the distributions of the sparsity of J_s, 0 equal to 1 disjoint.",
        table(
          [
            "A",
            "B",
            "zero in every row of A",
            "of B",
            "of A only",
            "of B only",
            "mean sparsity A",
            "B",
            "changes A",
            "B",
            "mean difference",
            "largest",
            "distance",
          ],
          compared,
          2,
        ),
      );
    parent.append(section);
    watcher.observe(section);
  }
}
/* Figures are as wide as the page was when they were drawn. */
let widthDrawn = room(),
  redraw = 0;
addEventListener("resize", () => {
  clearTimeout(redraw);
  redraw = setTimeout(() => {
    if (room() === widthDrawn) return;
    widthDrawn = room();
    for (const section of document.querySelectorAll("section[data-drawn]"))
      section.querySelector(":scope > .tabs [aria-pressed=true]").click();
  }, 200);
});
const ZERO_WORDS = {
  stored: (at) => `|J| < ${at}, decided in float64`,
  absolute: (at) => `|J| < ${at}`,
  relative: (at) => `|J| < ${at} times the row's largest`,
  dimensionless: (at) => `|J| < ${at}, variables in units of their standard deviation`,
};
document.getElementById("threshold").textContent = [
  ...new Set(data.studies.map((one) => ZERO_WORDS[one.mask_scale](one.mask_threshold.toExponential(0)))),
].join("; or ");
front();
sections();
if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
