import { beforeEach, describe, expect, it } from 'vitest';
import type { TrialRow } from '../src/engine';
import { pair } from '../src/examples';
import { fold, kept, noLab, secondsLeft, sorted, toJson, toMarkdown, type Lab, type Outcome } from '../src/lab';
import type { Notice } from '../src/protocol';
import { Mutex } from '../src/worker/mutex';
import { Runner } from '../src/worker/runner';
import { Trials } from '../src/worker/trials';
import { Session, pace } from './fake-engine';
import { put } from './fake-rows';

Object.assign(pace, { step: 1, token: 0, load: 0 });

const learnt = [pair('a', 'b'), pair('c', 'd')];
const held = [pair('e', 'f')];

let lab: Lab;
const hear = (notice: Notice) => {
  if (notice.notice === 'lab' || notice.notice === 'trial' || notice.notice === 'trialFailed') lab = fold(lab, notice);
};

async function make(methods: string[], steps = 3) {
  lab = { ...noLab, methods };
  const session = await Session.create();
  const runner = new Runner(new Mutex(), async () => () => undefined);
  const trials = methods.map((method) => ({ method, config: { method, max_steps: steps, learning_rate: 1e-3 } }));
  const job = new Trials(session as never, { config: {}, trials, rows: put(session, learnt), heldOut: put(session, held) }, hear);
  return { session, runner, job };
}

const names = () => lab.outcomes.map((outcome) => `${outcome.method} ${'row' in outcome ? 'done' : 'failed'}`);
const until = async (done: () => boolean) => {
  for (let i = 0; i < 400 && !done(); i++) await new Promise((tick) => setTimeout(tick, 2));
  expect(done()).toBe(true);
};

beforeEach(() => {
  lab = noLab;
});

describe('the loop of a lab', () => {
  it('tries each method to its end and makes a row of it', async () => {
    const { runner, job } = await make(['lora', 'ia3']);
    await runner.start(job);
    await runner.finished;
    expect(lab.state).toBe('done');
    expect(names()).toEqual(['lora done', 'ia3 done']);
    expect(lab.outcomes.map((outcome) => 'row' in outcome && outcome.row.trainable)).toEqual([4884480, 57600]);
    expect(lab.current).toBeNull();
  });

  it('tells of a method that fails in its row, and goes on', async () => {
    const { runner, job } = await make(['full', 'lora']);
    await runner.start(job);
    await runner.finished;
    expect(names()).toEqual(['full failed', 'lora done']);
    expect(lab.outcomes[0]).toMatchObject({ problem: { code: 'limit' } });
    expect(lab.state).toBe('done');
  });

  it('ends where the last method fails', async () => {
    const { runner, job } = await make(['lora', 'full']);
    await runner.start(job);
    await runner.finished;
    expect([lab.state, ...names()]).toEqual(['done', 'lora done', 'full failed']);
  });

  it('does not go on on a device that was lost, and keeps its rows', async () => {
    const { runner, job, session } = await make(['lora', 'ia3', 'prompt']);
    const begin = session.beginTrial.bind(session);
    session.beginTrial = (method, config) => {
      if (method === 'ia3') throw { code: 'device-lost', message: 'the device was lost', help: 'again' };
      return begin(method, config);
    };
    await runner.start(job);
    await runner.finished;
    expect([lab.state, ...names()]).toEqual(['failed', 'lora done']);
  });

  it('stops between two pieces of work, and keeps the rows that came', async () => {
    const { runner, job } = await make(['lora', 'ia3', 'prompt'], 30);
    await runner.start(job);
    await until(() => lab.current?.method === 'ia3' && lab.current.done > 1);
    runner.stop();
    await runner.finished;
    expect([lab.state, ...names()]).toEqual(['done', 'lora done']);
    expect(lab.current).toBeNull();
  });

  it('stands still while it is paused', async () => {
    const { runner, job } = await make(['lora'], 40);
    await runner.start(job);
    await until(() => (lab.current?.done ?? 0) > 1);
    runner.pause();
    await until(() => lab.state === 'paused');
    const { done } = lab.current!;
    await new Promise((tick) => setTimeout(tick, 20));
    expect(lab.current!.done).toBe(done);
    runner.resume();
    await runner.finished;
    expect(names()).toEqual(['lora done']);
  });

  it('does not start with nothing held out', async () => {
    const { runner, session } = await make(['lora']);
    const job = new Trials(session as never, { config: {}, trials: [], rows: put(session, learnt), heldOut: new Uint32Array() }, hear);
    await expect(runner.start(job)).rejects.toMatchObject({ code: 'data' });
    expect(lab.state).toBe('failed');
  });
});

const row = (change: Partial<TrialRow>): TrialRow => ({
  method: 'lora', learning_rate: 2e-4, trainable: 10, file_bytes: 40, seconds: 61, peak_bytes: 3e8, loss_before: 3, loss_after: 1, exact: 1, answers: 2, ...change,
});
const outcomes: Outcome[] = [
  { method: 'lora', row: row({}), active: 4000 },
  { method: 'full', problem: { code: 'limit', message: 'too | large', help: 'h' } },
  { method: 'ia3', row: row({ method: 'ia3', trainable: 2, loss_after: 2 }), active: 2000 },
];
const nameOf = (method: string) => ({ lora: 'LoRA', ia3: 'IA3', full: 'Full' })[method] ?? method;

describe('the table of a lab', () => {
  it('sorts by a column, failures last either way', () => {
    const order = (...by: Parameters<typeof sorted> extends [unknown, ...infer R] ? R : never) => sorted(outcomes, ...by).map(({ method }) => method);
    expect(order('trainable', false, nameOf)).toEqual(['ia3', 'lora', 'full']);
    expect(order('loss_after', true, nameOf)).toEqual(['ia3', 'lora', 'full']);
    expect(order('method', false, nameOf)).toEqual(['ia3', 'lora', 'full']);
    expect(order(null, false, nameOf)).toEqual(['lora', 'full', 'ia3']);
  });

  it('comes as Markdown and as JSON', () => {
    const ground = { model: 'M', device: 'GPU', steps: 1, examples: 8, held: 2 };
    const lines = toMarkdown(ground, outcomes, nameOf).trimEnd().split('\n');
    expect(lines[0]).toBe('M on GPU: 1 step on 8 examples, 2 held out.');
    expect(lines).toHaveLength(4 + outcomes.length);
    expect(lines[4]).toBe('| LoRA | 2.0e−4 | 10 | 40 B | 1 min 01 s | 300 MB | 3.000 | 1.000 | 1 of 2 |');
    expect(new Set(lines.slice(2).map((line) => line.replaceAll('\\|', '').split('|').length)).size).toBe(1);
    const told = JSON.parse(toJson(ground, outcomes));
    expect(told).toMatchObject({ model: 'M', steps: 1, rows: [{ method: 'lora', loss_after: 1 }, { method: 'full', error: { code: 'limit' } }, { method: 'ia3' }] });
  });

  it('is kept over a reload, where what was going on has ended', () => {
    const going: Lab = { ...noLab, state: 'running', methods: ['lora', 'ia3'], outcomes: outcomes.slice(0, 1), current: { method: 'ia3', stage: 'train', done: 1, all: 3, active: 5, first: null } };
    expect(kept(going)).toEqual({ ...going, state: 'done', current: null });
    expect(kept({ ...going, outcomes: [] }).state).toBe('idle');
  });
});

describe('the time a lab has left', () => {
  const methods = ['lora', 'full', 'ia3', 'prompt'];
  const at = (done: number, active: number): Notice => ({ notice: 'trial', method: 'lora', progress: { stage: 'train', done, all: 10, row: null }, active });

  it('is not known before the first steps, and then goes by their pace', () => {
    lab = { ...noLab, methods };
    expect(secondsLeft(lab)).toBeNull();
    hear({ notice: 'trial', method: 'lora', progress: null, active: 0 });
    hear(at(1, 5000));
    expect(secondsLeft(lab)).toBeNull();
    hear(at(3, 7000));
    expect(secondsLeft(lab)).toBe(7 + 3 * 10);
  });

  it('goes by what the methods took that are done', () => {
    lab = { ...noLab, methods, outcomes };
    expect(secondsLeft(lab)).toBe(3);
    hear({ notice: 'trial', method: 'prompt', progress: { stage: 'after', done: 1, all: 2, row: null }, active: 1000 });
    expect(secondsLeft(lab)).toBe(2);
    hear({ notice: 'trial', method: 'prompt', progress: { stage: 'after', done: 2, all: 2, row: null }, active: 9000 });
    expect(secondsLeft(lab)).toBe(0);
  });
});
