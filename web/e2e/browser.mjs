// A headless browser on the served page, and a watch over everything a person would notice going wrong.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const axe = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

/** Chromium computes WebGPU in software here, the same on every machine. */
const FLAGS = [
  '--no-sandbox',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
];
const WEBGPU = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-unsafe-swiftshader'];

/** Starts the browser; `webgpu: false` gives one whose WebGPU finds no adapter. */
export function launch({ webgpu = true } = {}) {
  return chromium.launch({
    executablePath: process.env.TUNESMITH_BROWSER ?? '/usr/bin/chromium',
    args: webgpu ? [...FLAGS, ...WEBGPU] : FLAGS,
  });
}

/**
 * Opens the page with empty storage, of the size of a laptop's window unless told otherwise. `worker`: what its worker runs first; then it
 * keeps nothing for a time without a network.
 */
export async function open(browser, url, { viewport = { width: 1280, height: 900 }, worker = '' } = {}) {
  const context = await browser.newContext({ viewport, acceptDownloads: true, serviceWorkers: worker ? 'block' : 'allow' });
  if (worker) {
    await context.route('**/worker-*.js', async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: `${worker}\n${await response.text()}` });
    });
  }
  const problems = watch(context, new URL(url).origin);
  const page = await context.newPage();
  await page.goto(url);
  return { context, page, problems };
}

/** Fills a list, as they come, with errors on the console, uncaught errors and requests gone wrong or abroad. */
function watch(context, origin) {
  const problems = [];
  context.on('console', (message) => {
    if (message.type() === 'error') problems.push(`console: ${message.text()}`);
  });
  context.on('weberror', (error) => problems.push(`uncaught: ${error.error().stack ?? error.error()}`));
  context.on('page', (page) => page.on('crash', () => problems.push('the page crashed')));
  context.on('request', (request) => {
    const url = new URL(request.url());
    const local = url.origin === origin || ['blob:', 'data:'].includes(url.protocol);
    if (!local) problems.push(`request to another host: ${request.url()}`);
  });
  context.on('requestfailed', (request) => {
    const reason = request.failure()?.errorText;
    // The browser's own word for a download that it took over, or a page that was left.
    if (reason !== 'net::ERR_ABORTED') problems.push(`request failed: ${request.url()} (${reason})`);
  });
  context.on('response', (response) => {
    if (response.status() >= 400) problems.push(`status ${response.status()}: ${response.url()}`);
  });
  return problems;
}

/** A laptop's window and a phone's. */
export const SIZES = [
  { width: 1280, height: 900 },
  { width: 390, height: 844 },
];

/** Does `work` with the page in each size, in light and in dark. */
export async function inEachLook(page, work) {
  for (const size of SIZES) {
    await page.setViewportSize(size);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      await page.evaluate(() => window.scrollTo(0, 0));
      // The charts follow a change of size or colours a moment later.
      await page.waitForTimeout(1500);
      await work(`${size.width}-${colorScheme}`);
    }
  }
}

/** What axe-core has against the page. */
export async function violations(page) {
  // The page's policy forbids added scripts, so the checker comes in as a debugger's words do.
  const session = await page.context().newCDPSession(page);
  await session.send('Runtime.evaluate', { expression: await readFile(axe, 'utf8') });
  const { violations } = await page.evaluate(() => window.axe.run());
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
}
