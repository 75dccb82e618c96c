// The method lab as the page sees it: what the worker tells folded into a table, row by row. Pure.

import type { Problem, Stage, TrialRow } from './engine';
import { bytes, count, duration, loss, rate } from './format';
import type { Notice, RunState } from './protocol';

/** What a method came to, or why it could not be tried. */
export type Outcome = { method: string; row: TrialRow; active: number } | { method: string; problem: Problem };

/** What the methods were tried on. */
export interface Ground {
  model: string;
  device: string;
  steps: number;
  examples: number;
  held: number;
}

/** The method in hand. */
export interface Current {
  method: string;
  /** What the last piece of work was of; null while the method is prepared. */
  stage: Stage | null;
  done: number;
  all: number;
  /** Milliseconds spent on it, and when the first step of its training was done. */
  active: number;
  first: { done: number; active: number } | null;
}

export interface Lab {
  state: RunState;
  ground: Ground | null;
  /** Every method asked for, in order. */
  methods: string[];
  /** What they are called: a table of an earlier visit is there before the engine is. */
  names: Record<string, string>;
  outcomes: Outcome[];
  current: Current | null;
}

export const noLab: Lab = { state: 'idle', ground: null, methods: [], names: {}, outcomes: [], current: null };

type LabNotice = Extract<Notice, { notice: 'lab' | 'trial' | 'trialFailed' }>;

/** The lab after one more notice. */
export function fold(lab: Lab, notice: LabNotice): Lab {
  switch (notice.notice) {
    case 'lab':
      return { ...lab, state: notice.state, current: notice.state === 'done' || notice.state === 'failed' ? null : lab.current };
    case 'trialFailed':
      return { ...lab, current: null, outcomes: [...lab.outcomes, { method: notice.method, problem: notice.problem }] };
    case 'trial': {
      const { method, progress, active } = notice;
      if (!progress) return { ...lab, current: { method, stage: null, done: 0, all: 0, active, first: null } };
      const { stage, done, all, row } = progress;
      if (row) return { ...lab, current: null, outcomes: [...lab.outcomes, { method, row, active }] };
      const first = lab.current?.first ?? (stage === 'train' ? { done, active } : null);
      return { ...lab, current: { method, stage, done, all, active, first } };
    }
  }
}

/** The lab of an earlier visit: whatever was going on then has ended. */
export const kept = (lab: Lab): Lab => ({ ...lab, state: lab.outcomes.length ? 'done' : 'idle', current: null });

/**
 * Seconds left, about: as long for each method as for those that are done, or, while there is none, at the pace of the
 * first one's steps. Null while neither is known.
 */
export function secondsLeft({ methods, outcomes, current }: Lab): number | null {
  const waiting = methods.length - outcomes.length - (current ? 1 : 0);
  const spent = outcomes.flatMap((outcome) => ('row' in outcome ? [outcome.active] : []));
  if (spent.length) {
    const each = spent.reduce((sum, active) => sum + active, 0) / spent.length;
    return (waiting * each + (current ? Math.max(0, each - current.active) : 0)) / 1000;
  }
  if (!current?.first || current.stage !== 'train' || current.done === current.first.done) return null;
  const step = (current.active - current.first.active) / (current.done - current.first.done);
  return ((current.all - current.done + waiting * current.all) * step) / 1000;
}

export type Column = 'method' | 'trainable' | 'file_bytes' | 'seconds' | 'peak_bytes' | 'loss_after' | 'exact';

/** Outcomes in the order of a column; those without a row come last, in the order they were made. */
export function sorted(outcomes: readonly Outcome[], column: Column | null, falling: boolean, nameOf: (method: string) => string): Outcome[] {
  if (!column) return [...outcomes];
  const value = (outcome: Outcome) => ('row' in outcome ? (column === 'method' ? nameOf(outcome.method) : outcome.row[column]) : null);
  return [...outcomes].sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return Number(x === null) - Number(y === null);
    const order = typeof x === 'string' ? x.localeCompare(String(y)) : x - Number(y);
    return falling ? -order : order;
  });
}

/** In words: what the methods were tried on. */
export const groundWords = ({ model, device, steps, examples, held }: Ground): string =>
  `${model} on ${device}: ${count(steps)} ${steps === 1 ? 'step' : 'steps'} on ${count(examples)} ${examples === 1 ? 'example' : 'examples'}, ${count(held)} held out`;

/** The table as Markdown. */
export function toMarkdown(ground: Ground, outcomes: readonly Outcome[], nameOf: (method: string) => string): string {
  const lines = [
    `${groundWords(ground)}.`,
    '',
    '| Method | Learning rate | Weights trained | File | Training | GPU memory | Held-out loss before | after | Word for word |',
    '|---|---|---|---|---|---|---|---|---|',
  ];
  for (const outcome of outcomes) {
    const name = nameOf(outcome.method);
    if ('problem' in outcome) {
      lines.push(`| ${name} | | | | | | | | failed: ${outcome.problem.message.replaceAll('|', '\\|')} |`);
      continue;
    }
    const { row } = outcome;
    const cells = [name, rate(row.learning_rate), count(row.trainable), bytes(row.file_bytes), duration(row.seconds), bytes(row.peak_bytes), loss(row.loss_before), loss(row.loss_after), `${row.exact} of ${row.answers}`];
    lines.push(`| ${cells.join(' | ')} |`);
  }
  return `${lines.join('\n')}\n`;
}

/** The table for programs: rows as the engine gave them. */
export const toJson = (ground: Ground, outcomes: readonly Outcome[]): string =>
  `${JSON.stringify({ ...ground, rows: outcomes.map((outcome) => ('row' in outcome ? outcome.row : { method: outcome.method, error: outcome.problem })) }, null, 2)}\n`;
