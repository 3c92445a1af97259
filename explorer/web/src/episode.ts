// One episode of a store: its small columns at once, its Jacobians chunk by chunk as they come into view.

import type { Episode, JacobianStore, Rows } from "./store";

export interface Jacobian {
  J_s: Float32Array;
  J_a: Float32Array;
}

export interface Overview {
  contactShare: number;
  limitShare: number;
  patternChanges: number;
  sparsity: number;
}

const CONTACT_AND_LIMITS = new Set(["contact", "joint_limit", "tendon_limit"]);

export class EpisodeData {
  readonly dx: number;
  readonly da: number;
  /** Share of zeros of J_s at the stored threshold, by row. */
  readonly sparsity: Float32Array;
  readonly overview: Overview;
  /** Of a pair of geoms over the episode, N. */
  readonly largestForce: number;

  private constructor(
    readonly store: JacobianStore,
    readonly episode: Episode,
    readonly state: Rows,
    readonly action: Rows,
    readonly reward: Rows,
    readonly flags: Rows,
    readonly maskS: Rows,
    readonly maskA: Rows | null,
    readonly active: Rows | null,
    readonly force: Rows | null,
  ) {
    this.dx = store.metadata.sizes.dx;
    this.da = store.metadata.sizes.da;
    this.sparsity = new Float32Array(this.length);
    for (let row = 0; row < this.length; row++) {
      let ones = 0;
      for (let entry = 0; entry < maskS.size; entry++) ones += maskS.data[row * maskS.size + entry] === 1 ? 1 : 0;
      this.sparsity[row] = 1 - ones / maskS.size;
    }
    this.overview = this.summary();
    let largest = 0;
    for (const newtons of force?.data ?? []) if (newtons > largest) largest = newtons;
    this.largestForce = largest;
  }

  get length(): number {
    return this.episode.length;
  }

  static async load(store: JacobianStore, episode: Episode): Promise<EpisodeData> {
    const range = [episode.start, episode.start + episode.length] as const;
    const read = (name: string) => (store.has(name) ? store.rows(name, ...range) : Promise.resolve(null));
    const columns = ["state", "action", "reward", "flags", "mask_s", "mask_a", "active_any", "contact_force"];
    const [state, action, reward, flags, maskS, maskA, active, force] = await Promise.all(columns.map(read));
    if (!state || !action || !reward || !flags || !maskS) throw new Error("the store lacks a column of the format");
    return new EpisodeData(store, episode, state, action, reward, flags, maskS, maskA, active, force);
  }

  /** J of one row; fetches the chunk around it, which later rows share. */
  async jacobian(row: number): Promise<Jacobian> {
    const at = this.episode.start + row;
    const [J_s, J_a] = await Promise.all([this.store.rows("J_s", at, at + 1), this.jacobianByAction(at, at + 1)]);
    return { J_s: J_s.data as Float32Array, J_a };
  }

  /** One entry over the whole episode: J_s where the cause is a state, J_a where its number is behind those. */
  async series(effect: number, cause: number): Promise<Float32Array> {
    const [start, stop] = [this.episode.start, this.episode.start + this.length];
    const values = new Float32Array(this.length);
    const byState = cause < this.dx;
    const width = byState ? this.dx : this.da;
    const data = byState ? (await this.store.rows("J_s", start, stop)).data : await this.jacobianByAction(start, stop);
    const entry = effect * width + (byState ? cause : cause - this.dx);
    for (let row = 0; row < this.length; row++) values[row] = data[row * this.dx * width + entry];
    return values;
  }

  /** How many bytes the whole episode's Jacobians have. */
  get jacobianBytes(): number {
    const { start } = this.episode;
    return this.store.bytesOf(this.dx * (this.dx + this.da), start, start + this.length);
  }

  /** Flags of a row as a bit field. */
  flagsAt(row: number): number {
    return this.flags.data[row];
  }

  isActive(row: number, kind: string): boolean {
    if (!this.active) return false;
    return this.store.metadata.constraints.some(
      (constraint, index) => constraint.kind === kind && this.active!.data[row * this.active!.size + index] === 1,
    );
  }

  private async jacobianByAction(start: number, stop: number): Promise<Float32Array> {
    if (!this.store.has("J_a")) return new Float32Array(0);
    return (await this.store.rows("J_a", start, stop)).data as Float32Array;
  }

  private summary(): Overview {
    let contact = 0;
    let limit = 0;
    let changes = 0;
    let sparsity = 0;
    const { size, data } = this.maskS;
    for (let row = 0; row < this.length; row++) {
      contact += this.isActive(row, "contact") ? 1 : 0;
      limit += [...CONTACT_AND_LIMITS].some((kind) => kind !== "contact" && this.isActive(row, kind)) ? 1 : 0;
      sparsity += this.sparsity[row];
      if (row === 0) continue;
      for (let entry = 0; entry < size; entry++)
        if (data[row * size + entry] !== data[(row - 1) * size + entry]) {
          changes += 1;
          break;
        }
    }
    const share = (count: number) => (this.length ? count / this.length : 0);
    return {
      contactShare: share(contact),
      limitShare: share(limit),
      patternChanges: changes,
      sparsity: share(sparsity),
    };
  }
}
