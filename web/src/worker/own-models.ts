// Copies of the person's own model files in the origin-private file system, so that they are there after a reload.

import type { Problem } from '../engine';
import type { OwnModel } from '../protocol';
import { cancelled } from './models';

/** The folder that they are in. */
export const OWN_MODELS = 'own-models';

/** Bytes that are copied at a time. */
const PIECE = 8_000_000;

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
      if (handle.kind !== 'file') continue;
      const { size } = await (handle as FileSystemFileHandle).getFile();
      // A copy that was not finished has nothing in it.
      if (size > 0) models.push({ file: handle.name, bytes: size });
    }
    return models.sort((one, other) => one.file.localeCompare(other.file));
  }

  /** Copies a file: all of it, or nothing. */
  async keep(name: string, file: Blob, progress: (done: number, total: number) => void, signal: AbortSignal): Promise<void> {
    const folder = await this.folder;
    if (!folder) throw unavailable;
    const isNew = (await this.file(name)) === null;
    const handle = await folder.getFileHandle(name, { create: true });
    // What is written is in the file's place when it is closed.
    const draft = await handle.createWritable();
    try {
      for (let at = 0; at < file.size; at += PIECE) {
        if (signal.aborted) throw cancelled;
        await draft.write(await file.slice(at, at + PIECE).arrayBuffer());
        progress(Math.min(at + PIECE, file.size), file.size);
      }
      await draft.close();
    } catch (thrown) {
      await draft.abort().catch(() => undefined);
      if (isNew) await this.remove(name);
      throw thrown instanceof DOMException && thrown.name === 'QuotaExceededError' ? full(name) : thrown;
    }
  }

  /** A copy, or null where there is none. */
  async file(name: string): Promise<File | null> {
    const found = (await this.list()).some(({ file }) => file === name);
    return found ? (await (await this.folder)!.getFileHandle(name)).getFile() : null;
  }

  async remove(name: string): Promise<void> {
    await (await this.folder)?.removeEntry(name).catch((thrown: unknown) => {
      if (!(thrown instanceof DOMException && thrown.name === 'NotFoundError')) throw thrown;
    });
  }
}
