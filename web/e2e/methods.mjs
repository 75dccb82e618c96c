// Every method, or some, on the first starter set, in the page's lab, from one press:
// node web/e2e/methods.mjs URL STEPS [METHOD,…] [FILE.gguf [4bit]]
// on the default model, or on a file, which may be held in 4 bits: then "lora" is QLoRA. `cargo xtask lab` leaves the
// default model's F16 file in target/lab.
// Ends with a status other than 0 when a method failed or did not lower its held-out loss.

import { readFile } from 'node:fs/promises';
import { launch, open } from './browser.mjs';
import { loadDefaultModel, loadModelFile, takeStarter, tryMethods } from './flow.mjs';

const [url, steps, some, file, bits] = process.argv.slice(2);
if (!url || !(Number(steps) > 0) || ![undefined, '4bit'].includes(bits)) {
  console.error('usage: node web/e2e/methods.mjs URL STEPS [METHOD,…] [FILE.gguf [4bit]]');
  process.exit(2);
}

const browser = await launch();
const { page, problems } = await open(browser, url);
try {
  const card = file ? await loadModelFile(page, file, { in4bit: bits === '4bit' }) : await loadDefaultModel(page);
  console.log(card.replaceAll(/\s+/g, ' '));
  await takeStarter(page);
  const all = await page.locator('.method-card input').evaluateAll((inputs) => inputs.map(({ value }) => value));
  const methods = some ? some.split(',') : all;
  await tryMethods(page, methods, steps, (method, { text }) => console.log(`${method}: ${text.replaceAll(/\s+/g, ' ')}`));
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByTestId('lab-json').click()]);
  const { rows } = JSON.parse(await readFile(await download.path(), 'utf8'));
  for (const { method, error, loss_before, loss_after } of rows) {
    if (!error) console.log(`${method}: held-out loss from ${loss_before.toFixed(3)} to ${loss_after.toFixed(3)}`);
    if (error) problems.push(`${method}: ${error.message}`);
    else if (!(loss_after < loss_before)) problems.push(`${method}: the held-out loss went from ${loss_before} to ${loss_after}`);
  }
} finally {
  await browser.close();
}
for (const problem of problems) console.error(`FAILED: ${problem}`);
if (problems.length) process.exit(1);
