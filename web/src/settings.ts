// The form's values, and the run config made from them.

import type { Defaults, Field, FieldValue, RunConfig } from './engine';

/** What the person changed, by method, then field. What they did not touch follows the defaults. */
export interface Settings {
  method: string;
  changed: Record<string, Record<string, string | boolean>>;
  /** The share of examples held out for validation. */
  holdOut: number;
  /** Methods that the lab tries, and steps of each as they were typed; none typed: those of a run. */
  lab: { methods: string[]; steps: string };
}

/** One of each kind: low-rank matrices, factors, small networks, virtual tokens. */
export const usualTrials = ['lora', 'ia3', 'houlsby', 'prompt'];

export const firstSettings: Settings = { method: 'lora', changed: {}, holdOut: 0, lab: { methods: usualTrials, steps: '' } };

/** The fields that stand beside the Train button; all others are under Advanced. */
export const mainFields = ['max_steps', 'learning_rate', 'r', 'init_r', 'bottleneck_size', 'num_virtual_tokens'];

export const fieldsOf = (defaults: Defaults, method: string): Field[] =>
  defaults.fields.filter((field) => !field.methods || field.methods.includes(method));

export const defaultOf = (field: Field, method: string): FieldValue => field.defaults?.[method] ?? field.default;

/** A value as the form shows it. */
export const shown = (value: FieldValue): string | boolean =>
  typeof value === 'boolean' ? value : Array.isArray(value) ? value.join(', ') : value === null ? '' : String(value);

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
  const config: RunConfig = { ...defaults.config, method: settings.method };
  const errors: Record<string, string> = {};
  const mine = new Set(fieldsOf(defaults, settings.method));
  for (const field of defaults.fields) {
    if (!mine.has(field)) {
      delete config[field.name];
      continue;
    }
    const typed = settings.changed[settings.method]?.[field.name];
    if (typed === undefined) {
      config[field.name] = defaultOf(field, settings.method);
      continue;
    }
    const parsed = parse(field, typed);
    if ('error' in parsed) errors[field.name] = parsed.error;
    else config[field.name] = parsed.value;
  }
  return { config, errors };
}

/** The runs of a lab: each method as it is set in its own form, for the lab's number of steps. */
export function toTrials(defaults: Defaults, settings: Settings): { trials: { method: string; config: RunConfig }[]; errors: string[] } {
  const { methods, steps } = settings.lab;
  const trials = [];
  const errors = new Set<string>();
  // In the order of the list, whatever the order of the clicks.
  for (const { id: method, name } of defaults.methods.filter(({ id }) => methods.includes(id))) {
    const changed = { ...settings.changed, [method]: { ...settings.changed[method] } };
    delete changed[method]!.max_steps;
    if (steps.trim()) changed[method]!.max_steps = steps;
    const made = toConfig(defaults, { ...settings, method, changed });
    for (const [field, error] of Object.entries(made.errors)) errors.add(field === 'max_steps' ? error : `${name}: ${error}`);
    trials.push({ method, config: made.config });
  }
  return { trials, errors: [...errors] };
}
