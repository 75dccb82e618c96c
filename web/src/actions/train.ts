import { batch, effect } from '@preact/signals';
import type { NamedFile } from '../engine';
import { split, type Row } from '../examples';
import { noRun } from '../run';
import { adapter, announcement, answers, busy, dataset, defaults, estimate, filled, form, model, noAnswer, rowErrors, rows, run, settings } from '../store';
import { adapterZip, baseOf } from '../zip';
import { download } from './download';
import { attempt, engine } from './session';

/** Checks every example, and starts when all can be used, or when the person has seen those that cannot. */
export const train = (withoutBad = false) =>
  attempt(async () => {
    const made = form.value;
    if (!made || Object.keys(made.errors).length) return;
    const { config } = made;
    const candidates = filled.value;
    const reports = await engine().ask('check', { examples: candidates.map(({ example }) => example), config });
    const bad = candidates.flatMap((row, i) => (reports[i]?.problem ? [{ row, problem: reports[i].problem }] : []));
    if (bad.length && !withoutBad) {
      rowErrors.value = bad;
      announcement.value = `${bad.length} examples cannot be used. Nothing was started.`;
      return;
    }
    const good = candidates.filter((_, i) => !reports[i]?.problem);
    const { train: trained, held } = split(good, settings.value.holdOut);
    const used = reports.filter(({ problem }) => !problem);
    batch(() => {
      rowErrors.value = null;
      run.value = { ...noRun, state: 'starting' };
      adapter.value = null;
      answers.value = { base: noAnswer, tuned: noAnswer };
      dataset.value = {
        examples: trained.length,
        held: held.length,
        tokens: used.reduce((sum, { tokens }) => sum + tokens, 0),
        targets: used.reduce((sum, { targets }) => sum + targets, 0),
        truncated: used.filter(({ truncated }) => truncated).length,
      };
    });
    const examplesOf = (list: Row[]) => list.map(({ example }) => example);
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
      const args = { config, examples: trained.map(({ example }) => example), evalExamples: held.map(({ example }) => example) };
      // What cannot be rendered is told when Train is pressed.
      const made = await engine().ask('estimate', args).catch(() => []);
      if (mine === asked) estimate.value = made.find(({ fits }) => fits) ?? made.at(-1) ?? null;
    }, 500);
  });
}

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

/** Learns the adapter's exact size and base once a run has ended; the bytes stay with the engine. */
export async function measureAdapter(): Promise<void> {
  await attempt(async () => {
    const files = await engine().ask('exportPeft', {});
    adapter.value = { bytes: files.reduce((sum, { bytes }) => sum + bytes.length, 0), base: baseOf(files, modelName()) };
  });
}

export const exportPeft = () =>
  attempt(async () => {
    const files: NamedFile[] = await engine().ask('exportPeft', {});
    download('tunesmith-adapter.zip', adapterZip(files));
    announcement.value = 'The adapter was downloaded.';
  });

export const exportRun = () => {
  if (run.value.config) download('run.json', new Blob([`${JSON.stringify(run.value.config, null, 2)}\n`], { type: 'application/json' }));
};

/** The rows' numbers in the table, from 1, for messages that name a row. */
export const numberOf = (row: Row): number => rows.value.findIndex(({ id }) => id === row.id) + 1;

const modelName = () => (model.value.state === 'ready' ? model.value.info.name : '');
