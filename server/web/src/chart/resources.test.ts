import { expect, suite, test } from "vitest";
import { resources } from "./resources";

suite("resources", () => {
  const samples = [
    { _timestamp: 1, _runtime: 0, "system.cpu.utilization": 0.5, "process.memory.usage": 2e9, "process.disk.io.read": 1000, "process.thread.count": 4 },
    { _timestamp: 2, _runtime: 2, "system.cpu.utilization": 1, "process.memory.usage": 3e9, "process.disk.io.read": 5_001_000, "process.thread.count": 4 },
    { _timestamp: 3, _runtime: 4, "process.disk.io.read": 0 },
  ];
  const by = new Map(resources(samples).map((one) => [one.name, one]));
  test("are shares in percent, bytes in what fits, and counters by the second", () => {
    expect([...by.get("system.cpu.utilization")!.curve.y]).toEqual([50, 100]);
    expect([by.get("process.memory.usage")!.unit, ...by.get("process.memory.usage")!.curve.y]).toEqual(["GB", 2, 3]);
    const read = by.get("process.disk.io.read")!;
    expect([read.unit, ...read.curve.x, ...read.curve.y]).toEqual(["MB/s", 2, 4, 2.5, NaN]);
    expect(by.get("process.thread.count")!.unit).toBe("");
  });
  test("of the program come before those of the machine", () => {
    expect([...by.keys()].at(-1)).toBe("system.cpu.utilization");
  });
});
