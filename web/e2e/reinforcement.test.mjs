// What answers earn, from the first prompt to runs of every kind of reward, on a small made-up model. TUNESMITH_URL says where
// the page is; TUNESMITH_PICTURES may name a folder for pictures of it.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { checkLora } from './adapter.mjs';
import { inEachLook, launch, open, violations } from './browser.mjs';
import { ask, choose, downloadAdapter, events, loadModelFile, text, train } from './flow.mjs';
import { madeUpModel, TYPES } from './made-up.mjs';

const url = process.env.TUNESMITH_URL;
const MINUTE = 60_000;
const colours = ['red', 'blue', 'green', 'black', 'white', 'grey', 'pink', 'gold'];
const prompts = colours.map((colour, index) => ({ prompt: `${colour}:`, answer: colour, level: index }));
/** A run that is over soon. */
const SHORT = { learning_rate: 0.02, r: 4, num_generations: 4, max_completion_length: 6 };

describe('reinforcement', () => {
  let browser;
  let opened;
  let folder;
  let page;
  const by = (id) => page.getByTestId(id);
  /** Waits until a part of the page says this. */
  const says = (id, words, timeout = MINUTE) => by(id).filter({ hasText: words }).waitFor({ timeout });
  const rewards = () => page.locator('[data-testid="rewards"] > ol > li');
  /** Makes these the rewards: what each is, and its argument. */
  const earn = async (...list) => {
    while (await rewards().count()) await by('reward-0-remove').click();
    for (const [index, [kind, argument]] of list.entries()) {
      await by('add-reward').click();
      await by(`reward-${index}`).selectOption(kind);
      if (argument !== undefined) await by(`reward-${index}-argument`).fill(argument);
    }
  };
  /** What both answers earn, by reward. */
  const judged = async (one, other) => {
    await by('tried-0').fill(one);
    await by('tried-1').fill(other);
    await by('try-rewards').click();
    await by('verdicts').waitFor({ timeout: MINUTE });
    const rows = await by('verdicts').locator('tbody tr').evaluateAll((rows) => rows.map((row) => [row.dataset.reward, [...row.querySelectorAll('td')].map((cell) => cell.innerText.trim())]));
    return Object.fromEntries(rows);
  };
  const download = async (id) => {
    const [download] = await Promise.all([page.waitForEvent('download'), by(id).click()]);
    return readFile(await download.path(), 'utf8');
  };
  const metrics = async () => (await events(page, 'step')).map(({ metrics }) => metrics);
  /** Starts a run that ends badly, and gives what the page says of that. */
  const failure = async () => {
    await by('train').click();
    await by('error-banner').waitFor({ timeout: 4 * MINUTE });
    const told = await text(by('error-banner'));
    assert.equal(await by('run-status').getAttribute('data-state'), 'failed');
    await by('error-banner').getByLabel('Dismiss').click();
    return told;
  };

  before(async () => {
    assert.ok(url, 'TUNESMITH_URL is not set: run `cargo xtask test`');
    browser = await launch();
    opened = await open(browser, url);
    page = opened.page;
    folder = await mkdtemp(join(tmpdir(), 'tunesmith-e2e-'));
  });
  after(() => Promise.all([browser.close(), rm(folder, { recursive: true, force: true })]));

  it('stands behind a tab, and begins with prompts and with what answers earn', async () => {
    await by('tab-prompts').click();
    await page.locator('[data-testid="objective"][data-objective="grpo"]').waitFor();
    await says('count', 'No prompts yet');
    assert.deepEqual(await violations(page), []);
    await by('starter-small-sums').click();
    await says('count', /^24 prompts$/);
    assert.equal(await by('reward-0').inputValue(), 'number');
    await by('undo').click();
    await says('count', 'No prompts yet');
    await by('tab-lab').click();
    await says('lab-status', 'Choose its tab Examples');
    await by('tab-train').click();
  });

  it('takes prompts from a file, with their columns, and shows what the model reads', async () => {
    await loadModelFile(page, { name: 'small.F32.gguf', mimeType: 'application/octet-stream', buffer: madeUpModel(TYPES.F32) });
    await by('paste-jsonl').fill(prompts.map((prompt) => JSON.stringify(prompt)).join('\n'));
    await by('paste-jsonl-add').click();
    await says('count', /^8 prompts$/);
    await says('preview', 'compares with the column answer, and there is no number in it');
    await earn();
    await page.locator('[data-testid="preview"] [data-token]').first().waitFor();
    assert.equal(await page.locator('[data-testid="preview"] [data-target]').count(), 0);
    await by('prompts-table').locator('textarea').nth(1).fill('scarlet');
    assert.deepEqual((await download('download-prompts')).split('\n')[0], '{"prompt":"red:","answer":"scarlet","level":0}');
    await by('undo').click();
  });

  it('judges two answers at a press, with every kind of reward', async () => {
    await earn(
      ...[['exact'], ['contains'], ['number', 'level'], ['regex', '^r'], ['json'], ['json-fields', 'a+b'], ['max-words', '2'], ['think-format'], ['soft-overlong', '8'], ['repetition', '1'], ['function']],
    );
    assert.deepEqual(await violations(page), []);
    const [one, two] = ['red', '{"a": 0}'];
    const told = await judged(one, two);
    const { total, ...each } = told;
    assert.deepEqual(each, {
      'exact:answer': ['1', '0'],
      'contains:answer': ['1', '0'],
      'number:level': ['0', '1'],
      'regex:^r': ['1', '0'],
      json: ['0', '1'],
      'json-fields:a+b': ['0', '0.5'],
      'max-words:2': ['1', '1'],
      'think-format': ['0', '0'],
      'soft-overlong:8': ['0', '0'],
      'repetition:1': ['0', '−0.111'],
      function: ['1', '1'],
    });
    assert.deepEqual(total, ['5', '4.39']);
    assert.deepEqual(await violations(page), []);
  });

  it('says of each reward what is wrong with it, at its place', async () => {
    await earn(['regex', '('], ['exact', 'colour'], ['json']);
    await by('reward-2-weight').fill('2');
    const told = await judged('1', 'x');
    assert.match(told['regex:('][0], /is no regular expression.*Correct the pattern/is);
    assert.deepEqual([told.json, told.total], [['1 × 2', '0 × 2'], ['2', '0']]);
    await earn(['exact', 'colour']);
    await by('train').click();
    await says('row-errors', '8 prompts cannot be used');
    await says('row-errors', 'there is no text in it');
    await page.locator('[data-testid="row-errors"]').getByText('Back to the table').click();
    await earn(['max-words', 'many']);
    await says('run-status', 'is a whole number');
    assert.ok(await by('train').isDisabled());
  });

  it('teaches by GRPO what a rule rewards, and shows the answers that it learns from', async () => {
    await earn(['regex', '[a-m]'], ['repetition', '1']);
    await by('hold-out').selectOption('0.25');
    await choose(page, 'lora', { max_steps: 16, ...SHORT });
    await says('estimate', 'of GPU memory');
    await train(page);
    const earned = (await metrics()).map(({ reward }) => reward);
    const mean = (list) => list.reduce((sum, one) => sum + one, 0) / list.length;
    assert.ok(mean(earned.slice(-4)) > mean(earned.slice(0, 4)) + 0.1, `rewards: ${earned}`);
    const rollouts = await events(page, 'rollout');
    assert.equal(rollouts.length, 16 * 8);
    const evals = await events(page, 'eval');
    assert.ok(evals.length >= 2 && evals.every(({ loss, metrics }) => loss === null && 'reward' in metrics), JSON.stringify(evals));
    assert.match(await text(by('stat-eval')), /→/);
    // The made-up model hardly ever ends by itself.
    const warnings = await page.locator('.warnings li').allInnerTexts();
    assert.equal(warnings.length, (await events(page, 'warning')).length);
    assert.ok(warnings.some((words) => words === 'Every answer was cut at 6 tokens before it ended: raise “Longest answer”, or reward short answers.'), warnings.join('\n'));
    for (const name of ['Reward', 'Length of answers', 'Share without spread', 'Matches a pattern', 'Penalty for repeating']) {
      assert.equal(await page.locator('figcaption', { hasText: new RegExp(`^\\s*${name}`) }).count(), 1, name);
    }
    assert.equal(await by('loss-chart').count(), 0);
    checkLora(await downloadAdapter(page, join(folder, 'grpo.zip')));
    const { objective, reward } = JSON.parse(await download('export-run'));
    assert.deepEqual([objective, reward], ['grpo', ['regex:[a-m]', 'repetition:1']]);
    assert.deepEqual(await violations(page), []);
  });

  it('has the answers of every step, the best first', async () => {
    const table = by('rollouts');
    const advantages = async () => (await table.locator('tbody td:last-child').allInnerTexts()).map((told) => Number(told.replace('−', '-')));
    assert.equal(await table.getAttribute('data-step'), '16');
    const newest = await advantages();
    assert.equal(newest.length, 8);
    assert.deepEqual(newest, [...newest].sort((one, other) => other - one));
    await by('generation-earlier').click();
    assert.equal(await table.getAttribute('data-step'), '15');
    await by('generation-step').selectOption('0');
    assert.equal(await table.getAttribute('data-step'), '1');
    await by('generation-later').click();
    assert.equal(await table.getAttribute('data-step'), '2');
  });

  it('pauses, answers, and goes on', async () => {
    const steps = async () => (await events(page, 'step')).length;
    const before = await steps();
    await by('train').click();
    await page.waitForFunction((least) => window.tunesmithEvents.filter(({ event }) => event === 'step').length > least, before, { timeout: 4 * MINUTE });
    await by('pause').click();
    await by('resume').waitFor({ timeout: 2 * MINUTE });
    const paused = await steps();
    await by('max-new-tokens').fill('6');
    await ask(page, 'blue:');
    // The step that was left is finished for that, and told with the one before; no other begins.
    const still = await steps();
    assert.ok(still <= paused + 2, `${still - paused} steps came`);
    await page.waitForTimeout(1000);
    assert.equal(await steps(), still);
    await by('resume').click();
    await page.waitForFunction((least) => window.tunesmithEvents.filter(({ event }) => event === 'step').length > least, still, { timeout: 4 * MINUTE });
    await by('stop').click();
    await page.locator('[data-testid="run-status"][data-state="done"]').waitFor({ timeout: 2 * MINUTE });
  });

  it('asks a function of one’s own, which reaches nothing', async () => {
    await earn(['function']);
    const out = ['fetch', 'XMLHttpRequest', 'WebSocket', 'EventSource', 'WebTransport', 'importScripts', 'indexedDB', 'caches', 'navigator', 'location', 'Worker', 'BroadcastChannel', 'postMessage', 'self', 'WebAssembly', 'eval'];
    await by('own-function').fill(`() => ${JSON.stringify(out)}.filter((name) => name in globalThis).length`);
    assert.deepEqual((await judged('a', 'b')).function, ['0', '0']);
    await by('own-function').fill('() => { try { return Function("return 1")(); } catch { return -1; } }');
    assert.deepEqual((await judged('a', 'b')).function, ['−1', '−1'], 'the page’s policy holds for the worker, too');
    await by('own-function').fill('// The level of the row, and something for the answer.\n(prompt, completion, { level }) => (completion ? level + completion.length : null)');
    await choose(page, 'lora', { max_steps: 2, ...SHORT });
    await train(page);
    const last = (await events(page, 'rollout')).slice(-8);
    for (const { prompt, completion, rewards } of last) {
      const { level } = prompts.find((one) => one.prompt === prompt);
      assert.deepEqual(rewards, { function: completion ? level + completion.length : null });
    }
  });

  it('tells of a function that fails, with its line, and of one that does not end', async () => {
    await by('own-function').fill('// mine\n(prompt, completion) => {\n  return completion.words.length;\n}');
    assert.match((await judged('a', 'b')).function[0], /line 3: TypeError/);
    assert.match(await failure(), /line 3: TypeError/);
    await by('own-function').fill('(prompt, completion) => {\n  return 1 +;\n}');
    assert.match((await judged('a', 'b')).function[0], /line 2: SyntaxError/);
    await by('own-function').fill('() => {\n  for (;;);\n}');
    assert.match(await failure(), /longer than 2 seconds/);
    await by('own-function').fill('(prompt, completion) => completion.length');
    assert.deepEqual((await judged('ab', 'abc')).function, ['2', '3']);
  });

  it('keeps what was trained where a reward fails later', async () => {
    const kept = () => page.locator('[data-testid^="adapter-"]').count();
    const before = await kept();
    await by('own-function').fill('(prompt, completion, columns) => {\n  globalThis.asked = (globalThis.asked ?? 0) + 1;\n  if (asked > 12) throw new Error("enough");\n  return completion.length;\n}');
    assert.match(await failure(), /line 3: Error: enough/);
    assert.equal(await kept(), before + 1);
  });

  it('learns from the grades of a judge, which goes by principles', async () => {
    const principles = 'A good answer names a colour.\nIt is short.';
    await earn(['judge', principles]);
    assert.deepEqual(await violations(page), []);
    await choose(page, 'lora', { max_steps: 2, ...SHORT });
    await train(page);
    const last = (await events(page, 'rollout')).slice(-2 * 8);
    const grades = last.map(({ rewards }) => rewards[`judge:${principles}`]);
    assert.ok(grades.every((grade) => grade >= 1 && grade <= 10), JSON.stringify(grades));
  });

  it('learns by RLOO and by PPO, and from the scores of a reward adapter', async () => {
    await by('tab-preferences').click();
    await by('paste-jsonl').fill(colours.map((colour) => JSON.stringify({ prompt: `${colour}:`, chosen: `${colour}!`, rejected: 'none' })).join('\n'));
    await by('paste-jsonl-add').click();
    await by('goal-score').check();
    await choose(page, 'lora', { max_steps: 2, learning_rate: 0.01, r: 4 });
    await train(page);
    await by('tab-prompts').click();
    await earn(['model'], ['max-words', '3']);
    await page.locator('#train .advanced').evaluate((details) => (details.open = true));
    await by('reinforce').selectOption('rloo');
    await page.locator('[data-testid="objective"][data-objective="rloo"]').waitFor();
    assert.equal(await by('field-loss_type').count(), 0);
    const told = await judged('red', 'a b c d');
    assert.match(JSON.stringify(told), /"model:[\da-f-]+":\["−?[\d.]+","−?[\d.]+"\]/);
    await choose(page, 'lora', { max_steps: 2, ...SHORT });
    await train(page);
    const last = (await metrics()).at(-1);
    assert.ok('kl' in last && Object.keys(last).some((name) => /^rewards\/model:[\da-f-]+\/mean$/.test(name)), JSON.stringify(last));
    await by('reinforce').selectOption('ppo');
    await choose(page, 'lora', { max_steps: 2, ...SHORT });
    await train(page);
    const valued = (await metrics()).at(-1);
    assert.ok('loss/value_avg' in valued && 'kl' in valued, JSON.stringify(valued));
    assert.equal(await page.locator('figcaption', { hasText: /^\s*Loss of the values/ }).count(), 1);
    checkLora(await downloadAdapter(page, join(folder, 'ppo.zip')));
  });

  it('fits a laptop and a phone, in light and in dark', () =>
    inEachLook(page, async (look) => {
      if (process.env.TUNESMITH_PICTURES) await page.screenshot({ path: join(process.env.TUNESMITH_PICTURES, `reinforcement-${look}.png`), fullPage: true });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert.ok(overflow <= 0, `${look}: ${overflow} pixels stick out`);
      assert.deepEqual(await violations(page), [], look);
    }));

  it('has prompts, rewards and the function again after a reload', async () => {
    // What was kept is written a moment after it came.
    await page.waitForTimeout(1000);
    await page.reload();
    await says('count', /^8 prompts$/);
    assert.equal(await by('reward-1-argument').inputValue(), '3');
    await by('reward-0').selectOption('function');
    assert.match(await by('own-function').inputValue(), /enough/);
  });

  it('had no problem on the way', () => assert.deepEqual(opened.problems, []));
});
