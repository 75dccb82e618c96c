import { batch, effect } from '@preact/signals';
import type { Example, Problem, RunConfig } from '../engine';
import { split, type Row } from '../examples';
import { noRun } from '../run';
import { toProblem, type RowReport } from '../protocol';
import { announcement, answers, busy, dataset, defaults, estimate, filled, form, model, noAnswer, rowErrors, rows, run, settings } from '../store';
import { attempt, engine } from './session';

/**
 * Checks every example, and gives those that can be used. Where some cannot, the person sees them first: then there is
 * nothing yet, and `goOn` does without them.
 */
export async function usable(config: RunConfig, withoutBad: boolean, goOn: () => void): Promise<{ good: Row[]; reports: RowReport[] } | null> {
  const candidates = filled.value;
  const reports = await engine().ask('check', { examples: examplesOf(candidates), config });
  const bad = candidates.flatMap((row, i) => (reports[i]?.problem ? [{ row, problem: reports[i].problem }] : []));
  if (bad.length && !withoutBad) {
    rowErrors.value = { rows: bad, goOn };
    announcement.value = `${bad.length} examples cannot be used. Nothing was started.`;
    return null;
  }
  rowErrors.value = null;
  return { good: candidates.filter((_, i) => !reports[i]?.problem), reports: reports.filter(({ problem }) => !problem) };
}

export const examplesOf = (list: Row[]): Example[] => list.map(({ example }) => example);

/** Starts when all examples can be used, or when the person has seen those that cannot. */
export const train = (withoutBad = false) =>
  attempt(async () => {
    const made = form.value;
    if (!made || Object.keys(made.errors).length) return;
    const { config } = made;
    const checked = await usable(config, withoutBad, () => void train(true));
    if (!checked) return;
    const { train: trained, held } = split(checked.good, settings.value.holdOut);
    const used = checked.reports;
    batch(() => {
      run.value = { ...noRun, state: 'starting' };
      answers.value = { base: noAnswer, tuned: noAnswer };
      dataset.value = {
        examples: trained.length,
        held: held.length,
        tokens: used.reduce((sum, { tokens }) => sum + tokens, 0),
        targets: used.reduce((sum, { targets }) => sum + targets, 0),
        truncated: used.filter(({ truncated }) => truncated).length,
      };
    });
    try {
      await engine().ask('start', { config, examples: examplesOf(trained), evalExamples: examplesOf(held) });
    } catch (thrown) {
      if (run.value.state === 'starting') run.value = noRun;
      throw thrown;
    }
  });

/** Keeps the estimate in step with the form and the table, while no run is going. */
export function followEstimate(): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let asked = 0;
  effect(() => {
    const { config, errors } = form.value ?? {};
    const { train: trained, held } = split(filled.value, settings.value.holdOut);
    clearTimeout(timer);
    const mine = ++asked;
    if (model.value.state !== 'ready' || busy.value || !config || Object.keys(errors ?? {}).length || !trained.length) {
      if (!busy.value) estimate.value = null;
      return;
    }
    timer = setTimeout(async () => {
      const args = { config, examples: examplesOf(trained), evalExamples: examplesOf(held) };
      const told = await engine()
        .ask('estimate', args)
        .then((made) => made.find(({ fits }) => fits) ?? made.at(-1) ?? null)
        .catch((thrown: unknown) => beforehand(toProblem(thrown)));
      if (mine === asked) estimate.value = told;
    }, 500);
  });
}

/** What cannot be rendered is told when Train is pressed, row by row; what the settings forbid is told at once. */
const beforehand = (problem: Problem): Problem | null => (['limit', 'config'].includes(problem.code) ? problem : null);

export const pause = () => attempt(() => engine().ask('pause', {}));
export const resume = () => attempt(() => engine().ask('resume', {}));
export const stop = () => attempt(() => engine().ask('stop', {}));

export const resetField = (name: string) => {
  const { method, changed } = settings.value;
  const { [name]: _, ...rest } = changed[method] ?? {};
  settings.value = { ...settings.value, changed: { ...changed, [method]: rest } };
};

export const setField = (name: string, value: string | boolean) => {
  const { method, changed } = settings.value;
  settings.value = { ...settings.value, changed: { ...changed, [method]: { ...changed[method], [name]: value } } };
};

export const setMethod = (method: string) => {
  if (defaults.value?.methods.some(({ id }) => id === method)) settings.value = { ...settings.value, method };
};

/** The rows' numbers in the table, from 1, for messages that name a row. */
export const numberOf = (row: Row): number => rows.value.findIndex(({ id }) => id === row.id) + 1;
