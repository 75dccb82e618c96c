// Fetching the default model: streamed into a file the browser keeps, resumed where it broke off,
// and believed only after its SHA-256 has been checked.

import type { Problem } from '../engine';
import type { LoadPhase, Manifest } from '../protocol';

/** A kept file, open for one writer. */
export interface Writer {
  size(): number;
  read(into: Uint8Array, at: number): number;
  write(bytes: Uint8Array, at: number): void;
  truncate(size: number): void;
  close(): void;
}

/** Where models are kept: the origin-private file system, or a stand-in in tests. */
export interface FileStore {
  open(name: string): Promise<Writer>;
  blob(name: string): Promise<Blob | null>;
  writeText(name: string, text: string): Promise<void>;
  remove(name: string): Promise<void>;
}

export interface Hasher {
  update(bytes: Uint8Array): void;
  hex(): string;
  free(): void;
}

export interface FetchModel {
  manifest: Manifest;
  /** The address of the file. */
  url: string;
  /** null where the browser keeps no files. */
  store: FileStore | null;
  hasher: () => Hasher;
  fetch: (url: string, init: RequestInit) => Promise<Response>;
  progress: (phase: LoadPhase, done: number, total: number) => void;
  signal: AbortSignal;
}

export interface FetchedModel {
  blob: Blob;
  kept: boolean;
  /** Why the file was not kept. */
  note: Problem | null;
}

const CHUNK = 4 << 20;

const noStore: Problem = {
  code: 'storage-unavailable',
  message: 'This browser does not let the page keep files, so the model stays in memory.',
  help: 'It works as usual until the tab closes. In a private window, use a normal one to keep it.',
};

const full: Problem = {
  code: 'storage-full',
  message: 'The browser’s storage is full, so the model stays in memory.',
  help: 'It works as usual until the tab closes. Free some disk space to keep it for next time.',
};

/** The name of the note that says a file is whole, and what its hash was. */
const markOf = (file: string) => `${file}.sha256`;

/** How much of a model is kept, and the hash it was checked against, if it is whole. */
export async function keptModel(store: FileStore, file: string): Promise<{ bytes: number; sha256: string | null } | null> {
  const [blob, mark] = await Promise.all([store.blob(file), store.blob(markOf(file))]);
  if (!blob || blob.size === 0) return null;
  return { bytes: blob.size, sha256: mark ? await mark.text() : null };
}

export async function forgetModel(store: FileStore, file: string): Promise<void> {
  await store.remove(markOf(file));
  await store.remove(file);
}

/** The model's file: the kept one when it is whole, else from the server, going on from what is kept. */
export async function fetchModel(request: FetchModel): Promise<FetchedModel> {
  const { manifest, store } = request;
  if (store) {
    const kept = await keptModel(store, manifest.file);
    const blob = await store.blob(manifest.file);
    if (blob && kept?.sha256 === manifest.sha256 && kept.bytes === manifest.bytes) return { blob, kept: true, note: null };
  }

  let sink: Sink = store ? new FileSink(await store.open(manifest.file)) : new MemorySink([]);
  let note = store ? null : noStore;
  let hash = request.hasher();
  try {
    if (sink.size > manifest.bytes) sink.clear();
    for (const part of sink.parts()) {
      hash.update(part.bytes);
      request.progress('check', part.end, sink.size);
      if (request.signal.aborted) throw cancelled;
    }
    if (sink.size < manifest.bytes) {
      const response = await ask(request, sink.size);
      if (sink.size > 0 && response.status !== 206) {
        // The server sends the whole file again.
        sink.clear();
        hash.free();
        hash = request.hasher();
      }
      for await (const chunk of chunks(response)) {
        if (request.signal.aborted) throw cancelled;
        try {
          sink.write(chunk);
        } catch (thrown) {
          if (!store || !isQuota(thrown)) throw thrown;
          const rest = new MemorySink([...sink.parts()].map((part) => part.bytes));
          sink.close();
          await forgetModel(store, manifest.file);
          rest.write(chunk);
          sink = rest;
          note = full;
        }
        hash.update(chunk);
        request.progress('download', sink.size, manifest.bytes);
      }
      if (sink.size !== manifest.bytes) throw wrongSize(sink.size, manifest.bytes);
    }
    const found = hash.hex();
    if (found !== manifest.sha256) {
      sink.clear();
      throw wrongHash(manifest, found);
    }
  } finally {
    sink.close();
    hash.free();
  }

  if (sink instanceof MemorySink) return { blob: sink.blob(), kept: false, note };
  if (!store) throw gone(manifest.file);
  await store.writeText(markOf(manifest.file), manifest.sha256);
  const blob = await store.blob(manifest.file);
  if (!blob) throw gone(manifest.file);
  return { blob, kept: true, note };
}

/** Where the bytes go. A file's writer may stop taking more; memory takes over then. */
interface Sink {
  readonly size: number;
  write(bytes: Uint8Array<ArrayBuffer>): void;
  clear(): void;
  close(): void;
  parts(): Iterable<{ bytes: Uint8Array<ArrayBuffer>; end: number }>;
}

class FileSink implements Sink {
  size: number;
  constructor(private readonly writer: Writer) {
    this.size = writer.size();
  }
  write(bytes: Uint8Array<ArrayBuffer>): void {
    this.writer.write(bytes, this.size);
    this.size += bytes.length;
  }
  clear(): void {
    this.writer.truncate(0);
    this.size = 0;
  }
  close(): void {
    this.writer.close();
  }
  *parts() {
    for (let at = 0; at < this.size; ) {
      const bytes = new Uint8Array(Math.min(CHUNK, this.size - at));
      at += this.writer.read(bytes, at);
      yield { bytes, end: at };
    }
  }
}

class MemorySink implements Sink {
  size = 0;
  #parts: Uint8Array<ArrayBuffer>[] = [];
  constructor(parts: Uint8Array<ArrayBuffer>[]) {
    for (const part of parts) this.write(part);
  }
  write(bytes: Uint8Array<ArrayBuffer>): void {
    this.#parts.push(bytes);
    this.size += bytes.length;
  }
  clear(): void {
    this.#parts = [];
    this.size = 0;
  }
  close(): void {}
  *parts() {
    let end = 0;
    for (const bytes of this.#parts) yield { bytes, end: (end += bytes.length) };
  }
  blob(): Blob {
    return new Blob(this.#parts);
  }
}

async function ask({ url, fetch, signal }: FetchModel, from: number): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { signal, ...(from > 0 && { headers: { Range: `bytes=${from}-` } }) });
  } catch (thrown) {
    if (signal.aborted) throw cancelled;
    throw globalThis.navigator?.onLine === false ? offline : unreachable(String(thrown));
  }
  if (!response.ok || !response.body) throw unreachable(`the server answered ${response.status}`);
  const start = /^bytes (\d+)-/.exec(response.headers.get('Content-Range') ?? '')?.[1];
  if (response.status === 206 && start !== String(from)) throw unreachable('the server sent another part than was asked for');
  return response;
}

async function* chunks(response: Response): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const reader = response.body!.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((thrown: unknown) => {
        throw isAbort(thrown) ? cancelled : unreachable(String(thrown));
      });
      if (done) return;
      yield value;
    }
  } finally {
    // Also when the caller stops early: the rest of the file is not wanted then.
    await reader.cancel().catch(() => undefined);
  }
}

const isAbort = (thrown: unknown) => thrown instanceof DOMException && thrown.name === 'AbortError';
const isQuota = (thrown: unknown) => thrown instanceof Error && thrown.name === 'QuotaExceededError';

export const cancelled: Problem = {
  code: 'cancelled',
  message: 'Loading was stopped.',
  help: 'What was downloaded is kept: loading again goes on from there.',
};

const offline: Problem = {
  code: 'network',
  message: 'This computer is offline, and the model is not in this browser yet.',
  help: 'Connect, and download it once: from then on it loads without a network. Or choose a GGUF file of your own.',
};

const unreachable = (why: string): Problem => ({
  code: 'network',
  message: `The model could not be downloaded: ${why}.`,
  help: 'Check that the server that opened this page is still running, then try again. What was downloaded is kept.',
});

const wrongSize = (found: number, wanted: number): Problem => ({
  code: 'network',
  message: `The download ended after ${found} of ${wanted} bytes.`,
  help: 'Try again: it goes on from there.',
});

const wrongHash = (manifest: Manifest, found: string): Problem => ({
  code: 'hash',
  message: `${manifest.file} is not the file it should be: its SHA-256 is ${found}, and ${manifest.sha256} was expected.`,
  help: 'The download was damaged and has been removed. Try again.',
});

const gone = (file: string): Problem => ({
  code: 'storage-unavailable',
  message: `The browser removed ${file} right after it was stored.`,
  help: 'Free some disk space, then try again.',
});
