import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { chosen, dropped, modelFiles, type Chosen } from '../src/model-files';
import { OwnModels } from '../src/worker/own-models';
import { FakeFolder, room } from './fake-storage';
import { fetchModel, forgetModel, keptModel, type FetchModel, type FileStore } from '../src/worker/models';

const content = new Uint8Array(10_000).map((_, i) => (i * 31) % 251);
const sha256 = createHash('sha256').update(content).digest('hex');
const manifest = { name: 'M', file: 'm.gguf', bytes: content.length, sha256 };

class Hasher {
  #hash = createHash('sha256');
  update(bytes: Uint8Array) {
    this.#hash.update(bytes);
  }
  hex() {
    return this.#hash.digest('hex');
  }
  free() {}
}

/** A store in memory, with room for `room` bytes. */
class FakeStore implements FileStore {
  files = new Map<string, Uint8Array<ArrayBuffer>>();
  constructor(readonly room = Infinity) {}
  async open(name: string) {
    let bytes = this.files.get(name) ?? new Uint8Array();
    const keep = () => this.files.set(name, bytes);
    keep();
    return {
      size: () => bytes.length,
      read: (into: Uint8Array, at: number) => {
        const part = bytes.subarray(at, at + into.length);
        into.set(part);
        return part.length;
      },
      write: (more: Uint8Array, at: number) => {
        if (at + more.length > this.room) throw new DOMException('no room', 'QuotaExceededError');
        const next = new Uint8Array(at + more.length);
        next.set(bytes.subarray(0, at));
        next.set(more, at);
        bytes = next;
        keep();
      },
      truncate: (size: number) => {
        bytes = bytes.slice(0, size);
        keep();
      },
      close: () => undefined,
    };
  }
  async blob(name: string) {
    const bytes = this.files.get(name);
    return bytes ? new Blob([bytes]) : null;
  }
  async writeText(name: string, text: string) {
    this.files.set(name, new TextEncoder().encode(text));
  }
  async remove(name: string) {
    this.files.delete(name);
  }
}

/** A server that knows Range (or not), and may break off after some bytes. */
function server({ ranges = true, breakAfter = Infinity, body = content } = {}) {
  const asked: (string | null)[] = [];
  const fetch = async (_url: string, init: RequestInit) => {
    const range = new Headers(init.headers).get('Range');
    asked.push(range);
    const from = ranges && range ? Number(/^bytes=(\d+)-$/.exec(range)![1]) : 0;
    let at = from;
    const stream = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (at - from >= breakAfter) return controller.error(new Error('connection reset'));
        if (at >= body.length) return controller.close();
        const end = Math.min(at + 1000, body.length);
        controller.enqueue(body.slice(at, end));
        at = end;
      },
    });
    const headers: Record<string, string> = from ? { 'Content-Range': `bytes ${from}-${body.length - 1}/${body.length}` } : {};
    return new Response(stream, { status: from ? 206 : 200, headers });
  };
  return { fetch, asked };
}

const request = (part: Partial<FetchModel>): FetchModel => ({
  manifest,
  url: '/models/m.gguf',
  store: null,
  hasher: () => new Hasher(),
  fetch: server().fetch,
  progress: () => undefined,
  signal: new AbortController().signal,
  ...part,
});

const bytesOf = async (blob: Blob) => new Uint8Array(await blob.arrayBuffer());

describe('fetching the default model', () => {
  it('downloads, checks, keeps, and needs no network the next time', async () => {
    const store = new FakeStore();
    const steps: [string, number, number][] = [];
    const first = await fetchModel(request({ store, progress: (...step) => steps.push(step) }));
    expect(first.kept).toBe(true);
    expect(await bytesOf(first.blob)).toEqual(content);
    expect(steps.at(-1)).toEqual(['download', 10_000, 10_000]);
    expect(await keptModel(store, 'm.gguf')).toEqual({ bytes: 10_000, sha256 });

    const again = server();
    const second = await fetchModel(request({ store, fetch: again.fetch }));
    expect(await bytesOf(second.blob)).toEqual(content);
    expect(again.asked).toEqual([]);
  });

  it('goes on from where it broke off, hashing what was kept', async () => {
    const store = new FakeStore();
    await expect(fetchModel(request({ store, fetch: server({ breakAfter: 4000 }).fetch }))).rejects.toMatchObject({ code: 'network' });
    expect(await keptModel(store, 'm.gguf')).toEqual({ bytes: 4000, sha256: null });

    const rest = server();
    const phases = new Set<string>();
    const done = await fetchModel(request({ store, fetch: rest.fetch, progress: (phase) => phases.add(phase) }));
    expect(rest.asked).toEqual(['bytes=4000-']);
    expect(await bytesOf(done.blob)).toEqual(content);
    expect(phases).toEqual(new Set(['check', 'download']));
  });

  it('starts over when the server ignores Range', async () => {
    const store = new FakeStore();
    await fetchModel(request({ store, fetch: server({ breakAfter: 4000 }).fetch })).catch(() => undefined);
    const done = await fetchModel(request({ store, fetch: server({ ranges: false }).fetch }));
    expect(await bytesOf(done.blob)).toEqual(content);
  });

  it('refuses and removes a file with another hash', async () => {
    const store = new FakeStore();
    const wrong = content.map((byte) => byte ^ 1);
    await expect(fetchModel(request({ store, fetch: server({ body: wrong }).fetch }))).rejects.toMatchObject({ code: 'hash' });
    expect(await keptModel(store, 'm.gguf')).toBeNull();
  });

  it('does not believe a whole file whose mark is missing', async () => {
    const store = new FakeStore();
    store.files.set('m.gguf', content.map((byte) => byte ^ 1));
    await expect(fetchModel(request({ store }))).rejects.toMatchObject({ code: 'hash' });
    store.files.set('m.gguf', content.slice());
    const asked = server();
    expect((await fetchModel(request({ store, fetch: asked.fetch }))).kept).toBe(true);
    expect(asked.asked).toEqual([]);
  });

  it('goes on in memory when the storage is full, and says so', async () => {
    const store = new FakeStore(3500);
    const done = await fetchModel(request({ store }));
    expect(done.kept).toBe(false);
    expect(done.note?.code).toBe('storage-full');
    expect(await bytesOf(done.blob)).toEqual(content);
    expect(store.files.size).toBe(0);
  });

  it('works without any storage, and says so', async () => {
    const done = await fetchModel(request({}));
    expect(done.note?.code).toBe('storage-unavailable');
    expect(await bytesOf(done.blob)).toEqual(content);
  });

  it('stops when asked, and keeps what it has', async () => {
    const store = new FakeStore();
    const stop = new AbortController();
    const progress = (_: string, done: number) => {
      if (done === 5000) stop.abort();
    };
    await expect(fetchModel(request({ store, progress, signal: stop.signal }))).rejects.toMatchObject({ code: 'cancelled' });
    expect((await keptModel(store, 'm.gguf'))?.bytes).toBe(5000);
  });

  it('forgets the file and its mark', async () => {
    const store = new FakeStore();
    await fetchModel(request({ store }));
    await forgetModel(store, 'm.gguf');
    expect(store.files.size).toBe(0);
  });
});

describe('copies of one’s own files', () => {
  const make = () => new OwnModels(Promise.resolve(new FakeFolder() as never));
  const go = () => new AbortController().signal;
  const file = (bytes: number, name = 'a'): [File] => [new File([new Uint8Array(bytes).fill(7)], name)];

  it('are listed, read and removed', async () => {
    const models = make();
    const told: number[] = [];
    await models.keep('b.gguf', file(20_000_000), (done, total) => told.push(done / total), go());
    await models.keep('a.gguf', file(10), () => undefined, go());
    expect([await models.list(), told]).toEqual([[{ file: 'a.gguf', bytes: 10 }, { file: 'b.gguf', bytes: 20_000_000 }], [0.4, 0.8, 1]]);
    expect(await (await models.files('a.gguf'))?.[0].bytes()).toEqual(new Uint8Array(10).fill(7));
    await models.remove('a.gguf');
    await models.remove('a.gguf');
    expect([await models.files('a.gguf'), (await models.list()).length]).toEqual([null, 1]);
  });

  it('are whole or not there', async () => {
    const models = make();
    const stop = new AbortController();
    await expect(models.keep('a.gguf', file(20_000_000), () => stop.abort(), stop.signal)).rejects.toMatchObject({ code: 'cancelled' });
    room.left = 1000;
    await expect(models.keep('a.gguf', file(2000), () => undefined, go())).rejects.toMatchObject({ code: 'storage-full' });
    room.left = Infinity;
    expect(await models.list()).toEqual([]);
    // The copy that was there before stays.
    await models.keep('b.gguf', file(10), () => undefined, go());
    const again = new AbortController();
    await expect(models.keep('b.gguf', file(20_000_000), () => again.abort(), again.signal)).rejects.toMatchObject({ code: 'cancelled' });
    expect(await models.list()).toEqual([{ file: 'b.gguf', bytes: 10 }]);
    expect(await new OwnModels(Promise.resolve(null)).list()).toEqual([]);
    await expect(new OwnModels(Promise.resolve(null)).keep('a', file(1), () => undefined, go())).rejects.toMatchObject({ code: 'storage-unavailable' });
  });

  it('may have several files, all of which are there or none', async () => {
    const models = make();
    const told: number[] = [];
    const both = (bytes: number): [File, File] => [...file(bytes, 'config.json'), ...file(bytes, 'model.safetensors')];
    await models.keep('small', both(10), (done, total) => told.push(done / total), go());
    expect([await models.list(), told]).toEqual([[{ file: 'small', bytes: 20 }], [0.5, 1]]);
    expect((await models.files('small'))?.map(({ name }) => name)).toEqual(['config.json', 'model.safetensors']);
    const stop = new AbortController();
    await expect(models.keep('large', both(10_000_000), () => stop.abort(), stop.signal)).rejects.toMatchObject({ code: 'cancelled' });
    expect(await models.list()).toEqual([{ file: 'small', bytes: 20 }]);
    // As a tab that goes away leaves it.
    await models.remove('small');
    expect(await models.list()).toEqual([]);
  });
});

describe('what is chosen or dropped', () => {
  const at = (path: string) => Object.defineProperty(new File(['x'], path.slice(path.lastIndexOf('/') + 1)), 'webkitRelativePath', { value: path.includes('/') ? path : '' });
  const list = (...paths: string[]) => paths.map(at) as unknown as FileList;
  const names = (all: Chosen | null) => all && [all.folder, ...all.files.map(({ name }) => name)];

  it('is files, or a folder without what is in folders of its own', () => {
    expect(names(chosen(list('a.gguf', 'b.gguf')))).toEqual([null, 'a.gguf', 'b.gguf']);
    expect(names(chosen(list('small/onnx/model.onnx', 'small/config.json')))).toEqual(['small', 'config.json']);
    expect([chosen(list()), chosen(null)]).toEqual([null, null]);
  });

  it('is read to the end where the browser gives a folder in pieces', async () => {
    const file = (name: string) => ({ isFile: true, isDirectory: false, file: (done: (file: File) => void) => done(at(name)) });
    const pieces = [[file('config.json'), { isFile: false, isDirectory: true }], [file('tokenizer.json')], []];
    const folder = { isFile: false, isDirectory: true, name: 'small', createReader: () => ({ readEntries: (done: (some: unknown) => void) => done(pieces.shift()) }) };
    const transfer = (entry: unknown, ...files: string[]) => ({ items: [{ webkitGetAsEntry: () => entry }], files: list(...files) }) as unknown as DataTransfer;
    expect(names(await dropped(transfer(folder, 'small')))).toEqual(['small', 'config.json', 'tokenizer.json']);
    expect(names(await dropped(transfer(file('a.gguf'), 'a.gguf')))).toEqual([null, 'a.gguf']);
    expect(await dropped(null)).toBeNull();
  });
});

describe('the files of a model', () => {
  const files = (...names: string[]) => names.map((name) => new File([name], name)) as [File, ...File[]];
  const of = (folder: string | null, ...names: string[]) => {
    const { name, files: all } = modelFiles({ files: files(...names), folder });
    return [name, ...all.map((file) => file.name)];
  };

  it('are those that a model is read from, by one name', () => {
    expect(of(null, 'a.Q4_1.gguf')).toEqual(['a.Q4_1.gguf', 'a.Q4_1.gguf']);
    expect(of(null, 'b-00002-of-00002.gguf', 'b-00001-of-00002.gguf')).toEqual(['b-00001-of-00002.gguf', 'b-00001-of-00002.gguf', 'b-00002-of-00002.gguf']);
    const folder = ['README.md', 'tokenizer.json', 'model.safetensors', 'config.json', 'chat_template.jinja'];
    const read = ['chat_template.jinja', 'config.json', 'model.safetensors', 'tokenizer.json'];
    expect(of('SmolLM2', ...folder)).toEqual(['SmolLM2', ...read]);
    expect(of(null, ...folder)).toEqual(['model.safetensors', ...read]);
    expect(of('models', 'README.md', 'c.gguf', 'config.json')).toEqual(['c.gguf', 'c.gguf']);
    expect(of(null, 'notes.txt')).toEqual(['notes.txt', 'notes.txt']);
  });
});
