// What the reader can choose, press and move.

import { byId } from "./dom";
import { storeName, type Explorer } from "./main";
import { readState, type ViewState } from "./view_state";

const THRESHOLD_STEP = 0.5;

/** Show in the controls what is chosen. */
export function syncControls(state: ViewState): void {
  byId<HTMLSelectElement>("mode").value = state.mode;
  byId<HTMLSelectElement>("scale").value = state.scale;
  byId<HTMLInputElement>("threshold").value = String(state.threshold);
  byId("threshold-value").textContent = (10 ** state.threshold).toExponential(1);
}

export function listen(explorer: Explorer): void {
  choose(explorer);
  adjust(explorer);
  byId<HTMLInputElement>("row").addEventListener("input", (event) => explorer.goTo(Number(value(event))));
  byId("play").addEventListener("click", () => explorer.play(!explorer.playing));
  byId("zoom-in").addEventListener("click", () => explorer.timeline.zoom(0.5));
  byId("zoom-out").addEventListener("click", () => explorer.timeline.zoom(2));
  window.addEventListener("keydown", (event) => key(explorer, event));
  window.addEventListener("hashchange", () => {
    explorer.state = readState(location.hash);
    syncControls(explorer.state);
    void explorer.guarded(() => explorer.chooseStore());
  });
}

function value(event: Event): string {
  return (event.target as HTMLInputElement | HTMLSelectElement).value;
}

/** The lists: task, store, episode. */
function choose(explorer: Explorer): void {
  const changed = (id: string, apply: (value: string) => Partial<ViewState>, then: () => Promise<void>) =>
    byId(id).addEventListener("change", (event) => {
      Object.assign(explorer.state, apply(value(event)), { row: 0 });
      explorer.play(false);
      void explorer.guarded(then);
    });
  const openStore = () => explorer.chooseStore();
  changed("task", (task) => ({ task, policy: "", dynamics: "", episode: 0, entry: null }), openStore);
  changed(
    "store",
    (name) => {
      const { stores } = explorer.source;
      const entry = stores.find((store) => store.task === explorer.state.task && storeName(store) === name)!;
      return { policy: entry.policy, dynamics: entry.dynamics, episode: 0 };
    },
    openStore,
  );
  byId("episode").addEventListener("change", (event) => explorer.openEpisode(Number(value(event))));
}

/** How the Jacobian is shown. */
function adjust(explorer: Explorer): void {
  const changed = (id: string, name: "change" | "input", apply: (value: string) => Partial<ViewState>) =>
    byId(id).addEventListener(name, (event) => update(explorer, apply(value(event))));
  syncControls(explorer.state);
  changed("mode", "change", (mode) => ({ mode: mode as ViewState["mode"] }));
  changed("scale", "change", (scale) => ({ scale: scale as ViewState["scale"] }));
  changed("threshold", "input", (power) => ({ threshold: Number(power) }));
}

function update(explorer: Explorer, change: Partial<ViewState>): void {
  Object.assign(explorer.state, change);
  syncControls(explorer.state);
  void explorer.guarded(() => explorer.showRow());
}

function key(explorer: Explorer, event: KeyboardEvent): void {
  const target = event.target as HTMLElement;
  if (event.ctrlKey || event.metaKey || event.altKey || target instanceof HTMLSelectElement) return;
  // Sliders have their own keys.
  if (target instanceof HTMLInputElement && (event.key.startsWith("Arrow") || event.key === "Home" || event.key === "End")) return;
  const threshold = (by: number) => () =>
    update(explorer, { threshold: Math.min(0, Math.max(-12, explorer.state.threshold + by)) });
  const keys: Record<string, () => void> = {
    ArrowRight: () => explorer.goTo(explorer.row + 1),
    ArrowLeft: () => explorer.goTo(explorer.row - 1),
    Home: () => explorer.goTo(0),
    End: () => explorer.goTo(Infinity),
    "[": threshold(-THRESHOLD_STEP),
    "]": threshold(THRESHOLD_STEP),
    "+": () => explorer.timeline.zoom(0.5),
    "-": () => explorer.timeline.zoom(2),
  };
  if (!(target instanceof HTMLButtonElement)) keys[" "] = () => explorer.play(!explorer.playing);
  if (!(event.key in keys)) return;
  keys[event.key]();
  event.preventDefault();
}
