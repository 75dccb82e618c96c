// The runs that the browser keeps: the list of them, and what a person does with one.

import { batch, computed, effect, untracked } from '@preact/signals';
import type { Adapter, Problem } from '../engine';
import { row } from '../examples';
import { plural } from '../format';
import type { KeptRun } from '../protocol';
import { isBusy, noRun, reduce, type Run } from '../run';
import { titleOf, withSettingsOf } from '../runs';
import { adapters, agreement, announcement, busy, compared, dataset, defaults, device, heldOut, labelOf, leaving, model, objectives, offer, ownModels, run, runId, runs, settings, shownStep, startOver, storage, tab } from '../store';
import { adapterZip } from '../zip';
import { choose, take } from './adapters';
import { download } from './download';
import { loadAgain, loadDefault } from './model';
import { attempt, engine } from './session';

/** Keeps the list in step with what is trained, here and in other tabs. */
export function followRuns(): void {
  const state = computed(() => run.value.state);
  effect(() => {
    // What comes of a run is worth a promise of the browser's; some ask the person.
    if (state.value === 'starting') void navigator.storage?.persist?.().catch(() => false);
    if (device.value.state !== 'ready' || state.value === 'starting') return;
    untracked(() => void noteFailure().then(refresh));
  });
  document.addEventListener('visibilitychange', () => {
    if (device.value.state !== 'ready') return;
    // A tab that is hidden may never be seen again.
    if (document.hidden) void engine().ask('keepSoon', {}).catch(() => undefined);
    else void refresh();
  });
}

/** What ended a run stands in its record. A device that went away is no fault of it. */
async function noteFailure(): Promise<void> {
  const { state, problem } = run.value;
  if (state !== 'failed' || !problem || ['device-lost', 'out-of-memory', 'gpu'].includes(problem.code) || !runId.value) return;
  await engine()
    .ask('noteRun', { id: runId.value, notes: { problem } })
    .catch(() => undefined);
}

/** Asks for the list, and for what all of it takes. */
export async function refresh(): Promise<void> {
  // What cannot be listed is told when the person asks for it.
  const kept = await engine()
    .ask('runs', {})
    .catch(() => null);
  if (kept) runs.value = kept.filter(({ id }) => id !== leaving.value?.id);
  const { usage = 0, quota = 0 } = (await navigator.storage?.estimate?.().catch(() => null)) ?? {};
  storage.value = { usage, quota, persisted: (await navigator.storage?.persisted?.().catch(() => false)) ?? false };
}

/** Asks the browser to keep what the page keeps, also when the disk fills up. */
export const persist = () =>
  attempt(async () => {
    const persisted = (await navigator.storage?.persist?.()) ?? false;
    await refresh();
    announcement.value = persisted ? 'The browser promises to keep your runs.' : 'The browser did not promise to keep them: download what you must not lose.';
  });

export const nameOfRun = (kept: KeptRun): string => titleOf(kept, labelOf);

/** Whether the model that is loaded is the one that a run is on. */
export const isOn = ({ summary }: KeptRun): boolean =>
  model.value.state === 'ready' && model.value.info.hash === summary.about?.model.hash && model.value.info.load_in_4bit === summary.about.model.load_in_4bit;

/** Whether the browser keeps the model that a run is on, so that it can be loaded without asking for it. */
export const isAtHand = ({ summary, notes }: KeptRun): boolean =>
  ownModels.value.some(({ file }) => file === summary.about?.model.file) || (notes.sha256 != null && offer.value !== null && 'manifest' in offer.value && offer.value.manifest.sha256 === notes.sha256 && offer.value.kept?.complete === true);

/** Loads the model that a run is on, where that is at hand. */
async function onItsModel(kept: KeptRun): Promise<void> {
  if (isOn(kept)) return;
  const wanted = kept.summary.about?.model;
  const offered = offer.value && 'manifest' in offer.value ? offer.value.manifest.sha256 : null;
  if (kept.notes.sha256 && kept.notes.sha256 === offered) await loadDefault();
  else if (wanted) await loadAgain(wanted.file, wanted.load_in_4bit);
  if (isOn(kept)) return;
  throw {
    code: 'other-model',
    message: `${nameOfRun(kept)} is on ${wanted?.file || kept.summary.base || 'another model'}, which is not the model that is loaded`,
    help: `Load that file in step 1${wanted?.load_in_4bit ? ', held in 4 bits' : ''}, then press again`,
  } satisfies Problem;
}

/** What is kept of a run, as the page shows it. */
export async function read({ id }: KeptRun): Promise<{ shown: Run; held: ReturnType<typeof row>[] }> {
  const { events, heldOut } = await engine().ask('openRun', { id });
  return { shown: reduce(noRun, events, 0), held: heldOut.map(row) };
}

/** Shows a run that is kept in the place of the one that was shown. */
async function show(kept: KeptRun): Promise<void> {
  const { shown, held } = await read(kept);
  const { notes, summary } = kept;
  batch(() => {
    run.value = { ...shown, state: 'done', problem: notes.problem ?? null };
    [runId.value, shownStep.value, agreement.value, heldOut.value] = [kept.id, null, null, null];
    startOver();
    dataset.value = notes.rows
      ? { teach: notes.teach ?? 'examples', trained: notes.rows, held, tokens: notes.tokens ?? 0, targets: notes.targets ?? 0, truncated: notes.truncated ?? 0 }
      : null;
    tab.value = 'train';
    announcement.value = `${nameOfRun(kept)}, ${plural(summary.steps, 'step')}, is shown.`;
  });
}

export const openRun = (kept: KeptRun) =>
  attempt(async () => {
    await show(kept);
    document.getElementById('train')?.scrollIntoView({ block: 'start' });
  });

/** Goes on where the newest checkpoint of a run is. */
export const continueRun = (kept: KeptRun) => attempt(() => takeUp(kept));

/** The same, for one that follows: it rejects where it cannot be done. */
export async function takeUp(kept: KeptRun): Promise<void> {
  await onItsModel(kept);
  await show(kept);
  run.value = { ...run.value, state: 'starting', problem: null };
  try {
    await engine().ask('noteRun', { id: kept.id, notes: { problem: null, setAside: false } });
    await engine().ask('continueRun', { id: kept.id });
  } catch (thrown) {
    if (run.value.state === 'starting') run.value = noRun;
    throw thrown;
  }
}

/** The adapter of a run, which is put beside its model where it is not there yet. */
export async function adapterOf(kept: KeptRun): Promise<Adapter | null> {
  await onItsModel(kept);
  const there = () => adapters.value.find(({ run }) => run === kept.id) ?? null;
  if (!there()) take(await engine().ask('useRun', { id: kept.id }));
  return there();
}

/** Chooses the adapter of a run to talk to. */
export const useRun = (kept: KeptRun) =>
  attempt(async () => {
    choose((await adapterOf(kept))?.id ?? null);
    announcement.value = `${nameOfRun(kept)} is chosen: ask it something in step 4.`;
    document.getElementById('try')?.scrollIntoView({ block: 'start' });
  });

export const renameRun = (kept: KeptRun, title: string) =>
  attempt(async () => {
    await engine().ask('noteRun', { id: kept.id, notes: { title: title.trim() } });
    await refresh();
  });

/** Does not ask about this run again. */
export const setAside = (kept: KeptRun) =>
  attempt(async () => {
    await engine().ask('noteRun', { id: kept.id, notes: { setAside: true } });
    await refresh();
  });

export const takeSettings = (kept: KeptRun) => {
  if (!defaults.value) return;
  settings.value = withSettingsOf(settings.value, kept.summary, defaults.value, objectives.value);
  tab.value = 'train';
  announcement.value = `The settings are those of ${nameOfRun(kept)}.`;
};

/** How long a run that is deleted can be had back. */
const UNDO = 15_000;
let timer: ReturnType<typeof setTimeout> | undefined;

/** Takes a run out of the list; it is deleted when the person has not taken that back for a while. */
export function removeRun(kept: KeptRun): void {
  void removeNow();
  batch(() => {
    leaving.value = kept;
    runs.value = runs.value?.filter(({ id }) => id !== kept.id) ?? null;
    compared.value = compared.value.filter((id) => id !== kept.id);
    announcement.value = `${nameOfRun(kept)} is deleted. You can take that back.`;
  });
  timer = setTimeout(() => void removeNow(), UNDO);
}

export function keepAfterAll(): void {
  clearTimeout(timer);
  leaving.value = null;
  void refresh();
}

/** Deletes what is leaving for good. */
export const removeNow = () =>
  attempt(async () => {
    clearTimeout(timer);
    const kept = leaving.value;
    if (!kept) return;
    await engine().ask('removeRun', { id: kept.id });
    batch(() => {
      if (leaving.value === kept) leaving.value = null;
      if (runId.value === kept.id && !isBusy(run.value.state)) runId.value = null;
    });
    await refresh();
  });

/** The folder of a run, as the command line has it. */
export const exportRun = (kept: KeptRun) =>
  attempt(async () => {
    const files = await engine().ask('exportRun', { id: kept.id });
    download(`tunesmith-run-${kept.id}.zip`, adapterZip(files));
    announcement.value = 'The run was downloaded.';
  });

export const importRuns = (files: File[]) =>
  attempt(async () => {
    for (const file of files) await engine().ask('importRun', { file });
    await refresh();
    announcement.value = `${plural(files.length, 'run')} came in.`;
  });

/** Whether a run can be taken up now, or another shown. */
export const canAct = computed(() => !busy.value && device.value.state === 'ready' && model.value.state !== 'loading');
