import { beforeEach, describe, expect, it } from 'vitest';
import type { Event, Example, RunConfig } from '../src/engine';
import { pair, promptRow } from '../src/examples';
import { noRun, reduce } from '../src/run';
import { canContinue, differences, overlaid, stateWords, titleOf, wasCutOff, withSettingsOf } from '../src/runs';
import { firstSettings, toConfig } from '../src/settings';
import type { KeptRun, Notice } from '../src/protocol';
import { Mutex } from '../src/worker/mutex';
import { Records } from '../src/worker/records';
import { RunFolders } from '../src/worker/run-store';
import { Runner } from '../src/worker/runner';
import { Training } from '../src/worker/training';
import { adapterZip } from '../src/zip';
import { Session, defaults, objectives, pace } from './fake-engine';
import { put } from './fake-rows';
import { calls, FakeFolder, room } from './fake-storage';

Object.assign(pace, { step: 0, token: 0, load: 0 });

const rows = [pair('a', 'b'), pair('c', 'd')];
const config: RunConfig = { method: 'lora', objective: 'sft', max_steps: 60, learning_rate: 1e-4, eval_steps: 10 };

let records: Records;
let notices: Notice[];
/** The ids of runs that are going. */
let goesNow: Set<string>;
const events = (): Event[] => notices.flatMap((notice) => (notice.notice === 'events' ? notice.events : []));
const only = async () => (await records.list())[0]!;
const tick = () => new Promise((done) => setTimeout(done, 2));

beforeEach(() => {
  [room.left, calls.left] = [Infinity, Infinity];
  records = new Records(Promise.resolve(new RunFolders(new FakeFolder() as never)), async () => goesNow);
  notices = [];
  goesNow = new Set();
});

/** A run that is kept, as the worker makes one. */
async function begin(own: RunConfig = config, of: Example[] = rows, held: Example[] = []) {
  const session = await Session.create();
  const runner = new Runner(new Mutex(), async () => () => undefined);
  const start = async () => {
    const [given, asked] = [put(session, of), put(session, held)];
    const { folder, problem } = await records.create(session.rowLines(given), session.rowLines(asked));
    const begun = await session.startTraining(own, given, asked, { ...(folder && { store: folder }), about: { notes: { rows: '2 examples' } } });
    return { events: problem ? [...begun, { event: 'warning', code: 'not-kept', message: problem } as Event] : begun, keptAs: folder?.name ?? null };
  };
  const training = new Training(session as never, { begin: start, tools: {}, saveSteps: 0 }, (notice) => notices.push(notice), clock);
  return { session, runner, training };
}

let now = 0;
const clock = () => (now += 10);

const until = async (step: number) => {
  while (!events().some((event) => event.event === 'step' && event.step >= step)) await tick();
};

describe('a run as a record', () => {
  it('keeps its rows, its settings and its curve, and at its end the adapter alone', async () => {
    const { runner, training } = await begin(config, rows, [pair('e', 'f')]);
    await runner.start(training);
    await runner.finished;
    const { summary, notes, id } = await only();
    expect([summary.steps, summary.done, summary.checkpoint]).toEqual([60, true, null]);
    expect([notes.rows, summary.about?.trainable]).toEqual(['2 examples', 4884480]);
    const opened = await records.open(id);
    expect([opened.rows, opened.heldOut]).toEqual([rows, [pair('e', 'f')]]);
    expect(reduce(noRun, opened.events, 0).points.length).toBe(60);
    expect(stateWords(await only())).toBe('done');
  });

  it('has a checkpoint each twenty steps, and no more than two', async () => {
    const { runner, training } = await begin();
    await runner.start(training);
    await until(41);
    runner.pause();
    while (runner.state !== 'paused') await tick();
    const told = events().flatMap((event) => (event.event === 'checkpoint' ? [event.step] : []));
    expect(told.slice(0, 2)).toEqual([20, 40]);
    const { summary, id } = await only();
    // A pause may be the last that is seen of it.
    expect(summary.checkpoint).toBe(told.at(-1));
    expect(summary.checkpoint).toBe(summary.steps);
    const names = (await records.files(id)).map(({ name }) => name).filter((name) => name.startsWith('checkpoint-'));
    expect(names.length).toBe(2);
    runner.stop();
    await runner.finished;
  });

  it('has one as soon as the tab is hidden', async () => {
    const { runner, training } = await begin();
    await runner.start(training);
    await until(3);
    training.keepSoon();
    await until(7);
    expect(events().some((event) => event.event === 'checkpoint' && event.step < 10)).toBe(true);
    runner.stop();
    await runner.finished;
  });

  it('goes on where it was cut off', async () => {
    const { runner, training, session } = await begin();
    session.step = (
      (step) => async () =>
        events().filter(({ event }) => event === 'step').length === 33 ? Promise.reject({ code: 'device-lost', message: 'lost', help: '' }) : step()
    )(session.step.bind(session));
    await runner.start(training);
    await runner.finished;
    const cut = await only();
    expect([cut.summary.steps, cut.summary.checkpoint, canContinue(cut), wasCutOff(cut)]).toEqual([33, 20, true, true]);
    expect(stateWords(cut)).toBe('cut off at step 20 of 60');

    notices = [];
    const again = await Session.create();
    const folder = await records.folder(cut.id);
    const resume = async () => ({ events: await again.resumeTraining(put(again, rows), new Uint32Array(), { store: folder }), keptAs: cut.id });
    const second = new Runner(new Mutex(), async () => () => undefined);
    await second.start(new Training(again as never, { begin: resume, tools: {}, saveSteps: 0 }, (notice) => notices.push(notice), clock));
    await second.finished;
    const steps = events().flatMap((event) => (event.event === 'step' ? [event.step] : []));
    expect(steps).toEqual(Array.from({ length: 60 }, (_, index) => index + 1));
    expect((await only()).summary.done).toBe(true);
    expect((await records.list()).length).toBe(1);
  });

  it('goes on in memory where the storage is full, and says so', async () => {
    const { runner, training } = await begin();
    room.left = 20;
    await runner.start(training);
    await runner.finished;
    const warnings = events().flatMap((event) => (event.event === 'warning' ? [event.message] : []));
    expect(warnings).toEqual(['the browser’s storage is full']);
    expect(events().at(-1)?.event).toBe('done');
    expect(await records.list()).toEqual([]);
  });

  it('is renamed, deleted, and moved through a zip', async () => {
    const prompts = [promptRow('What is 2 + 2?', '4')];
    const { runner, training } = await begin({ ...config, objective: 'grpo', reward: ['max-words:5'], max_steps: 2 }, prompts);
    await runner.start(training);
    await runner.finished;
    const { id } = await only();
    await records.note(id, { title: 'Sums' });
    expect(titleOf(await only(), () => 'LoRA')).toBe('Sums');
    goesNow = new Set([id]);
    await expect(records.remove(id)).rejects.toMatchObject({ code: 'busy' });
    goesNow = new Set();
    const zip = new File([adapterZip((await records.files(id)).map((file) => ({ ...file, name: `some/folder/${file.name}` })))], 'run.zip');
    await records.remove(id);
    expect(await records.list()).toEqual([]);
    await expect(records.open(id)).rejects.toMatchObject({ code: 'no-run' });
    const moved = await records.import(zip);
    expect([titleOf(await only(), () => 'LoRA'), (await only()).id]).toEqual(['Sums', moved]);
    expect((await records.open(moved)).rows).toEqual(prompts);
    await expect(records.import(new File([adapterZip([{ name: 'a.txt', bytes: new Uint8Array([1]) }])], 'a.zip'))).rejects.toMatchObject({ code: 'format' });
    await expect(records.import(new File(['no zip'], 'b.zip'))).rejects.toMatchObject({ code: 'format' });
    expect((await records.list()).length).toBe(1);
  });

  it('is what it was, or is told to be gone, whichever storage call fails', async () => {
    for (let failing = 0; failing < 60; failing++) {
      room.left = calls.left = Infinity;
      records = new Records(Promise.resolve(new RunFolders(new FakeFolder() as never)), async () => goesNow);
      const made = await records.create('{}\n', '');
      await made.folder!.write('run.json', JSON.stringify(config));
      await made.folder!.write('record.json', JSON.stringify({ version: 1, begun: 1, model: {}, trainable: 1, notes: { title: 'old' } }));
      const id = made.folder!.name;
      calls.left = failing;
      const done = await records.note(id, { title: 'new' }).then(
        () => true,
        () => false,
      );
      calls.left = Infinity;
      const title = (await records.one(id)).notes.title;
      expect(done ? ['new'] : ['old', 'new'], `call ${failing}`).toContain(title);
      if (done) return;
    }
    throw new Error('it never came to its end');
  });
});

const kept = (part: Partial<KeptRun['summary']>, notes: KeptRun['notes'] = {}): KeptRun => ({
  id: '1',
  going: false,
  summary: { base: 'b', method: 'lora', steps: 30, checkpoint: null, loss: 1, best: null, done: false, bytes: 9, config, about: null, ...part },
  notes,
});

describe('what is said of kept runs', () => {
  it('names how far they came', () => {
    expect(stateWords(kept({ done: true, steps: 60 }))).toBe('done');
    expect(stateWords(kept({ done: true, steps: 30 }))).toBe('done at step 30, of 60 at most');
    expect(stateWords(kept({ done: true, checkpoint: 30 }))).toBe('stopped at step 30 of 60');
    expect(stateWords(kept({}))).toBe('cut off at step 30 of 60, before its first checkpoint');
    const failed = kept({ checkpoint: 20 }, { problem: { code: 'non-finite', message: 'm', help: 'h' } });
    expect([stateWords(failed), canContinue(failed)]).toEqual(['failed at step 30 of 60', false]);
    expect(wasCutOff(kept({ checkpoint: 20 }, { setAside: true }))).toBe(false);
  });

  it('finds the settings that differ, and lays curves over each other', () => {
    expect(differences(config, { ...config, learning_rate: 2e-4 }, defaults())).toEqual([{ name: 'Learning rate', values: ['0.0001', '0.0002'] }]);
    const step = (at: number, loss: number): Event => ({ event: 'step', step: at, loss, learning_rate: 1, grad_norm: 1, tokens: 1, target_tokens: 1, ms: 1 });
    const one = reduce(noRun, [step(1, 2), step(2, 1)], 0);
    const other = reduce(noRun, [step(2, 3), { event: 'eval', step: 3, loss: 2.5, tokens: 1 }], 0);
    expect(overlaid([one, other]).map((column) => column.map((value) => value && Math.round(value)))).toEqual([
      [1, 2, 3],
      [2, 1, null],
      [null, null, null],
      [null, 3, null],
      [null, null, 3],
    ]);
  });

  it('shows patterns as the form has them, though a run has an object of them', () => {
    const run = { ...config, rank_pattern: {}, alpha_pattern: { q_proj: 4, 'k|v_proj': 2 } };
    expect(differences(config, run, defaults())).toEqual([{ name: 'Alpha pattern', values: ['', 'q_proj=4, k|v_proj=2'] }]);
  });

  it('takes the settings of a run over, whatever it learnt', () => {
    for (const objective of objectives()) {
      const first = { ...firstSettings, method: 'lora' };
      const summary = kept({ config: { ...toConfig(defaults(), first).config, objective: objective.name, max_steps: 77, ...(objective.rows === 'prompts' && { reward: ['max-words:12'], reward_weights: [0.5] }) } }).summary;
      const taken = withSettingsOf(first, summary, defaults(), objectives());
      const { config: made } = toConfig(defaults(), taken);
      expect([made.objective, made.max_steps, made.method]).toEqual([objective.name, 77, 'lora']);
      if (objective.rows === 'prompts') expect([made.reward, made.reward_weights]).toEqual([['max-words:12'], [0.5]]);
    }
  });
});
