// CRC-32C (Castagnoli), which ends every chunk and every shard index of a store.

const TABLE = new Uint32Array(256);
for (let index = 0; index < 256; index++) {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  TABLE[index] = value;
}

export function crc32c(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (let index = 0; index < bytes.length; index++) value = TABLE[(value ^ bytes[index]) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

/** Whether the last four bytes are the checksum of those before. */
export function endsWithItsChecksum(bytes: Uint8Array): boolean {
  if (bytes.length < 4) return false;
  const end = bytes.length - 4;
  return crc32c(bytes.subarray(0, end)) === new DataView(bytes.buffer, bytes.byteOffset + end, 4).getUint32(0, true);
}
