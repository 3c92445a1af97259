// The page: what is chosen, and what is shown of it.

import { Meter } from "./checked_store";
import { listen, syncControls } from "./controls";
import { byId, byteSize, definitions, options, percent } from "./dom";
import { EpisodeData } from "./episode";
import { EpisodeTable } from "./episode_table";
import { GraphView } from "./graph_view";
import { bodyPoses, geomPose, type Scene } from "./kinematics";
import { matrixData, readScales, readUnion, type MatrixData, type Scales } from "./matrix_data";
import { drawScale, MatrixView, SCALE_ENDS } from "./matrix_view";
import { SceneView } from "./scene_view";
import { openSource, type Source, type StoreEntry } from "./source";
import { JacobianStore } from "./store";
import { Timeline, type Series } from "./timeline";
import { entryName, entryUnit, flagNames } from "./units";
import { readState, writeState, type ViewState } from "./view_state";

const LARGE_FETCH_BYTES = 32 * 2 ** 20;
const FRAME_MS_MIN = 16;
const LINK_MS = 200;

/** Flags that say how a step was made, not that something is wrong with it. */
const HARMLESS_FLAGS = ["action_at_bound", "active_set_changed", "padding"];

export class Explorer {
  state: ViewState = readState(location.hash);
  source: Source = { name: "", stores: [] };
  private store: JacobianStore | null = null;
  private data: EpisodeData | null = null;
  private scales: Scales | null = null;
  private union = new Uint8Array();
  private current: MatrixData | null = null;
  private series: { entry: [number, number]; values: Float32Array } | null = null;
  private playTimer = 0;
  private linkTimer = 0;
  /** Counts choices of a store or an episode, so that an answer that comes late is not shown. */
  private version = 0;
  /** Counts what the reader asked for; an error stays until something newer went well. */
  private asked = 0;
  private failed = 0;
  private pending = 0;

  private readonly meter = new Meter();
  private readonly robot = new SceneView(byId("robot"));
  private readonly matrix = new MatrixView(byId("matrix"), (entry) => this.describe(entry), (entry) => this.select(entry));
  private readonly graph = new GraphView(byId("graph"));
  private readonly episodes = new EpisodeTable(byId("episodes"), (index) => this.openEpisode(index));
  readonly timeline = new Timeline(byId("timeline"), (row) => this.goTo(row));

  async start(): Promise<void> {
    this.meter.addEventListener("change", () => this.showMeter());
    listen(this);
    drawScale(byId<HTMLCanvasElement>("legend-bar"));
    await this.guarded(async () => {
      this.source = await openSource(new URLSearchParams(location.search));
      byId("source").textContent = this.source.name;
      if (!this.source.stores.length)
        throw new Error("There are no finished stores here; make one with `dynamic-sparsity generate`.");
      await this.chooseStore();
    });
  }

  get playing(): boolean {
    return this.playTimer !== 0;
  }

  get row(): number {
    return this.state.row;
  }

  // --- choosing

  async chooseStore(): Promise<void> {
    const { stores } = this.source;
    const { state } = this;
    // What a link leaves out is free, and what is not there is left aside, the task last.
    const keys = ["task", "policy", "dynamics"] as const;
    const fits = (entry: StoreEntry, count: number) => keys.slice(0, count).every((key) => !state[key] || entry[key] === state[key]);
    const entry = [3, 2, 1, 0].map((count) => stores.find((one) => fits(one, count))).find(Boolean)!;
    Object.assign(state, { task: entry.task, policy: entry.policy, dynamics: entry.dynamics });
    options("task", [...new Set(stores.map(({ task }) => task))], entry.task);
    options("store", stores.filter(({ task }) => task === entry.task).map(storeName), storeName(entry));
    const version = ++this.version;
    const store = await JacobianStore.open(entry, this.meter);
    const [union, scales, scene] = await Promise.all([readUnion(store), readScales(store), loadScene(entry)]);
    if (version !== this.version) return;
    Object.assign(this, { store, union, scales });
    this.robot.load(scene);
    byId("robot-note").hidden = scene !== null;
    byId("robot-note").textContent = `This page has no geometry of ${entry.task}; everything else is there.`;
    byId<HTMLSelectElement>("scale").disabled = scales === null;
    if (!scales) state.scale = "physical";
    syncControls(state);
    const list = store.episodes.filter((episode) => episode.length > 0);
    if (!list.some((episode) => episode.index === state.episode)) state.episode = list[0]?.index ?? 0;
    const named = list.map((one): [string, string] => [
      String(one.index),
      `${one.index} · ${one.split} · return ${one.return.toFixed(1)} · ${one.length} steps`,
    ]);
    options("episode", named, String(state.episode));
    this.episodes.load(list);
    await this.chooseEpisode();
  }

  async chooseEpisode(): Promise<void> {
    const { state, store } = this;
    if (!store) return;
    const version = ++this.version;
    const data = await EpisodeData.load(store, store.episodes[state.episode]);
    if (version !== this.version) return;
    this.data = data;
    this.series = null;
    state.row = Math.min(state.row, Math.max(0, data.length - 1));
    const { dx, da } = data;
    if (state.entry && (state.entry[0] >= dx || state.entry[1] >= dx + da)) state.entry = null;
    if (state.entry) await this.loadSeries(state.entry);
    this.showEpisode(data, store);
    await this.showRow();
  }

  // --- showing

  private showEpisode(data: EpisodeData, store: JacobianStore): void {
    const { episode, overview } = data;
    const { control_dt: dt, flag_bits: bits } = store.metadata;
    const facts = {
      policy: episode.policy,
      return: episode.return.toFixed(2),
      length: `${episode.length} steps, ${(episode.length * dt).toFixed(2)} s${episode.terminated ? ", ended by the task" : ""}`,
      "in contact": percent(overview.contactShare),
      "at a limit": percent(overview.limitShare),
      "pattern changes": String(overview.patternChanges),
      "zeros in J_s": percent(overview.sparsity),
    };
    byId("overview").replaceChildren(...definitions(facts));
    byId<HTMLSelectElement>("episode").value = String(episode.index);
    this.episodes.show(episode.index, overview);
    byId<HTMLInputElement>("row").max = String(Math.max(0, data.length - 1));
    const harmless = HARMLESS_FLAGS.reduce((mask, name) => mask | (1 << (bits[name] ?? 31)), 0);
    this.timeline.load(data.length, dt, [
      { name: "contact", color: 1, active: (row) => data.isActive(row, "contact") },
      { name: "limit", color: 2, active: (row) => data.isActive(row, "joint_limit") || data.isActive(row, "tendon_limit") },
      { name: "flagged", color: 3, active: (row) => (data.flagsAt(row) & ~harmless) !== 0 },
    ]);
  }

  async showRow(): Promise<void> {
    const { data, store, version } = this;
    if (!data || !store) return;
    const { row } = this.state;
    const jacobian = await data.jacobian(row);
    if (version !== this.version || row !== this.state.row) return;
    byId("main").hidden = false;
    byId<HTMLInputElement>("row").value = String(row);
    byId("time").textContent = `step ${row} · ${(row * store.metadata.control_dt).toFixed(3)} s`;
    this.current = matrixData(data, row, jacobian, this.union, this.state, this.scales);
    this.showRobot(data, store, row);
    this.showTimeline(data, store);
    this.showMatrix(store);
    this.link();
  }

  private showMatrix(store: JacobianStore): void {
    if (!this.current) return;
    const { mode, entry } = this.state;
    this.matrix.show(store.metadata, this.current, mode, entry);
    this.graph.show(store.metadata, this.current, mode);
    byId("legend-bar").hidden = mode !== "magnitude";
    const dimensionless = this.state.scale === "dimensionless" ? ", in standard deviations of the effect by those of the cause" : "";
    byId("legend-text").textContent = {
      magnitude: `|J| from ${SCALE_ENDS.join(" to ")}${dimensionless}; a dot: zero, or below the threshold`,
      mask: "filled: the effect depends on the cause; a dot: it does not",
      difference: "filled: depends here; orange: depends in other rows of this store, but not here; a dot: nowhere",
    }[mode];
    this.describe(entry);
  }

  private showRobot(data: EpisodeData, store: JacobianStore, row: number): void {
    const { nq } = store.metadata.sizes;
    const forces = store.metadata.contact_pairs.map((pair, index) => ({
      ...pair,
      newtons: data.force ? data.force.data[row * data.force.size + index] : 0,
    }));
    this.robot.show(data.state.data.subarray(row * data.state.size, row * data.state.size + nq), forces, data.largestForce);
    const pushing = forces.filter(({ newtons }) => newtons > 0).map(({ name, newtons }) => `${name} ${newtons.toPrecision(3)} N`);
    const flags = flagNames(store.metadata, data.flagsAt(row));
    byId("contacts").textContent = [
      pushing.length ? `Contacts: ${pushing.join(", ")}.` : data.force ? "No contact." : "This model has no contacts.",
      flags.length ? `Flags: ${flags.join(", ")}.` : "",
    ].join(" ");
  }

  private showTimeline(data: EpisodeData, store: JacobianStore): void {
    const series: Series[] = [{ name: "zeros in J_s", unit: "share", values: data.sparsity }];
    if (this.series) {
      const { entry, values } = this.series;
      series.push({ name: entryName(store.metadata, entry), unit: entryUnit(store.metadata, entry), values });
    }
    this.timeline.show(this.state.row, series);
  }

  private describe(entry: [number, number] | null): void {
    if (!this.current || !this.store || !this.data) return;
    if (!entry) {
      const bytes = byteSize(this.data.jacobianBytes);
      byId("entry").textContent = `Point at an entry for its name and value; click it for its course over the episode (at most ${bytes}).`;
      return;
    }
    const at = entry[0] * (this.current.dx + this.current.da) + entry[1];
    const value = this.current.values[at];
    const shown = this.current.edge[at] ? value.toPrecision(4) : value === 0 ? "0" : `${value.toPrecision(2)}, below the threshold`;
    const unit = this.state.scale === "dimensionless" ? "dimensionless" : entryUnit(this.store.metadata, entry);
    byId("entry").textContent = `${entryName(this.store.metadata, entry)} = ${shown} [${unit}]`;
  }

  private showMeter(): void {
    const { bytes, requests, checked } = this.meter;
    const share = percent(bytes ? checked / bytes : 1);
    byId("meter").textContent = `Fetched ${byteSize(bytes)} in ${requests} requests, ${share} of it compared with checksums.`;
  }

  /** Put the view into the address; browsers allow that only so often. */
  private link(): void {
    if (this.linkTimer) return;
    this.linkTimer = window.setTimeout(() => {
      this.linkTimer = 0;
      history.replaceState(null, "", writeState(this.state));
    }, LINK_MS);
  }

  // --- acting

  openEpisode(index: number): void {
    Object.assign(this.state, { episode: index, row: 0 });
    this.play(false);
    void this.guarded(() => this.chooseEpisode());
  }

  goTo(row: number): void {
    if (!this.data) return;
    this.state.row = Math.min(this.data.length - 1, Math.max(0, row));
    void this.guarded(() => this.showRow());
  }

  private select(entry: [number, number]): void {
    const { data, store } = this;
    if (!data || !store) return;
    const question = `The course of an entry needs the Jacobians of the whole episode, up to ${byteSize(data.jacobianBytes)}. Fetch them?`;
    if (data.jacobianBytes > LARGE_FETCH_BYTES && !this.series && !confirm(question)) return;
    this.state.entry = entry;
    void this.guarded(async () => {
      await this.loadSeries(entry);
      this.showTimeline(data, store);
      this.showMatrix(store);
      this.link();
    });
  }

  private async loadSeries(entry: [number, number]): Promise<void> {
    const { data } = this;
    const values = await data!.series(...entry);
    if (data === this.data) this.series = { entry, values };
  }

  play(on: boolean): void {
    clearTimeout(this.playTimer);
    this.playTimer = 0;
    byId("play").textContent = on ? "Pause" : "Play";
    byId("play").setAttribute("aria-pressed", String(on));
    const { data, store } = this;
    if (!on || !data || !store) return;
    const step = async () => {
      if (data !== this.data || this.state.row >= data.length - 1) return this.play(false);
      const began = performance.now();
      this.state.row += 1;
      await this.guarded(() => this.showRow());
      const left = 1000 * store.metadata.control_dt - (performance.now() - began);
      if (this.playing) this.playTimer = window.setTimeout(step, Math.max(FRAME_MS_MIN, left));
    };
    if (this.state.row >= data.length - 1) this.state.row = -1;
    this.playTimer = window.setTimeout(step, 0);
  }

  /** Run something; what goes wrong is shown, and no numbers beside it. */
  async guarded(task: () => Promise<void>): Promise<void> {
    const asked = ++this.asked;
    const problem = byId("problem");
    this.busy(1);
    try {
      await task();
      if (asked > this.failed) problem.hidden = true;
    } catch (error) {
      this.failed = asked;
      this.play(false);
      problem.textContent = explained(error);
      problem.hidden = false;
      byId("main").hidden = true;
    } finally {
      this.busy(-1);
    }
  }

  private busy(change: number): void {
    this.pending += change;
    byId("main").setAttribute("aria-busy", String(this.pending > 0));
  }
}

export function storeName(entry: StoreEntry): string {
  return `${entry.policy}, ${entry.dynamics}`;
}

async function loadScene(entry: StoreEntry): Promise<Scene | null> {
  const response = await fetch(entry.scene);
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`${entry.scene}: the server answered ${response.status}`);
  return (await response.json()) as Scene;
}

/** An error with what caused it: zarrita wraps those of the store. */
function explained(error: unknown): string {
  const parts = [];
  for (let at = error; at instanceof Error; at = at.cause) parts.push(at.message);
  return parts.join(": ") || String(error);
}

const explorer = new Explorer();
// For tests: what is on canvases can't be read from them.
Object.assign(window, { explorer, explorerKinematics: { bodyPoses, geomPose } });
void explorer.start();
