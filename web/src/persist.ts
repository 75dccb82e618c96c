// What survives a reload, in IndexedDB: a small record, and the rows of the tables in blocks. Models live elsewhere (see worker/opfs.ts).

import type { Example } from './engine';
import type { Lab } from './lab';
import { tabs, type Settings, type Teach } from './settings';

export interface Saved {
  examples: Example[];
  /** A page before this had none. */
  preferences?: Example[];
  /** Nor had it these: prompts, and the function that judges answers to them. */
  prompts?: Example[];
  ownFunction?: string;
  settings: Settings;
  /** Tokens a second of the last run here, by device name. */
  speeds: Record<string, number>;
  /** The lab's table; nor had it this. */
  lab?: Lab;
}

const NAME = 'tunesmith';
const STORE = 'state';
const KEY = 'page';

function open(): Promise<IDBDatabase> {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE);
  return settled(request);
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('IndexedDB failed'));
  });
}

type Tables = Record<Teach, Example[]>;

/** The record as it lies there: the rows are beside it, `<table>/0`, `<table>/1` and so on. */
type Kept = Omit<Saved, Teach> & {
  /** How many rows each table has. A record of before has the rows themselves in it, and none of this. */
  counts?: Record<Teach, number>;
  /** No other writing has it. */
  stamp?: string;
};

/** Rows of a block: many rows are written and read a block at a time, for the page has other things to do between two. */
const BLOCK = 500;

const blockOf = (rows: readonly Example[], index: number): Example[] => rows.slice(index * BLOCK, (index + 1) * BLOCK);
const blocks = (rows: number): number => Math.ceil(rows / BLOCK);
const isSame = (one: readonly Example[], other: readonly Example[]): boolean => one.length === other.length && one.every((example, index) => example === other[index]);

/** The rows as this tab wrote or read them last. */
let known: { stamp: string; rows: Tables } | null = null;

/** `seen` is given the rows a block at a time, between other things of the page. */
export async function load(seen: (rows: Example[]) => void = () => undefined): Promise<Saved | null> {
  const database = await open();
  try {
    const store = database.transaction(STORE).objectStore(STORE);
    const kept: unknown = await settled(store.get(KEY));
    if (!isKept(kept)) return null;
    const { counts, stamp, ...more } = kept;
    if (!counts || !stamp) return kept as unknown as Saved;
    const rows: Tables = { examples: [], preferences: [], prompts: [] };
    for (const teach of tabs) {
      for (let index = 0; index < blocks(counts[teach]); index++) {
        const block = (await settled(store.get(`${teach}/${index}`))) as Example[];
        seen(block);
        rows[teach].push(...block);
      }
    }
    known = { stamp, rows };
    return { ...more, ...rows };
  } finally {
    database.close();
  }
}

/** Writes what is new, all of it or nothing. */
export async function save({ examples, preferences = [], prompts = [], ...more }: Saved): Promise<void> {
  const rows: Tables = { examples, preferences, prompts };
  const database = await open();
  try {
    const store = database.transaction(STORE, 'readwrite').objectStore(STORE);
    const before: unknown = await settled(store.get(KEY));
    const { counts = null, stamp: was = null } = isKept(before) ? before : {};
    // Another tab may have written since.
    const there = known && known.stamp === was ? known.rows : null;
    for (const teach of tabs) {
      const all = blocks(rows[teach].length);
      for (let index = 0; index < all; index++) {
        const block = blockOf(rows[teach], index);
        if (!there || !isSame(block, blockOf(there[teach], index))) await settled(store.put(block, `${teach}/${index}`));
      }
      for (let index = all; index < blocks(counts?.[teach] ?? 0); index++) await settled(store.delete(`${teach}/${index}`));
    }
    const stamp = crypto.randomUUID();
    await settled(store.put({ ...more, counts: { examples: examples.length, preferences: preferences.length, prompts: prompts.length }, stamp } satisfies Kept, KEY));
    known = { stamp, rows };
  } finally {
    database.close();
  }
}

/** Guards against what an older page left behind. */
function isKept(value: unknown): value is Kept {
  if (typeof value !== 'object' || value === null) return false;
  const { settings, speeds } = value as Partial<Kept>;
  return ('counts' in value || 'examples' in value) && typeof settings?.changed === 'object' && typeof settings.method === 'string' && typeof speeds === 'object';
}

/** Removes all that the page itself keeps: its record, the theme, the offline copy. */
export async function forget(): Promise<void> {
  localStorage.clear();
  await settled(indexedDB.deleteDatabase(NAME));
  for (const name of await caches.keys()) await caches.delete(name);
  for (const registration of (await navigator.serviceWorker?.getRegistrations()) ?? []) await registration.unregister();
}
