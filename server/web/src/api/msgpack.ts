/** Reads msgpack as the server writes it. A column of numbers, {"f8": bytes} or {"i8": bytes}, becomes a Float64Array.
 *
 * Source: the msgpack specification, without extension types, which the server has no use for.
 */

export function decode(buffer: ArrayBuffer): unknown {
  const view = new DataView(buffer);
  const utf8 = new TextDecoder();
  let at = 0;

  function take(size: number): number {
    const here = at;
    at += size;
    return here;
  }

  function text(size: number): string {
    return utf8.decode(new Uint8Array(buffer, take(size), size));
  }

  /** A copy: the bytes stand anywhere, and an array of numbers begins at a multiple of eight. */
  function bytes(size: number): ArrayBuffer {
    const here = take(size);
    return buffer.slice(here, here + size);
  }

  function list(size: number): unknown[] {
    const out = new Array<unknown>(size);
    for (let i = 0; i < size; i++) out[i] = value();
    return out;
  }

  function map(size: number): unknown {
    const out: Record<string, unknown> = {};
    for (let i = 0; i < size; i++) out[String(value())] = value();
    if (size === 1 && out.f8 instanceof ArrayBuffer) return new Float64Array(out.f8);
    if (size === 1 && out.i8 instanceof ArrayBuffer) return Float64Array.from(new BigInt64Array(out.i8), Number);
    return out;
  }

  function value(): unknown {
    const code = view.getUint8(take(1));
    if (code < 0x80) return code;
    if (code < 0x90) return map(code & 15);
    if (code < 0xa0) return list(code & 15);
    if (code < 0xc0) return text(code & 31);
    if (code >= 0xe0) return code - 256;
    switch (code) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return bytes(view.getUint8(take(1)));
      case 0xc5: return bytes(view.getUint16(take(2)));
      case 0xc6: return bytes(view.getUint32(take(4)));
      case 0xca: return view.getFloat32(take(4));
      case 0xcb: return view.getFloat64(take(8));
      case 0xcc: return view.getUint8(take(1));
      case 0xcd: return view.getUint16(take(2));
      case 0xce: return view.getUint32(take(4));
      case 0xcf: return Number(view.getBigUint64(take(8)));
      case 0xd0: return view.getInt8(take(1));
      case 0xd1: return view.getInt16(take(2));
      case 0xd2: return view.getInt32(take(4));
      case 0xd3: return Number(view.getBigInt64(take(8)));
      case 0xd9: return text(view.getUint8(take(1)));
      case 0xda: return text(view.getUint16(take(2)));
      case 0xdb: return text(view.getUint32(take(4)));
      case 0xdc: return list(view.getUint16(take(2)));
      case 0xdd: return list(view.getUint32(take(4)));
      case 0xde: return map(view.getUint16(take(2)));
      case 0xdf: return map(view.getUint32(take(4)));
      default: throw new Error(`msgpack code ${code} at ${at - 1}`);
    }
  }

  return value();
}
