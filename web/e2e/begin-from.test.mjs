// Runs that begin from an adapter of the page, on a small made-up model. TUNESMITH_URL says where the page is.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { unzip } from './adapter.mjs';
import { launch, open, violations } from './browser.mjs';
import { choose, downloadAdapter, events, loadModelFile, text, train } from './flow.mjs';
import { madeUpModel, TYPES } from './made-up.mjs';

const url = process.env.TUNESMITH_URL;
const model = { name: 'small.F16.gguf', mimeType: 'application/octet-stream', buffer: madeUpModel(TYPES.F16) };
const colours = ['red', 'blue', 'green', 'black', 'white'];
const lines = (made) => colours.map((colour) => JSON.stringify(made(colour))).join('\n');
const STEPS = 60;

describe('a run that begins from an adapter', () => {
  let browser;
  let opened;
  let folder;
  let page;
  let first;
  const by = (id) => page.getByTestId(id);
  const paste = async (text) => {
    await by('paste-jsonl').fill(text);
    await by('paste-jsonl-add').click();
  };
  /** What was trained last. */
  const weights = async (name) => [...unzip(await downloadAdapter(page, join(folder, name)))].find(([path]) => path.endsWith('adapter_model.safetensors'))[1];
  /** Has the next run begin from the newest adapter. */
  const beginFromNewest = async () => by('begin-from').selectOption({ index: (await by('begin-from').locator('option').count()) - 1 });

  before(async () => {
    browser = await launch();
    opened = await open(browser, url);
    page = opened.page;
    folder = await mkdtemp(join(tmpdir(), 'tunesmith-begin-'));
  });
  after(() => Promise.all([browser.close(), rm(folder, { recursive: true, force: true })]));

  it('has its weights and its shape, and leaves it as it is', async () => {
    await loadModelFile(page, model);
    await paste(lines((colour) => ({ prompt: `${colour}:`, completion: ` ${colour}!` })));
    assert.equal(await by('begin-from').count(), 0);
    await choose(page, 'lora', { max_steps: 8, learning_rate: 0.02, r: 4, lora_alpha: 8 });
    const losses = await train(page);
    first = await weights('first.zip');
    await beginFromNewest();
    // The shape is no question any more.
    assert.equal((await by('method').count()) + (await by('field-r').count()) + (await by('field-lora_alpha').count()), 0);
    assert.deepEqual(await violations(page), []);
    await by('field-learning_rate').fill('0');
    await by('field-max_steps').fill('1');
    const [loss] = await train(page);
    assert.ok(loss < losses[0] - 1, `${loss} at first, and ${losses} before`);
    assert.ok(first.equals(await weights('same.zip')), 'a step of length 0 moved it');
    assert.match(JSON.stringify((await events(page, 'start')).at(-1).config), /"r":4,.*"lora_alpha":8/);
  });

  it('is compared with it, also after a reload', async () => {
    await by('tab-preferences').click();
    await paste(lines((colour) => ({ prompt: `${colour}:`, chosen: ` ${colour}?`, rejected: ` ${colour}!` })));
    await by('hold-out').selectOption('0');
    await beginFromNewest();
    await by('field-learning_rate').fill('0.001');
    await by('field-max_steps').fill(String(STEPS));
    await train(page);
    const [{ metrics }] = (await events(page, 'step')).slice(-STEPS);
    // Nothing is likelier yet than it was to the adapter.
    for (const name of ['rewards/chosen', 'rewards/rejected']) assert.ok(Math.abs(metrics[name]) < 1e-5, `${name} ${metrics[name]}`);
    const whole = await weights('whole.zip');
    assert.ok(!whole.equals(first));

    // The first of the list is the adapter of the first run, and another run begins from it as this one did.
    await by('begin-from').selectOption({ index: 1 });
    const before = (await events(page, 'step')).length;
    await by('train').click();
    await page.waitForFunction((n) => (window.tunesmithEvents ?? []).filter(({ event }) => event === 'step').length >= n, before + 25, { timeout: 120_000 });
    page.once('dialog', (dialog) => dialog.accept());
    await page.reload();
    await by('cut-off').waitFor({ timeout: 60_000 });
    await loadModelFile(page, model);
    await by('cut-off-continue').click();
    await page.locator('[data-testid="run-status"][data-state="done"]').waitFor({ timeout: 240_000 });
    assert.ok(whole.equals(await weights('again.zip')), 'it went on to other bits');
    assert.deepEqual(opened.problems, []);
    assert.match(await text(by('run-status')), /Done/);
  });
});
