import { expect, suite, test } from "vitest";
import { decode } from "./msgpack";

const bytes = (...values: number[]) => Uint8Array.from(values).buffer;

suite("msgpack", () => {
  test("reads the kinds of values that the server writes", () => {
    // {"a": [1, -1, 300, nil, true], "b": 1.5, "c": "é"}
    const source = bytes(0x83, 0xa1, 97, 0x95, 1, 0xff, 0xcd, 1, 44, 0xc0, 0xc3, 0xa1, 98, 0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0xa1, 99, 0xa2, 0xc3, 0xa9);
    expect(decode(source)).toEqual({ a: [1, -1, 300, null, true], b: 1.5, c: "é" });
  });
  test("makes an array of numbers of a packed column, wherever it stands", () => {
    const column = new Uint8Array(Float64Array.of(1, NaN, -2.5).buffer);
    const found = decode(bytes(0x81, 0xa2, 0x66, 0x38, 0xc4, 24, ...column)) as Float64Array;
    expect([...found]).toEqual([1, NaN, -2.5]);
    const counts = new Uint8Array(BigInt64Array.of(3n, 4096n).buffer);
    expect([...(decode(bytes(0x81, 0xa2, 0x69, 0x38, 0xc4, 16, ...counts)) as Float64Array)]).toEqual([3, 4096]);
  });
  test("names a code that it does not know", () => {
    expect(() => decode(bytes(0xc1))).toThrow("193");
  });
});
