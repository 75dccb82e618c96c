import { describe, expect, it } from 'vitest';
import { curves, latest } from '../src/curves';
import type { Event, Metrics } from '../src/engine';
import { noRun, reduce } from '../src/run';

const step = (n: number, metrics: Metrics): Event => ({ event: 'step', step: n, loss: 1, learning_rate: 1, grad_norm: 1, tokens: 1, target_tokens: 1, ms: 1, metrics });
const of = (...events: Event[]) => {
  const { points, evals } = reduce(noRun, events, 0);
  return curves(points, evals);
};

describe('the curves of a run', () => {
  it('are whatever the events bring, two sides in one chart, what says most in front', () => {
    const metrics = { 'rewards/chosen': 1, 'rewards/rejected': -1, 'logps/chosen': -5, 'logps/rejected': -6, 'rewards/accuracies': 0.5, 'rewards/margins': 2, log_odds_ratio: 3 };
    const made = of(step(1, metrics));
    expect(made.map(({ name, lines }) => [name, ...lines.map((line) => line.name)])).toEqual([
      ['Margin', ''],
      ['Accuracy', ''],
      ['Rewards', 'chosen', 'rejected'],
      ['Log-probabilities', 'chosen', 'rejected'],
      ['Log odds ratio', ''],
    ]);
    expect(made.filter(({ first }) => first)).toHaveLength(2);
    expect(made[2]!.lines.map(({ values }) => values)).toEqual([[1], [-1]]);
  });

  it('of a reward model are its margin and its accuracy', () => {
    expect(of(step(1, { accuracy: 1, margin: 2, mean_reward: 0, num_tokens: 9 })).map(({ name, first }) => [name, first])).toEqual([['Margin', true], ['Accuracy', true], ['Mean reward', false]]);
  });

  it('have what is held out at its steps, and gaps where nothing was told', () => {
    const made = of(step(1, { margin: 1 }), step(2, {}), { event: 'eval', step: 2, loss: 1, tokens: 1, metrics: { margin: 7 } }, step(3, { margin: 3 }));
    const [line] = made[0]!.lines;
    expect(line!.values).toEqual([1, null, 3]);
    expect(line!.held).toEqual([null, 7, null]);
    expect(latest(line!.held)).toBe(7);
    expect(line!.smooth[0]).toBeCloseTo(1, 12);
    expect(line!.smooth[2]).toBeCloseTo((0.7 * 1 + 3) / 1.7, 12);
  });

  it('of supervised training are none', () => {
    const { metrics: _, ...plain } = step(1, {}) as Extract<Event, { event: 'step' }>;
    expect(of(plain)).toEqual([]);
  });
});
