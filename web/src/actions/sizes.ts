import { effect } from '@preact/signals';
import type { Problem, Size } from '../engine';
import { toProblem } from '../protocol';
import { toConfig } from '../settings';
import { busy, defaults, device, model, settings, sizes } from '../store';
import { engine } from './session';

/** Keeps the sizes of all methods in step with their settings and the model, while nothing is trained. */
export function followSizes(): void {
  /** Of the model at hand, by config. */
  let known = new Map<string, Size | Problem>();
  let of: unknown = null;
  let asked = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;

  effect(() => {
    const table = defaults.value;
    const current = settings.value;
    // A device that went away can tell nothing.
    const loaded = model.value.state === 'ready' && device.value.state === 'ready' ? model.value.info : null;
    clearTimeout(timer);
    const mine = ++asked;
    if (loaded !== of) {
      of = loaded;
      known = new Map();
      sizes.value = {};
    }
    if (!table || !loaded || busy.value) return;
    timer = setTimeout(async () => {
      const found: Record<string, Size | Problem> = {};
      for (const { id: method } of table.methods) {
        const { config, errors } = toConfig(table, { ...current, method });
        if (Object.keys(errors).length) continue;
        const key = JSON.stringify(config);
        const size = known.get(key) ?? (await engine().ask('size', { config }).catch(toProblem));
        if (mine !== asked || device.value.state !== 'ready') return;
        known.set(key, size);
        found[method] = size;
      }
      sizes.value = found;
    }, 600);
  });
}
