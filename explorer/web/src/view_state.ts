// What is shown, as the part of the address behind `#`: a link restores the view.

import type { Mode } from "./matrix_view";

export interface ViewState {
  task: string;
  policy: string;
  dynamics: string;
  episode: number;
  row: number;
  mode: Mode;
  scale: "physical" | "dimensionless";
  /** Power of ten of the threshold. */
  threshold: number;
  entry: [number, number] | null;
}

export const DEFAULTS: ViewState = {
  task: "",
  policy: "",
  dynamics: "",
  episode: 0,
  row: 0,
  mode: "magnitude",
  scale: "physical",
  threshold: -12,
  entry: null,
};

export function readState(hash: string): ViewState {
  const found = new URLSearchParams(hash.replace(/^#/, ""));
  const number = (name: string, low: number, high: number, fallback: number) => {
    const value = Number(found.get(name) ?? NaN);
    return Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : fallback;
  };
  const entry = /^(\d{1,4}),(\d{1,4})$/.exec(found.get("entry") ?? "");
  const mode = found.get("mode");
  return {
    task: found.get("task") ?? "",
    policy: found.get("policy") ?? "",
    dynamics: found.get("dynamics") ?? "",
    episode: Math.floor(number("episode", 0, 1e9, 0)),
    row: Math.floor(number("row", 0, 1e9, 0)),
    mode: mode === "mask" || mode === "difference" ? mode : "magnitude",
    scale: found.get("scale") === "dimensionless" ? "dimensionless" : "physical",
    threshold: number("threshold", -12, 0, -12),
    entry: entry ? [Number(entry[1]), Number(entry[2])] : null,
  };
}

export function writeState(state: ViewState): string {
  const { entry, ...plain } = state;
  const parameters = new URLSearchParams(Object.entries(plain).map(([name, value]) => [name, String(value)]));
  if (entry) parameters.set("entry", entry.join(","));
  return `#${parameters.toString()}`;
}
