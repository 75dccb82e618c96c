// What a person prefers, from the first duel to a run, on a small made-up model. TUNESMITH_URL says where the page is;
// TUNESMITH_PICTURES may name a folder for pictures of it.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { checkLora } from './adapter.mjs';
import { inEachLook, launch, open, violations } from './browser.mjs';
import { ask, choose, downloadAdapter, duel, events, loadModelFile, text, train } from './flow.mjs';
import { madeUpModel, TYPES } from './made-up.mjs';

const url = process.env.TUNESMITH_URL;
const message = (role, content) => [{ role, content }];
/** A taste that is easy to see: the colour itself, and not another one. */
const pairs = ['red', 'blue', 'green', 'black', 'white', 'grey', 'pink', 'gold'].flatMap((colour) =>
  ['', 'a ', 'the '].map((article) => ({
    prompt: message('user', `${article}${colour}:`),
    chosen: message('assistant', `${colour}!`),
    rejected: message('assistant', 'none at all'),
  })),
);

describe('preferences', () => {
  let browser;
  let opened;
  let folder;
  let page;
  const by = (id) => page.getByTestId(id);
  const rows = () => by('preferences-table').locator('[data-row]');
  /** Waits until a part of the page says this. */
  const says = (id, words) => by(id).filter({ hasText: words }).waitFor();
  /** What stands in a row of the table. */
  const cells = (index) => rows().nth(index).locator('textarea').evaluateAll((fields) => fields.map(({ value }) => value));
  const download = async (id) => {
    const [download] = await Promise.all([page.waitForEvent('download'), by(id).click()]);
    return readFile(await download.path(), 'utf8');
  };
  const agreement = async () => {
    await by('agreement').and(page.locator('[data-state="told"]')).waitFor({ timeout: 240_000 });
    return text(by('agreement'));
  };
  const metrics = async () => (await events(page, 'step')).at(-1).metrics;

  before(async () => {
    assert.ok(url, 'TUNESMITH_URL is not set: run `cargo xtask test`');
    browser = await launch();
    opened = await open(browser, url);
    page = opened.page;
    folder = await mkdtemp(join(tmpdir(), 'tunesmith-e2e-'));
  });
  after(() => Promise.all([browser.close(), rm(folder, { recursive: true, force: true })]));

  it('stand behind a tab, and say what they are for', async () => {
    const learns = (objective) => by('objective').and(page.locator(`[data-objective="${objective}"]`)).waitFor();
    await learns('sft');
    await by('tab-preferences').click();
    await learns('dpo');
    await says('count', 'No preferences yet');
    assert.deepEqual(await violations(page), []);
    await by('starter-prefer-shorter').click();
    await says('count', /^64 pairs$/);
    await says('hold-out-note', /^48 pairs to train on, 16 pairs /);
    await by('undo').click();
    await says('count', 'No preferences yet');
    await by('tab-lab').click();
    await says('lab-status', 'Choose its tab Examples');
    await by('tab-train').click();
  });

  it('come from a duel, at a press, which can be taken back', async () => {
    await loadModelFile(page, { name: 'small.F32.gguf', mimeType: 'application/octet-stream', buffer: madeUpModel(TYPES.F32) });
    await by('tab-examples').click();
    const answers = await duel(page, 'red:');
    assert.notEqual(answers[0], answers[1]);
    assert.deepEqual(await violations(page), []);
    await by('choose-1').click();
    await says('made', /^A pair was added\..* The preferences: 1 pair\./);
    await by('made-undo').click();
    await by('choose-1').click();
    await by('made-see').click();
    await says('count', /^1 pair$/);
    // The made-up model writes whatever bytes there are, and a field has its own mind about the ends of lines.
    const printed = (words) => words.replaceAll(/[\s\p{Cc}]/gu, '');
    assert.deepEqual((await cells(0)).map(printed), ['red:', answers[1], answers[0]].map(printed));
  });

  it('come from a file, and are shown side by side with what is compared', async () => {
    await by('paste-jsonl').fill(pairs.map((pair) => JSON.stringify(pair)).join('\n'));
    await by('paste-jsonl-add').click();
    await says('count', /^25 pairs$/);
    await rows().nth(1).locator('.number button').click();
    const marked = (side) => page.locator(`[data-side="${side}"] [data-target]`).allInnerTexts();
    await page.locator('[data-testid="preview"]', { hasText: 'row 2' }).locator('[data-target]').first().waitFor();
    assert.match((await marked('Chosen')).join(''), /^red!/);
    assert.match((await marked('Rejected')).join(''), /^none at all/);
  });

  it('teach the model by DPO, which then agrees more often', async () => {
    await choose(page, 'lora', { max_steps: 24, learning_rate: 0.02, r: 4 });
    const losses = await train(page);
    // The model that is trained begins as the one that it is compared with.
    assert.ok(Math.abs(losses[0] - Math.LN2) < 1e-3, `the first loss is ${losses[0]}`);
    const mean = (list) => list.reduce((sum, loss) => sum + loss, 0) / list.length;
    assert.ok(mean(losses.slice(-6)) < 0.5 * losses[0], `losses: ${losses}`);
    assert.ok((await metrics())['rewards/margins'] > 0, JSON.stringify(await metrics()));
    const [, held, tuned, base] = /^Of (\d+) held-out pairs the tuned model agrees with you in (\d+); the base in (\d+)\.$/.exec(await agreement()).map(Number);
    assert.equal(held, 6);
    assert.ok(tuned > base, await agreement());
    for (const name of ['Margin', 'Accuracy', 'Rewards']) assert.equal(await page.locator('figcaption', { hasText: new RegExp(`^\\s*${name}`) }).count(), 1, name);
    checkLora(await downloadAdapter(page, join(folder, 'dpo.zip')));
    // A quarter is held out, and the run goes by it: ten times, or until it got no better three times.
    assert.ok(await by('keep-best').isChecked());
    await says('kept', /^(The last evaluation was the best one|Kept is the adapter as it was after step \d+, when .* at its best: \d)/);
    const { objective, beta, load_best_model_at_end, eval_steps, early_stopping_patience } = JSON.parse(await download('export-run'));
    assert.deepEqual([objective, beta, load_best_model_at_end, eval_steps, early_stopping_patience], ['dpo', 0.1, true, 3, 3]);
    assert.deepEqual(await violations(page), []);
  });

  it('come from thumbs and from answers that are edited', async () => {
    // Nobody judges an answer of no words, and a model that prefers short ones may give no other: one that has hardly learnt answers
    // as the base does.
    await choose(page, 'lora', { max_steps: 1, learning_rate: 0.000001, r: 4 });
    await train(page);
    await by('tab-ask').click();
    await by('max-new-tokens').fill('8');
    const [base, tuned] = ['base', 'tuned'].map((side) => by(`answer-${side}`));
    let asked;
    for (const pair of pairs) {
      asked = pair.prompt[0].content;
      await ask(page, asked);
      if ((await by('thumb-up').count()) === 2) break;
    }
    await tuned.getByTestId('thumb-up').click();
    await base.getByTestId('thumb-down').click();
    await base.getByTestId('edit').click();
    assert.deepEqual(await violations(page), []);
    await base.getByTestId('edit-answer').fill('blue, as the sky is');
    await base.getByTestId('edit-save').click();
    await says('made', 'A pair was added: your answer over the model’s. The preferences: 26 pairs and 2 thumbs.');
    await says('uses', /^26 pairs; 2 thumbs are used by KTO only\.$/);
    const last = (await download('download-preferences')).trimEnd().split('\n').slice(-3).map((line) => JSON.parse(line));
    assert.deepEqual(last.map(({ label }) => label), [true, false, undefined]);
    assert.deepEqual(last[2].chosen, message('assistant', 'blue, as the sky is'));
    assert.deepEqual(last.map(({ prompt }) => prompt), Array(3).fill(message('user', asked)));
  });

  it('teach by KTO one answer at a time, thumbs too', async () => {
    await page.locator('#train .advanced').evaluate((details) => (details.open = true));
    await by('prefer').selectOption('kto');
    await says('uses', '26 pairs become two rows each, 54 rows in all');
    assert.equal(await by('field-loss_type').count(), 0);
    await choose(page, 'lora', { max_steps: 6, learning_rate: 0.02, r: 4, per_device_train_batch_size: 4 });
    // Six steps may end earlier where evaluations get no better, which here the rounding decides.
    await by('keep-best').uncheck();
    const losses = await train(page);
    assert.ok(losses.length === 6 && losses.every(Number.isFinite), `losses: ${losses}`);
    await by('keep-best').check();
    assert.match(await agreement(), /^Of \d+ held-out pairs the tuned model agrees with you in/);
    assert.equal(JSON.parse(await download('export-run')).objective, 'kto');
  });

  it('teach a model to score answers, which then writes none', async () => {
    await by('goal-score').check();
    await by('prefer').waitFor({ state: 'detached' });
    await choose(page, 'lora', { max_steps: 20, learning_rate: 0.01, r: 4 });
    await train(page);
    const [, right, held] = /^It scores the better answer higher in (\d+) of (\d+) held-out pairs\.$/.exec(await agreement()).map(Number);
    assert.ok(held >= 6 && right > held / 2, await agreement());
    assert.ok('accuracy' in (await metrics()), JSON.stringify(await metrics()));
    await says('answer-tuned', 'scores answers and writes none');
  });

  it('fit a laptop and a phone, in light and in dark', () =>
    inEachLook(page, async (look) => {
      if (process.env.TUNESMITH_PICTURES) await page.screenshot({ path: join(process.env.TUNESMITH_PICTURES, `preferences-${look}.png`), fullPage: true });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert.ok(overflow <= 0, `${look}: ${overflow} pixels stick out`);
      assert.deepEqual(await violations(page), [], look);
    }));

  it('are the same in another tab of the page', async () => {
    const other = await page.context().newPage();
    await other.goto(url);
    const here = (tab, words) => tab.getByTestId('count').filter({ hasText: words }).waitFor();
    await here(other, /^26 pairs and 2 thumbs$/);
    await other.getByTestId('clear-preferences').click();
    await here(page, /^No preferences yet/);
    await other.getByTestId('undo').click();
    await here(page, /^26 pairs and 2 thumbs$/);
    await other.close();
  });

  it('are there again after a reload', async () => {
    // What was kept is written a moment after it came.
    await page.waitForTimeout(1000);
    await page.reload();
    await says('count', /^26 pairs and 2 thumbs$/);
    assert.ok(await by('goal-score').isChecked());
  });

  it('had no problem on the way', () => assert.deepEqual(opened.problems, []));
});
