// What survives a reload: one small record in IndexedDB. Models live elsewhere (see worker/opfs.ts).

import type { Example } from './engine';
import type { Lab } from './lab';
import type { Settings } from './settings';

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

export async function load(): Promise<Saved | null> {
  const database = await open();
  try {
    const saved: unknown = await settled(database.transaction(STORE).objectStore(STORE).get(KEY));
    return isSaved(saved) ? saved : null;
  } finally {
    database.close();
  }
}

export async function save(saved: Saved): Promise<void> {
  const database = await open();
  try {
    await settled(database.transaction(STORE, 'readwrite').objectStore(STORE).put(saved, KEY));
  } finally {
    database.close();
  }
}

/** Guards against what an older page left behind. */
function isSaved(value: unknown): value is Saved {
  if (typeof value !== 'object' || value === null) return false;
  const { examples, settings, speeds } = value as Partial<Saved>;
  return Array.isArray(examples) && typeof settings?.changed === 'object' && typeof settings.method === 'string' && typeof speeds === 'object';
}

/** Removes all that the page itself keeps: its record, the theme, the offline copy. */
export async function forget(): Promise<void> {
  localStorage.clear();
  await settled(indexedDB.deleteDatabase(NAME));
  for (const name of await caches.keys()) await caches.delete(name);
  for (const registration of (await navigator.serviceWorker?.getRegistrations()) ?? []) await registration.unregister();
}
