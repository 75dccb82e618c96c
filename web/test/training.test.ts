import { beforeEach, describe, expect, it } from 'vitest';
import type { Event } from '../src/engine';
import { pair } from '../src/examples';
import type { Notice } from '../src/protocol';
import { Mutex } from '../src/worker/mutex';
import { Runner, type TrainingLock } from '../src/worker/runner';
import { Training } from '../src/worker/training';
import type { Example, RunConfig } from '../src/engine';
import { Session, pace } from './fake-engine';
import { put } from './fake-rows';

Object.assign(pace, { step: 1, token: 0, load: 0 });

const examples = [pair('a', 'b')];
const tick = () => new Promise((done) => setTimeout(done, 5));

let notices: Notice[];
const states = () => notices.flatMap((notice) => (notice.notice === 'run' ? [notice.state] : []));
const events = (): Event[] => notices.flatMap((notice) => (notice.notice === 'events' ? notice.events : []));
const steps = () => events().filter(({ event }) => event === 'step').length;

async function make({ lock = async () => () => undefined, now = undefined as (() => number) | undefined }: { lock?: TrainingLock; now?: (() => number) | undefined } = {}) {
  const session = await Session.create();
  const engine = new Mutex();
  const runner = new Runner(engine, lock);
  const start = (config: RunConfig, rows: Example[] = examples, { saveSteps = 0 } = {}) => {
    const begin = async () => ({ events: await session.startTraining(config, put(session, rows), new Uint32Array(), {}), keptAs: null });
    const training = new Training(session as never, { begin, tools: {}, saveSteps }, (notice) => notices.push(notice), now);
    return runner.start(training).then(() => training);
  };
  return { session, engine, runner, start };
}

async function until(done: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !done(); i++) await tick();
  expect(done()).toBe(true);
}

beforeEach(() => {
  notices = [];
});

describe('the training loop', () => {
  it('steps to the end and tells every state', async () => {
    const { runner, start } = await make();
    await start({ method: 'lora', max_steps: 3, learning_rate: 1e-4 });
    await runner.finished;
    expect(states()).toEqual(['starting', 'running', 'done']);
    expect(events().map(({ event }) => event)).toEqual(['start', 'step', 'step', 'step', 'done']);
  });

  it('takes no step while paused, answers questions, and goes on', async () => {
    const { runner, start, engine, session } = await make();
    await start({ max_steps: 40, learning_rate: 1e-4 });
    await until(() => steps() >= 2);
    runner.pause();
    await until(() => runner.state === 'paused');
    const before = steps();
    const answer = await engine.run(() => session.generate([{ role: 'user', content: 'a' }], { adapter: 1, count: 1, max_new_tokens: 5, temperature: 0, top_p: 1, seed: 0 }, () => true));
    expect(answer[0]!.text.length).toBeGreaterThan(0);
    await tick();
    expect(steps()).toBe(before);
    runner.resume();
    await runner.finished;
    expect(steps()).toBe(40);
    expect(states()).toEqual(['starting', 'running', 'paused', 'running', 'done']);
  });

  it('stops between steps and keeps what was trained', async () => {
    const { runner, start } = await make();
    await start({ max_steps: 1000, learning_rate: 1e-4 });
    await until(() => steps() >= 2);
    runner.stop();
    await runner.finished;
    expect(states()).toEqual(['starting', 'running', 'finishing', 'done']);
    expect(events().at(-1)?.event).toBe('done');
  });

  it('stops from a pause without another step', async () => {
    const { runner, start } = await make();
    await start({ max_steps: 1000, learning_rate: 1e-4 });
    await until(() => steps() >= 1);
    runner.pause();
    await until(() => runner.state === 'paused');
    const before = steps();
    runner.stop();
    await runner.finished;
    expect(steps()).toBe(before);
    expect(states().slice(-2)).toEqual(['finishing', 'done']);
  });

  it('reports time in steps only', async () => {
    let clock = 0;
    const { runner, start } = await make({ now: () => (clock += 100) });
    await start({ max_steps: 40, learning_rate: 1e-4 });
    await until(() => steps() >= 1);
    runner.pause();
    await until(() => runner.state === 'paused');
    clock += 1e6;
    runner.resume();
    await runner.finished;
    const active = notices.flatMap((notice) => (notice.notice === 'events' ? [notice.active] : []));
    expect(active).toEqual(Array.from({ length: 41 }, (_, i) => 100 * i));
  });

  it('does not start while another tab trains, and starts once it is free', async () => {
    let free = false;
    let released = 0;
    const { runner, start } = await make({ lock: async () => (free ? () => void released++ : null) });
    const config = { max_steps: 1, learning_rate: 1e-4 };
    await expect(start(config)).rejects.toMatchObject({ code: 'other-tab' });
    expect(states()).toEqual(['starting', 'idle']);
    free = true;
    await start(config);
    await runner.finished;
    expect(released).toBe(1);
  });

  it('refuses a second run beside the first', async () => {
    const { runner, start } = await make();
    await start({ max_steps: 1000, learning_rate: 1e-4 });
    await expect(start({ max_steps: 1 })).rejects.toMatchObject({ code: 'busy' });
    runner.stop();
    await runner.finished;
  });

  it('fails with the engine’s own words, and gives the lock back', async () => {
    let released = 0;
    const { runner, start, session } = await make({ lock: async () => () => void released++ });
    session.step = async () => {
      throw { code: 'device-lost', message: 'the device was lost', help: 'Start again.' };
    };
    await start({ max_steps: 3, learning_rate: 1e-4 });
    await runner.finished;
    expect(notices.at(-1)).toEqual({ notice: 'run', state: 'failed', problem: { code: 'device-lost', message: 'the device was lost', help: 'Start again.' } });
    await expect(start({ max_steps: 3 }, [])).rejects.toMatchObject({ code: 'data' });
    expect(released).toBe(2);
  });
});
