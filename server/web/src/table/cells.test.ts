import { expect, test } from "vitest";
import type { Figures, Run } from "../api/model";
import { cell, figure, title } from "./cells";

const run = (columns: Record<string, unknown>, rest: object = {}) => ({ created: 1000, duration: 65, tags: ["a", "b"], columns, ...rest }) as unknown as Run;

test("a cell is written as people read it", () => {
  const one = run({ "config.lr": 0.1, "config.arch": "vit" });
  expect(["config.lr", "config.arch", "tags", "duration", "created", "notes"].map((column) => cell(one, column, 1300))).toEqual(["0.1", "vit", "a, b", "1 m 5 s", "5 m ago", ""]);
});

test("a group has the mean of its numbers, and a value that all of its runs share", () => {
  const figures = (mean: number | null, shared: unknown = null) => ({ count: 2, mean, std: 0, min: 0, max: 0, shared }) as Figures;
  expect(figure(figures(0.2), "config.lr")).toBe("0.2");
  expect(figure(figures(65), "duration")).toBe("1 m 5 s");
  expect(figure(figures(null, "vit"), "config.arch")).toBe("vit");
  expect(figure(figures(null, ["a", "b"]), "tags")).toBe("a, b");
  expect([figure(figures(1e9), "created"), figure(figures(null), "notes"), figure(undefined, "tags")]).toEqual(["", "", ""]);
});

test("titles leave out what all columns of a kind have", () => {
  expect(["config.lr", "summary.val/loss", "created", "job_type"].map(title)).toEqual(["lr", "val/loss", "Created", "job_type"]);
});
