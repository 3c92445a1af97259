import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const own = (name: string) => here(`./src/${name}.ts`);

/** Say which sources the page was built from, so that a test can tell whether they have changed since. */
function sourcesDigest(): Plugin {
  const files = ["index.html", "package.json", "vite.config.ts", ...readdirSync(here("./src")).map((name) => `src/${name}`)];
  const digest = createHash("sha256");
  for (const file of files.sort()) digest.update(`${file}\n`).update(readFileSync(here(`./${file}`)));
  return {
    name: "sources-digest",
    generateBundle() {
      this.emitFile({ type: "asset", fileName: "sources.sha256", source: `${digest.digest("hex")}\n` });
    },
  };
}

// Relative addresses, so that the app works below any path, as in a Space. No source maps: the app ships in a wheel.
export default defineConfig({
  base: "./",
  plugins: [sourcesDigest()],
  resolve: {
    alias: { "numcodecs/blosc": own("blosc"), "numcodecs/lz4": own("no_codec"), "numcodecs/zstd": own("no_codec") },
  },
  build: {
    outDir: "../static",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    chunkSizeWarningLimit: 1500,
    license: { fileName: "licenses.md" },
    rolldownOptions: { output: { codeSplitting: false, entryFileNames: "explorer.js", assetFileNames: "explorer[extname]" } },
  },
});
