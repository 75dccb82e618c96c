// The served page in a real browser. TUNESMITH_URL says where it is; `cargo xtask test` sets it.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { checkLora, readAdapter } from './adapter.mjs';
import { launch, open, violations } from './browser.mjs';
import { ask, choose, downloadAdapter, events, loadDefaultModel, takeStarter, text, train, trainUntilStopped, tryMethods } from './flow.mjs';

const url = process.env.TUNESMITH_URL;

let folder;
before(async () => {
  assert.ok(url, 'TUNESMITH_URL is not set: run `cargo xtask test`');
  folder = await mkdtemp(join(tmpdir(), 'tunesmith-e2e-'));
});
after(() => rm(folder, { recursive: true, force: true }));

/** A page for one test, closed after it; the test fails when the page had problems. */
async function onPage(browser, options, work) {
  const { context, page, problems } = await open(browser, url, options);
  try {
    await work(page);
    assert.deepEqual(problems, []);
  } finally {
    await context.close();
  }
}

describe('the page as it opens', () => {
  let browser;
  before(async () => {
    browser = await launch();
  });
  after(() => browser.close());

  for (const width of [390, 1280]) {
    it(`fits ${width} pixels and asks nobody else`, () =>
      onPage(browser, { viewport: { width, height: 800 } }, async (page) => {
        await page.getByTestId('load-default').waitFor();
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(overflow <= 0, `${overflow} pixels stick out`);
      }));
  }

  it('works with a keyboard and a screen reader, in light and in dark', async () => {
    for (const colorScheme of ['light', 'dark']) {
      await onPage(browser, {}, async (page) => {
        await page.emulateMedia({ colorScheme });
        await page.getByTestId('load-default').waitFor();
        await page.getByTestId('starter-sets').locator('[data-testid^="starter-"]').first().click();
        await page.getByTestId('method').click();
        assert.deepEqual(await violations(page), [], colorScheme);
        await page.getByTestId('tab-lab').click();
        await page.getByTestId('lab-methods').locator('summary').click();
        assert.deepEqual(await violations(page), [], `the lab, ${colorScheme}`);
      });
    }
  });

  it('lists every method with what it does, LoRA first, and the fields of the one that is chosen', () =>
    onPage(browser, {}, async (page) => {
      await page.getByTestId('method').click();
      const cards = await page.locator('.method-card').allInnerTexts();
      assert.ok(cards.length >= 14, `${cards.length} methods`);
      assert.match(cards[0], /^LoRA\n.+/);
      for (const card of cards) assert.match(card, /^[^\n]+\n+[^\n]{20,}/, 'a name and a line of help');
      await page.getByTestId('method-prefix').check();
      await page.getByTestId('field-num_virtual_tokens').waitFor();
      assert.equal(await page.getByTestId('field-r').count(), 0);
    }));

  it('does not start the lab without a model, and says so', () =>
    onPage(browser, {}, async (page) => {
      await page.getByTestId('tab-lab').click();
      assert.ok(await page.getByTestId('lab-start').isDisabled());
      assert.match(await page.getByTestId('lab-status').innerText(), /load a model/i);
    }));

  it('says that it computes in software', () =>
    onPage(browser, {}, async (page) => {
      const banner = page.getByTestId('device-banner');
      await banner.waitFor();
      assert.match(await banner.innerText(), /software/i);
    }));

  it('refuses a file that is no model, and stays usable', () =>
    onPage(browser, {}, async (page) => {
      await page.getByTestId('load-default').waitFor();
      const path = join(folder, 'notes.gguf');
      await writeFile(path, 'this is not a model');
      await page.getByTestId('model-file').setInputFiles(path);
      const banner = page.getByTestId('error-banner');
      await banner.waitFor({ timeout: 30_000 });
      assert.match(await banner.innerText(), /GGUF/);
      assert.ok(await page.getByTestId('load-default').isEnabled());
    }));

  it('names the lines of pasted text that are no examples, and takes the others', () =>
    onPage(browser, {}, async (page) => {
      await page.getByTestId('paste-jsonl').fill('{"prompt":"Hello","completion":"Arr!","rating":3}\nnot json\n{"nothing":1}\n');
      await page.getByTestId('paste-jsonl-add').click();
      const errors = page.getByTestId('import-errors');
      await errors.waitFor();
      const lines = await errors.locator('li strong').allInnerTexts();
      assert.deepEqual(lines.map((line) => line.trim()), ['Line 2:', 'Line 3:']);
      assert.equal(await page.getByTestId('examples-table').locator('[data-row]').count(), 1);
      const warnings = page.getByTestId('import-warnings');
      assert.match(await warnings.innerText(), /the column "rating" is not read/);
      assert.deepEqual(await violations(page), []);
      await page.getByTestId('import-warnings-ok').click();
      await warnings.waitFor({ state: 'detached' });
    }));

  it('shows text from a file as text, never as a part of the page', () =>
    onPage(browser, {}, async (page) => {
      const answer = '<img src=x onerror="window.broken = true"><b>bold</b>';
      await page.getByTestId('import-file').setInputFiles({
        name: 'examples.jsonl',
        mimeType: 'application/json',
        buffer: Buffer.from(JSON.stringify({ prompt: 'Hello', completion: answer })),
      });
      const table = page.getByTestId('examples-table');
      await table.locator('[data-row]').waitFor();
      assert.equal(await table.locator('img, b').count(), 0);
      assert.equal(await page.evaluate(() => window.broken), undefined);
    }));
});

describe('without a GPU', () => {
  it('tells that WebGPU found no adapter, and what to do', async () => {
    const browser = await launch({ webgpu: false });
    try {
      await onPage(browser, {}, async (page) => {
        const banner = page.getByTestId('device-banner');
        await banner.waitFor();
        assert.match(await banner.innerText(), /no GPU/i);
        assert.ok(await page.getByTestId('train').isDisabled());
      });
    } finally {
      await browser.close();
    }
  });
});

describe('a run from end to end', () => {
  let browser;
  let opened;
  before(async () => {
    browser = await launch();
    opened = await open(browser, url);
  });
  after(() => browser.close());

  it('loads the default model and keeps it', async () => {
    const { page } = opened;
    assert.match(await loadDefaultModel(page), /SmolLM2/);
    await page.reload();
    assert.match(await loadDefaultModel(page), /SmolLM2/);
  });

  it('stops while it loads into the GPU, and loads again', async () => {
    const { page } = opened;
    await page.reload();
    // Loading takes a second: the page itself presses the button, as soon as the first numbers are there.
    const stopped = page.evaluate(
      () =>
        new Promise((done) => {
          new MutationObserver((_, observer) => {
            const bar = document.querySelector('[data-testid="model-progress"][data-phase="load"][value]');
            const button = bar?.parentElement.querySelector('button');
            if (!button) return;
            observer.disconnect();
            done(button.innerText);
            button.click();
          }).observe(document.body, { subtree: true, childList: true, attributes: true });
        }),
    );
    await page.getByTestId('load-default').click();
    assert.equal(await stopped, 'Stop here');
    await page.getByTestId('load-default').waitFor();
    assert.equal(await page.getByTestId('model-card').count(), 0);
    assert.match(await loadDefaultModel(page), /SmolLM2/);
  });

  it('tells what a run needs before it starts, and what a lower limit changes', async () => {
    const { page } = opened;
    await takeStarter(page);
    const line = page.getByTestId('estimate');
    await line.waitFor();
    const total = async () => Number(/Needs ([\d.]+) MB/.exec(await line.innerText())?.[1]);
    const before = await total();
    assert.ok(before > 150 && before < 400, await line.innerText());
    await choose(page, 'lora', { memory_limit: 1 });
    await line.filter({ hasText: 'more than the memory limit' }).waitFor();
    assert.match(await line.innerText(), /computed twice/);
    assert.ok((await total()) < before, await line.innerText());
    await choose(page, 'lora', { memory_limit: 2000 });
    await line.filter({ hasNotText: 'memory limit' }).waitFor();
  });

  it('trains LoRA until the loss is lower, and stays responsive', async () => {
    const { page } = opened;
    assert.ok((await takeStarter(page)) > 0, 'the preview marks no target');
    await choose(page, 'lora', { max_steps: 4, learning_rate: 0.002, r: 4 });
    const waits = [];
    const losses = await train(page, () => {
      const asked = Date.now();
      waits.push(page.evaluate(() => 1).then(() => Date.now() - asked));
    });
    assert.equal(losses.length, 4);
    assert.ok(losses.at(-1) < losses[0], `losses: ${losses}`);
    assert.match(await page.getByTestId('stat-step').innerText(), /4\s*\/\s*4/);
    assert.equal((await events(page, 'error')).length, 0);
    for (const wait of await Promise.all(waits)) assert.ok(wait < 2000, `the page did not answer for ${wait} ms`);
  });

  it('answers from the base and from the tuned model', async () => {
    const { base, tuned } = await ask(opened.page, 'What is the capital of Italy?');
    assert.notEqual(base, tuned);
  });

  it('gives an adapter that PEFT can read', async () => {
    const bytes = await downloadAdapter(opened.page, join(folder, 'adapter.zip'));
    const { config, pairs, readme } = checkLora(bytes);
    assert.equal(config.r, 4);
    assert.ok(pairs > 0);
    assert.match(readme, /peft/i);
  });

  it('pauses, goes on and stops a run of prompt tuning, and keeps what it learned', async () => {
    const { page } = opened;
    await choose(page, 'prompt', { max_steps: 200, learning_rate: 0.01, num_virtual_tokens: 4 });
    const { steps } = await trainUntilStopped(page);
    assert.ok(steps < 200, 'the run was not stopped');
    const { config, tensors } = readAdapter(await downloadAdapter(page, join(folder, 'prompt.zip')));
    assert.equal(config.peft_type, 'PROMPT_TUNING');
    assert.deepEqual(Object.values(tensors).map(({ shape }) => shape), [[4, 576]]);
  });

  it('tries methods side by side, tells of one that cannot be, and keeps the table over a reload', async () => {
    const { page } = opened;
    await takeStarter(page);
    await page.getByTestId('clear-examples').click();
    await page.getByTestId('tab-lab').click();
    const pairs = ['red', 'blue', 'green', 'black', 'white'].map((colour) => ({ prompt: `${colour}:`, completion: ` ${colour}!` }));
    const paste = async (rows) => {
      await page.getByTestId('paste-jsonl').fill(rows.map((row) => JSON.stringify(row)).join('\n'));
      await page.getByTestId('paste-jsonl-add').click();
    };
    await paste(pairs.slice(0, 4));
    const status = page.getByTestId('lab-status');
    await status.filter({ hasText: 'Add 1 more' }).waitFor();
    assert.ok(await page.getByTestId('lab-start').isDisabled());
    await paste(pairs.slice(4));
    await page.locator('[data-testid="lab-start"]:enabled').waitFor();

    // Full fine-tuning needs more than this limit.
    await choose(page, 'full', { memory_limit: 2000 });
    await page.getByTestId('tab-lab').click();
    const rows = await tryMethods(page, ['ia3', 'full', 'prompt'], 2);
    assert.deepEqual(Object.values(rows).map(({ state }) => state), ['done', 'failed', 'done']);
    assert.match(rows.full.text, /MB on the GPU/);
    const losses = ['ia3', 'prompt'].map((method) => Number(/\d\.\d+(?=\s+\d of 1)/.exec(rows[method].text)?.[0]));
    assert.ok(losses.every((loss) => loss > 0) && losses[0] !== losses[1], JSON.stringify(rows));
    await page.getByTestId('lab-sort-loss_after').click();
    const order = await page.getByTestId('lab-table').locator('tbody tr').evaluateAll((rows) => rows.map((row) => row.dataset.testid));
    const best = losses[0] < losses[1] ? ['ia3', 'prompt'] : ['prompt', 'ia3'];
    assert.deepEqual(order, [...best, 'full'].map((method) => `lab-row-${method}`));
    assert.deepEqual(await violations(page), []);

    const [download] = await Promise.all([page.waitForEvent('download'), page.getByTestId('lab-json').click()]);
    const told = JSON.parse(await readFile(await download.path(), 'utf8'));
    assert.deepEqual([told.steps, told.examples, told.held], [2, 4, 1]);
    assert.ok(told.rows[0].loss_after !== told.rows[0].loss_before, 'nothing was learnt');

    await page.getByTestId('lab-use-prompt').click();
    assert.ok(await page.getByTestId('method-prompt').isChecked());
    // What was kept is written a moment after it came.
    await page.waitForTimeout(1000);
    await page.reload();
    await page.getByTestId('tab-lab').click();
    assert.equal(await text(page.getByTestId('lab-row-ia3')), rows.ia3.text);
  });

  it('had no problem on the way', () => assert.deepEqual(opened.problems, []));
});
