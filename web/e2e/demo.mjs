// One short real run on the page, as a person would do it: node web/e2e/demo.mjs URL FOLDER
// Ends with a status other than 0 when anything went wrong that a person would notice.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkLora, unzip } from './adapter.mjs';
import { launch, open } from './browser.mjs';
import { ask, choose, downloadAdapter, loadDefaultModel, takeStarter, train } from './flow.mjs';

const STEPS = 8;
const QUESTION = 'What is the capital of Italy?';

const [url, folder] = process.argv.slice(2);
if (!url || !folder) {
  console.error('usage: node web/e2e/demo.mjs URL FOLDER');
  process.exit(2);
}

const browser = await launch();
const { page, problems } = await open(browser, url);
const failures = [];
const started = Date.now();
const say = (line) => console.log(`${((Date.now() - started) / 1000).toFixed(0).padStart(4)} s  ${line}`);

try {
  const card = await loadDefaultModel(page);
  say(`model loaded: ${card.replaceAll(/\s+/g, ' ')}`);
  await takeStarter(page);
  say('first starter set taken');
  await choose(page, 'lora', { max_steps: STEPS, learning_rate: 0.001, r: 8 });
  const losses = await train(page, ({ step, loss, ms }) => {
    say(`step ${step} / ${STEPS}: loss ${loss.toFixed(4)}, ${(ms / 1000).toFixed(1)} s`);
  });
  if (losses.length !== STEPS) failures.push(`${losses.length} steps came, and not ${STEPS}`);
  const mean = (list) => list.reduce((sum, loss) => sum + loss, 0) / list.length;
  const [first, second] = [mean(losses.slice(0, STEPS / 2)), mean(losses.slice(STEPS / 2))];
  say(`loss: ${first.toFixed(4)} over the first half of the steps, ${second.toFixed(4)} over the second`);
  if (!losses.every(Number.isFinite) || !(second < first)) failures.push('the loss did not fall');

  const answers = await ask(page, QUESTION);
  say(`asked: ${QUESTION}\n        base:  ${answers.base}\n        tuned: ${answers.tuned}`);
  if (answers.base === answers.tuned) failures.push('base and tuned gave the same answer');

  const bytes = await downloadAdapter(page, join(folder, 'adapter.zip'));
  const { pairs } = checkLora(bytes);
  for (const [name, data] of unzip(bytes)) {
    if (!name.endsWith('/')) await writeFile(join(folder, name.split('/').at(-1)), data);
  }
  say(`adapter downloaded: ${bytes.length} bytes, ${pairs} pairs of matrices, all of them trained`);
} catch (error) {
  failures.push(error.message);
} finally {
  const picture = { path: join(folder, 'page.png'), fullPage: true };
  await page
    .evaluate(() => window.scrollTo(0, 0))
    .then(() => page.screenshot(picture))
    .catch((error) => failures.push(`no screenshot: ${error.message}`));
  await browser.close();
}

failures.push(...problems);
for (const failure of failures) console.error(`FAILED: ${failure}`);
if (failures.length) process.exit(1);
say(`all good: the adapter and a screenshot are in ${folder}`);
