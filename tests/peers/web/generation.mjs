// Tokens a second of the page's own build in headless Chromium, of one sequence and of eight at once, in turns, as JSON:
// `cargo xtask wasm` first.
//
//     npm ci --ignore-scripts && npm run --silent generation -- --model FILE.gguf [--tokens 32] [--rounds 3] [--gpu]

import { parseArgs } from 'node:util';
import { loadavg } from 'node:os';
import { openBrowser } from './browser.mjs';

const { values: options } = parseArgs({
  options: {
    model: { type: 'string' },
    tokens: { type: 'string', default: '32' },
    rounds: { type: 'string', default: '3' },
    gpu: { type: 'boolean', default: false },
  },
});

const { browser, open, close } = await openBrowser(options.gpu, { '/model.gguf': options.model });
try {
  const page = await open();
  const rates = await page.evaluate(
    (work) =>
      new Promise((resolve, reject) => {
        const worker = new Worker('/generation-worker.mjs', { type: 'module' });
        worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data.rates));
        worker.onerror = ({ message }) => reject(new Error(message));
        worker.postMessage(work);
      }),
    { slots: [1, 8], tokens: Number(options.tokens), rounds: Number(options.rounds) },
  );
  for (const [slots, each] of Object.entries(rates)) {
    const median = each.toSorted((a, b) => a - b)[each.length >> 1];
    const note = `Chromium ${browser.version()}`;
    console.log(JSON.stringify({ peer: 'tunesmith', what: 'decode', slots: Number(slots), tokens_per_second: median, each, load: loadavg()[0], note }));
  }
} finally {
  await close();
}
