import { existsSync, readFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import type { Plugin, UserConfig } from 'vite';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Writes sw.js with the list of files that make the page, so that it opens offline. */
function offlineShell(): Plugin {
  return {
    name: 'offline-shell',
    apply: 'build',
    generateBundle(_, bundle) {
      const wanted = (file: string) => /\.(js|css|wasm|woff2)$/.test(file);
      const files = ['./', 'icon.svg', 'manifest.webmanifest', ...Object.keys(bundle).filter(wanted).sort()];
      const version = createHash('sha256').update(JSON.stringify(files)).digest('hex').slice(0, 12);
      const source = readFileSync(here('./src/sw.js'), 'utf8')
        .replace('__FILES__', JSON.stringify(files))
        .replace('__VERSION__', version);
      this.emitFile({ type: 'asset', fileName: 'sw.js', source });
    },
  };
}

export default defineConfig(async ({ mode, command }): Promise<UserConfig> => {
  // `--mode fake` runs the page on a made-up engine, for work on the screens where there is no wasm build.
  const fake = mode === 'fake' || mode === 'test';
  const engine = here(fake ? './test/fake-engine.ts' : './src/pkg/tunesmith.js');
  if (command === 'build' && !existsSync(engine)) {
    throw new Error('web/src/pkg is missing: it is built from the crate by `cargo xtask start`');
  }
  const fakeModel = mode === 'fake' ? [(await import('./test/fake-model.ts')).fakeModel()] : [];
  return {
    base: './',
    plugins: [offlineShell(), ...fakeModel],
    resolve: { alias: { 'tunesmith-engine': engine } },
    oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
    worker: { format: 'es' },
    build: { target: 'es2022', assetsInlineLimit: 0, modulePreload: { polyfill: false }, chunkSizeWarningLimit: 300 },
    server: { host: '127.0.0.1', fs: { allow: ['.', '../docs/starters'] } },
    preview: { host: '127.0.0.1' },
    test: { include: ['test/**/*.test.ts'], environment: 'node' },
  };
});
