// In the place of codecs that no store uses.

export default class NoCodec {
  static fromConfig(): never {
    throw new Error("no store is compressed like this");
  }
}
