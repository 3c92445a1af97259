// One episode, step by step, and all episodes as strips.
function bitsOf(text, count) {
  const raw = atob(text),
    found = new Uint8Array(count);
  for (let i = 0; i < count; i++) found[i] = (raw.charCodeAt(i >> 3) >> (i & 7)) & 1;
  return found;
}

/* One episode: picture, mask, sparsity and what is active, all at the same step. */
function scrub(parent, one) {
  const t = one.timeline,
    steps = t.pattern.length,
    ds = one.effects.length,
    entries = ds * (ds + one.actions.length);
  const masks = t.masks.map((text) => bitsOf(text, entries));
  const zeros = masks.map((mask) => {
    let s = 0,
      a = 0;
    mask.forEach((v, i) => {
      if (!v) i < ds * ds ? s++ : a++;
    });
    return [s / (ds * ds), one.actions.length ? a / (ds * one.actions.length) : 0];
  });
  const matrix = new Matrix(one, Math.min(room(), 560)),
    pictures = element("div", { class: "pictures" });
  let frame = null;
  if (t.frames) {
    frame = element("div", { class: "frame", role: "img", "aria-label": "the robot at this step" });
    frame.style.backgroundImage = `url(${t.frames.sheet})`;
    frame.style.backgroundSize = `${240 * t.frames.columns}px auto`;
    pictures.append(frame);
  }
  pictures.append(matrix.canvas);
  const acting = ([, spans]) => spans.reduce((sum, [a, b]) => sum + b - a, 0);
  const least = t.active.map(acting).sort((a, b) => b - a)[BANDS - 1] || 0,
    bands = t.active.filter((one) => acting(one) >= least);
  const rowHeight = 13,
    curve = 110,
    width = room(),
    named = Math.min(150, 0.28 * width),
    letters = Math.floor(named / 6),
    bottom = curve + 12 + rowHeight * Math.max(1, bands.length),
    height = bottom + 30;
  const [track, c] = canvas(width, height),
    x = (k) => named + (k / steps) * (width - named - 6);
  c.fillStyle = "#333";
  c.textAlign = "right";
  c.textBaseline = "middle";
  for (const v of [0, 0.5, 1]) {
    const y = 6 + (1 - v) * (curve - 14);
    c.fillText((v === 1 && named > 100 ? "sparsity " : "") + v, named - 6, y);
    c.fillStyle = "#e4e4e4";
    c.fillRect(named, y, width, 1);
    c.fillStyle = "#333";
  }
  ["J_s", "J_a"].forEach((name, which) => {
    c.strokeStyle = COLOUR[name];
    c.lineWidth = 1.2;
    c.beginPath();
    t.pattern.forEach((p, k) => {
      const y = 6 + (1 - zeros[p][which]) * (curve - 14);
      k ? c.lineTo(x(k), y) : c.moveTo(x(k), y);
      c.lineTo(x(k + 1), y);
    });
    c.stroke();
  });
  bands.forEach(([constraint, spans], line) => {
    const y = curve + 8 + line * rowHeight,
      { name, kind } = one.constraints[constraint];
    c.fillStyle = "#333";
    c.fillText(name.length > letters ? name.slice(0, letters - 1) + "…" : name, named - 6, y + rowHeight / 2);
    c.fillStyle = COLOUR[kind];
    for (const [from, to] of spans) c.fillRect(x(from), y + 1, Math.max(1, x(to) - x(from)), rowHeight - 3);
  });
  if (!t.active.length) {
    c.textAlign = "left";
    c.fillText("no contact or limit acts", named + 6, curve + 14);
  }
  timeAxis(c, named, width - 6, bottom, steps * one.dt);
  const cursor = element("div", { class: "cursor" }),
    holder = element("div", { class: "track" }, track, cursor);
  const slider = element("input", {
    type: "range",
    min: 0,
    max: steps - 1,
    value: 0,
    "aria-label": `step of ${one.task}'s episode`,
  });
  const play = element("button", { type: "button" }, "Play"),
    now = element("p", { class: "now", "aria-live": "off" });
  let current = -1,
    timer = 0;
  function go(step) {
    step = Math.max(0, Math.min(steps - 1, step));
    if (step === current) return;
    current = step;
    slider.value = step;
    const mask = masks[t.pattern[step]],
      before = masks[t.pattern[Math.max(0, step - 1)]];
    matrix.draw(
      (e) => (mask[e] !== before[e] ? (mask[e] ? "#E69F00" : "#56B4E9") : mask[e] ? "#0b3c5d" : "#e6e9ec"),
      (e) => one.zeros[e] === one.rows,
    );
    if (frame) {
      const k = Math.min(t.frames.count - 1, Math.round(step / t.frames.every));
      frame.style.backgroundPosition = `-${240 * (k % t.frames.columns)}px -${180 * Math.floor(k / t.frames.columns)}px`;
    }
    const active = t.active
      .filter(([, spans]) => spans.some(([a, b]) => a <= step && step < b))
      .map(([n]) => one.constraints[n].name);
    const [s, a] = zeros[t.pattern[step]];
    now.textContent = `step ${step}, ${(step * one.dt).toFixed(3)} s: sparsity of J_s ${s.toFixed(3)}, of J_a ${a.toFixed(3)}; pattern ${t.pattern[step] + 1} of ${masks.length} in this episode; active: ${active.join(", ") || "nothing"}`;
    const box = track.getBoundingClientRect();
    cursor.style.left = (x(step + 0.5) * (box.width || width)) / width + "px";
  }
  slider.addEventListener("input", () => go(Number(slider.value)));
  const drag = (event) => {
    const box = track.getBoundingClientRect();
    go(Math.floor(((((event.clientX - box.left) * width) / box.width - named) / (width - named - 6)) * steps));
  };
  holder.addEventListener("pointerdown", (event) => {
    holder.setPointerCapture(event.pointerId);
    drag(event);
  });
  holder.addEventListener("pointermove", (event) => {
    if (event.buttons) drag(event);
  });
  play.addEventListener("click", () => {
    if (timer) {
      clearInterval(timer);
      timer = 0;
      play.textContent = "Play";
      return;
    }
    play.textContent = "Pause";
    timer = setInterval(
      () => {
        if (!play.isConnected) {
          clearInterval(timer);
          return;
        }
        go((current + 1) % steps);
      },
      Math.max(20, 1000 * one.dt),
    );
  });
  matrix.read((e) => `${masks[t.pattern[current]][e] ? "non-zero" : "zero"} at step ${current}`);
  figure(
    parent,
    `Episode ${t.episode}, step by step`,
    `The episode in which most entries switch. Mask: dark is non-zero, light is zero, orange and blue entries have just become non-zero and zero; × is zero in every row of the data.${bands.length < t.active.length ? ` Bands: the ${bands.length} of ${t.active.length} contacts and limits that act longest.` : ""}${frame ? ` A picture every ${t.frames.every === 1 ? "" : t.frames.every + " "}step${t.frames.every === 1 ? "" : "s"}; the task's goal is not drawn, as it is no part of the state.` : ""}`,
    element("div", { class: "scrub" }, pictures, element("div", { class: "controls" }, play, slider), now, holder),
  );
  now.style.gridColumn = "1 / 3";
  go(0);
}

/* All episodes, a line each: how sparse, step by step. */
function strips(parent, one) {
  const s = one.strips,
    raw = atob(s.values),
    lines = s.episodes.length,
    left = 46,
    width = room(),
    right = width - 6;
  const tall = Math.max(4, Math.min(14, Math.floor(260 / lines))),
    bottom = 4 + lines * tall,
    [made, c] = canvas(width, bottom + 30);
  const across = (right - left) / s.columns,
    steps = s.columns * s.every;
  const cells = (line) => Math.ceil(s.lengths[line] / s.every),
    level = (line, k) => raw.charCodeAt(line * s.columns + k) / 255;
  for (let line = 0; line < lines; line++)
    for (let k = 0; k < cells(line); k++) {
      c.fillStyle = cividis(level(line, k));
      c.fillRect(left + k * across, 4 + line * tall, across + 0.5, tall > 6 ? tall - 1 : tall);
    }
  c.fillStyle = "#333";
  c.textAlign = "right";
  c.textBaseline = "middle";
  const each = Math.ceil(12 / tall);
  for (let line = 0; line < lines; line += each) c.fillText(s.episodes[line], left - 5, 4 + (line + 0.5) * tall);
  if (bottom > 50) {
    c.save();
    c.translate(7, bottom / 2);
    c.rotate(-Math.PI / 2);
    c.textAlign = "center";
    c.fillText("episode", 0, 0);
    c.restore();
  }
  timeAxis(c, left, right, bottom, steps * one.dt);
  hover(made, (x, y, box) => {
    const scale = width / box.width,
      line = Math.floor((y * scale - 4) / tall),
      k = Math.floor((x * scale - left) / across);
    if (line < 0 || line >= lines || k < 0 || k >= cells(line)) return "";
    const first = k * s.every,
      last = Math.min(s.lengths[line], first + s.every) - 1;
    return `episode ${s.episodes[line]}, return ${number(s.returns[line])}\nsteps ${first}${last > first ? " to " + last : ""}: sparsity ${number(s.low + level(line, k) * (s.high - s.low))}`;
  });
  const some = lines < s.of ? `${lines} of ${s.of.toLocaleString("en")} episodes, evenly spaced. ` : "";
  figure(
    parent,
    "Q2, Q3. All episodes",
    `Sparsity of [J_s | J_a] over time${s.every > 1 ? `, means of ${s.every} steps` : ""}. ${some}The explorer (dynamic-sparsity explore) shows any of them step by step, with the robot.`,
    made,
    colourBar(number(s.low), number(s.high), "sparsity"),
  );
}

/* How often an entry is zero, or how large it is at most. */
