import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const own = (name: string) => fileURLToPath(new URL(`./src/${name}.ts`, import.meta.url));

// Relative addresses, so that the app works below any path, as in a Space. No source maps: the app ships in a wheel.
export default defineConfig({
  base: "./",
  resolve: {
    alias: { "numcodecs/blosc": own("blosc"), "numcodecs/lz4": own("no_codec"), "numcodecs/zstd": own("no_codec") },
  },
  build: {
    outDir: "../static",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    rolldownOptions: { output: { codeSplitting: false, entryFileNames: "explorer.js", assetFileNames: "explorer[extname]" } },
  },
});
