// What the page keeps between visits, as one record, and back.

import { batch } from '@preact/signals';
import { row } from '../examples';
import { kept } from '../lab';
import type { Saved } from '../persist';
import { tabs } from '../settings';
import { lab, ownFunction, settings, speeds, tables } from '../store';

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
