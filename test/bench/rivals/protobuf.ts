// Reading protobuf: only what the messages of Envoy's gRPC access log need.

const VARINT = 0;
const FIXED_64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED_32 = 5;

/** Reads the fields of one message after another: `next()` goes to a field, and exactly one other call takes or skips its value. */
export class Reader {
  /** Number of the field that `next` went to. */
  field = 0;
  #type = 0;
  readonly #bytes: Buffer;
  #at: number;
  readonly #end: number;

  constructor(bytes: Buffer, at = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
  }

  next(): boolean {
    if (this.#at >= this.#end) return false;
    const tag = this.varint();
    this.field = tag >>> 3;
    this.#type = tag & 7;
    return true;
  }

  /** An unsigned number; exact below 2^53. */
  varint(): number {
    let value = 0;
    for (let scale = 1; this.#at < this.#end; scale *= 128) {
      const byte = this.#bytes[this.#at++] as number;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
    throw new Error('a protobuf message ends in a number');
  }

  #length(): number {
    const length = this.varint();
    if (this.#at + length > this.#end) throw new Error('a protobuf message ends in a field');
    return length;
  }

  text(): string {
    const length = this.#length();
    this.#at += length;
    return this.#bytes.toString('utf8', this.#at - length, this.#at);
  }

  bytes(): Buffer {
    const length = this.#length();
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  message(): Reader {
    const length = this.#length();
    this.#at += length;
    return new Reader(this.#bytes, this.#at - length, this.#at);
  }

  skip(): void {
    if (this.#type === VARINT) this.varint();
    else if (this.#type === LENGTH_DELIMITED) this.bytes();
    else if (this.#type === FIXED_64 || this.#type === FIXED_32) this.#at += this.#type === FIXED_64 ? 8 : 4;
    else throw new Error(`a protobuf field has the unknown wire type ${this.#type}`);
    if (this.#at > this.#end) throw new Error('a protobuf message ends in a field');
  }
}
