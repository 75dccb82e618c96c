// What a person does on the page, step by step. Every wait has a limit and says what it waited for.

import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';

const MINUTE = 60_000;
/** A step in software may take a minute on a busy machine. */
const STEP_LIMIT = 4 * MINUTE;

const by = (page, id) => page.getByTestId(id);

/** Waits until `look` gives something that counts, fails at once when the page shows an error. */
async function until(page, what, limit, look) {
  const end = Date.now() + limit;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    const banner = by(page, 'error-banner');
    if (await banner.isVisible()) throw new Error(`${what}: the page says "${(await banner.innerText()).trim()}"`);
    if (Date.now() > end) throw new Error(`${what}: not within ${limit / 1000} s`);
    await page.waitForTimeout(250);
  }
}

/** What an element says; nothing where there is none. */
export const text = async (locator) => ((await locator.count()) ? (await locator.first().innerText()).trim() : '');

/** Every event of the given kind that the worker has sent so far. */
export const events = (page, kind) =>
  page.evaluate((kind) => (window.tunesmithEvents ?? []).filter(({ event }) => event === kind), kind);

/** Loads the default model; resolves to what its card says. */
export async function loadDefaultModel(page) {
  await by(page, 'load-default').click();
  return until(page, 'loading the model', 5 * MINUTE, () => text(by(page, 'model-card')));
}

/** Loads a file of one's own, a path or `{name, mimeType, buffer}`, in 4 bits or as it is; resolves to what its card says. */
export async function loadModelFile(page, file, { in4bit = false } = {}) {
  const name = basename(file.name ?? file, '.gguf');
  await by(page, 'in-4bit').setChecked(in4bit);
  await by(page, 'model-file').setInputFiles(file);
  return until(page, 'loading the model', 5 * MINUTE, async () => {
    const card = await text(by(page, 'model-card'));
    return card.includes(name) && card;
  });
}

/** Takes the first starter set, once a model is loaded; resolves to how many tokens the preview marks as targets. */
export async function takeStarter(page) {
  await by(page, 'starter-sets').locator('[data-testid^="starter-"]').first().click();
  return until(page, 'the preview', MINUTE, () => by(page, 'preview').locator('[data-target]').count());
}

/** Chooses a method and sets fields, unfolding what they are folded into. */
export async function choose(page, method, fields) {
  await by(page, 'tab-train').click();
  const radio = by(page, `method-${method}`);
  await unfold(radio);
  await radio.check();
  for (const [name, value] of Object.entries(fields)) {
    const field = by(page, `field-${name}`);
    await unfold(field);
    await field.fill(String(value));
    await field.blur();
  }
}

/** A run that is soon over, and has all that a run has: loads a model, gives it rows (lines of JSON) and chooses the settings. */
export async function prepareRun(page, model, rows, steps) {
  await loadModelFile(page, model);
  await by(page, 'paste-jsonl').fill(rows.join('\n'));
  await by(page, 'paste-jsonl-add').click();
  await choose(page, 'lora', { max_steps: steps, learning_rate: 0.02, r: 4, lora_dropout: 0.1, eval_steps: 10 });
  await by(page, 'hold-out').selectOption('0.2');
  await by(page, 'keep-best').uncheck();
}

const unfold = (locator) =>
  locator.evaluate((element) => {
    for (let at = element.closest('details'); at; at = at.parentElement?.closest('details')) at.open = true;
  });

/** Trains to the end; resolves to the losses. `onStep` hears of each step as it comes. */
export async function train(page, onStep = () => {}) {
  const before = (await events(page, 'step')).length;
  const runs = (await events(page, 'done')).length;
  await by(page, 'train').click();
  const steps = [];
  for (;;) {
    const news = await until(page, `step ${steps.length + 1}`, STEP_LIMIT, async () => {
      // In this order: when it is done, all the steps are there.
      const done = (await events(page, 'done')).length > runs;
      const all = (await events(page, 'step')).slice(before);
      return all.length > steps.length || done ? { all, done } : null;
    });
    for (const step of news.all.slice(steps.length)) {
      steps.push(step);
      onStep(step);
    }
    if (news.done) return steps.map(({ loss }) => loss);
  }
}

/** Starts a run, pauses it after a step, sees it stand still, goes on and stops it; resolves to the `done` event. */
export async function trainUntilStopped(page) {
  const count = async (kind) => (await events(page, kind)).length;
  const [steps, runs] = [await count('step'), await count('done')];
  await by(page, 'train').click();
  await until(page, 'a step', STEP_LIMIT, async () => (await count('step')) > steps);
  await by(page, 'pause').click();
  await until(page, 'the pause', STEP_LIMIT, () => by(page, 'resume').isVisible());
  const paused = await count('step');
  await page.waitForTimeout(3000);
  const still = await count('step');
  if (still !== paused) throw new Error(`${still - paused} steps came during the pause`);
  await by(page, 'resume').click();
  await until(page, 'a step after the pause', STEP_LIMIT, async () => (await count('step')) > paused);
  await by(page, 'stop').click();
  await until(page, 'the end', STEP_LIMIT, async () => (await count('done')) > runs);
  return (await events(page, 'done')).at(-1);
}

/** Tries methods in the lab, so many steps each, to the end; resolves to the rows as they are shown, by method. */
export async function tryMethods(page, methods, steps, onChange = () => {}) {
  await by(page, 'tab-lab').click();
  await unfold(by(page, 'lab-all'));
  await by(page, 'lab-none').click();
  for (const method of methods) await by(page, `trial-${method}`).check();
  await by(page, 'lab-steps').fill(String(steps));
  await by(page, 'lab-start').click();
  const rows = {};
  for (const method of methods) {
    const row = by(page, `lab-row-${method}`);
    const ended = page.locator(`[data-testid="lab-row-${method}"]:is([data-state="done"], [data-state="failed"])`);
    await until(page, `the row of ${method}`, methods.length * steps * STEP_LIMIT, () => ended.count());
    rows[method] = { state: await row.getAttribute('data-state'), text: await text(row) };
    onChange(method, rows[method]);
  }
  await until(page, 'the end of the lab', STEP_LIMIT, () => page.locator('[data-testid="lab-status"][data-state="done"]').count());
  return rows;
}

/** Asks the base and the tuned model, in a conversation that begins with that; resolves to both answers once they are whole. */
export async function ask(page, question) {
  const over = by(page, 'ask-over');
  if (await over.isVisible()) await over.click();
  await by(page, 'ask-input').fill(question);
  await by(page, 'ask-send').click();
  const done = (side) => page.locator(`[data-testid="answer-${side}"][data-state="done"]`);
  await until(page, 'the answers', 10 * MINUTE, async () => (await done('base').count()) && (await done('tuned').count()));
  return { base: await text(by(page, 'answer-base-text')), tuned: await text(by(page, 'answer-tuned-text')) };
}

/** Has two answers to a question sampled; resolves to their texts once they are there. */
export async function duel(page, question, tokens = 12) {
  await by(page, 'tab-duel').click();
  await by(page, 'duel-max-new-tokens').fill(String(tokens));
  await by(page, 'ask-input').fill(question);
  await by(page, 'duel-send').click();
  await until(page, 'the duel', 10 * MINUTE, () => by(page, 'choose-0').isVisible());
  return Promise.all([0, 1].map((side) => text(by(page, `duel-${side}-text`))));
}

/** Downloads the adapter to `path`; resolves to its bytes. */
export async function downloadAdapter(page, path) {
  const [download] = await Promise.all([page.waitForEvent('download', { timeout: MINUTE }), by(page, 'export-peft').click()]);
  await download.saveAs(path);
  return readFile(path);
}
