import { afterEach, expect, test, vi } from "vitest";
import { api, serverNow } from "./client";

afterEach(() => void vi.unstubAllGlobals());

async function answered(date: string | null) {
  vi.stubGlobal("fetch", async () => new Response("{}", { headers: date === null ? {} : { date } }));
  await api.info();
  return serverNow() - Date.now() / 1000;
}

test("the time is that of the server where the two clocks differ", async () => {
  const later = new Date(Date.now() + 3_600_000).toUTCString();
  expect(Math.abs((await answered(later)) - 3600)).toBeLessThan(60);
  expect(Math.abs((await answered(null)) - 3600)).toBeLessThan(60); // who does not say keeps what was known
  expect(await answered(new Date().toUTCString())).toBe(0);
});
