import { beforeEach, expect, test, vi } from "vitest";
import { api } from "../api/client";
import { at, forget, media, nearest } from "./source";

const item = (key: string, step: number) => ({ key, step, index: 0, type: "image-file", value: {}, caption: null, url: "/" });
const STEPS = Array.from({ length: 2100 }, (_, i) => i);
const pages = vi.fn(async (_of: string, run: string, asked: { key?: readonly string[]; step?: number }) => {
  if (run === "broken") throw new Error("away");
  const items = [item(asked.key![0]!, asked.step ?? 0)];
  return { total: asked.step === undefined ? 5000 : 1, steps: STEPS, items } as never;
});

beforeEach(() => {
  pages.mockClear();
  vi.spyOn(api, "media").mockImplementation(pages);
});

test("what is known is not asked for again, until the run has more", async () => {
  await media("p", "a", "k", "image-file");
  await media("p", "a", "k", "image-file");
  expect(pages).toHaveBeenCalledTimes(1);
  forget("p", "a");
  await media("p", "a", "k", "image-file");
  expect(pages).toHaveBeenCalledTimes(2);
});

test("as many keys are kept as screens have, and the one that was not asked for longest goes", async () => {
  for (let i = 0; i < 240; i++) await media("p", "bound", `k${i}`, "image-file");
  await media("p", "bound", "k0", "image-file"); // the oldest is in use
  await media("p", "bound", "one more", "image-file");
  pages.mockClear();
  await media("p", "bound", "k0", "image-file");
  await media("p", "bound", "k239", "image-file");
  expect(pages).toHaveBeenCalledTimes(0);
  await media("p", "bound", "k1", "image-file");
  expect(pages).toHaveBeenCalledTimes(1);
});

test("the values of so many steps of a key are kept, the newest", async () => {
  const found = await media("p", "steps", "k", "image-file");
  for (const step of STEPS.slice(1)) await at(found, "p", "steps", "k", step);
  expect(found.items.size).toBeLessThanOrEqual(2000);
  expect(found.items.has(2099)).toBe(true);
});

test("a failure is not kept", async () => {
  await expect(media("p", "broken", "k", "image-file")).rejects.toThrow("away");
  await expect(media("p", "broken", "k", "image-file")).rejects.toThrow("away");
  expect(pages).toHaveBeenCalledTimes(2);
});

test("the step that is shown is the last one not behind the wanted", () => {
  expect([nearest([2, 4, 8], 5), nearest([2, 4, 8], 1), nearest([2, 4, 8], null), nearest([], 3)]).toEqual([4, 2, 8, null]);
});
