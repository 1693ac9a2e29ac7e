import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Failure } from "../api/client";
import { Pages } from "./pages.svelte";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const SIZE = 10;

/** A server with so many things, each "version:place"; what it is asked is kept, and it answers after so many milliseconds. */
function served(total: number, takes_ms = 5) {
  const server = { asked: [] as number[], version: 1, total, refuses: null as Failure | null, begun: 0, taken: [] as number[] };
  const pages = new Pages<string>(
    SIZE,
    async (offset, limit) => {
      server.asked.push(offset / SIZE);
      const { version, refuses } = server;
      await new Promise((resolve) => setTimeout(resolve, takes_ms));
      if (refuses) throw refuses;
      const answer = { total: server.total, items: Array.from({ length: Math.min(limit, server.total - offset) }, (_, i) => `${version}:${offset + i}`) };
      return () => {
        server.taken.push(version);
        return answer;
      };
    },
    () => server.begun++,
  );
  const asked = () => server.asked.splice(0);
  return { server, pages, asked };
}

async function begun(total = 100) {
  const all = served(total);
  void all.pages.reload();
  await vi.advanceTimersByTimeAsync(50);
  all.asked();
  return all;
}

test("pages come as they are scrolled to, two at a time, and one that is scrolled past is never asked for", async () => {
  const { pages, asked } = await begun(1000);
  expect([pages.total, pages.at(0), pages.at(20)]).toEqual([1000, "1:0", undefined]);
  pages.need(20, 65); // pages 2 to 6
  pages.need(900, 910);
  await vi.advanceTimersByTimeAsync(100);
  expect(asked()).toEqual([2, 3, 90, 91]);
  expect([pages.at(25), pages.at(905), pages.at(45)]).toEqual(["1:25", "1:905", undefined]);
});

test("a change asks for the first page and for those in sight again, and what stands there stays meanwhile", async () => {
  const { server, pages, asked } = await begun();
  pages.need(50, 59);
  await vi.advanceTimersByTimeAsync(50);
  asked();
  server.version = 2;
  void pages.refresh();
  expect([pages.at(0), pages.at(55)]).toEqual(["1:0", "1:55"]);
  await vi.advanceTimersByTimeAsync(50);
  expect(asked()).toEqual([0, 5]);
  expect([pages.at(0), pages.at(55), server.begun]).toEqual(["2:0", "2:55", 1]);
});

test("pages out of sight are asked for again when they are scrolled to after a change", async () => {
  const { server, pages, asked } = await begun();
  pages.need(50, 59);
  await vi.advanceTimersByTimeAsync(50);
  pages.need(0, 9);
  server.version = 2;
  void pages.refresh();
  await vi.advanceTimersByTimeAsync(50);
  asked();
  expect(pages.at(55)).toBe("1:55");
  pages.need(50, 59);
  await vi.advanceTimersByTimeAsync(50);
  expect([asked(), pages.at(55)]).toEqual([[5], "2:55"]);
});

test("an answer to an older question is thrown away", async () => {
  const { server, pages } = served(100, 20);
  void pages.reload();
  await vi.advanceTimersByTimeAsync(5);
  server.version = 2;
  server.total = 3;
  void pages.reload();
  await vi.advanceTimersByTimeAsync(100);
  expect([pages.total, pages.at(0), server.begun, server.taken]).toEqual([3, "2:0", 1, [2]]);
});

test("a change while the first answer is under way does not ask for it a second time", async () => {
  const { pages, asked } = served(100, 50);
  void pages.reload();
  for (let i = 0; i < 5; i++) void pages.refresh();
  await vi.advanceTimersByTimeAsync(40);
  expect(asked()).toEqual([0]);
});

test("a question that was refused is not asked again at each change, but a new one is", async () => {
  const { server, pages, asked } = await begun();
  server.refuses = new Failure(400, "invalid filter", "no such name");
  void pages.reload();
  await vi.advanceTimersByTimeAsync(50);
  for (let i = 0; i < 5; i++) await pages.refresh();
  await vi.advanceTimersByTimeAsync(5000);
  expect([asked(), pages.error?.detail, pages.at(0)]).toEqual([[0], "no such name", "1:0"]);
  server.refuses = null;
  void pages.reload();
  await vi.advanceTimersByTimeAsync(50);
  expect([asked(), pages.error]).toEqual([[0], null]);
});

test("a server that is away is asked again until it answers", async () => {
  const { server, pages } = served(100);
  server.refuses = new Failure(0, "away", "");
  void pages.reload();
  await vi.advanceTimersByTimeAsync(1000);
  expect([pages.total, pages.error?.title]).toEqual([null, "away"]);
  server.refuses = null;
  await vi.advanceTimersByTimeAsync(3000);
  expect([pages.total, pages.error]).toEqual([100, null]);
});

test("a list that became shorter forgets what is no more", async () => {
  const { server, pages } = await begun();
  pages.need(50, 59);
  await vi.advanceTimersByTimeAsync(50);
  server.total = 30;
  void pages.refresh();
  await vi.advanceTimersByTimeAsync(100);
  expect([pages.total, pages.at(55), [...pages.loaded()].length]).toEqual([30, undefined, SIZE]);
});

test("who has left sees no answer", async () => {
  const { pages } = served(100, 20);
  void pages.reload();
  pages.stop();
  await vi.advanceTimersByTimeAsync(100);
  expect(pages.total).toBe(null);
});
