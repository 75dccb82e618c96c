// By hand, for it takes minutes: kills the page's renderer at random moments of a run, goes on, and compares what comes of it with
// a run that nothing disturbed. `cargo xtask page-kills 100` starts it; TUNESMITH_KILLS says how many times.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { unzip } from './adapter.mjs';
import { launch, open } from './browser.mjs';
import { downloadAdapter, loadModelFile, prepareRun, text, train } from './flow.mjs';
import { madeUpModel, TYPES } from './made-up.mjs';

const url = process.env.TUNESMITH_URL;
const kills = Number(process.env.TUNESMITH_KILLS ?? 100);
const model = { name: 'small.F16.gguf', mimeType: 'application/octet-stream', buffer: madeUpModel(TYPES.F16) };
const rows = ['red', 'blue', 'green', 'black', 'white'].map((colour) => JSON.stringify({ prompt: `${colour}:`, completion: ` ${colour}!` }));
const STEPS = 90;
/** The longest that a run is left alone, in milliseconds: about as long as it takes. */
const LONGEST = 7000;

const folder = await mkdtemp(join(tmpdir(), 'tunesmith-kills-'));
const browser = await launch();
const { context, page: first } = await open(browser, url);
let page = first;
const by = (id) => page.getByTestId(id);
const weights = async () => {
  const files = unzip(await downloadAdapter(page, join(folder, 'adapter.zip')));
  return [...files].find(([path]) => path.endsWith('adapter_model.safetensors'))[1];
};
const STATUS = '[data-testid="run-status"]';
const is = (state) => page.locator(`${STATUS}[data-state="${state}"]`);
/** Waits for one of some states; where none comes, says what the page says. */
async function reach(limit, ...states) {
  try {
    await page.locator(states.map((state) => `${STATUS}[data-state="${state}"]`).join()).waitFor({ timeout: limit });
  } catch {
    const shown = await Promise.all([text(page.locator(STATUS)), text(by('error-banner')), text(by('cut-off'))]);
    throw new Error(`after ${told.killed} kills the run is not ${states.join(' or ')}; the page says: ${shown.join(' | ')}`);
  }
}

/** Ends the process of the page, and opens it again. */
async function kill() {
  const session = await context.newCDPSession(page);
  void session.send('Page.crash').catch(() => undefined);
  await page.waitForEvent('crash');
  await page.close();
  page = await context.newPage();
  await page.goto(url);
  await by('load-default').waitFor();
  await loadModelFile(page, model);
}

await prepareRun(page, model, rows, STEPS);
await train(page);
const right = await weights();

const told = { killed: 0, ended: 0, continued: 0, early: 0 };
/** Whether a run was begun that has not ended yet. */
let going = false;
while (told.killed < kills || going || !told.ended) {
  if (!going) {
    await by('tab-train').click();
    await by('train').click();
    going = true;
  }
  await reach(240_000, 'running', 'done');
  if (told.killed < kills) await page.waitForTimeout(Math.random() * LONGEST);
  else await reach(240_000, 'done');
  if (await is('done').count()) {
    if (!right.equals(await weights())) throw new Error(`after ${told.killed} kills a run ended with other bits`);
    told.ended++;
    going = false;
    continue;
  }
  await kill();
  told.killed++;
  // The list of runs is asked for as the page opens.
  await page.waitForTimeout(700);
  if (await by('cut-off-continue').count()) {
    told.continued++;
    await by('cut-off-continue').click();
  } else {
    // It was killed before its first checkpoint, or in the moment of its end: then it is there as done.
    await by('tab-runs').click();
    const latest = await text(by('kept-run').first());
    if (/ · done/.test(latest)) told.ended++;
    else told.early++;
    going = false;
  }
  if (told.killed % 10 === 0) console.log(JSON.stringify(told));
}
console.log(`${told.killed} kills: ${told.continued} runs went on, ${told.early} had no checkpoint yet, ${told.ended} ended, each with the same bits`);
await browser.close();
await rm(folder, { recursive: true, force: true });
