import { computed, effect, untracked } from '@preact/signals';
import { isPreference } from '../examples';
import { toProblem } from '../protocol';
import { REWARD, SFT } from '../settings';
import { agreement, dataset, run, runId } from '../store';
import { examplesOf } from './train';
import { engine, fail } from './session';

/** Asks, after a run on preferences, how many of the held-out pairs the adapter agrees with, and how many the base. */
export function followAgreement(): void {
  const done = computed(() => run.value.state === 'done');
  effect(() => {
    if (done.value) untracked(() => void measure());
  });
}

async function measure(): Promise<void> {
  const { config, points } = run.value;
  const of = dataset.value;
  const pairs = of?.held.filter(({ example }) => isPreference(example)) ?? [];
  const objective = config?.objective ?? SFT;
  // A run that was stopped before its first step leaves no adapter.
  if (objective === SFT || !pairs.length || !points.length) return;
  /** Unless another run has begun meanwhile. */
  const tell = (told: typeof agreement.value) => {
    if (dataset.value === of) agreement.value = told;
  };
  tell('asking');
  try {
    const rows = examplesOf(pairs);
    // Of the adapters that were trained here, the run's is the last; that of a run which is only looked at may not be here.
    const trained = (await engine().ask('adapters', {})).filter(({ file }) => file === null);
    const mine = trained.findLast(({ run }) => run === runId.value);
    const tuned = mine && (await engine().ask('agreement', { adapter: mine.id, rows }));
    const base = objective === REWARD ? null : await engine().ask('agreement', { adapter: null, rows });
    tell(tuned ? { tuned, base } : null);
  } catch (thrown) {
    tell(null);
    fail(toProblem(thrown));
  }
}
