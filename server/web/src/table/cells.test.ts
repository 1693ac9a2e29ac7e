import { expect, test } from "vitest";
import type { Run } from "../api/model";
import { cell, shared, title } from "./cells";

const run = (columns: Record<string, unknown>, rest: object = {}) => ({ created: 1000, duration: 65, tags: ["a", "b"], columns, ...rest }) as unknown as Run;

test("a cell is written as people read it", () => {
  const one = run({ "config.lr": 0.1, "config.arch": "vit" });
  expect(["config.lr", "config.arch", "tags", "duration", "created", "notes"].map((column) => cell(one, column, 1300))).toEqual(["0.1", "vit", "a, b", "1 m 5 s", "5 m ago", ""]);
});

test("a group has the mean of its numbers, and a text that all of its runs share", () => {
  const runs = [run({ "config.lr": 0.1, "config.arch": "vit", "config.seed": "1" }), run({ "config.lr": 0.3, "config.arch": "vit", "config.seed": "2" })];
  expect(["config.lr", "config.arch", "config.seed", "duration", "created"].map((column) => shared(runs, column))).toEqual(["0.2", "vit", "", "1 m 5 s", ""]);
});

test("titles leave out what all columns of a kind have", () => {
  expect(["config.lr", "summary.val/loss", "created", "job_type"].map(title)).toEqual(["lr", "val/loss", "Created", "job_type"]);
});
