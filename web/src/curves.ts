// The curves of a run: whatever named metrics its events bring, those that belong together in one chart. Pure.

import type { Metrics } from './engine';
import { sentence } from './format';
import { rewardLabel } from './rewards';
import { averaged } from './run';

export interface Line {
  name: string;
  /** A value for each step, where there is one. */
  values: (number | null)[];
  smooth: (number | null)[];
  /** On what is held out, a value for each step that was evaluated. */
  held: (number | null)[];
}

export interface Curve {
  /** Under TRL's name, or what two sides of one have in common. */
  metric: string;
  name: string;
  /** Whether it says most about the run, and so stands beside the loss. */
  first: boolean;
  lines: Line[];
}

interface Told {
  step: number;
  metrics: Metrics;
}

/** What answers earn in the mean, which in reinforcement says more than the loss. */
const REWARD = 'reward';

/** What is worth a better name than its own. */
const names: Record<string, string> = {
  'rewards/margins': 'Margin',
  'rewards/accuracies': 'Accuracy',
  logps: 'Log-probabilities',
  nll_loss: 'Loss of the chosen answers',
  kl: 'Distance (KL)',
  'completions/mean_length': 'Length of answers',
  'completions/clipped_ratio': 'Share of answers cut',
  frac_reward_zero_std: 'Share without spread',
  'loss/policy_avg': 'Loss of the answers',
  'loss/value_avg': 'Loss of the values',
};

const first = [REWARD, 'rewards/margins', 'rewards/accuracies', 'margin', 'accuracy', 'completions/mean_length', 'frac_reward_zero_std'];

/** `rewards/chosen` and `rewards/rejected` are two lines of one chart. */
const sides = ['chosen', 'rejected'];

/** What only ever grows is no curve, and neither are the details of one that is drawn. */
const isDetail = (metric: string) => /^num_tokens$|_std$(?<!zero_std)|\/std$|^completions\/(min|max)_|terminated|^clip_ratio\/|clipfrac|^objective\//.test(metric);

/** The metrics in the order they came, those that say most in front; `called` names a reward. */
export function curves(points: readonly Told[], evals: readonly Told[], called: (reward: string) => string = rewardLabel): Curve[] {
  const steps = points.map(({ step }) => step);
  const evaluated = new Map(evals.map(({ step, metrics }) => [step, metrics]));
  const found = new Set([...points, ...evals].flatMap(({ metrics }) => Object.keys(metrics)).filter((metric) => !isDetail(metric)));
  const groups = new Map<string, string[]>();
  for (const metric of [...first.filter((metric) => found.has(metric)), ...found]) {
    const [, group, side] = /^(.*)\/(\w+)$/.exec(metric) ?? [];
    const title = group && side && sides.includes(side) ? group : metric;
    groups.set(title, [...new Set([...(groups.get(title) ?? []), metric])]);
  }
  return [...groups].map(([title, metrics]) => ({
    metric: title,
    name: names[title] ?? earned(title, called) ?? sentence(title.replaceAll(/[_/]/g, ' ')),
    first: first.includes(title),
    lines: metrics.map((metric) => {
      const values = points.map(({ metrics }) => metrics[metric] ?? null);
      return { name: metrics.length > 1 ? metric.slice(title.length + 1) : '', values, smooth: smooth(values), held: steps.map((step) => evaluated.get(step)?.[metric] ?? null) };
    }),
  }));
}

/** What a reward gave in the mean, called by the reward. */
const earned = (title: string, called: (reward: string) => string): string | null => {
  const [, reward] = /^rewards\/([^]+)\/mean$/.exec(title) ?? [];
  return reward ? called(reward) : null;
};

/** The curve that stands in the place of the loss, where there is one. */
export const mainCurve = (all: readonly Curve[]): Curve | null => all.find(({ metric }) => metric === REWARD) ?? null;

/** The moving average that the loss has, too. */
function smooth(values: readonly (number | null)[]): (number | null)[] {
  let [mean, n] = [0, 0];
  return values.map((value) => {
    if (value === null) return null;
    mean = averaged(mean, n++, value);
    return mean;
  });
}

/** The latest value of a line. */
export const latest = (values: readonly (number | null)[]): number | null => values.findLast((value) => value !== null) ?? null;
