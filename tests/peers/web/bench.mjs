// Matrix products of ours and of other libraries in headless Chromium on SwiftShader's WebGPU, in turns, one JSON object
// a line. Ours are of the page's own build: `cargo xtask wasm` first.
//
//     npm ci --ignore-scripts && npm run --silent bench -- [--tokens 64,256] [--steps 10] [--warmup 3]
//         [--libraries tunesmith,tunesmith-q4_1,jax-js,tfjs] [--rounds 3] [--gpu]
//
// `--gpu` leaves the choice of adapter to the browser.

import { readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openBrowser } from './browser.mjs';

const HERE = fileURLToPath(new URL('.', import.meta.url));
/** Inputs by outputs of layers; 960 is q, k and v in one. */
const WEIGHTS = [[576, 1536], [1536, 576], [576, 576], [576, 960]];
/** A layer's product, and that of its backward pass, from outputs to inputs. */
const WAYS = { gemm: false, gemm_back: true };
/** What our own build says of itself. */
const OWN = /^version = "(.*)"$/m.exec(readFileSync(new URL('../../../Cargo.toml', import.meta.url), 'utf8'))[1];
const PACKAGES = { tunesmith: null, 'tunesmith-q4_1': null, 'jax-js': '@jax-js/jax', tfjs: '@tensorflow/tfjs-backend-webgpu' };

const { values: options } = parseArgs({
  options: {
    tokens: { type: 'string', default: '64,256' },
    steps: { type: 'string', default: '10' },
    warmup: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '3' },
    libraries: { type: 'string', default: Object.keys(PACKAGES).join(',') },
    gpu: { type: 'boolean', default: false },
  },
});

const { browser, open, close } = await openBrowser(options.gpu);

try {
  const products = Object.entries(WAYS).flatMap(([what, back]) =>
    options.tokens.split(',').flatMap((m) =>
      WEIGHTS.map(([k, n]) => ({ what, back, shape: [Number(m), ...(back ? [n, k] : [k, n])] })),
    ),
  );
  const libraries = options.libraries.split(',');
  const times = new Map();
  const first = await open();
  const adapter = await first.evaluate(async () => (await import('/page.mjs')).adapter());
  if (libraries.some((library) => !PACKAGES[library])) {
    await first.evaluate(async () => (await import('/page.mjs')).verify());
  }
  await first.close();
  // In turns, so that a machine that gets busier meanwhile changes all of them.
  for (let round = 0; round < Number(options.rounds); round++) {
    for (const library of libraries) {
      const page = await open();
      for (const { what, back, shape } of products) {
        const ms = await page.evaluate(
          async (args) => (await import('/page.mjs')).bench(...args),
          [library, shape, back, Number(options.warmup), Number(options.steps)],
        );
        const key = [library, what, ...shape].join();
        times.set(key, [...(times.get(key) ?? []), ...ms]);
      }
      await page.close();
    }
  }
  for (const { what, shape } of products) {
    for (const library of libraries) {
      const [m, k, n] = shape;
      const ms = times.get([library, what, ...shape].join());
      const median = middle(ms);
      const version = PACKAGES[library]
        ? JSON.parse(readFileSync(join(HERE, 'node_modules', PACKAGES[library], 'package.json'))).version
        : OWN;
      console.log(
        JSON.stringify({
          peer: library,
          version,
          what,
          model: 'smollm2-135m',
          t: m,
          ms,
          median_ms: median,
          peak_bytes: null,
          load: loadavg()[0],
          note: `Chromium ${browser.version()}, ${adapter}, ${library === 'tunesmith-q4_1' ? 'Q4_1' : 'f32'}`,
          k,
          n,
          gflops: Math.round((2 * m * k * n) / median / 1e4) / 1e2,
        }),
      );
    }
  }
} finally {
  await close();
}

function middle(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
}
