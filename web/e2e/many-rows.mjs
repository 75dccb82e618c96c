// By hand, for it takes minutes: brings many rows into the page and begins a run on the default model. Tells how long the page's
// own thread was busy at a time, how long a person waits, and what memory the tab takes. `cargo xtask many-rows 50000` starts it.

import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { launch, open } from './browser.mjs';
import { choose, loadDefaultModel, text } from './flow.mjs';

const url = process.env.TUNESMITH_URL;
const count = Number(process.env.TUNESMITH_ROWS ?? 50_000);

/** About 400 bytes each, no two alike. */
const words = 'the harbour light turns slowly over quiet water while a small boat waits for the tide and its keeper counts the stars above'.split(' ');
const some = (seed, n) => Array.from({ length: n }, (_, i) => words[(seed * 7 + i * i * 3 + i) % words.length]).join(' ');
const lines = Array.from({ length: count }, (_, i) => JSON.stringify({ prompt: `Question ${i}: ${some(i, 12)}?`, completion: `Answer ${i}. ${some(i + 5, 45)}.` }));
// On the disk, as a person has it: handing bytes over takes the page seconds.
const folder = await mkdtemp(join(tmpdir(), 'tunesmith-rows-'));
const file = join(folder, 'many.jsonl');
await writeFile(file, `${lines.join('\n')}\n`);

const browser = await launch();
const { context, page: blank, problems } = await open(browser, url);
await blank.close();
const page = await context.newPage();
// Tasks of the page's own thread that took longer than 50 ms, as the browser tells them.
await page.addInitScript(() => {
  if (typeof window === 'undefined') return;
  window.longTasks = [];
  new PerformanceObserver((list) => list.getEntries().forEach(({ startTime, duration }) => window.longTasks.push([Math.round(startTime), Math.round(duration)]))).observe({ type: 'longtask', buffered: true });
});
await page.goto(url);
const by = (id) => page.getByTestId(id);

/** Megabytes that the tab's process takes, now and at most so far. */
async function memory() {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  await session.detach();
  let most = { now: 0, peak: 0 };
  for (const { id, type } of processInfo) {
    if (type !== 'renderer') continue;
    const status = await readFile(`/proc/${id}/status`, 'utf8').catch(() => '');
    const [now, peak] = ['VmRSS', 'VmHWM'].map((name) => Math.round(Number(status.match(new RegExp(`${name}:\\s+(\\d+)`))?.[1] ?? 0) / 1000));
    if (peak > most.peak) most = { now, peak };
  }
  return most;
}

let told = 0;
/** Says what a stage took: seconds, the longest task and how many were longer than a tenth of a second, and the memory. */
async function stage(name, work) {
  const began = Date.now();
  await work();
  const seconds = (Date.now() - began) / 1000;
  const tasks = await page.evaluate(() => window.longTasks);
  const news = tasks.slice(told).map(([, duration]) => duration);
  told = tasks.length;
  const { now, peak } = await memory();
  console.log(`${name}: ${seconds.toFixed(1)} s, longest task ${Math.max(0, ...news)} ms, ${news.filter((duration) => duration > 100).length} longer than 100 ms; ${now} MB, at most ${peak} MB`);
}

console.log(`${count} rows, ${((await stat(file)).size / 1e6).toFixed(1)} MB`);
await stage('the page is open', () => by('load-default').waitFor());
await stage('the model is loaded', () => loadDefaultModel(page));
await choose(page, 'lora', { max_steps: 2 });
await stage('the rows are in', async () => {
  await by('import-file').setInputFiles(file);
  await page.waitForFunction((want) => document.querySelector('[data-testid="count"]')?.textContent.includes(want), count.toLocaleString('en'), { timeout: 600_000 });
});
const pressed = Date.now();
await stage('Train was pressed, and the first step has begun', async () => {
  await by('train').click();
  await page.locator('[data-testid="run-status"][data-state="running"]').waitFor({ timeout: 600_000 });
});
await stage('the first step is done', () => page.waitForFunction(() => (window.tunesmithEvents ?? []).some(({ event }) => event === 'step'), undefined, { timeout: 600_000 }));
console.log(`from the press to the end of the first step: ${((Date.now() - pressed) / 1000).toFixed(1)} s`);
await stage('the run has ended', () => page.locator('[data-testid="run-status"][data-state="done"]').waitFor({ timeout: 600_000 }));
await stage('a cell is edited', async () => {
  await page.locator('textarea[aria-label="Answer 1"]').fill('Another.');
  await page.waitForTimeout(3000);
});
await stage('the page is loaded again', async () => {
  await page.reload();
  told = 0;
  await page.waitForFunction((want) => document.querySelector('[data-testid="count"]')?.textContent.includes(want), count.toLocaleString('en'), { timeout: 60_000 });
  if ((await page.locator('textarea[aria-label="Answer 1"]').inputValue()) !== 'Another.') throw new Error(`the edit is lost: ${await text(by('count'))}`);
});
if (problems.length) throw new Error(problems.join('\n'));
await browser.close();
await rm(folder, { recursive: true, force: true });
