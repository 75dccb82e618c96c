// A run as the page sees it: the event stream folded into what the screen shows. Pure.

import type { Event, Metrics, Problem, RunConfig } from './engine';
import type { RunState } from './protocol';

export interface Point {
  step: number;
  loss: number;
  /** The loss as an exponential moving average, without the bias of its start. */
  smooth: number;
  learningRate: number;
  /** Null for a step that was skipped because its gradient was not finite. */
  gradNorm: number | null;
  tokens: number;
  ms: number;
  metrics: Metrics;
}

/** An answer that the model wrote, and what it earned. */
export type Rollout = Omit<Extract<Event, { event: 'rollout' }>, 'event' | 'step'>;

/** The answers that were written together. */
export interface Generation {
  /** The first step that learns from them. */
  step: number;
  /** The best first. */
  answers: Rollout[];
}

export interface Run {
  state: RunState;
  problem: Problem | null;
  /** As the engine resolved it: what run.json holds. */
  config: RunConfig | null;
  trainable: number;
  /** Steps planned, or null when the run goes by epochs. */
  total: number | null;
  points: Point[];
  evals: { step: number; loss: number | null; tokens: number; best: boolean; metrics: Metrics }[];
  /** Step of the evaluation whose adapter was kept, where that is not the last step's. */
  kept: number | null;
  /** Steps of its newest checkpoint: what comes after is lost when the tab is. */
  checkpoint: number | null;
  /** Why nothing more of it can be kept; null where it is kept. */
  notKept: string | null;
  samples: { step: number; prompt: string; text: string }[];
  /** The latest generations of answers that the model wrote to learn from. */
  generations: Generation[];
  warnings: { code: string; message: string }[];
  /** Milliseconds spent in steps, pauses left out, at the end of the latest batches of events. */
  clock: { step: number; active: number }[];
}

export const noRun: Run = {
  state: 'idle',
  problem: null,
  config: null,
  trainable: 0,
  total: null,
  points: [],
  evals: [],
  kept: null,
  checkpoint: null,
  notKept: null,
  samples: [],
  generations: [],
  warnings: [],
  clock: [],
};

/** Little enough to follow a run of twenty steps. */
const SMOOTHING = 0.7;
const CLOCK = 24;
/** Generations that are kept: an answer may be long, and a run too. */
const GENERATIONS = 50;

/** The run after some more events. `active`: milliseconds spent in steps so far. */
export function reduce(run: Run, events: readonly Event[], active: number): Run {
  let next = run;
  for (const event of events) next = apply(next, event);
  const step = next.points.at(-1)?.step ?? 0;
  if (next.clock.at(-1)?.step === step) return next;
  return { ...next, clock: [...next.clock, { step, active }].slice(-CLOCK) };
}

function apply(run: Run, event: Event): Run {
  switch (event.event) {
    case 'start': {
      const steps = Number(event.config.max_steps);
      return { ...noRun, state: run.state, config: event.config, trainable: event.trainable, total: steps > 0 ? steps : null };
    }
    case 'step': {
      const { step, loss, learning_rate: learningRate, grad_norm: gradNorm, tokens, ms, metrics = {} } = event;
      const point = { step, loss, smooth: smoothed(run.points, loss), learningRate, gradNorm, tokens, ms, metrics };
      return { ...run, points: [...run.points, point] };
    }
    case 'eval':
      return { ...run, evals: [...run.evals, { step: event.step, loss: event.loss, tokens: event.tokens, best: event.best ?? false, metrics: event.metrics ?? {} }] };
    case 'rollout': {
      const { event: _, step, ...answer } = event;
      return { ...run, generations: withAnswer(run.generations, step, answer) };
    }
    case 'sample':
      return { ...run, samples: [...run.samples, { step: event.step, prompt: event.prompt, text: event.text }] };
    case 'warning':
      if (event.code === 'not-kept') return { ...run, notKept: event.message };
      return { ...run, warnings: [...run.warnings, { code: event.code, message: event.message }] };
    case 'done':
      return { ...run, total: run.total ?? event.steps, kept: event.best?.step ?? null };
    case 'error':
      return { ...run, problem: { code: event.code, message: event.message, help: event.hint } };
    case 'checkpoint':
      return { ...run, checkpoint: event.step, notKept: null };
  }
}

/** The generations with one more answer, in its place among those of its step. */
function withAnswer(generations: readonly Generation[], step: number, answer: Rollout): Generation[] {
  const last = generations.at(-1);
  if (last?.step !== step) return [...generations, { step, answers: [answer] }].slice(-GENERATIONS);
  const answers = [...last.answers, answer].sort((one, other) => other.advantage - one.advantage);
  return [...generations.slice(0, -1), { step, answers }];
}

/** The next value of the debiased moving average: after the first loss, that loss itself. */
export const smoothed = (points: readonly Point[], loss: number): number => averaged(points.at(-1)?.smooth ?? 0, points.length, loss);

/** The debiased moving average of `n` values and one more. */
export const averaged = (before: number, n: number, value: number): number =>
  (before * (1 - SMOOTHING ** n) * SMOOTHING + value * (1 - SMOOTHING)) / (1 - SMOOTHING ** (n + 1));

/** Seconds left at the pace of the latest steps, pauses and the first step, which compiles, left out; null while that is not known. */
export function secondsLeft(run: Run): number | null {
  const first = run.clock.find(({ step, active }) => step > 0 && active > 0);
  const last = run.clock.at(-1);
  if (run.total === null || !first || !last) return null;
  if (last.step >= run.total) return 0;
  if (last.step === first.step) return null;
  const perStep = (last.active - first.active) / (last.step - first.step);
  return Math.max(0, ((run.total - last.step) * perStep) / 1000);
}

/** Tokens a second over the latest steps, or null before the first. */
export function tokensPerSecond(run: Run, window = 10): number | null {
  const latest = run.points.slice(-window);
  const ms = latest.reduce((sum, point) => sum + point.ms, 0);
  if (ms <= 0) return null;
  return (latest.reduce((sum, point) => sum + point.tokens, 0) * 1000) / ms;
}

export const isBusy = (state: RunState) => state === 'starting' || state === 'running' || state === 'paused' || state === 'finishing';
