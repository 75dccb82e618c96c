// A model in 4 bits, and adapters kept side by side, on a small made-up model. TUNESMITH_URL says where the page is.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { checkLora } from './adapter.mjs';
import { launch, open, violations } from './browser.mjs';
import { ask, choose, downloadAdapter, loadModelFile, text, train } from './flow.mjs';
import { madeUpModel, TYPES } from './made-up.mjs';

const url = process.env.TUNESMITH_URL;
const file = (name, buffer) => ({ name, mimeType: 'application/octet-stream', buffer });
const rows = ['red', 'blue', 'green', 'black', 'white'].map((colour) => JSON.stringify({ prompt: `${colour}:`, completion: ` ${colour}!` }));

describe('a model in 4 bits and its adapters', () => {
  let browser;
  let opened;
  let folder;
  let page;
  const by = (id) => page.getByTestId(id);
  const adapters = () => by('adapters').locator('[data-testid^="adapter-"]:has(input[type="radio"])');
  /** The answer of the adapter of this number in the list. */
  const answer = async (index) => {
    await adapters().nth(index).getByRole('radio').check();
    return ask(page, 'red:');
  };
  const setStrength = (value) => by('strength').fill(String(value));
  const download = async (id) => {
    const [download] = await Promise.all([page.waitForEvent('download'), by(id).click()]);
    return readFile(await download.path());
  };
  let first;

  before(async () => {
    browser = await launch();
    opened = await open(browser, url);
    page = opened.page;
    folder = await mkdtemp(join(tmpdir(), 'tunesmith-e2e-'));
  });
  after(() => Promise.all([browser.close(), rm(folder, { recursive: true, force: true })]));

  it('says why a quantized file cannot be held in 4 bits, and loads it as it is at a press', async () => {
    await by('in-4bit').check();
    await by('model-file').setInputFiles(file('small.Q8_0.gguf', madeUpModel(TYPES.Q8_0)));
    await by('model-refused').waitFor();
    assert.match(await by('model-refused').innerText(), /is Q8_0 in the file, so the model is quantized already/);
    assert.deepEqual(await violations(page), []);
    await by('load-refused').click();
    await by('model-card').waitFor();
    assert.match(await text(by('model-card')), /Quantization\s+Q8_0/);
    assert.equal(await by('model-refused').count() + (await by('reload').count()), 0);
  });

  it('holds an F16 file in 4 bits, and as it is, at a press', async () => {
    const bytes = async () => Number(/GPU memory\s+([\d.]+) kB/.exec(await text(by('model-card')))?.[1]);
    const half = file('small.F16.gguf', madeUpModel(TYPES.F16));
    assert.match(await loadModelFile(page, half, { in4bit: true }), /Quantization\s+NF4, 4 bits/);
    await by('reload').click();
    await by('reload').filter({ hasText: 'in 4 bits' }).waitFor();
    assert.match(await text(by('model-card')), /Quantization\s+F16/);
    const whole = await bytes();
    await by('reload').click();
    await by('model-card').filter({ hasText: 'NF4, 4 bits' }).waitFor();
    assert.ok((await bytes()) < whole, `${await bytes()} kB in 4 bits, ${whole} as it is`);
  });

  it('calls LoRA over it QLoRA, and says why full fine-tuning cannot be', async () => {
    await by('method').click();
    const card = (method) => page.locator('.method-card', { has: by(`method-${method}`) });
    assert.match(await card('lora').innerText(), /^QLoRA\n/);
    await card('full').filter({ hasText: 'Not on this model' }).waitFor();
    assert.match(await card('full').innerText(), /“Hold in 4 bits \(QLoRA\)”: full fine-tuning trains every weight/);
    await by('paste-jsonl').fill(rows.join('\n'));
    await by('paste-jsonl-add').click();
  });

  it('trains QLoRA and IA3, and keeps both', async () => {
    await choose(page, 'lora', { max_steps: 30, learning_rate: 0.02, r: 4 });
    const losses = await train(page);
    const mean = (list) => list.reduce((sum, loss) => sum + loss, 0) / list.length;
    assert.ok(mean(losses.slice(-5)) < 0.8 * mean(losses.slice(0, 5)), `losses: ${losses}`);
    const config = JSON.parse(await download('export-run'));
    assert.deepEqual([config.method, config.load_in_4bit, config.r], ['lora', true, 4]);
    await choose(page, 'ia3', { max_steps: 10, learning_rate: 0.1 });
    await train(page);
    await adapters().nth(1).waitFor();
    assert.match((await adapters().allInnerTexts()).join('\n'), /^QLoRA, [^]*\nIA3, /);
  });

  it('answers with either, to the bit, and with as much of it as is asked for', async () => {
    first = await answer(0);
    const second = await answer(1);
    assert.equal(new Set([first.tuned, second.tuned, first.base]).size, 3, JSON.stringify([first, second]));
    assert.deepEqual(await answer(0), first);
    await setStrength(0);
    assert.equal((await answer(0)).tuned, first.base);
    assert.match(await text(by('answer-tuned')), /strength 0/);
    await setStrength(1);
    assert.deepEqual(await answer(0), first);
  });

  it('answers with another while a run stands still, and with the run’s as it is then', async () => {
    // Slow learning: whenever the first pause comes, the answer is still to change.
    await choose(page, 'lora', { max_steps: 500, learning_rate: 0.004 });
    await by('train').click();
    const own = new Set();
    for (const steps of [2, 30, 60, 90]) {
      await page.waitForFunction((steps) => Number.parseInt(document.querySelector('[data-testid="stat-step"]')?.textContent) >= steps, steps);
      await by('pause').click();
      await by('resume').waitFor();
      await adapters().nth(2).filter({ hasText: 'in training' }).waitFor();
      assert.deepEqual(await answer(0), first);
      await setStrength(0.5);
      own.add((await answer(2)).tuned);
      await setStrength(1);
      await by('resume').click();
      if (own.size === 2) break;
    }
    await by('stop').click();
    await by('run-status').filter({ hasText: 'Done' }).waitFor();
    await adapters().nth(2).getByRole('button', { name: /^Remove/ }).click();
    assert.equal(own.size, 2, `the same answer at every pause: ${[...own]}`);
  });

  it('says why virtual tokens have no strength and no merged model', async () => {
    await choose(page, 'prompt', { max_steps: 2, num_virtual_tokens: 4 });
    await train(page);
    await adapters().nth(2).waitFor();
    assert.ok((await by('strength').isDisabled()) && (await by('export-gguf').isDisabled()));
    assert.match(await text(by('adapters')), /no strength but its own: /);
    assert.match(await page.locator('#merge-note').innerText(), /cannot be merged into the model: /);
    assert.deepEqual(await violations(page), []);
  });

  it('reads back what it gave, and gives up what is removed', async () => {
    await adapters().nth(0).getByRole('radio').check();
    const path = join(folder, 'mine.zip');
    checkLora(await downloadAdapter(page, path));
    await adapters().nth(0).getByRole('button', { name: /^Remove QLoRA/ }).click();
    await adapters().nth(2).waitFor({ state: 'detached' });
    await by('adapter-file').setInputFiles(path);
    await adapters().nth(2).filter({ hasText: 'mine.zip' }).waitFor();
    assert.deepEqual(await ask(page, 'red:'), first);
    assert.ok(await by('export-run').isDisabled());
  });

  it('merges an adapter into a model that answers the same', async () => {
    await by('outtype').selectOption('f32');
    const merged = await download('export-gguf');
    assert.equal(merged.toString('latin1', 0, 4), 'GGUF');
    await loadModelFile(page, file('merged.F32.gguf', merged));
    assert.equal(await adapters().count(), 0);
    await by('ask-input').fill('red:');
    await by('ask-send').click();
    await page.locator('[data-testid="answer-base"][data-state="done"]').waitFor();
    assert.equal(await text(by('answer-base-text')), first.tuned);
  });

  it('had no problem on the way', () => assert.deepEqual(opened.problems, []));
});
