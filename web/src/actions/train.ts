import { batch, effect } from '@preact/signals';
import type { Example, Problem, RowsReport, RunConfig } from '../engine';
import { split, type Row } from '../examples';
import { counted } from '../preferences';
import { noRun } from '../run';
import { toProblem } from '../protocol';
import { changedIn, formOf, ordered, type Settings } from '../settings';
import { adapterLabel, agreement, announcement, beginFrom, beginFromId, busy, checking, dataset, defaults, estimate, form, heldOut, model, ownSource, parts, reading, rowErrors, run, runId, settings, share, shownStep, startOver, table, used, wanted } from '../store';
import { handOver } from './rows';
import { attempt, engine } from './session';

/**
 * Checks every row that the objective learns from, and gives those that can be used. Where some cannot, the person sees them first: then there is
 * nothing yet, and `goOn` does without them.
 */
export async function usable(config: RunConfig, withoutBad: boolean, goOn: () => void): Promise<{ good: Row[]; report: RowsReport } | null> {
  const candidates = used.value;
  checking.value = true;
  const report = await handOver(candidates)
    .then(([rows]) => engine().ask('check', { rows: rows!, config }))
    .finally(() => ([checking.value, reading.value] = [false, null]));
  const why = new Map(report.bad.map(({ row, problem }) => [row, problem]));
  const bad = candidates.flatMap((row) => (why.has(row.id) ? [{ row, problem: why.get(row.id)! }] : []));
  if (bad.length && !withoutBad) {
    rowErrors.value = { rows: bad, goOn };
    announcement.value = `${counted(bad.map(({ row }) => row))} cannot be used. Nothing was started.`;
    return null;
  }
  rowErrors.value = null;
  return { good: candidates.filter(({ id }) => !why.has(id)), report };
}

/** Ends a check that is going: nothing is started then. */
export const stopChecking = () => attempt(() => engine().ask('cancelReading', {}));

export const examplesOf = (list: Row[]): Example[] => list.map(({ example }) => example);

/** Starts when all rows can be used, or when the person has seen those that cannot. */
export const train = (withoutBad = false) =>
  attempt(async () => {
    const made = form.value;
    if (!made || Object.keys(made.errors).length || checking.value) return;
    const { config } = made;
    const checked = await usable(config, withoutBad, () => void train(true));
    if (!checked) return;
    const { train: trained, held } = split(checked.good, share.value);
    const { tokens, targets, truncated } = checked.report;
    batch(() => {
      run.value = { ...noRun, state: 'starting' };
      [shownStep.value, runId.value] = [null, null];
      startOver();
      [agreement.value, heldOut.value] = [null, null];
      dataset.value = { teach: settings.value.teach, trained: counted(trained), held, tokens, targets, truncated };
    });
    try {
      const { teach, trained: rows } = dataset.value!;
      const sha256 = model.value.state === 'ready' ? model.value.sha256 : null;
      const from = beginFrom.value;
      const notes = { teach, rows, held: held.length, begunFrom: from && adapterLabel(from), tokens, targets, truncated, ownFunction: ownSource.value, sha256 };
      const [given, asked] = await handOver(trained, held);
      runId.value = await engine().ask('start', { config: ordered(config, settings.value, held.length), rows: given!, heldOut: asked!, beginFrom: from?.id ?? null, notes });
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
    const from = beginFrom.value?.id ?? null;
    clearTimeout(timer);
    const mine = ++asked;
    if (model.value.state !== 'ready' || busy.value || checking.value || !config || Object.keys(errors ?? {}).length || !trained.length) {
      if (!busy.value) estimate.value = null;
      return;
    }
    timer = setTimeout(async () => {
      const told = await handOver(trained, held)
        .then(([rows, heldOut]) => engine().ask('estimate', { config: ordered(config, settings.value, held.length), rows: rows!, heldOut: heldOut!, beginFrom: from }))
        .then((made) => made.find(({ fits }) => fits) ?? made.at(-1) ?? null)
        .catch((thrown: unknown) => beforehand(toProblem(thrown)));
      if (mine !== asked) return;
      [estimate.value, reading.value] = [told, null];
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

/** Has the next run begin from an adapter, whose method is its own; or from a new one. */
export function setBeginFrom(id: number | null): void {
  batch(() => {
    beginFromId.value = id;
    if (beginFrom.value) setMethod(beginFrom.value.method);
  });
}

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
