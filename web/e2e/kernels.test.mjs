// The browser's own compiler takes every kernel, also those that this adapter would not be given: naga, which checks them
// when the crate is built, forgives what browsers do not.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { it } from 'node:test';
import init, { kernels } from '../src/pkg/tunesmith.js';
import { launch, open } from './browser.mjs';

const url = process.env.TUNESMITH_URL;

it('every kernel compiles', async () => {
  assert.ok(url, 'TUNESMITH_URL is not set: run `cargo xtask test`');
  await init({ module_or_path: await readFile(new URL('../src/pkg/tunesmith_bg.wasm', import.meta.url)) });
  const all = kernels();
  assert.ok(all.length > 150, `${all.length} kernels`);
  const browser = await launch();
  try {
    const { page } = await open(browser, url);
    const refused = await page.evaluate(async (all) => {
      const adapter = await navigator.gpu.requestAdapter();
      const device = await adapter.requestDevice({ requiredFeatures: ['subgroups'] });
      const refused = [];
      for (const { name, wgsl } of all) {
        const { messages } = await device.createShaderModule({ code: wgsl }).getCompilationInfo();
        const error = messages.find((message) => message.type === 'error');
        if (error) refused.push(`${name}, line ${error.lineNum}: ${error.message}`);
      }
      return refused;
    }, all);
    assert.deepEqual(refused, []);
  } finally {
    await browser.close();
  }
});
