// What the page keeps between visits, as one record, and back.

import { batch, effect } from '@preact/signals';
import { row } from '../examples';
import { kept } from '../lab';
import type { Saved } from '../persist';
import { tabs } from '../settings';
import { announcement, lab, ownFunction, settings, speeds, tables } from '../store';

const rowsOf = (name: keyof typeof tables) => tables[name].rows.value.map(({ example }) => example);

export const toRecord = (): Saved => ({
  examples: rowsOf('examples'),
  preferences: rowsOf('preferences'),
  prompts: rowsOf('prompts'),
  ownFunction: ownFunction.value,
  settings: settings.value,
  speeds: speeds.value,
  lab: lab.value,
});

export function fromRecord(saved: Saved): void {
  batch(() => {
    for (const name of tabs) {
      const { rows, selected } = tables[name];
      rows.value = (saved[name] ?? []).map(row);
      selected.value = rows.value[0]?.id ?? null;
    }
    const merged = { ...settings.value, ...saved.settings };
    // Adapters are not kept, and the number of one may become another's.
    const rewards = merged.rewards.map((one) => (one.kind === 'model' ? { ...one, argument: '' } : one));
    settings.value = { ...merged, rewards };
    ownFunction.value = saved.ownFunction ?? ownFunction.value;
    speeds.value = saved.speeds;
    if (saved.lab) lab.value = kept(saved.lab);
  });
}

/** How long nothing changes before it is kept. */
const QUIET = 400;

/** Where the record lies, and the tabs that share it. */
interface Place {
  load: () => Promise<Saved | null>;
  save: (saved: Saved) => Promise<void>;
  tabs: Pick<BroadcastChannel, 'postMessage' | 'onmessage'>;
  notKept: (thrown: unknown) => void;
}

/** Keeps every change. A tab takes over what another has kept, so that none overwrites what it has not seen. */
export function keepEveryChange({ load, save, tabs, notKept }: Place): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  // What is there at first, and what comes from another tab, is kept already.
  let isKept = true;
  effect(() => {
    const record = toRecord();
    if (isKept) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = undefined;
      save(record).then(() => tabs.postMessage('kept'), notKept);
    }, QUIET);
  });
  isKept = false;
  tabs.onmessage = async () => {
    const saved = await load().catch(() => null);
    // Changes of this tab's own come next, and are told to the others.
    if (!saved || timer !== undefined) return;
    isKept = true;
    fromRecord(saved);
    isKept = false;
    announcement.value = 'Taken over from another tab of this page.';
  };
}
