// A step that takes long, on a small made-up model: it is left in the middle and taken up there. TUNESMITH_URL says where the page is.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { unzip } from './adapter.mjs';
import { launch, open } from './browser.mjs';
import { ask, choose, downloadAdapter, events, loadModelFile, text, train } from './flow.mjs';
import { madeUpModel, TYPES } from './made-up.mjs';

const url = process.env.TUNESMITH_URL;
const model = { name: 'small.F16.gguf', mimeType: 'application/octet-stream', buffer: madeUpModel(TYPES.F16) };
const ROWS = 16;
const rows = Array.from({ length: ROWS }, (_, i) => JSON.stringify({ prompt: `Count from ${i}.`, completion: Array.from({ length: 120 }, (_, n) => i + n).join(' ') }));
const settings = { max_steps: 2, gradient_accumulation_steps: ROWS, max_length: 512, learning_rate: 0.01, r: 4 };

describe('a pause', () => {
  let browser;
  let opened;
  let folder;
  let page;
  const by = (id) => page.getByTestId(id);
  const weights = async (name) => [...unzip(await downloadAdapter(page, join(folder, name)))].find(([path]) => path.endsWith('adapter_model.safetensors'))[1];
  const steps = async () => (await events(page, 'step')).length;
  const state = (name) => page.locator(`[data-testid="run-status"][data-state="${name}"]`).waitFor({ timeout: 240_000 });

  before(async () => {
    browser = await launch();
    opened = await open(browser, url);
    page = opened.page;
    folder = await mkdtemp(join(tmpdir(), 'tunesmith-pause-'));
  });
  after(() => Promise.all([browser.close(), rm(folder, { recursive: true, force: true })]));

  it('leaves a step in the middle, and the run ends with the same bits', async () => {
    await loadModelFile(page, model);
    await by('paste-jsonl').fill(rows.join('\n'));
    await by('paste-jsonl-add').click();
    await choose(page, 'lora', settings);
    await train(page);
    const [first] = await events(page, 'step');
    const whole = await weights('whole.zip');
    const before = await steps();
    assert.equal(before, settings.max_steps);

    await by('train').click();
    await state('running');
    // The kernels are compiled, and there is much left of the first step.
    await page.waitForTimeout(Math.min(1000, first.ms / 4));
    const pressed = Date.now();
    await by('pause').click();
    await state('paused');
    console.log(`a step takes ${Math.round(first.ms)} ms; paused after ${Date.now() - pressed} ms`);
    await page.waitForTimeout(first.ms);
    assert.equal(await steps(), before, 'the step that was left went on');

    await by('resume').click();
    await state('running');
    await state('done');
    assert.equal(await steps(), before + settings.max_steps);
    assert.ok(whole.equals(await weights('left.zip')), 'a run whose step was left ended with other bits');
    // Time in which nothing was done is no part of a step.
    const again = (await events(page, 'step')).at(before);
    assert.ok(again.ms < 3 * first.ms, `${again.ms} ms, and ${first.ms} ms without a pause`);
  });

  it('is no reason not to answer, which ends the step in hand', async () => {
    const before = await steps();
    await by('train').click();
    await state('running');
    await page.waitForTimeout(300);
    await by('pause').click();
    await state('paused');
    assert.equal(await steps(), before);
    const { tuned } = await ask(page, 'Count from 3.');
    assert.notEqual(tuned, '');
    assert.equal(await text(by('run-status')).then((words) => words.startsWith('Paused')), true);
    await by('stop').click();
    await state('done');
    assert.ok((await steps()) > before);
    assert.deepEqual(opened.problems, []);
  });
});
