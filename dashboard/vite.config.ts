import { defineConfig } from "vite";

const gateway = process.env.THINGWAY_API ?? "http://127.0.0.1:18083";

export default defineConfig({
  base: "/",
  esbuild: { jsx: "automatic", jsxImportSource: "preact" },
  build: {
    outDir: process.env.THINGWAY_DASHBOARD_OUT ?? "dist",
    emptyOutDir: true,
    target: "es2022",
    // Nothing is written into the page itself: its policy allows no inline script, style or font.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { host: "127.0.0.1", proxy: { "/api": gateway, "/api-docs": gateway } },
});
