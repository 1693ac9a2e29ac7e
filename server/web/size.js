// What a browser loads first, and all there is: node size.js FOLDER. Exits with 1 beyond the limits.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const FIRST_KB = 150;
const ALL_KB = 3000;

const folder = process.argv[2];
const page = readFileSync(join(folder, "index.html"), "utf8");
const first = [...page.matchAll(/(?:src|href)="\/([^"]+)"/g)].map((match) => match[1]);
const size = (name) => gzipSync(readFileSync(join(folder, name)), { level: 9 }).length;
const loaded = (size("index.html") + first.map(size).reduce((a, b) => a + b, 0)) / 1000;
const files = readdirSync(folder, { recursive: true }).filter((name) => statSync(join(folder, name)).isFile());
const all = files.map((name) => statSync(join(folder, name)).size).reduce((a, b) => a + b, 0) / 1000;
console.log(`page: first load ${loaded.toFixed(1)} kB gzip of ${FIRST_KB}, all files ${all.toFixed(0)} kB of ${ALL_KB}`);
if (loaded > FIRST_KB || all > ALL_KB) process.exit(1);
