// The form's values, and the run config made from them.

import type { Defaults, Field, FieldValue, RunConfig } from './engine';
import { asFields, rewardFields, type RewardChoice } from './rewards';

/** What step 2 teaches from: its tabs. */
export type Teach = 'examples' | 'preferences' | 'prompts';

export const tabs: readonly Teach[] = ['examples', 'preferences', 'prompts'];

/** The objectives that the page itself knows by name: the usual ones of each way to teach. */
export const SFT = 'sft';
export const DPO = 'dpo';
export const REWARD = 'reward';
export const GRPO = 'grpo';

/** What the person changed, by form, then field. What they did not touch follows the defaults. */
export interface Settings {
  method: string;
  changed: Record<string, Record<string, string | boolean>>;
  teach: Teach;
  /** What preferences are for: a model that answers as the person would choose, or one that scores answers. */
  goal: 'prefer' | 'score';
  /** The objective of the former. */
  prefer: string;
  /** That of a model that learns from what its own answers earn, and what that is. */
  reinforce: string;
  rewards: RewardChoice[];
  /** The share of examples held out for validation. */
  holdOut: number;
  /** That of preferences; null follows the page's suggestion. */
  holdOutPreferences: number | null;
  /** That of prompts. */
  holdOutPrompts: number;
  /** Whether a run stops when what is held out gets no better, and keeps the best; null follows the page's suggestion. */
  keepBest: boolean | null;
  /** Methods that the lab tries, and steps of each as they were typed; none typed: those of a run. */
  lab: { methods: string[]; steps: string };
}

/** One of each kind: low-rank matrices, factors, small networks, virtual tokens. */
export const usualTrials = ['lora', 'ia3', 'houlsby', 'prompt'];

export const firstSettings: Settings = {
  method: 'lora',
  changed: {},
  teach: 'examples',
  goal: 'prefer',
  prefer: DPO,
  reinforce: GRPO,
  rewards: [],
  holdOut: 0,
  holdOutPreferences: null,
  holdOutPrompts: 0,
  keepBest: null,
  lab: { methods: usualTrials, steps: '' },
};

/** Whether runs keep the best where the person has not said: what a few sampled answers earn goes up and down by itself. */
export const keepsBest = ({ keepBest, teach }: Settings): boolean => keepBest ?? teach !== 'prompts';

/** Evaluations of a run that keeps its best, and how many of them without a better one end it. */
const EVALUATIONS = 10;
const PATIENCE = 3;

/** The config of a run that has so much held out, and keeps its best where it is to. What the person set under Advanced stays. */
export function ordered(config: RunConfig, settings: Settings, held: number): RunConfig {
  if (!held || !keepsBest(settings)) return config;
  return {
    ...config,
    load_best_model_at_end: true,
    eval_steps: Number(config.eval_steps) || Math.max(1, Math.ceil(Number(config.max_steps) / EVALUATIONS)),
    early_stopping_patience: Number(config.early_stopping_patience) || PATIENCE,
  };
}

/** What the run learns, which follows from the tab. */
export const objectiveOf = ({ teach, goal, prefer, reinforce }: Settings): string => ({ examples: SFT, preferences: goal === 'score' ? REWARD : prefer, prompts: reinforce })[teach];

/** The form that is shown: each method has its own, and so has each objective. */
export const formOf = (settings: Settings): string => (settings.teach === 'examples' ? settings.method : `${settings.method} ${objectiveOf(settings)}`);

/** What the person changed in the form that is shown. */
export const changedIn = (settings: Settings): Record<string, string | boolean> => settings.changed[formOf(settings)] ?? {};

/** The fields that stand beside the Train button; all others are under Advanced. */
export const mainFields = ['max_steps', 'learning_rate', 'num_generations', 'max_completion_length', 'r', 'init_r', 'bottleneck_size', 'num_virtual_tokens'];

/** The fields of a method under an objective; the rewards are no plain ones. */
export const fieldsOf = (defaults: Defaults, method: string, objective: string): Field[] =>
  defaults.fields.filter((field) => !rewardFields.includes(field.name) && (!field.methods || field.methods.includes(method)) && (!field.objectives.length || field.objectives.includes(objective)));

/** Those that the objective has for itself: supervised training does not know them. */
export function ownFields(defaults: Defaults, method: string, objective: string): Field[] {
  const shared = new Set(fieldsOf(defaults, method, SFT).map(({ name }) => name));
  return fieldsOf(defaults, method, objective).filter(({ name }) => !shared.has(name));
}

export const defaultOf = (field: Field, method: string): FieldValue => field.defaults?.[method] ?? field.default;

/** A value as the form shows it. */
export function shown(value: FieldValue): string | boolean {
  if (typeof value === 'boolean') return value;
  if (value === null) return '';
  if (Array.isArray(value)) return value.join(', ');
  if (typeof value === 'object') return Object.entries(value).map((pair) => pair.join('=')).join(', ');
  return String(value);
}

export type Parsed = { value: FieldValue } | { error: string };

/** What the person typed, as the field's type, or what is wrong with it. */
export function parse(field: Field, text: string | boolean): Parsed {
  if (field.type === 'bool') return { value: text === true || text === 'true' };
  const trimmed = String(text).trim();
  if (trimmed === '' && field.default === null) return { value: null };
  switch (field.type) {
    case 'int':
    case 'float': {
      const value = Number(trimmed);
      if (trimmed === '' || !Number.isFinite(value)) return { error: `${field.label} is a number.` };
      if (field.type === 'int' && !Number.isInteger(value)) return { error: `${field.label} is a whole number.` };
      if (field.min !== undefined && value < field.min) return { error: `${field.label} is at least ${field.min}.` };
      if (field.max !== undefined && value > field.max) return { error: `${field.label} is at most ${field.max}.` };
      return { value };
    }
    case 'numbers': {
      const numbers = trimmed.split(/[\s,]+/).filter(Boolean).map(Number);
      return numbers.every(Number.isFinite) ? { value: numbers } : { error: `${field.label} is a list of numbers, such as -1, 1.` };
    }
    case 'list': {
      const names = trimmed.split(/[\s,]+/).filter(Boolean);
      // One name may be a keyword or a pattern, and the engine reads it as such.
      return { value: names.length === 1 ? names[0]! : names };
    }
    default:
      return { value: trimmed };
  }
}

/** The run config for the engine, or the fields that cannot be used. */
export function toConfig(defaults: Defaults, settings: Settings): { config: RunConfig; errors: Record<string, string> } {
  const objective = objectiveOf(settings);
  const config: RunConfig = { ...defaults.config, method: settings.method, objective };
  const errors: Record<string, string> = {};
  for (const { name } of defaults.fields) delete config[name];
  for (const field of fieldsOf(defaults, settings.method, objective)) {
    const typed = changedIn(settings)[field.name];
    const parsed = typed === undefined ? { value: defaultOf(field, settings.method) } : parse(field, typed);
    if ('error' in parsed) errors[field.name] = parsed.error;
    else config[field.name] = parsed.value;
  }
  if (settings.teach === 'prompts') {
    const { fields, error } = asFields(settings.rewards);
    Object.assign(config, fields);
    if (error) errors.reward = error;
  }
  return { config, errors };
}

/** The runs of a lab, on examples: each method as it is set in its own form, for the lab's number of steps. */
export function toTrials(defaults: Defaults, settings: Settings): { trials: { method: string; config: RunConfig }[]; errors: string[] } {
  const { methods, steps } = settings.lab;
  const trials = [];
  const errors = new Set<string>();
  // In the order of the list, whatever the order of the clicks.
  for (const { id: method, name } of defaults.methods.filter(({ id }) => methods.includes(id))) {
    const changed = { ...settings.changed, [method]: { ...settings.changed[method] } };
    delete changed[method]!.max_steps;
    // Methods are compared after equal steps, and nothing is held out of their runs.
    delete changed[method]!.early_stopping_patience;
    if (steps.trim()) changed[method]!.max_steps = steps;
    const made = toConfig(defaults, { ...settings, teach: 'examples', method, changed });
    for (const [field, error] of Object.entries(made.errors)) errors.add(field === 'max_steps' ? error : `${name}: ${error}`);
    trials.push({ method, config: made.config });
  }
  return { trials, errors: [...errors] };
}
