/** A Vite plugin: licences.txt, the licence of every package that a built file has code of. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Plugin } from "vite";

/** copied: packages of which a file is taken as it is, not through a module. */
export function licences(copied: readonly string[] = []): Plugin {
  const folders = new Set(copied.map((name) => join(import.meta.dirname, "node_modules", name)));
  return {
    name: "licences",
    apply: "build",
    generateBundle(_options, bundle) {
      for (const file of Object.values(bundle)) {
        if (file.type !== "chunk") continue;
        for (const id of Object.keys(file.modules)) {
          let folder = dirname(id.replace(/^\0/, "").replace(/\?.*$/, ""));
          if (!folder.includes("node_modules")) continue;
          // A folder inside a package may have a package.json without a name.
          while (folder.includes("node_modules") && !named(folder)) folder = dirname(folder);
          if (named(folder)) folders.add(folder);
        }
      }
      const parts = [...folders].map(entry).sort();
      this.emitFile({ type: "asset", fileName: "licences.txt", source: `The page contains code of these packages.\n\n${parts.join("\n\n")}\n` });
    },
  };
}

function named(folder: string): boolean {
  const file = join(folder, "package.json");
  return existsSync(file) && typeof (JSON.parse(readFileSync(file, "utf8")) as { name?: string }).name === "string";
}

function entry(folder: string): string {
  const told = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { name: string; version: string; license?: string };
  const file = readdirSync(folder).find((name) => /^licen[sc]e/i.test(name));
  const text = file ? readFileSync(join(folder, file), "utf8").trim() : "";
  return `${told.name} ${told.version} (${told.license ?? "see below"})\n${"-".repeat(72)}\n${text}`;
}
