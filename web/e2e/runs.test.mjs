// Runs that cannot be lost, on a small made-up model. TUNESMITH_URL says where the page is.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { zipSync } from 'fflate';
import { unzip } from './adapter.mjs';
import { inEachLook, launch, open, violations } from './browser.mjs';
import { choose, downloadAdapter, events, loadModelFile, prepareRun, text, train } from './flow.mjs';
import { madeUpModel, TYPES } from './made-up.mjs';

const url = process.env.TUNESMITH_URL;
const model = { name: 'small.F16.gguf', mimeType: 'application/octet-stream', buffer: madeUpModel(TYPES.F16) };
const rows = ['red', 'blue', 'green', 'black', 'white'].map((colour) => JSON.stringify({ prompt: `${colour}:`, completion: ` ${colour}!` }));
const STEPS = 90;
const cli = process.env.TUNESMITH_CLI ?? fileURLToPath(new URL('../../target/debug/tunesmith', import.meta.url));

const lossesOf = async (path) =>
  (await readFile(path, 'utf8'))
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))
    .filter(({ event }) => event === 'step')
    .map(({ loss }) => loss);

/** Has the device in a page's worker run out of memory when the page says so. */
const OUT_OF_MEMORY = `
  const request = GPUAdapter.prototype.requestDevice;
  GPUAdapter.prototype.requestDevice = async function (...wanted) {
    const device = await request.apply(this, wanted);
    const error = new GPUOutOfMemoryError('made up');
    new BroadcastChannel('out-of-memory').onmessage = () => device.dispatchEvent(new GPUUncapturedErrorEvent('uncapturederror', { error, cancelable: true }));
    return device;
  };`;

/** Where two lists of losses differ by more than two devices do. */
const near = (some, others) => others.flatMap((loss, index) => (Math.abs(some[index] - loss) <= 1e-5 * Math.max(1, loss) ? [] : [`step ${index + 1}: ${some[index]} and ${loss}`]));

/** The files below a folder, by their paths. */
async function filesOf(folder, before = '') {
  const files = [];
  for (const entry of await readdir(join(folder, before), { withFileTypes: true })) {
    const path = before + entry.name;
    if (entry.isDirectory()) files.push(...(await filesOf(folder, `${path}/`)));
    else files.push([path, new Uint8Array(await readFile(join(folder, path)))]);
  }
  return files;
}

const zip = (files) => zipSync(Object.fromEntries(files));

describe('runs', () => {
  let browser;
  let opened;
  let folder;
  let page;
  let whole;
  const by = (id) => page.getByTestId(id);
  const weights = async (name) => {
    const files = unzip(await downloadAdapter(page, join(folder, `${name}.zip`)));
    return [...files].find(([path]) => path.endsWith('adapter_model.safetensors'))[1];
  };
  const step = (n) => page.waitForFunction((n) => Number.parseInt(document.querySelector('[data-testid="stat-step"]')?.textContent) >= n, n, { timeout: 120_000 });
  const state = (name) => page.locator(`[data-testid="run-status"][data-state="${name}"]`).waitFor({ timeout: 240_000 });
  /** The page as it is after it was left, and opened again. */
  const reopen = async () => {
    page = await opened.context.newPage();
    await page.goto(url);
    await by('cut-off').waitFor({ timeout: 60_000 });
  };
  /** Begins a run, and waits for its step n. */
  const begin = async (n) => {
    await by('tab-train').click();
    await by('train').click();
    await state('running');
    await step(n);
  };
  const prepare = () => prepareRun(page, model, rows, STEPS);
  const list = async () => {
    await by('tab-runs').click();
    return by('kept-run').allInnerTexts();
  };

  before(async () => {
    browser = await launch();
    opened = await open(browser, url);
    page = opened.page;
    folder = await mkdtemp(join(tmpdir(), 'tunesmith-e2e-'));
  });
  after(() => Promise.all([browser.close(), rm(folder, { recursive: true, force: true })]));

  it('are listed once they are there', async () => {
    assert.deepEqual(await list(), []);
    await by('runs').filter({ hasText: 'There is none yet' }).waitFor();
    await prepare();
    assert.equal((await train(page)).length, STEPS);
    whole = await weights('whole');
    const [said] = await list();
    assert.match(said, /LoRA on 4 examples[^]*done[^]*held-out loss/);
    assert.deepEqual(await violations(page), []);
  });

  it('go on to the same bits after a reload', async () => {
    await begin(32);
    page.once('dialog', (dialog) => dialog.accept());
    await page.reload();
    await by('cut-off').waitFor({ timeout: 60_000 });
    assert.match(await text(by('cut-off')), /LoRA on 4 examples[^]*after step \d+ of 90[^]*once small.F16.gguf is loaded/);
    await by('cut-off-continue').click();
    await by('error-banner').filter({ hasText: 'small.F16.gguf' }).waitFor();
    await loadModelFile(page, model);
    await by('cut-off-continue').click();
    await state('done');
    assert.ok(whole.equals(await weights('reloaded')), 'other bits');
    assert.equal((await list()).length, 2);
  });

  it('go on by themselves where the GPU went away', async () => {
    await begin(25);
    const cdp = await browser.newBrowserCDPSession();
    await cdp.send('Browser.crashGpuProcess');
    await by('mending').waitFor();
    await state('running');
    await state('done');
    assert.match(await text(page.locator('.warnings')), /The GPU went away, and was taken again: the run went on from step \d+/);
    assert.ok(whole.equals(await weights('gpu')), 'other bits');
  });

  it('go on where the GPU ran out of memory, or say that nothing was kept yet', async () => {
    const before = page;
    const other = await open(browser, url, { worker: OUT_OF_MEMORY });
    page = other.page;
    await prepare();
    /** Trains, and has the device run out of memory once there are more than n steps. */
    const runOut = async (n) => {
      const before = (await events(page, 'step')).length;
      await by('tab-train').click();
      await by('train').click();
      await page.waitForFunction((n) => {
        const far = (window.tunesmithEvents ?? []).filter(({ event }) => event === 'step').length > n;
        if (far) new BroadcastChannel('out-of-memory').postMessage(null);
        return far;
      }, before + n);
      await by('mending').waitFor();
    };
    await runOut(0);
    await by('error-banner').filter({ hasText: 'Press Train to begin again' }).waitFor({ timeout: 60_000 });
    assert.match(await text(by('error-banner')), /cut off at its beginning[^]*ran out of memory after step \d+, before the first checkpoint/);
    await runOut(40);
    await state('done');
    assert.match(await text(page.locator('.warnings')), /The GPU ran out of memory, and was taken again: the run went on from step \d+/);
    assert.ok(whole.equals(await weights('memory')), 'other bits');
    assert.deepEqual(other.problems, []);
    await other.context.close();
    page = before;
  });

  it('go on to the same bits after the page itself crashed', async () => {
    await by('keep-copy').click();
    await by('remove-copy').waitFor();
    await begin(45);
    const cdp = await opened.context.newCDPSession(page);
    // It gives no answer.
    void cdp.send('Page.crash').catch(() => undefined);
    await page.waitForEvent('crash');
    await page.close();
    await reopen();
    // The browser has a copy of the model's file: nothing is asked for.
    assert.doesNotMatch(await text(by('cut-off')), /is loaded/);
    await by('cut-off-continue').click();
    await state('done');
    assert.ok(whole.equals(await weights('crashed')), 'other bits');
  });

  it('are seen by another tab, which leaves the one that is going alone', async () => {
    await begin(22);
    await by('pause').click();
    await by('resume').waitFor();
    const first = page;
    const second = await opened.context.newPage();
    await second.goto(url);
    await second.getByTestId('tab-runs').click();
    const going = second.getByTestId('kept-run').filter({ hasText: 'going in another tab' });
    await going.waitFor();
    assert.equal((await second.getByTestId('cut-off').count()) + (await going.getByTestId('run-continue').count()), 0);
    await going.locator('summary').click();
    assert.ok(await going.getByTestId('run-delete').isDisabled());
    await second.close();
    page = first;
    await by('resume').click();
    await state('done');
    assert.ok(whole.equals(await weights('watched')), 'other bits');
  });

  it('go on in memory where the storage is full, and are kept again when it is not', async () => {
    const cdp = await opened.context.newCDPSession(page);
    const quota = (quotaSize) => cdp.send('Storage.overrideQuotaForOrigin', { origin: new URL(url).origin, ...(quotaSize !== null && { quotaSize }) });
    await begin(3);
    await quota(1000);
    await by('not-kept').waitFor();
    assert.match(await text(by('not-kept')), /storage is full[^]*goes on in memory[^]*Delete/);
    await quota(null);
    await state('done');
    assert.ok(whole.equals(await weights('full')), 'other bits');
    assert.match((await list())[0], /done/);
  });

  it('go on without a network', async () => {
    await opened.context.setOffline(true);
    await begin(41);
    page.once('dialog', (dialog) => dialog.accept());
    await page.reload();
    await by('cut-off').waitFor({ timeout: 60_000 });
    await loadModelFile(page, model);
    await by('cut-off-continue').click();
    await state('done');
    await opened.context.setOffline(false);
    assert.ok(whole.equals(await weights('offline')), 'other bits');
  });

  it('are named, compared, asked, taken up in their settings, moved, and deleted with a way back', async () => {
    const runs = by('kept-run');
    const before = (await list()).length;
    await runs.first().locator('summary').click();
    await runs.first().getByTestId('run-rename').click();
    await by('run-title').fill('Colours');
    await page.keyboard.press('Enter');
    await runs.filter({ hasText: 'Colours' }).waitFor();
    await runs.nth(0).getByRole('checkbox').check();
    await runs.nth(1).getByRole('checkbox').check();
    await by('compared').waitFor();
    assert.match(await text(by('compared')), /Their settings are the same/);
    await by('both-question').fill('red:');
    await by('both-send').click();
    const said = (side) => by(`both-${side}`).locator('.answer-text').innerText();
    await page.locator('[data-testid="both-send"]:disabled').waitFor({ state: 'detached' });
    await by('both-1').locator('.answer-text').waitFor();
    assert.equal(await said(0), await said(1));
    // Taken over, they are what the form had.
    const typed = () => page.locator('#train [data-testid^="field-"]').evaluateAll((fields) => fields.map((field) => [field.dataset.testid, field.type === 'checkbox' ? field.checked : field.value]));
    await by('tab-train').click();
    const own = await typed();
    await by('tab-runs').click();
    await runs.first().locator('summary').click();
    await runs.first().getByTestId('run-settings').click();
    await by('tab-train').click();
    assert.ok(own.length > 20);
    assert.deepEqual(await typed(), own);
    await by('tab-runs').click();
    await runs.first().locator('summary').click();
    const [download] = await Promise.all([page.waitForEvent('download'), runs.first().getByTestId('run-export').click()]);
    const path = join(folder, 'run.zip');
    await download.saveAs(path);
    await runs.first().getByTestId('run-delete').click();
    assert.equal(await runs.count(), before - 1);
    await by('run-undo').click();
    await runs.nth(before - 1).waitFor();
    await runs.first().locator('summary').click();
    await runs.first().getByTestId('run-delete').click();
    await by('run-delete-now').click();
    await by('run-leaving').waitFor({ state: 'detached' });
    await by('run-file').setInputFiles(path);
    await runs.filter({ hasText: 'Colours' }).waitFor();
    assert.equal(await runs.count(), before);
    await runs.filter({ hasText: 'Colours' }).locator('summary').click();
    await runs.filter({ hasText: 'Colours' }).getByTestId('run-use').click();
    await by('adapters').filter({ hasText: 'Colours' }).waitFor();
    assert.ok(whole.equals(await weights('moved')), 'other bits');
    assert.deepEqual(await violations(page), []);
  });

  it('move to the command line, and back', async () => {
    const small = join(folder, 'small.F16.gguf');
    await writeFile(small, model.buffer);
    // A gentle one: where a run is at the edge of chaos, two devices part in their last digits.
    await choose(page, 'lora', { max_steps: 40, learning_rate: 0.001 });
    const undisturbed = await train(page);
    await begin(12);
    await by('stop').click();
    await state('done');
    await list();
    await by('kept-run').first().locator('summary').click();
    const [download] = await Promise.all([page.waitForEvent('download'), by('kept-run').first().getByTestId('run-export').click()]);
    const path = join(folder, 'moved.zip');
    await download.saveAs(path);
    // From the page to the command line, which ends it; the last losses are those of the undisturbed run.
    const out = join(folder, 'moved');
    for (const [name, bytes] of unzip(await readFile(path))) {
      await mkdir(dirname(join(out, name)), { recursive: true });
      await writeFile(join(out, name), bytes);
    }
    const tunesmith = (...args) => promisify(execFile)(cli, [...args, '--json'], { maxBuffer: 1 << 26 });
    await tunesmith('train', '--resume', '--model', small, '--out', out);
    assert.deepEqual(near(await lossesOf(join(out, 'metrics.jsonl')), undisturbed), []);
    // And back: a run of the command line, stopped by its limit of steps, goes on in the page.
    const begun = join(folder, 'begun');
    const data = join(folder, 'data.jsonl');
    await writeFile(data, `${rows.join('\n')}\n`);
    await tunesmith('train', '--model', small, '--data', data, '--out', begun, '--max-steps', '12', '--save-steps', '5', '--r', '4', '--gradient-accumulation-steps', '1');
    const there = await lossesOf(join(begun, 'metrics.jsonl'));
    const files = [...(await filesOf(begun))].filter(([name]) => !/^(checkpoint-1|adapter|README|trainer_state)/.test(name));
    await writeFile(join(folder, 'begun.zip'), zip(files));
    await list();
    await by('run-file').setInputFiles(join(folder, 'begun.zip'));
    const came = by('kept-run').filter({ hasText: 'cut off at step 5 of 12' });
    await came.getByTestId('run-continue').click();
    await state('done');
    const here = (await events(page, 'step')).slice(-7).map(({ loss }) => loss);
    assert.deepEqual(near([...there.slice(0, 5), ...here], there), []);
  });

  it('fit a laptop and a phone, in light and in dark', async () => {
    await by('tab-runs').click();
    await inEachLook(page, async (look) => {
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert.ok(overflow <= 0, `${look}: ${overflow} pixels stick out`);
    });
  });

  it('had no problem on the way', () => {
    // A tab that crashed on purpose is none, and neither is a network that is not there.
    const meant = (problem) => problem === 'the page crashed' || problem.endsWith('(net::ERR_INTERNET_DISCONNECTED)');
    assert.deepEqual(opened.problems.filter((problem) => !meant(problem)), []);
  });
});

describe('a GPU that goes away while nothing goes', () => {
  it('is taken again, with the model', async () => {
    // A browser gives up on a GPU that fails twice: this one is another.
    const browser = await launch();
    try {
      const { page } = await open(browser, url);
      await loadModelFile(page, model);
      const cdp = await browser.newBrowserCDPSession();
      await cdp.send('Browser.crashGpuProcess');
      await page.getByTestId('model-card').waitFor({ state: 'detached' });
      await page.getByTestId('model-card').filter({ hasText: 'small.F16' }).waitFor({ timeout: 60_000 });
    } finally {
      await browser.close();
    }
  });
});
