import { batch, effect } from '@preact/signals';
import type { Example, Problem, RunConfig } from '../engine';
import { split, type Row } from '../examples';
import { counted } from '../preferences';
import { noRun } from '../run';
import { toProblem, type RowReport } from '../protocol';
import { changedIn, formOf, ordered, type Settings } from '../settings';
import { agreement, announcement, busy, dataset, defaults, estimate, form, heldOut, model, ownSource, parts, rowErrors, run, runId, settings, share, shownStep, startOver, table, used, wanted } from '../store';
import { attempt, engine } from './session';

/**
 * Checks every row that the objective learns from, and gives those that can be used. Where some cannot, the person sees them first: then there is
 * nothing yet, and `goOn` does without them.
 */
export async function usable(config: RunConfig, withoutBad: boolean, goOn: () => void): Promise<{ good: Row[]; reports: RowReport[] } | null> {
  const candidates = used.value;
  const reports = await engine().ask('check', { examples: examplesOf(candidates), config });
  const bad = candidates.flatMap((row, i) => (reports[i]?.problem ? [{ row, problem: reports[i].problem }] : []));
  if (bad.length && !withoutBad) {
    rowErrors.value = { rows: bad, goOn };
    announcement.value = `${counted(bad.map(({ row }) => row))} cannot be used. Nothing was started.`;
    return null;
  }
  rowErrors.value = null;
  return { good: candidates.filter((_, i) => !reports[i]?.problem), reports: reports.filter(({ problem }) => !problem) };
}

export const examplesOf = (list: Row[]): Example[] => list.map(({ example }) => example);

/** Starts when all rows can be used, or when the person has seen those that cannot. */
export const train = (withoutBad = false) =>
  attempt(async () => {
    const made = form.value;
    if (!made || Object.keys(made.errors).length) return;
    const { config } = made;
    const checked = await usable(config, withoutBad, () => void train(true));
    if (!checked) return;
    const { train: trained, held } = split(checked.good, share.value);
    const { reports } = checked;
    batch(() => {
      run.value = { ...noRun, state: 'starting' };
      [shownStep.value, runId.value] = [null, null];
      startOver();
      [agreement.value, heldOut.value] = [null, null];
      dataset.value = {
        teach: settings.value.teach,
        trained: counted(trained),
        held,
        tokens: reports.reduce((sum, { tokens }) => sum + tokens, 0),
        targets: reports.reduce((sum, { targets }) => sum + targets, 0),
        truncated: reports.filter(({ truncated }) => truncated).length,
      };
    });
    try {
      const { teach, trained: rows, tokens, targets, truncated } = dataset.value!;
      const sha256 = model.value.state === 'ready' ? model.value.sha256 : null;
      const notes = { teach, rows, held: held.length, tokens, targets, truncated, ownFunction: ownSource.value, sha256 };
      runId.value = await engine().ask('start', { config: ordered(config, settings.value, held.length), examples: examplesOf(trained), evalExamples: examplesOf(held), notes });
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
    const { train: trained, held } = parts.value;
    clearTimeout(timer);
    const mine = ++asked;
    if (model.value.state !== 'ready' || busy.value || !config || Object.keys(errors ?? {}).length || !trained.length) {
      if (!busy.value) estimate.value = null;
      return;
    }
    timer = setTimeout(async () => {
      const args = { config: ordered(config, settings.value, held.length), examples: examplesOf(trained), evalExamples: examplesOf(held) };
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

const want = (what: typeof wanted.value, ask: () => Promise<void>) =>
  attempt(() => {
    wanted.value = what;
    return ask();
  });

export const pause = () => want('pause', () => engine().ask('pause', {}));
export const resume = () => want(null, () => engine().ask('resume', {}));
export const stop = () => want('stop', () => engine().ask('stop', {}));

const setForm = (fields: Record<string, string | boolean>) => {
  settings.value = { ...settings.value, changed: { ...settings.value.changed, [formOf(settings.value)]: fields } };
};

export const resetField = (name: string) => {
  const { [name]: _, ...rest } = changedIn(settings.value);
  setForm(rest);
};

export const setField = (name: string, value: string | boolean) => setForm({ ...changedIn(settings.value), [name]: value });

export const setMethod = (method: string) => {
  if (defaults.value?.methods.some(({ id }) => id === method)) settings.value = { ...settings.value, method };
};

/** Whether runs keep the best. */
export const setKeepBest = (keepBest: boolean) => {
  settings.value = { ...settings.value, keepBest };
};

/** What preferences are for. */
export const setGoal = (goal: Settings['goal']) => {
  settings.value = { ...settings.value, goal };
};

/** The objective of a model that answers as the person would choose. */
export const setPrefer = (prefer: string) => {
  settings.value = { ...settings.value, prefer };
};

/** The objective of a model that learns from what its own answers earn. */
export const setReinforce = (reinforce: string) => {
  settings.value = { ...settings.value, reinforce };
};

/** The rows' numbers in the table, from 1, for messages that name a row. */
export const numberOf = (row: Row): number => table.value.rows.value.findIndex(({ id }) => id === row.id) + 1;
