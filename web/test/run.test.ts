import { describe, expect, it } from 'vitest';
import type { Event } from '../src/engine';
import { noRun, reduce, secondsLeft, smoothed, tokensPerSecond, type Point, type Run } from '../src/run';

const start = (max_steps: number): Event => ({ event: 'start', model: {}, method: {}, device: {}, trainable: 7, config: { max_steps } });
const step = (n: number, loss = 2, ms = 500): Event => ({
  event: 'step',
  step: n,
  loss,
  learning_rate: 1e-4,
  grad_norm: 1,
  tokens: 100,
  target_tokens: 20,
  ms,
});

describe('folding events into a run', () => {
  it('keeps points, evaluations, samples, warnings and the resolved config', () => {
    const events: Event[] = [
      start(2),
      step(1, 3),
      { event: 'eval', step: 1, loss: 3.5, tokens: 10, best: true },
      { event: 'sample', step: 1, prompt: 'p', text: 't' },
      { event: 'warning', code: 'w', message: 'careful' },
      step(2, 2),
      { event: 'done', steps: 2, loss: 2, best: { step: 1, value: 3.5, waited: 1 } },
    ];
    const run = reduce(noRun, events, 1000);
    expect(run.total).toBe(2);
    expect(run.trainable).toBe(7);
    expect(run.points.map(({ loss }) => loss)).toEqual([3, 2]);
    expect(run.evals).toEqual([{ step: 1, loss: 3.5, tokens: 10, best: true, metrics: {} }]);
    expect(run.kept).toBe(1);
    expect(run.samples).toHaveLength(1);
    expect(run.warnings).toEqual([{ code: 'w', message: 'careful' }]);
    expect(run.config).toEqual({ max_steps: 2 });
  });

  it('starts afresh at a start event, and leaves what it was given alone', () => {
    const first = reduce(noRun, [start(2), step(1)], 500);
    const before = structuredClone(first);
    const second = reduce(first, [start(5)], 0);
    expect(second.points).toEqual([]);
    expect(second.total).toBe(5);
    expect(first).toEqual(before);
    expect(noRun.points).toEqual([]);
  });

  it('gives the same however the events are cut into batches', () => {
    const events = [start(3), step(1, 3), step(2, 2.5), step(3, 1)];
    const whole = reduce(noRun, events, 1500);
    const single = events.reduce<Run>((run, event, i) => reduce(run, [event], i * 500), noRun);
    expect(single.points).toEqual(whole.points);
  });

  it('keeps an error event as a problem with its hint', () => {
    const run = reduce(noRun, [{ event: 'error', code: 'device-lost', message: 'lost', hint: 'again' }], 0);
    expect(run.problem).toEqual({ code: 'device-lost', message: 'lost', help: 'again' });
  });

  it('has no total for a run by epochs until it is done', () => {
    const run = reduce(noRun, [start(-1), step(1)], 0);
    expect(run.total).toBeNull();
    expect(secondsLeft(run)).toBeNull();
    expect(reduce(run, [{ event: 'done', steps: 1, loss: 1 }], 0).total).toBe(1);
  });
});

describe('smoothing', () => {
  const series = (losses: number[]) => losses.reduce<Point[]>((points, loss, i) => [...points, { step: i + 1, loss, smooth: smoothed(points, loss), learningRate: 0, gradNorm: 0, tokens: 0, ms: 0, metrics: {} }], []);

  it('begins at the first loss and keeps a constant', () => {
    for (const { smooth } of series([2, 2, 2, 2])) expect(smooth).toBeCloseTo(2, 12);
  });

  it('stays between the extremes and follows a fall late', () => {
    const points = series([4, 4, 4, 1, 1, 1]);
    const last = points.at(-1)!.smooth;
    expect(last).toBeGreaterThan(1);
    expect(last).toBeLessThan(points[3]!.smooth);
  });

  it('weighs the second value as an unbiased average does', () => {
    expect(series([1, 2])[1]!.smooth).toBeCloseTo((0.7 * 1 + 2) / 1.7, 12);
  });
});

describe('time left', () => {
  it('is the pace of the steps times the steps left', () => {
    const run = reduce(reduce(reduce(noRun, [start(10)], 0), [step(1)], 2000), [step(2)], 4000);
    expect(secondsLeft(run)).toBe(16);
  });

  it('does not count the first step, which compiles', () => {
    const run = reduce(reduce(reduce(noRun, [start(10)], 0), [step(1)], 60_000), [step(2)], 61_000);
    expect(secondsLeft(run)).toBe(8);
  });

  it('does not count a pause: only time spent in steps goes in', () => {
    // Wherever the clock on the wall went in between, the worker reports active time.
    let run = reduce(noRun, [start(4)], 0);
    run = reduce(run, [step(1)], 1000);
    run = reduce(run, [step(2)], 2000);
    run = { ...run, state: 'paused' };
    run = reduce({ ...run, state: 'running' }, [step(3)], 3000);
    expect(secondsLeft(run)).toBe(1);
  });

  it('follows the latest pace', () => {
    let run = reduce(noRun, [start(200)], 0);
    let active = 0;
    for (let n = 1; n <= 100; n++) run = reduce(run, [step(n)], (active += n <= 50 ? 10_000 : 1000));
    expect(secondsLeft(run)).toBe(100);
  });

  it('is zero at the end and unknown before the first step', () => {
    const begun = reduce(noRun, [start(1)], 0);
    expect(secondsLeft(begun)).toBeNull();
    expect(secondsLeft(reduce(begun, [step(1)], 700))).toBe(0);
  });
});

describe('speed', () => {
  it('is tokens over milliseconds of the latest steps', () => {
    const run = reduce(noRun, [start(20), ...Array.from({ length: 10 }, (_, i) => step(i + 1, 2, 5000)), ...Array.from({ length: 10 }, (_, i) => step(i + 11, 2, 500))], 0);
    expect(tokensPerSecond(run)).toBe(200);
    expect(tokensPerSecond(noRun)).toBeNull();
  });
});
