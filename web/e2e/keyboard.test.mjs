// The whole journey by keyboard, on a small made-up model. TUNESMITH_URL says where the page is.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { launch, open } from './browser.mjs';
import { text } from './flow.mjs';
import { madeUpModel, TYPES } from './made-up.mjs';

const url = process.env.TUNESMITH_URL;
const model = { name: 'small.F16.gguf', mimeType: 'application/octet-stream', buffer: madeUpModel(TYPES.F16) };
/** More stops than the page has. */
const MOST = 300;

describe('the keyboard alone', () => {
  let browser;
  let opened;
  let page;
  const by = (id) => page.getByTestId(id);
  /** The test id of what has the focus, or its tag. */
  const focused = () => page.evaluate(() => document.activeElement?.closest('[data-testid]')?.dataset.testid ?? document.activeElement?.tagName.toLowerCase());
  const press = (key) => page.keyboard.press(key);
  /** Goes on from stop to stop until one is reached; gives how many it took. */
  const tabTo = async (id) => {
    for (let stops = 1; stops <= MOST; stops++) {
      await press('Tab');
      if ((await focused()) === id) return stops;
    }
    throw new Error(`${id} is not reached in ${MOST} stops`);
  };
  /** Waits until the focus is as it should be: the page brings it back a moment later, which on a busy machine may be long. */
  const focusIs = async (right, why) => {
    const end = Date.now() + 20_000;
    for (let at = await focused(); !right(at); at = await focused()) {
      assert.ok(Date.now() < end, `the focus is on ${at}: ${why}`);
      await page.waitForTimeout(100);
    }
  };
  const focusOn = (id) => focusIs((at) => at === id, `it should be on ${id}`);
  /** Waits for something, in which the focus must not be lost. */
  const seen = async (locator) => {
    await locator.waitFor({ timeout: 300_000 });
    await page.waitForTimeout(300);
    await focusIs((at) => at !== 'body', 'it is lost');
  };

  /** Holds back what is asked of the worker under that name, until the function that it gives is called. */
  const hold = async (name) => {
    await page.evaluate((name) => {
      const post = Worker.prototype.postMessage;
      const held = [];
      Worker.prototype.postMessage = function (message, ...rest) {
        if (message.name === name) held.push([this, message, ...rest]);
        else post.call(this, message, ...rest);
      };
      window.letGo = () => {
        Worker.prototype.postMessage = post;
        for (const [worker, ...message] of held) post.call(worker, ...message);
      };
    }, name);
    return () => page.evaluate(() => window.letGo());
  };

  before(async () => {
    browser = await launch();
    opened = await open(browser, url);
    page = opened.page;
    await by('load-default').waitFor();
  });
  after(() => browser.close());

  it('loads a model', async () => {
    await tabTo('model-file');
    const [chooser] = await Promise.all([page.waitForEvent('filechooser', { timeout: 300_000 }), press('Enter')]);
    await chooser.setFiles(model);
    await seen(by('model-card'));
  });

  it('teaches', async () => {
    await tabTo('paste-jsonl');
    await page.keyboard.type('{"prompt": "red:", "completion": " red!"}');
    await tabTo('paste-jsonl-add');
    await press('Enter');
    await seen(by('count').filter({ hasText: '1 example' }));
    // A row is typed, and another taken away again.
    await page.keyboard.press('Shift+Tab');
    for (let stops = 0; (await focused()) !== 'add-example'; stops++) {
      assert.ok(stops < MOST);
      await press('Shift+Tab');
    }
    await press('Enter');
    await focusIs((at) => !['add-example', 'body'].includes(at), 'it should be in the new row');
    await page.keyboard.type('blue:');
    await press('Tab');
    await page.keyboard.type(' blue!');
    await seen(by('count').filter({ hasText: '2 examples' }));
    await press('Tab');
    await press('Enter');
    await seen(by('count').filter({ hasText: '1 example' }));
  });

  it('trains, pauses and goes on', async () => {
    await tabTo('field-max_steps');
    await press('Control+a');
    await page.keyboard.type('150');
    await tabTo('train');
    await press('Enter');
    await seen(page.locator('[data-testid="run-status"][data-state="running"]'));
    await focusOn('pause');
    // A pause that takes a moment, as in a long step, leaves the focus where it is: beside it is Stop.
    const letGo = await hold('pause');
    await press('Enter');
    await page.waitForTimeout(300);
    assert.equal(await focused(), 'pause');
    await press('Enter');
    await letGo();
    await seen(by('resume'));
    await focusOn('resume');
    await press('Enter');
    await seen(page.locator('[data-testid="run-status"][data-state="done"]'));
  });

  it('asks and takes the adapter away', async () => {
    await tabTo('ask-input');
    await page.keyboard.type('red:');
    await press('Enter');
    await seen(page.locator('[data-testid="answer-tuned"][data-state="done"]'));
    assert.notEqual(await text(by('answer-tuned-text')), '');
    await tabTo('export-peft');
    await Promise.all([page.waitForEvent('download', { timeout: 300_000 }), press('Enter')]);
    await seen(by('export-peft'));
    assert.deepEqual(opened.problems, []);
  });

  it('puts a message away', async () => {
    await by('adapter-file').setInputFiles({ name: 'a.zip', mimeType: 'application/zip', buffer: Buffer.from('no zip') });
    await by('error-banner').waitFor();
    await press('Escape');
    await by('error-banner').waitFor({ state: 'detached' });
    await focusIs((at) => at !== 'body', 'it is lost');
  });
});
