import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig } from "vitest/config";
import { licences } from "./licences.ts";

// Built into server/static, which is committed: people without Node run the server as it is.
export default defineConfig({
  plugins: [svelte(), licences(["plotly.js-cartesian-dist-min"])],
  base: "/",
  build: {
    outDir: "../static",
    emptyOutDir: true,
    target: "es2023",
    assetsInlineLimit: 0, // the content security policy allows no data: script or style
    modulePreload: { polyfill: false }, // it would be an inline script
    chunkSizeWarningLimit: 1600, // plotly and three.js, loaded when first needed
    // By itself, so that its file keeps its name while only the page changes.
    rolldownOptions: { output: { codeSplitting: { groups: [{ name: "three", test: /node_modules\/three\/(build|src)\// }] } } },
  },
  server: {
    // `npm run dev` beside a server on its default port
    proxy: { "/api": "http://127.0.0.1:8550" },
  },
  test: { environment: "node", include: ["src/**/*.test.ts"] },
});
