// The page: choices, player, and what they show.

import { Meter } from "./checked_store";
import { EpisodeData, type Jacobian } from "./episode";
import { GraphView } from "./graph_view";
import { bodyPoses, type Scene } from "./kinematics";
import { drawScale, MatrixView, SCALE_LABELS, type MatrixData } from "./matrix_view";
import { SceneView } from "./scene_view";
import { openSource, type Source, type StoreEntry } from "./source";
import { JacobianStore } from "./store";
import { Timeline, type Series } from "./timeline";
import { readState, writeState, type ViewState } from "./view_state";

const byId = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const LARGE_FETCH_BYTES = 32 * 2 ** 20;
const PLAY_MS = 33;

class Explorer {
  private state: ViewState = readState(location.hash);
  private source: Source = { name: "", stores: [] };
  private store: JacobianStore | null = null;
  private data: EpisodeData | null = null;
  private scene: Scene | null = null;
  private scales: { effect: Float64Array; cause: Float64Array } = { effect: new Float64Array(), cause: new Float64Array() };
  private union = new Uint8Array();
  private current: MatrixData | null = null;
  private series: { entry: [number, number]; values: Float32Array } | null = null;
  private playing = 0;
  /** Counts changes of what is chosen, so that an answer that comes late is not shown. */
  private version = 0;

  private readonly meter = new Meter();
  private readonly robot = new SceneView(byId("robot"));
  private readonly matrix = new MatrixView(byId("matrix"), (entry) => this.describe(entry), (entry) => this.select(entry));
  private readonly graph = new GraphView(byId("graph"));
  private readonly timeline = new Timeline(byId("timeline"), (row) => this.goTo(row));

  async start(): Promise<void> {
    this.meter.addEventListener("change", () => this.showMeter());
    this.listen();
    drawScale(byId<HTMLCanvasElement>("legend-bar"));
    await this.guarded(async () => {
      this.source = await openSource(new URLSearchParams(location.search));
      byId("source").textContent = this.source.name;
      if (!this.source.stores.length) throw new Error("There are no finished stores here; make one with `dynamic-sparsity generate`.");
      await this.chooseStore();
    });
  }

  // --- choosing

  private async chooseStore(): Promise<void> {
    const { stores } = this.source;
    const entry =
      stores.find(({ task, policy, dynamics }) => task === this.state.task && policy === this.state.policy && dynamics === this.state.dynamics) ??
      stores.find(({ task }) => task === this.state.task) ??
      stores[0];
    Object.assign(this.state, { task: entry.task, policy: entry.policy, dynamics: entry.dynamics });
    options("task", [...new Set(stores.map(({ task }) => task))], entry.task);
    const named = stores.filter(({ task }) => task === entry.task).map(storeName);
    options("store", named, storeName(entry));
    const version = ++this.version;
    const store = await JacobianStore.open(entry, this.meter);
    const [shareS, shareA, stateStd, scene] = await Promise.all([
      store.small("statistics/zero_share_s"),
      store.has("statistics/zero_share_a") ? store.small("statistics/zero_share_a") : [],
      this.standardDeviations(store),
      loadScene(entry),
    ]);
    if (version !== this.version) return;
    this.store = store;
    const { dx, da } = store.metadata.sizes;
    this.union = new Uint8Array(dx * (dx + da));
    for (let effect = 0; effect < dx; effect++)
      for (let cause = 0; cause < dx + da; cause++) {
        const share = cause < dx ? shareS[effect * dx + cause] : shareA[effect * da + cause - dx];
        this.union[effect * (dx + da) + cause] = share < 1 ? 1 : 0;
      }
    this.scales = stateStd;
    this.scene = scene;
    byId("robot-note").hidden = scene !== null;
    byId("robot-note").textContent = `There is no geometry of ${entry.task} beside the data; \`dynamic-sparsity scene\` makes it.`;
    if (scene) this.robot.load(scene);
    else this.robot.clear();
    byId("main").hidden = false;
    const list = store.episodes.filter((episode) => episode.length > 0);
    options(
      "episode",
      list.map((episode) => [String(episode.index), `${episode.index} · ${episode.split} · return ${episode.return.toFixed(1)}`]),
      String(this.state.episode),
    );
    if (!list.some((episode) => episode.index === this.state.episode)) this.state.episode = list[0]?.index ?? 0;
    await this.chooseEpisode();
  }

  private async chooseEpisode(): Promise<void> {
    if (!this.store) return;
    const version = ++this.version;
    const data = await EpisodeData.load(this.store, this.store.episodes[this.state.episode]);
    if (version !== this.version) return;
    this.data = data;
    this.series = null;
    const { episode, overview } = data;
    const facts = {
      policy: episode.policy,
      return: episode.return.toFixed(2),
      length: `${episode.length} steps, ${(episode.length * this.store.metadata.control_dt).toFixed(2)} s`,
      "in contact": percent(overview.contactShare),
      "at a limit": percent(overview.limitShare),
      "pattern changes": String(overview.patternChanges),
      "zeros in J_s": percent(overview.sparsity),
    };
    byId("overview").replaceChildren(...Object.entries(facts).map(([name, value]) => definition(name, value)));
    byId<HTMLInputElement>("row").max = String(Math.max(0, data.length - 1));
    this.timeline.load(data.length, this.store.metadata.control_dt, [
      { name: "contact", color: 1, active: (row) => data.isActive(row, "contact") },
      { name: "limit", color: 2, active: (row) => data.isActive(row, "joint_limit") || data.isActive(row, "tendon_limit") },
    ]);
    this.state.row = Math.min(this.state.row, Math.max(0, data.length - 1));
    if (this.state.entry) {
      const { dx, da } = data;
      const [effect, cause] = this.state.entry;
      if (effect < dx && cause < dx + da) await this.loadSeries(this.state.entry);
      else this.state.entry = null;
    }
    await this.showRow();
  }

  private async standardDeviations(store: JacobianStore): Promise<{ effect: Float64Array; cause: Float64Array }> {
    const { ds, dx } = store.metadata.sizes;
    // Tangent and ambient coordinates differ where there are quaternions; there, only physical units are shown.
    if (ds !== dx || !store.has("statistics/delta_std")) return { effect: new Float64Array(), cause: new Float64Array() };
    const [delta, state, action] = await Promise.all(
      ["delta_std", "state_std", "action_std"].map((name) => (store.has(`statistics/${name}`) ? store.small(`statistics/${name}`) : [])),
    );
    const safe = (values: number[]) => Float64Array.from(values, (value) => (value > 0 ? value : 1));
    return { effect: safe(delta), cause: safe([...state, ...action]) };
  }

  // --- showing

  private async showRow(): Promise<void> {
    const { data, store } = this;
    if (!data || !store) return;
    const version = this.version;
    const { row } = this.state;
    byId<HTMLInputElement>("row").value = String(row);
    byId("time").textContent = `step ${row} · ${(row * store.metadata.control_dt).toFixed(3)} s`;
    this.showRobot(row);
    this.showTimeline();
    const jacobian = await data.jacobian(row);
    if (version !== this.version || row !== this.state.row) return;
    this.current = this.matrixData(data, row, jacobian);
    this.showMatrix();
    history.replaceState(null, "", writeState(this.state));
  }

  private matrixData(data: EpisodeData, row: number, jacobian: Jacobian): MatrixData {
    const { dx, da } = data;
    const values = new Float32Array(dx * (dx + da));
    const edge = new Uint8Array(values.length);
    const dimensionless = this.state.scale === "dimensionless" && this.scales.effect.length === dx;
    const threshold = 10 ** this.state.threshold;
    const stored = !dimensionless && this.state.threshold === -12;
    for (let effect = 0; effect < dx; effect++)
      for (let cause = 0; cause < dx + da; cause++) {
        const at = effect * (dx + da) + cause;
        const byState = cause < dx;
        const inside = byState ? effect * dx + cause : effect * da + cause - dx;
        let value = byState ? jacobian.J_s[inside] : jacobian.J_a[inside];
        if (dimensionless) value *= this.scales.cause[cause] / this.scales.effect[effect];
        values[at] = value;
        // At its own threshold the mask is the one that was decided in float64.
        const mask = byState ? data.maskS : data.maskA;
        edge[at] = stored && mask ? (mask.data[row * mask.size + inside] === 1 ? 1 : 0) : Math.abs(value) >= threshold ? 1 : 0;
      }
    return { dx, da, values, edge, union: this.union };
  }

  private showMatrix(): void {
    if (!this.current || !this.store) return;
    this.matrix.show(this.current, this.state.mode, this.state.entry);
    this.graph.show(this.store.metadata, this.current);
    byId("legend-bar").hidden = this.state.mode !== "magnitude";
    byId("legend-text").textContent = {
      magnitude: `|J| from ${SCALE_LABELS.join(", ")}; blank: zero`,
      mask: "dark: the effect depends on the cause; blank: it does not",
      difference: "dark: depends on it here; orange: depends on it elsewhere in the data, but not here",
    }[this.state.mode];
    this.describe(this.state.entry);
  }

  private showRobot(row: number): void {
    const { data, store, scene } = this;
    if (!data || !store || !scene) return;
    const { nq } = store.metadata.sizes;
    const qpos = data.state.data.subarray(row * data.state.size, row * data.state.size + nq);
    const forces = store.metadata.contact_pairs.map((pair, index) => ({
      geom1: pair.geom1,
      geom2: pair.geom2,
      newtons: data.force ? data.force.data[row * data.force.size + index] : 0,
    }));
    const largest = data.force ? data.largestForce : 0;
    this.robot.show(qpos, forces, largest);
  }

  private showTimeline(): void {
    if (!this.data) return;
    const series: Series[] = [{ name: "zeros in J_s", unit: "share", values: this.data.sparsity }];
    if (this.series) series.push({ name: this.entryName(this.series.entry), unit: "", values: this.series.values });
    this.timeline.show(this.state.row, series);
  }

  private entryName([effect, cause]: [number, number]): string {
    const { tangent_names, action_names, sizes } = this.store!.metadata;
    return `∂ next ${tangent_names[effect]} / ∂ ${cause < sizes.dx ? tangent_names[cause] : action_names[cause - sizes.dx]}`;
  }

  private describe(entry: [number, number] | null): void {
    const target = byId("entry");
    if (!entry || !this.current) {
      target.textContent = "Point at an entry for its name and value; click it for its course over the episode.";
      return;
    }
    const at = entry[0] * (this.current.dx + this.current.da) + entry[1];
    const value = this.current.values[at];
    const shown = this.current.edge[at] ? value.toPrecision(4) : `below the threshold (${value.toPrecision(2)})`;
    const unit = this.state.scale === "dimensionless" ? ", dimensionless" : ", SI units";
    target.textContent = `${this.entryName(entry)} = ${shown}${unit}`;
  }

  private showMeter(): void {
    const { bytes, requests, checked } = this.meter;
    const size = bytes < 2 ** 20 ? `${(bytes / 1024).toFixed(0)} KiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`;
    byId("meter").textContent = `Fetched ${size} in ${requests} requests, ${percent(bytes ? checked / bytes : 1)} of it checked.`;
  }

  // --- acting

  private goTo(row: number): void {
    if (!this.data) return;
    this.state.row = Math.min(this.data.length - 1, Math.max(0, row));
    void this.guarded(() => this.showRow());
  }

  private select(entry: [number, number]): void {
    const { data } = this;
    if (!data) return;
    if (data.jacobianBytes > LARGE_FETCH_BYTES && !this.series) {
      const size = (data.jacobianBytes / 2 ** 20).toFixed(0);
      if (!confirm(`The course of an entry needs the Jacobians of the whole episode: ${size} MiB. Fetch them?`)) return;
    }
    this.state.entry = entry;
    void this.guarded(async () => {
      await this.loadSeries(entry);
      this.showTimeline();
      this.showMatrix();
      history.replaceState(null, "", writeState(this.state));
    });
  }

  private async loadSeries(entry: [number, number]): Promise<void> {
    const { data } = this;
    const values = await data!.series(...entry);
    if (data === this.data) this.series = { entry, values };
  }

  private play(on: boolean): void {
    clearTimeout(this.playing);
    this.playing = 0;
    byId("play").textContent = on ? "Pause" : "Play";
    byId("play").setAttribute("aria-pressed", String(on));
    if (!on || !this.data) return;
    const step = async () => {
      if (!this.data || this.state.row >= this.data.length - 1) return this.play(false);
      const began = performance.now();
      this.state.row += 1;
      await this.guarded(() => this.showRow());
      if (this.playing) this.playing = window.setTimeout(step, Math.max(0, PLAY_MS - (performance.now() - began)));
    };
    if (this.state.row >= this.data.length - 1) this.state.row = -1;
    this.playing = window.setTimeout(step, 0);
  }

  private listen(): void {
    const changed = (id: string, apply: (value: string) => void, then: () => Promise<void>) =>
      byId<HTMLSelectElement>(id).addEventListener("change", (event) => {
        apply((event.target as HTMLSelectElement).value);
        this.play(false);
        void this.guarded(then);
      });
    changed("task", (value) => Object.assign(this.state, { task: value, policy: "", dynamics: "", episode: 0, row: 0, entry: null }), () => this.chooseStore());
    changed(
      "store",
      (value) => {
        const entry = this.source.stores.find((store) => store.task === this.state.task && storeName(store) === value)!;
        Object.assign(this.state, { policy: entry.policy, dynamics: entry.dynamics, episode: 0, row: 0 });
      },
      () => this.chooseStore(),
    );
    changed("episode", (value) => Object.assign(this.state, { episode: Number(value), row: 0 }), () => this.chooseEpisode());
    const mode = byId<HTMLSelectElement>("mode");
    const scale = byId<HTMLSelectElement>("scale");
    const threshold = byId<HTMLInputElement>("threshold");
    const sync = () => {
      mode.value = this.state.mode;
      scale.value = this.state.scale;
      threshold.value = String(this.state.threshold);
      byId("threshold-value").textContent = (10 ** this.state.threshold).toExponential(1);
    };
    sync();
    const again = () => {
      sync();
      void this.guarded(() => this.showRow());
    };
    mode.addEventListener("change", () => ((this.state.mode = mode.value as ViewState["mode"]), again()));
    scale.addEventListener("change", () => ((this.state.scale = scale.value as ViewState["scale"]), again()));
    threshold.addEventListener("input", () => ((this.state.threshold = Number(threshold.value)), again()));
    byId<HTMLInputElement>("row").addEventListener("input", (event) => this.goTo(Number((event.target as HTMLInputElement).value)));
    byId("play").addEventListener("click", () => this.play(!this.playing));
    byId("zoom-in").addEventListener("click", () => this.timeline.zoom(0.5));
    byId("zoom-out").addEventListener("click", () => this.timeline.zoom(2));
    window.addEventListener("hashchange", () => {
      this.state = readState(location.hash);
      sync();
      void this.guarded(() => this.chooseStore());
    });
    window.addEventListener("keydown", (event) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || target instanceof HTMLSelectElement) return;
      if (target instanceof HTMLInputElement && event.key.startsWith("Arrow")) return;
      const keys: Record<string, () => void> = {
        ArrowRight: () => this.goTo(this.state.row + 1),
        ArrowLeft: () => this.goTo(this.state.row - 1),
        Home: () => this.goTo(0),
        End: () => this.goTo(Infinity),
        "[": () => ((this.state.threshold = Math.max(-12, this.state.threshold - 0.5)), again()),
        "]": () => ((this.state.threshold = Math.min(0, this.state.threshold + 0.5)), again()),
        "+": () => this.timeline.zoom(0.5),
        "-": () => this.timeline.zoom(2),
      };
      if (!(target instanceof HTMLButtonElement)) keys[" "] = () => this.play(!this.playing);
      if (!(event.key in keys)) return;
      keys[event.key]();
      event.preventDefault();
    });
  }

  /** Run something; what goes wrong is shown, and no numbers beside it. */
  private async guarded(task: () => Promise<void>): Promise<void> {
    const problem = byId("problem");
    try {
      await task();
      problem.hidden = true;
    } catch (error) {
      this.play(false);
      console.error(error);
      problem.textContent = (error as Error).message;
      problem.hidden = false;
      byId("main").hidden = true;
    }
  }
}

function storeName(entry: StoreEntry): string {
  return `${entry.policy}, ${entry.dynamics}`;
}

async function loadScene(entry: StoreEntry): Promise<Scene | null> {
  const response = await fetch(entry.scene);
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`${entry.scene}: the server answered ${response.status}`);
  const scene = (await response.json()) as Scene;
  if (scene.format !== "dynamic-sparsity-scene" || scene.task !== entry.task) throw new Error(`${entry.scene} is not the scene of ${entry.task}`);
  return scene;
}

function options(id: string, values: (string | [string, string])[], chosen: string): void {
  const select = byId<HTMLSelectElement>(id);
  select.replaceChildren(
    ...values.map((value) => {
      const [key, text] = typeof value === "string" ? [value, value] : value;
      return new Option(text, key, false, key === chosen);
    }),
  );
}

function definition(name: string, value: string): HTMLElement {
  const [row, term, detail] = [document.createElement("div"), document.createElement("dt"), document.createElement("dd")];
  term.textContent = name;
  detail.textContent = value;
  row.append(term, detail);
  return row;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

// For tests of the kinematics.
Object.assign(window, { explorer: { bodyPoses } });
void new Explorer().start();
