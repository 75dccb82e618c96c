// Models in other files than one GGUF: in several, and in a folder of Hugging Face's. TUNESMITH_URL says where the page is;
// TUNESMITH_PICTURES may name a folder for pictures of it.

import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { inEachLook, launch, open, violations } from './browser.mjs';
import { choose, text, train } from './flow.mjs';
import { madeUpFolder, madeUpParts, TYPES } from './made-up.mjs';

const url = process.env.TUNESMITH_URL;
const MINUTE = 60_000;
const rows = ['red', 'blue', 'green'].map((colour) => JSON.stringify({ prompt: `${colour}:`, completion: ` ${colour}!` })).join('\n');

describe('a model in several files', () => {
  let browser;
  let page;
  let folder;
  const by = (id) => page.getByTestId(id);
  const card = (words) => by('model-card').filter({ hasText: words }).waitFor({ timeout: MINUTE });

  const pictures = async (name) => {
    const to = process.env.TUNESMITH_PICTURES;
    if (to) await inEachLook(page, (look) => page.screenshot({ path: join(to, `${name}-${look}.png`) }));
  };

  before(async () => {
    browser = await launch();
    ({ page } = await open(browser, url));
    folder = join(await mkdtemp(join(tmpdir(), 'tunesmith-model-')), 'small-folder');
    await mkdir(folder);
    for (const [name, content] of Object.entries(madeUpFolder())) await writeFile(join(folder, name), content);
    await by('model-file').waitFor();
  });
  after(() => Promise.all([browser.close(), rm(join(folder, '..'), { recursive: true, force: true })]));

  it('is loaded from all parts of a GGUF, and not from one of them', async () => {
    const parts = madeUpParts(TYPES.F16);
    await by('model-file').setInputFiles(parts[1]);
    await by('error-banner').waitFor({ timeout: MINUTE });
    assert.match(await text(by('error-banner')), /file 2 of the 2 of a model.*all files of the model/s);
    await by('error-banner').getByLabel('Dismiss').click();
    await by('model-file').setInputFiles(parts.toReversed());
    await card('F16');
    assert.match(await text(by('model-card')), /^small\b/);
  });

  it('is loaded from a folder, learns, and answers', async () => {
    await by('model-folder').setInputFiles(folder);
    await card('small-folder');
    assert.match(await text(by('model-card')), /llama.*F16.*Load again in 4 bits|Load again in 4 bits.*llama.*F16/s);
    assert.deepEqual(await violations(page), []);
    await by('paste-jsonl').fill(rows);
    await by('paste-jsonl-add').click();
    await choose(page, 'lora', { max_steps: 8, learning_rate: 0.02, r: 4 });
    const losses = await train(page);
    assert.ok(losses.at(-1) < losses[0] - 0.5, `the losses are ${losses}`);
  });

  it('is merged into a GGUF file from a folder', async () => {
    const [download] = await Promise.all([page.waitForEvent('download', { timeout: MINUTE }), by('export-gguf').click()]);
    assert.match(download.suggestedFilename(), /\.gguf$/);
  });

  it('is there after a reload where a copy is kept', async () => {
    await by('keep-copy').click();
    await by('remove-copy').waitFor({ timeout: MINUTE });
    await page.reload();
    await by('own-model').filter({ hasText: 'small-folder' }).waitFor({ timeout: MINUTE });
    await pictures('model-copy');
    await by('load-copy').click();
    await card('small-folder');
    await pictures('model-folder');
    await by('remove-copy').click();
    await by('remove-copy').click();
    await by('keep-copy').waitFor({ timeout: MINUTE });
  });

  it('that lacks a file is told so, and the model before stays', async () => {
    await rm(join(folder, 'tokenizer.json'));
    await by('model-folder').setInputFiles(folder);
    await by('error-banner').waitFor({ timeout: MINUTE });
    assert.match(await text(by('error-banner')), /tokenizer\.json/);
    await card('small-folder');
  });
});
