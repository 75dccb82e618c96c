// Runs that are kept, as the page shows them. Pure.

import type { Defaults, FieldValue, Objective, RunConfig, RunSummary } from './engine';
import { moment } from './format';
import type { KeptRun } from './protocol';
import type { RewardChoice } from './rewards';
import type { Run } from './run';
import { defaultOf, fieldsOf, formOf, REWARD, SFT, shown, type Settings } from './settings';

/** What a run is called: as the person did, or by its method and its rows. */
export function titleOf({ notes, summary }: KeptRun, labelOf: (method: string) => string): string {
  return notes.title || [labelOf(summary.method), notes.rows && `on ${notes.rows}`].filter(Boolean).join(' ');
}

const stepsOf = (config: RunConfig): number => Number(config.max_steps);

/** Whether it was cut off, or stopped, at a place that it can go on from. */
export function canContinue({ summary, notes }: KeptRun): boolean {
  return summary.checkpoint !== null && summary.checkpoint < stepsOf(summary.config) && notes.problem?.code !== 'non-finite';
}

/** Whether it was cut off, which nobody wanted. */
export const wasCutOff = (kept: KeptRun): boolean => !kept.going && canContinue(kept) && !kept.summary.done && !kept.notes.setAside;

/** How far it came, in words. */
export function stateWords({ summary, notes }: KeptRun): string {
  const { steps, checkpoint, done, config } = summary;
  const all = stepsOf(config);
  if (checkpoint === null && done) return steps < all ? `done at step ${steps}, of ${all} at most` : 'done';
  const at = checkpoint ?? steps;
  if (notes.problem) return `failed at step ${steps} of ${all}`;
  return checkpoint === null ? `cut off at step ${at} of ${all}, before its first checkpoint` : `${done ? 'stopped' : 'cut off'} at step ${at} of ${all}`;
}

/** When it began. */
export const begunWords = ({ summary }: KeptRun): string => (summary.about ? moment(summary.about.begun) : '');

/** A setting that two runs do not share. */
export interface Difference {
  name: string;
  values: [string, string];
}

const text = (value: FieldValue | undefined): string => (value === undefined ? '' : String(shown(value)));

/** What the settings of two runs differ in, called as in the form. */
export function differences(one: RunConfig, other: RunConfig, defaults: Defaults | null): Difference[] {
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...names].flatMap((name): Difference[] => {
    const values: [string, string] = [text(one[name]), text(other[name])];
    const words = name.replaceAll('_', ' ');
    const label = defaults?.fields.find((field) => field.name === name)?.label ?? words[0]!.toUpperCase() + words.slice(1);
    return values[0] === values[1] ? [] : [{ name: label, values }];
  });
}

/** The losses of two runs over their steps, for one chart: of each its smoothed loss, and what is held out. */
export function overlaid(runs: readonly Run[]): (number | null)[][] {
  const steps = [...new Set(runs.flatMap(({ points, evals }) => [...points, ...evals].map(({ step }) => step)))].filter((step) => step > 0).sort((a, b) => a - b);
  const columns = runs.flatMap(({ points, evals }) => {
    const smooth = new Map(points.map((point) => [point.step, point.smooth]));
    const held = new Map(evals.map((point) => [point.step, point.loss]));
    return [steps.map((step) => smooth.get(step) ?? null), steps.map((step) => held.get(step) ?? null)];
  });
  return [steps, ...columns];
}

/** The page's settings with those of a run, in the form of its method and objective. */
export function withSettingsOf(settings: Settings, { method, config }: RunSummary, defaults: Defaults, objectives: readonly Objective[]): Settings {
  const objective = config.objective ?? SFT;
  const rows = objectives.find(({ name }) => name === objective)?.rows ?? 'examples';
  const teach = rows === 'examples' || rows === 'prompts' ? rows : 'preferences';
  const taken: Settings = {
    ...settings,
    method,
    teach,
    ...(teach === 'preferences' && (objective === REWARD ? { goal: 'score' } : { goal: 'prefer', prefer: objective })),
    ...(teach === 'prompts' && { reinforce: objective, rewards: rewardsOf(config) }),
  };
  const changed: Record<string, string | boolean> = {};
  for (const field of fieldsOf(defaults, method, objective)) {
    // What to compute twice was decided for the rows and the GPU of then.
    const value = field.name === 'recompute' ? undefined : config[field.name];
    if (value !== undefined && text(value) !== text(defaultOf(field, method))) changed[field.name] = shown(value);
  }
  return { ...taken, changed: { ...settings.changed, [formOf(taken)]: changed } };
}

/** What answers earn in a run, as the person would choose it. An adapter has another number in each visit. */
function rewardsOf({ reward, reward_weights }: RunConfig): RewardChoice[] {
  const weights = (reward_weights ?? []) as number[];
  return ((reward ?? []) as string[]).map((name, index) => {
    const [, kind = name, argument = ''] = /^([^:]*):([^]*)$/.exec(name) ?? [];
    return { kind, argument: kind === 'model' ? '' : argument, weight: String(weights[index] ?? 1) };
  });
}
