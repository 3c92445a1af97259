// One row's Jacobian as it is shown: scaled, compared with a threshold, and with the graph of all rows.

import type { EpisodeData, Jacobian } from "./episode";
import type { JacobianStore } from "./store";
import type { ViewState } from "./view_state";

export interface MatrixData {
  dx: number;
  da: number;
  /** [J_s | J_a], row-major, dx rows of dx + da; scaled as shown. */
  values: Float32Array;
  /** Whether an entry counts as an edge here, and whether it does in some row of the store. */
  edge: Uint8Array;
  union: Uint8Array;
}

/** Standard deviations of effects and causes, which make entries of different units comparable. */
export interface Scales {
  effect: Float64Array;
  cause: Float64Array;
}

export const STORED_THRESHOLD = -12;

/** The scales; null where tangent and ambient coordinates differ (quaternions): the statistics are ambient. */
export async function readScales(store: JacobianStore): Promise<Scales | null> {
  const { ds, dx } = store.metadata.sizes;
  const names = ["next_state_std", "state_std", "action_std"].map((name) => `statistics/${name}`);
  if (ds !== dx || !names.every((name) => store.has(name))) return null;
  const [next, state, action] = await Promise.all(names.map((name) => store.small(name)));
  const safe = (values: number[]) => Float64Array.from(values, (value) => (value > 0 ? value : 1));
  return { effect: safe(next), cause: safe([...state, ...action]) };
}

/** Entries that are an edge in some row of the store, by its statistics. */
export async function readUnion(store: JacobianStore): Promise<Uint8Array> {
  const { dx, da } = store.metadata.sizes;
  const shareS = await store.small("statistics/zero_share_s");
  const shareA = store.has("statistics/zero_share_a") ? await store.small("statistics/zero_share_a") : [];
  const union = new Uint8Array(dx * (dx + da));
  for (let effect = 0; effect < dx; effect++)
    for (let cause = 0; cause < dx + da; cause++) {
      const share = cause < dx ? shareS[effect * dx + cause] : shareA[effect * da + cause - dx];
      union[effect * (dx + da) + cause] = share < 1 ? 1 : 0;
    }
  return union;
}

export function matrixData(
  data: EpisodeData,
  row: number,
  jacobian: Jacobian,
  union: Uint8Array,
  state: ViewState,
  scales: Scales | null,
): MatrixData {
  const { dx, da } = data;
  const values = new Float32Array(dx * (dx + da));
  const edge = new Uint8Array(values.length);
  const scaled = state.scale === "dimensionless" ? scales : null;
  const threshold = 10 ** state.threshold;
  // At its own threshold the mask is the one that was decided in float64.
  const stored = !scaled && state.threshold === STORED_THRESHOLD;
  for (let effect = 0; effect < dx; effect++)
    for (let cause = 0; cause < dx + da; cause++) {
      const at = effect * (dx + da) + cause;
      const byState = cause < dx;
      const inside = byState ? effect * dx + cause : effect * da + cause - dx;
      let value = byState ? jacobian.J_s[inside] : jacobian.J_a[inside];
      if (scaled) value *= scaled.cause[cause] / scaled.effect[effect];
      values[at] = value;
      const mask = byState ? data.maskS : data.maskA;
      const found = stored && mask ? mask.data[row * mask.size + inside] === 1 : Math.abs(value) >= threshold;
      edge[at] = found ? 1 : 0;
    }
  return { dx, da, values, edge, union };
}
