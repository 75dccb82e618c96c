// The pictures of the page in docs/, from what the model sees to the answers, after one short real run:
// node web/e2e/pictures.mjs URL FOLDER

import { join } from 'node:path';
import { inEachLook, launch, open, SIZES } from './browser.mjs';
import { ask, choose, loadDefaultModel, takeStarter, train } from './flow.mjs';

const [url, folder] = process.argv.slice(2);
if (!url || !folder) {
  console.error('usage: node web/e2e/pictures.mjs URL FOLDER');
  process.exit(2);
}

const browser = await launch();
const { page, problems } = await open(browser, url, { viewport: SIZES[0] });
try {
  await loadDefaultModel(page);
  await takeStarter(page);
  await choose(page, 'lora', { max_steps: 6, learning_rate: 0.002, r: 8 });
  await train(page, ({ step, loss }) => console.log(`step ${step}: loss ${loss.toFixed(4)}`));
  const { base, tuned } = await ask(page, 'What is the capital of Italy?');
  console.log(`base:  ${base}\ntuned: ${tuned}`);
  // The settings that the run unfolded.
  await page.evaluate(() => document.querySelectorAll('details').forEach((details) => (details.open = false)));
  await inEachLook(page, async (look) => {
    const clip = await page.evaluate(() => {
      const top = document.querySelector('[data-testid="preview"]').getBoundingClientRect().top - 24;
      const bottom = document.querySelector('#try').getBoundingClientRect().bottom;
      return { x: 0, y: top, width: window.innerWidth, height: bottom - top };
    });
    await page.screenshot({ path: join(folder, `page-${look}.png`), fullPage: true, clip });
  });
} finally {
  await browser.close();
}
for (const problem of problems) console.error(`FAILED: ${problem}`);
if (problems.length) process.exit(1);
