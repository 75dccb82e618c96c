// The records of runs in the origin-private file system: a folder each, in the same form as the command line's
// (docs/record.md).

import type { FolderDraft, NamedFile, RunStore } from '../engine';

/** The folder that they are in. */
export const RUNS = 'runs';

const named = (thrown: unknown, name: string) => thrown instanceof DOMException && thrown.name === name;

/** What the storage said, in words where we know better ones. */
function inWords(thrown: unknown): unknown {
  return named(thrown, 'QuotaExceededError') ? new Error('the browser’s storage is full') : thrown;
}

/** Where runs are kept. */
export class RunFolders {
  constructor(private readonly root: FileSystemDirectoryHandle) {}

  /** The browser's own storage, or null where it has none for this page. */
  static async open(): Promise<RunFolders | null> {
    try {
      const root = await navigator.storage.getDirectory();
      return new RunFolders(await root.getDirectoryHandle(RUNS, { create: true }));
    } catch {
      // Private windows and some settings refuse it; the caller says so.
      return null;
    }
  }

  /** The folders that are there. */
  async ids(): Promise<string[]> {
    const ids: string[] = [];
    for await (const handle of this.root.values()) if (handle.kind === 'directory') ids.push(handle.name);
    return ids.sort();
  }

  /** The folder of a run, which is made where it is not there. */
  async folder(id: string): Promise<RunFolder> {
    try {
      return new RunFolder(id, await this.root.getDirectoryHandle(id, { create: true }));
    } catch (thrown) {
      throw inWords(thrown);
    }
  }

  async remove(id: string): Promise<void> {
    await removeEntry(this.root, id);
  }
}

async function removeEntry(folder: FileSystemDirectoryHandle, name: string): Promise<void> {
  try {
    await folder.removeEntry(name, { recursive: true });
  } catch (thrown) {
    if (!named(thrown, 'NotFoundError')) throw thrown;
  }
}

/** The folder of one run. */
export class RunFolder implements RunStore {
  constructor(
    readonly name: string,
    private readonly handle: FileSystemDirectoryHandle,
  ) {}

  async entries(): Promise<string[]> {
    const names: string[] = [];
    for await (const { name } of this.handle.values()) names.push(name);
    return names;
  }

  bytes(): Promise<number> {
    return bytesIn(this.handle);
  }

  async read(path: string): Promise<Uint8Array<ArrayBuffer> | null> {
    const file = await this.#file(path);
    return file && new Uint8Array(await file.arrayBuffer());
  }

  /** A file as text; null where there is none. */
  async text(path: string): Promise<string | null> {
    return (await this.#file(path))?.text() ?? null;
  }

  async #file(path: string): Promise<File | null> {
    const [name, folder] = path.split('/').reverse();
    try {
      const within = folder === undefined ? this.handle : await this.handle.getDirectoryHandle(folder);
      return await (await within.getFileHandle(name!)).getFile();
    } catch (thrown) {
      if (named(thrown, 'NotFoundError')) return null;
      throw thrown;
    }
  }

  async write(name: string, content: Uint8Array<ArrayBuffer> | string): Promise<void> {
    try {
      const file = await this.handle.getFileHandle(name, { create: true });
      // What is written has its place when it is closed, and not before.
      const draft = await file.createWritable();
      try {
        await draft.write(content);
      } catch (thrown) {
        await draft.abort().catch(() => undefined);
        throw thrown;
      }
      await draft.close();
    } catch (thrown) {
      throw inWords(thrown);
    }
  }

  async append(name: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    try {
      const access = await openFile(this.handle, name);
      try {
        writeAtEnd(access, bytes);
        access.flush();
      } finally {
        access.close();
      }
    } catch (thrown) {
      throw inWords(thrown);
    }
  }

  async openFolder(name: string): Promise<FolderDraft> {
    await this.removeFolder(name);
    try {
      return new OpfsFolderDraft(this, name, await this.handle.getDirectoryHandle(name, { create: true }));
    } catch (thrown) {
      throw inWords(thrown);
    }
  }

  /** Writes a folder in the place of the one of this name, the files in their order. */
  async writeFolder(name: string, files: NamedFile[]): Promise<void> {
    const draft = await this.openFolder(name);
    try {
      for (const file of files) await draft.write(file.name, file.bytes);
      await draft.close();
    } catch (thrown) {
      await draft.abort();
      throw thrown;
    }
  }

  async removeFolder(name: string): Promise<void> {
    await removeEntry(this.handle, name);
  }

  /** Every file, by its path. */
  files(): Promise<NamedFile[]> {
    return filesIn(this.handle, '');
  }
}

class OpfsFolderDraft implements FolderDraft {
  /** The file that is being written. */
  #open: { name: string; access: FileSystemSyncAccessHandle } | null = null;

  constructor(
    private readonly within: RunFolder,
    private readonly name: string,
    private readonly handle: FileSystemDirectoryHandle,
  ) {}

  async write(name: string, part: Uint8Array<ArrayBuffer>): Promise<void> {
    try {
      if (this.#open?.name !== name) {
        await this.close();
        this.#open = { name, access: await openFile(this.handle, name) };
        this.#open.access.truncate(0);
      }
      writeAtEnd(this.#open!.access, part);
    } catch (thrown) {
      throw inWords(thrown);
    }
  }

  async close(): Promise<void> {
    const open = this.#open;
    this.#open = null;
    try {
      open?.access.flush();
    } catch (thrown) {
      throw inWords(thrown);
    } finally {
      open?.access.close();
    }
  }

  async abort(): Promise<void> {
    this.#open?.access.close();
    this.#open = null;
    // What led here is what is told.
    await this.within.removeFolder(this.name).catch(() => undefined);
  }
}

const openFile = async (folder: FileSystemDirectoryHandle, name: string) => (await folder.getFileHandle(name, { create: true })).createSyncAccessHandle();

/** Writes all of these bytes at the end of a file, or none. */
function writeAtEnd(access: FileSystemSyncAccessHandle, bytes: Uint8Array<ArrayBuffer>): void {
  const start = access.getSize();
  // Some browsers tell of a storage that is full by a number that is none.
  if (access.write(bytes, { at: start }) !== bytes.length) {
    access.truncate(start);
    throw new DOMException('not all of it was written', 'QuotaExceededError');
  }
}

async function bytesIn(folder: FileSystemDirectoryHandle): Promise<number> {
  let bytes = 0;
  for await (const handle of folder.values()) {
    bytes += handle.kind === 'file' ? (await handle.getFile()).size : await bytesIn(handle);
  }
  return bytes;
}

async function filesIn(folder: FileSystemDirectoryHandle, before: string): Promise<NamedFile[]> {
  const files: NamedFile[] = [];
  for await (const handle of folder.values()) {
    const name = before + handle.name;
    if (handle.kind === 'file') files.push({ name, bytes: new Uint8Array(await (await handle.getFile()).arrayBuffer()) });
    else files.push(...(await filesIn(handle, `${name}/`)));
  }
  return files.sort((one, other) => one.name.localeCompare(other.name));
}
