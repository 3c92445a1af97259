// One store: its metadata, episode table, statistics, and rows of its arrays.

import * as zarr from "zarrita";
import { CheckedStore, DamagedError, type Meter } from "./checked_store";
import type { StoreEntry } from "./source";

export type Numbers = Float32Array | Float64Array | Uint8Array | Uint16Array | Int32Array;

export interface Rows {
  data: Numbers;
  /** Shape without the rows. */
  shape: number[];
  /** Numbers of one row. */
  size: number;
}

export interface Metadata {
  task: string;
  policy: string;
  dynamics: string;
  rows: number;
  episodes: number;
  episode_length: number;
  chunk_rows: number;
  control_dt: number;
  sizes: Record<string, number>;
  state_names: string[];
  tangent_names: string[];
  action_names: string[];
  constraints: { name: string; kind: string }[];
  contact_pairs: { name: string; geom1: string; geom2: string }[];
  flag_bits: Record<string, number>;
  policies: string[];
  splits: string[];
  settings_sha256: string;
  joints: { name: string; type: string; qpos_address: number; dof_address: number }[];
}

export interface Episode {
  index: number;
  start: number;
  length: number;
  return: number;
  terminated: boolean;
  split: string;
  policy: string;
}

export class JacobianStore {
  private arrays = new Map<string, Promise<zarr.Array<zarr.DataType, CheckedStore>>>();

  private constructor(
    readonly entry: StoreEntry,
    private readonly files: CheckedStore,
    readonly metadata: Metadata,
    readonly episodes: Episode[],
  ) {}

  static async open(entry: StoreEntry, meter: Meter): Promise<JacobianStore> {
    const files = await CheckedStore.open(entry.url, meter, entry.manifestSha256);
    const root = await zarr.open.v3(zarr.root(files), { kind: "group" });
    const metadata = root.attrs as unknown as Metadata;
    if (metadata.task !== entry.task || metadata.policy !== entry.policy || metadata.dynamics !== entry.dynamics)
      throw new DamagedError(`${entry.url} says that it is ${metadata.task}, ${metadata.policy} (${metadata.dynamics})`);
    const store = new JacobianStore(entry, files, metadata, []);
    const names = ["start", "length", "return", "terminated", "split", "policy"];
    const columns = await Promise.all(names.map((name) => store.small(`episodes/${name}`)));
    const [start, length, returned, terminated, split, policy] = columns;
    for (let index = 0; index < metadata.episodes; index++)
      store.episodes.push({
        index,
        start: start[index],
        length: length[index],
        return: returned[index],
        terminated: terminated[index] > 0,
        split: metadata.splits[split[index]],
        policy: metadata.policies[policy[index]],
      });
    return store;
  }

  has(name: string): boolean {
    return this.files.files.has(`${name}/zarr.json`);
  }

  /** Rows start to stop of an array; only the chunks that hold them are fetched. */
  async rows(name: string, start: number, stop: number): Promise<Rows> {
    const array = await this.array(name);
    const rest = array.shape.slice(1).map(() => null);
    const found = await zarr.get(array, [zarr.slice(start, stop), ...rest]);
    const shape = found.shape.slice(1);
    const data = rowMajor(found.data as Numbers, found.shape, found.stride);
    return { data, shape, size: shape.reduce((product, length) => product * length, 1) };
  }

  /** How many bytes `rows` would have to fetch at most, of an uncompressed array of float32. */
  bytesOf(size: number, start: number, stop: number): number {
    const chunk = this.metadata.chunk_rows;
    return (Math.ceil(stop / chunk) - Math.floor(start / chunk)) * chunk * size * 4;
  }

  /** All of a small array, as numbers. */
  async small(name: string): Promise<number[]> {
    const found = await zarr.get(await this.array(name));
    return Array.from(rowMajor(found.data as Numbers, found.shape, found.stride) as ArrayLike<number | bigint>, Number);
  }

  private array(name: string): Promise<zarr.Array<zarr.DataType, CheckedStore>> {
    let found = this.arrays.get(name);
    if (!found) {
      if (!this.has(name)) throw new DamagedError(`the store has no array ${name}`);
      found = zarr.open.v3(zarr.root(this.files).resolve(name), { kind: "array" });
      this.arrays.set(name, found);
    }
    return found;
  }
}

/** Numbers with the last dimension next to each other: zarrita keeps the order of an array's transpose codec. */
function rowMajor(data: Numbers, shape: number[], stride: number[]): Numbers {
  const wanted = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, length) => product * length, 1));
  if (wanted.every((step, axis) => step === stride[axis] || shape[axis] === 1)) return data;
  const out = new (data.constructor as new (length: number) => Numbers)(data.length);
  const index = new Array<number>(shape.length).fill(0);
  for (let at = 0, from = 0; at < out.length; at++) {
    out[at] = data[from];
    // The next entry, as an odometer goes on; the place it is read from moves along.
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] += 1;
      from += stride[axis];
      if (index[axis] < shape[axis]) break;
      from -= stride[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return out;
}
