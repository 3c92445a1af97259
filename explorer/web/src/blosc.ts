// The codec of compressed chunks: blosc frames as all stores are written, blocks of zstd that are not split.
// Source: c-blosc 1.21, README_CHUNK_FORMAT; the checks are those of `dynamic_sparsity/untrusted/blosc.py`.

import { decompress } from "fzstd";

const HEADER_BYTES = 16;
const CODED = 0x90;
const SHUFFLED = 0x01;
const COPIED = 0x02;
const BIT_SHUFFLED = 0x04;
const FRAME_BYTES_MAX = 256 * 2 ** 20;

/** Put bytes together that were sorted by their place in a number. */
function unshuffle(block: Uint8Array, typesize: number): Uint8Array {
  const count = Math.floor(block.length / typesize);
  const out = block.slice();
  for (let byte = 0; byte < typesize; byte++)
    for (let index = 0; index < count; index++) out[index * typesize + byte] = block[byte * count + index];
  return out;
}

/** Put bits together that were sorted by their place in a number. */
function bitUnshuffle(block: Uint8Array, typesize: number): Uint8Array {
  const count = Math.floor(block.length / typesize);
  // As c-blosc has it: what can't be cut into groups of eight was copied.
  if (count % 8 !== 0) return block;
  const out = block.slice();
  out.fill(0, 0, count * typesize);
  const groups = count / 8;
  for (let byte = 0; byte < typesize; byte++)
    for (let bit = 0; bit < 8; bit++) {
      const start = (byte * 8 + bit) * groups;
      for (let group = 0; group < groups; group++) {
        const bits = block[start + group];
        if (bits === 0) continue;
        for (let index = 0; index < 8; index++)
          out[(group * 8 + index) * typesize + byte] |= ((bits >>> index) & 1) << bit;
      }
    }
  return out;
}

/** Decode a frame; whatever it says of itself is checked before memory is taken. */
export function decodeBlosc(frame: Uint8Array): Uint8Array {
  const refuse = (what: string): never => {
    throw new Error(`a compressed chunk ${what}`);
  };
  if (frame.length < HEADER_BYTES) refuse("has no header");
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const [version, codecVersion, flags, typesize] = frame;
  const [size, blockSize, frameSize] = [4, 8, 12].map((at) => view.getInt32(at, true));
  const kind = flags & ~COPIED;
  if (version !== 2 || codecVersion !== 1 || typesize < 1 || (kind !== (CODED | SHUFFLED) && kind !== (CODED | BIT_SHUFFLED)))
    refuse("has a header that no store has");
  if (frameSize !== frame.length || size < 0 || size > FRAME_BYTES_MAX) refuse("has other sizes than it says");
  if (flags & COPIED) {
    if (frameSize !== HEADER_BYTES + size) refuse("has other sizes than it says");
    return frame.slice(HEADER_BYTES);
  }
  if (size === 0) return new Uint8Array();
  if (blockSize <= 0 || blockSize > size) refuse("has blocks of no possible size");
  const blocks = Math.ceil(size / blockSize);
  const first = HEADER_BYTES + 4 * blocks;
  if (first > frameSize) refuse("is too short for its blocks");
  const out = new Uint8Array(size);
  for (let number = 0; number < blocks; number++) {
    const start = view.getInt32(HEADER_BYTES + 4 * number, true);
    if (start < first || start > frameSize - 4) refuse("has a block that starts outside it");
    const length = view.getInt32(start, true);
    if (length <= 0 || length > frameSize - 4 - start) refuse("has a block that ends outside it");
    const wanted = Math.min(blockSize, size - number * blockSize);
    const coded = frame.subarray(start + 4, start + 4 + length);
    const block = length === wanted ? coded : decompress(coded, new Uint8Array(wanted));
    if (block.length !== wanted) refuse("has a block of another size");
    out.set(flags & BIT_SHUFFLED ? bitUnshuffle(block, typesize) : typesize > 1 ? unshuffle(block, typesize) : block, number * blockSize);
  }
  return out;
}

/** For zarrita, in the place of a general decoder of half a megabyte that compiles code from text. */
export default class Blosc {
  static codecId = "blosc";
  readonly kind = "bytes_to_bytes";

  static fromConfig(): Blosc {
    return new Blosc();
  }

  encode(): never {
    throw new Error("the explorer does not write");
  }

  decode(frame: Uint8Array): Uint8Array {
    return decodeBlosc(frame);
  }
}
