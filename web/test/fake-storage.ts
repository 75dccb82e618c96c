// The origin-private file system in memory: as much of it as a record needs.

/** Bytes that may still be written. */
export const room = { left: Infinity };
/** Storage calls that may still be made before one fails. */
export const calls = { left: Infinity };

const gone = () => new DOMException('gone', 'NotFoundError');
const full = () => new DOMException('full', 'QuotaExceededError');

function called(): void {
  if (calls.left-- <= 0) throw new DOMException('the disk failed', 'InvalidStateError');
}

class FakeFile {
  readonly kind = 'file';
  bytes = new Uint8Array();
  constructor(readonly name: string) {}

  #put(bytes: Uint8Array<ArrayBuffer>): void {
    if (bytes.length - this.bytes.length > room.left) throw full();
    room.left -= bytes.length - this.bytes.length;
    this.bytes = bytes;
  }

  async getFile(): Promise<File> {
    called();
    return new File([this.bytes], this.name);
  }

  async createWritable() {
    called();
    let draft = new Uint8Array();
    return {
      write: async (content: Uint8Array<ArrayBuffer> | ArrayBuffer | string) => {
        called();
        const more = typeof content === 'string' ? new TextEncoder().encode(content) : new Uint8Array(content);
        const whole = new Uint8Array(draft.length + more.length);
        whole.set(draft);
        whole.set(more, draft.length);
        draft = whole;
        if (draft.length - this.bytes.length > room.left) throw full();
      },
      abort: async () => undefined,
      close: async () => {
        called();
        this.#put(draft);
      },
    };
  }

  async createSyncAccessHandle() {
    called();
    return {
      getSize: () => this.bytes.length,
      truncate: (size: number) => this.#put(this.bytes.slice(0, size)),
      write: (bytes: Uint8Array, { at }: { at: number }) => {
        called();
        if (at + bytes.length - this.bytes.length > room.left) return 0;
        const whole = new Uint8Array(Math.max(at + bytes.length, this.bytes.length));
        whole.set(this.bytes);
        whole.set(bytes, at);
        this.#put(whole);
        return bytes.length;
      },
      flush: () => called(),
      close: () => undefined,
    };
  }
}

export class FakeFolder {
  readonly kind = 'directory';
  readonly inside = new Map<string, FakeFile | FakeFolder>();
  constructor(readonly name = '') {}

  async *values() {
    called();
    yield* [...this.inside.values()];
  }

  async getFileHandle(name: string, { create = false } = {}): Promise<FakeFile> {
    called();
    return this.#get(name, create, () => new FakeFile(name)) as FakeFile;
  }

  async getDirectoryHandle(name: string, { create = false } = {}): Promise<FakeFolder> {
    called();
    return this.#get(name, create, () => new FakeFolder(name)) as FakeFolder;
  }

  #get(name: string, create: boolean, make: () => FakeFile | FakeFolder): FakeFile | FakeFolder {
    const found = this.inside.get(name) ?? (create ? make() : null);
    if (!found) throw gone();
    this.inside.set(name, found);
    return found;
  }

  async removeEntry(name: string): Promise<void> {
    called();
    const found = this.inside.get(name);
    if (!found) throw gone();
    room.left += sizeOf(found);
    this.inside.delete(name);
  }
}

const sizeOf = (one: FakeFile | FakeFolder): number => (one instanceof FakeFile ? one.bytes.length : [...one.inside.values()].reduce((sum, part) => sum + sizeOf(part), 0));
