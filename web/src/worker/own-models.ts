// Copies of the person's own models in the origin-private file system, so that they are there after a reload: a file, or where a
// model has several a folder of them.

import type { Problem } from '../engine';
import type { Files } from '../model-files';
import type { OwnModel } from '../protocol';
import { cancelled } from './models';

/** The folder that they are in. */
export const OWN_MODELS = 'own-models';

/** Bytes that are copied at a time. */
const PIECE = 8_000_000;
/** What lies in a folder that is whole. */
const MARK = '.whole';

const unavailable: Problem = {
  code: 'storage-unavailable',
  message: 'This browser does not let the page keep files.',
  help: 'In a private window, use a normal one to keep them.',
};

const full = (name: string): Problem => ({
  code: 'storage-full',
  message: `There is no room for a copy of ${name} in this browser.`,
  help: 'Delete runs that you no longer need (step 3, Runs), or another model, then try again. The model stays loaded.',
});

export class OwnModels {
  constructor(private readonly folder: Promise<FileSystemDirectoryHandle | null>) {}

  /** The browser's own storage. */
  static open(): OwnModels {
    const folder = async () => {
      try {
        return await (await navigator.storage.getDirectory()).getDirectoryHandle(OWN_MODELS, { create: true });
      } catch {
        // Private windows and some settings refuse it; the caller says so.
        return null;
      }
    };
    return new OwnModels(folder());
  }

  /** Every copy that is whole, by name. */
  async list(): Promise<OwnModel[]> {
    const models: OwnModel[] = [];
    for await (const handle of (await this.folder)?.values() ?? []) {
      const files = await whole(handle);
      if (files) models.push({ file: handle.name, bytes: total(files) });
    }
    return models.sort((one, other) => one.file.localeCompare(other.file));
  }

  /** Copies a model's files: all of them, or nothing. */
  async keep(name: string, files: Files, progress: (done: number, total: number) => void, signal: AbortSignal): Promise<void> {
    const folder = await this.folder;
    if (!folder) throw unavailable;
    const all = total(files);
    let done = 0;
    const copied = (bytes: number) => progress((done += bytes), all);
    const isOne = files.length === 1;
    // A file that is there stays until all of the new one is; a folder does not.
    const isNew = !isOne || (await this.files(name)) === null;
    try {
      if (isOne) {
        await copy(files[0], await folder.getFileHandle(name, { create: true }), copied, signal);
      } else {
        await this.remove(name);
        const inside = await folder.getDirectoryHandle(name, { create: true });
        for (const file of files) await copy(file, await inside.getFileHandle(file.name, { create: true }), copied, signal);
        await copy(new File(['whole'], MARK), await inside.getFileHandle(MARK, { create: true }), () => undefined, signal);
      }
    } catch (thrown) {
      if (isNew) await this.remove(name);
      throw thrown instanceof DOMException && thrown.name === 'QuotaExceededError' ? full(name) : thrown;
    }
  }

  /** The files of a copy, or null where there is none. */
  async files(name: string): Promise<Files | null> {
    for await (const handle of (await this.folder)?.values() ?? []) {
      if (handle.name === name) return whole(handle);
    }
    return null;
  }

  async remove(name: string): Promise<void> {
    await (await this.folder)?.removeEntry(name, { recursive: true }).catch((thrown: unknown) => {
      if (!(thrown instanceof DOMException && thrown.name === 'NotFoundError')) throw thrown;
    });
  }
}

const total = (files: File[]) => files.reduce((sum, { size }) => sum + size, 0);

/** The files of a copy that was finished: a file that was not has nothing in it, a folder no mark. */
async function whole(handle: FileSystemHandle): Promise<Files | null> {
  if (handle.kind === 'file') {
    const file = await (handle as FileSystemFileHandle).getFile();
    return file.size > 0 ? [file] : null;
  }
  const files: File[] = [];
  let isWhole = false;
  for await (const inside of (handle as FileSystemDirectoryHandle).values()) {
    if (inside.kind !== 'file') continue;
    const file = await (inside as FileSystemFileHandle).getFile();
    if (inside.name === MARK) isWhole = file.size > 0;
    else files.push(file);
  }
  const [first, ...others] = files.sort((one, other) => one.name.localeCompare(other.name));
  return isWhole && first ? [first, ...others] : null;
}

/** Copies a file: all of it is in its place at the end, or nothing. */
async function copy(file: File, handle: FileSystemFileHandle, copied: (bytes: number) => void, signal: AbortSignal): Promise<void> {
  const draft = await handle.createWritable();
  try {
    for (let at = 0; at < file.size; at += PIECE) {
      if (signal.aborted) throw cancelled;
      const piece = file.slice(at, at + PIECE);
      await draft.write(await piece.arrayBuffer());
      copied(piece.size);
    }
    await draft.close();
  } catch (thrown) {
    await draft.abort().catch(() => undefined);
    throw thrown;
  }
}
