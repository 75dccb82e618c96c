import { batch } from '@preact/signals';
import { agreement, announcement, copying, dataset, duel, heldOut, in4bit, model, noDuel, offer, ownModels, problem, refused, run, runId, startOver } from '../store';
import { toProblem, type Loaded } from '../protocol';
import { modelFiles, type Chosen, type ModelFiles } from '../model-files';
import { noRun } from '../run';
import { askForOffer, attempt, engine } from './session';

/** The person's files, as long as the tab has them. */
let latest: ModelFiles | null = null;
/** Loads the model that is loaded once more: another worker has nothing of it. */
let again: (() => Promise<void>) | null = null;

/** What loads the model again that is loaded; null where there is none. It rejects where that fails. */
export const loadsAgain = () => (model.value.state === 'ready' ? again : null);

async function load(name: string, ask: () => Promise<Loaded>): Promise<void> {
  const before = model.value;
  refused.value = null;
  model.value = { state: 'loading', name, phase: 'load', done: 0, total: 0 };
  try {
    const loaded = await ask();
    batch(() => {
      const manifest = offer.value && 'manifest' in offer.value ? offer.value.manifest : null;
      const isOwn = loaded.where === 'file' || loaded.where === 'copy';
      model.value = { state: 'ready', sha256: isOwn ? null : (manifest?.sha256 ?? null), ...loaded };
      // What was trained belongs to the model that was loaded before.
      [run.value, runId.value] = [noRun, null];
      dataset.value = null;
      [agreement.value, heldOut.value] = [null, null];
      startOver();
      duel.value = noDuel;
      announcement.value = `${loaded.info.name} is loaded.`;
      if (loaded.note) problem.value = loaded.note;
    });
  } catch (thrown) {
    // A file that cannot be read leaves the model that was there before.
    model.value = before.state === 'ready' ? before : { state: 'none' };
    throw thrown;
  }
}

async function fromServer(): Promise<void> {
  const current = offer.value;
  if (!current || !('manifest' in current)) return;
  const { manifest } = current;
  try {
    await load(manifest.name, () => engine().ask('loadDefault', { manifest }));
    again = fromServer;
  } finally {
    await askForOffer();
  }
}

export const loadDefault = () => attempt(fromServer);

async function fromFiles(own: ModelFiles, load_in_4bit: boolean): Promise<void> {
  await load(own.name, () => engine().ask('loadFiles', { ...own, options: { load_in_4bit } }));
  latest = own;
  again = () => fromFiles(own, load_in_4bit);
}

const loadOwn = (own: ModelFiles) =>
  attempt(async () => {
    try {
      await fromFiles(own, in4bit.value);
    } catch (thrown) {
      const problem = toProblem(thrown);
      if (!in4bit.value || problem.code !== 'config') throw thrown;
      refused.value = { model: own, problem };
    }
  });

/** Loads a person's model. One that cannot be held in 4 bits may be loaded as it is, which the person decides. */
export const loadFiles = (chosen: Chosen) => loadOwn(modelFiles(chosen));

export async function loadRefused(): Promise<void> {
  if (!refused.value) return;
  in4bit.value = false;
  await loadOwn(refused.value.model);
}

/** Loads a file of this name once more, where the tab has it or the browser keeps a copy. */
export async function loadAgain(name: string, load_in_4bit: boolean): Promise<void> {
  if (latest?.name === name) await fromFiles(latest, load_in_4bit);
  else if (ownModels.value.some(({ file }) => file === name)) await fromCopy(name, load_in_4bit);
}

async function fromCopy(file: string, load_in_4bit: boolean): Promise<void> {
  await load(file, () => engine().ask('loadOwnModel', { file, options: { load_in_4bit } }));
  latest = null;
  again = () => fromCopy(file, load_in_4bit);
}

/** Loads a copy of the person's file. */
export const loadCopy = (file: string) => attempt(() => fromCopy(file, in4bit.value));

/** Keeps a copy of the person's file whose model is loaded, so that it is there after a reload. */
export const keepCopy = () =>
  attempt(async () => {
    copying.value = { done: 0, total: 0 };
    try {
      ownModels.value = await engine().ask('keepOwnModel', {});
      announcement.value = 'A copy of the file is kept in this browser.';
    } finally {
      copying.value = null;
    }
  });

export const removeCopy = (file: string) =>
  attempt(async () => {
    ownModels.value = await engine().ask('removeOwnModel', { file });
    announcement.value = `The copy of ${file} was deleted from this browser.`;
  });

/** Loads the same file again, held in 4 bits or as it is. */
export const reload = (load_in_4bit: boolean) =>
  attempt(async () => {
    if (model.value.state !== 'ready') return;
    in4bit.value = load_in_4bit;
    await load(model.value.info.name, () => engine().ask('reload', { options: { load_in_4bit } }));
    const { where, file: name } = model.value;
    const own = latest;
    if (own) again = () => fromFiles(own, load_in_4bit);
    else if (where === 'copy') again = () => fromCopy(name, load_in_4bit);
  });

export const cancelLoad = () => attempt(() => engine().ask('cancelLoad', {}));

export const deleteModel = (file: string) =>
  attempt(async () => {
    await engine().ask('deleteModel', { file });
    await askForOffer();
    const current = model.value;
    if (current.state === 'ready' && current.where === 'kept') model.value = { ...current, where: 'memory' };
    announcement.value = 'The model was deleted from this browser.';
  });
