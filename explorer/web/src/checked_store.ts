// A store's files over HTTP for zarrita: only the ranges that are asked for, counted, cached, and checked.

import type { AbsolutePath, AsyncReadable, RangeQuery } from "zarrita";
import { endsWithItsChecksum } from "./crc32c";

/** Data that are not what was written; the message is for the reader. */
export class DamagedError extends Error {}

export interface FileRecord {
  sha256: string;
  bytes: number;
}

const CACHE_BYTES = 256 * 2 ** 20;
/** Of a file that a server sends in the place of a range. */
const WHOLE_BYTES_MAX = 64 * 2 ** 20;
const MANIFEST_BYTES_MAX = 64 * 2 ** 20;

/** What was fetched since the page was opened, for the footer. */
export class Meter extends EventTarget {
  bytes = 0;
  requests = 0;
  checked = 0;

  add(bytes: number, checked: boolean): void {
    this.bytes += bytes;
    this.requests += 1;
    if (checked) this.checked += bytes;
    this.dispatchEvent(new Event("change"));
  }
}

async function sha256(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class CheckedStore implements AsyncReadable {
  private cache = new Map<string, Promise<Uint8Array>>();
  private cachedBytes = 0;

  private constructor(
    readonly url: string,
    readonly files: ReadonlyMap<string, FileRecord>,
    private readonly meter: Meter,
  ) {}

  /** Read a store's manifest; it says what every other file must be. */
  static async open(url: string, meter: Meter, manifestSha256?: string): Promise<CheckedStore> {
    const bytes = await fetchBytes(`${url}/manifest.json`, undefined, MANIFEST_BYTES_MAX);
    if (manifestSha256 && (await sha256(bytes)) !== manifestSha256)
      throw new DamagedError(`${url}/manifest.json is not the one that was published`);
    meter.add(bytes.length, Boolean(manifestSha256));
    let files: Record<string, FileRecord>;
    try {
      const manifest = JSON.parse(new TextDecoder().decode(bytes));
      if (manifest.complete !== true) throw new Error("the store was not finished");
      files = manifest.files;
    } catch (error) {
      throw new DamagedError(`${url}/manifest.json: ${(error as Error).message}`);
    }
    return new CheckedStore(url, new Map(Object.entries(files)), meter);
  }

  /** A whole file, compared with its SHA-256. */
  async get(key: AbsolutePath): Promise<Uint8Array | undefined> {
    const name = key.slice(1);
    const record = this.files.get(name);
    if (!record) return undefined;
    return this.cached(name, async () => {
      const bytes = await fetchBytes(`${this.url}/${name}`, undefined, record.bytes);
      if (bytes.length !== record.bytes) throw new DamagedError(`${name} has ${bytes.length} bytes, not ${record.bytes}`);
      if ((await sha256(bytes)) !== record.sha256) throw new DamagedError(`${name} does not match its SHA-256`);
      this.meter.add(bytes.length, true);
      return bytes;
    });
  }

  /** A chunk of a shard, or the shard's index: both end in a CRC-32C of their own. */
  async getRange(key: AbsolutePath, range: RangeQuery): Promise<Uint8Array | undefined> {
    const name = key.slice(1);
    const record = this.files.get(name);
    if (!record) throw new DamagedError(`${name} is not in the manifest`);
    const length = "suffixLength" in range ? range.suffixLength : range.length;
    const start = "suffixLength" in range ? record.bytes - length : range.offset;
    if (start < 0 || length < 4 || start + length > record.bytes)
      throw new DamagedError(`the index of ${name} points outside the file`);
    return this.cached(`${name}:${start}+${length}`, async () => {
      const bytes = await fetchBytes(`${this.url}/${name}`, [start, start + length - 1], length);
      if (!endsWithItsChecksum(bytes))
        throw new DamagedError(`${name}, bytes ${start} to ${start + length - 1}, do not match their CRC-32C`);
      this.meter.add(bytes.length, true);
      return bytes;
    });
  }

  private cached(key: string, fetch: () => Promise<Uint8Array>): Promise<Uint8Array> {
    const known = this.cache.get(key);
    if (known) return known;
    const promise = fetch();
    this.cache.set(key, promise);
    promise.then(
      (bytes) => {
        this.cachedBytes += bytes.length;
        // The oldest go first; the map keeps the order of insertion.
        for (const [old, value] of this.cache) {
          if (this.cachedBytes <= CACHE_BYTES || old === key) break;
          this.cache.delete(old);
          value.then((gone) => (this.cachedBytes -= gone.length));
        }
      },
      () => this.cache.delete(key),
    );
    return promise;
  }
}

/** A file, or a range of it; never more bytes than expected are taken. */
export async function fetchBytes(url: string, range: [number, number] | undefined, max: number): Promise<Uint8Array> {
  const headers: HeadersInit = range ? { Range: `bytes=${range[0]}-${range[1]}` } : {};
  let response: Response;
  try {
    response = await fetch(url, { headers });
  } catch (error) {
    throw new Error(`${url} can't be reached (${(error as Error).message})`);
  }
  if (!response.ok) throw new Error(`${url}: the server answered ${response.status} ${response.statusText}`);
  const declared = Number(response.headers.get("Content-Length") ?? 0);
  const whole = range !== undefined && response.status !== 206;
  if (declared > (whole ? WHOLE_BYTES_MAX : max)) throw new DamagedError(`${url} has ${declared} bytes; ${max} were expected`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  // A server may ignore the range and send all of the file.
  const part = whole ? bytes.subarray(range[0], range[1] + 1) : bytes;
  if (!range && bytes.length > max) throw new DamagedError(`${url} has ${bytes.length} bytes; ${max} were expected`);
  if (range && part.length !== range[1] - range[0] + 1)
    throw new DamagedError(`${url} ended early: ${part.length} bytes came`);
  return part;
}
