import type { Spill } from '../engine';
import type { FileStore } from './models';
import { OWN_MODELS } from './own-models';
import { RUNS } from './run-store';

// TypeScript has these in its worker library only, which does not go with the page's.
declare global {
  interface FileSystemSyncAccessHandle {
    getSize(): number;
    read(into: Uint8Array, options: { at: number }): number;
    write(bytes: Uint8Array, options?: { at: number }): number;
    truncate(size: number): void;
    flush(): void;
    close(): void;
  }
  interface FileSystemFileHandle {
    createSyncAccessHandle(): Promise<FileSystemSyncAccessHandle>;
  }
}

const FOLDER = 'models';

const missing = (thrown: unknown) => thrown instanceof DOMException && thrown.name === 'NotFoundError';

/** The origin-private file system as a store of models, or null where the browser has none. */
export async function opfs(): Promise<FileStore | null> {
  let folder: FileSystemDirectoryHandle;
  try {
    const root = await navigator.storage.getDirectory();
    folder = await root.getDirectoryHandle(FOLDER, { create: true });
  } catch {
    // Private windows and some settings refuse it; the caller says so.
    return null;
  }
  const existing = async (name: string) => {
    try {
      return await folder.getFileHandle(name);
    } catch (thrown) {
      if (missing(thrown)) return null;
      throw thrown;
    }
  };
  return {
    async open(name) {
      const handle = await folder.getFileHandle(name, { create: true });
      let access: FileSystemSyncAccessHandle;
      try {
        access = await handle.createSyncAccessHandle();
      } catch (thrown) {
        if (thrown instanceof DOMException && thrown.name === 'NoModificationAllowedError') {
          throw {
            code: 'storage-busy',
            message: 'Another tab of Tunesmith is downloading this model.',
            help: 'Wait until it is done there, then load it here: it is shared between tabs.',
          };
        }
        throw thrown;
      }
      return {
        size: () => access.getSize(),
        read: (into, at) => access.read(into, { at }),
        write: (bytes, at) => {
          const written = access.write(bytes, { at });
          // Some browsers write less instead of throwing when the quota is met.
          if (written < bytes.length) throw new DOMException('short write', 'QuotaExceededError');
        },
        truncate: (size) => access.truncate(size),
        close: () => {
          access.flush();
          access.close();
        },
      };
    },
    async blob(name) {
      return (await existing(name))?.getFile() ?? null;
    },
    async writeText(name, text) {
      const access = await (await folder.getFileHandle(name, { create: true })).createSyncAccessHandle();
      access.truncate(0);
      access.write(new TextEncoder().encode(text));
      access.flush();
      access.close();
    },
    async remove(name) {
      if (await existing(name)) await folder.removeEntry(name);
    },
  };
}

/** A file for what a run's memory does not hold. */
export type SpillFile = Spill & { clear(): void; close(): void };

/** An empty one; null where the browser has no such files, or another tab has it. */
export async function openSpill(): Promise<SpillFile | null> {
  try {
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle(FOLDER, { create: true });
    const access = await (await folder.getFileHandle('spill.bin', { create: true })).createSyncAccessHandle();
    access.truncate(0);
    return {
      write: (bytes, at) => access.write(bytes, { at }),
      read: (into, at) => access.read(into, { at }),
      clear: () => access.truncate(0),
      close: () => access.close(),
    };
  } catch {
    return null;
  }
}

/** Removes everything this page keeps in the origin-private file system. */
export async function clearOpfs(): Promise<void> {
  const root = await navigator.storage?.getDirectory?.().catch(() => null);
  if (!root) return;
  for (const folder of [FOLDER, OWN_MODELS, RUNS]) {
    try {
      await root.removeEntry(folder, { recursive: true });
    } catch (thrown) {
      if (!missing(thrown)) throw thrown;
    }
  }
}
