// What the page does by itself when the GPU goes away, or has no memory left for a run: it takes a new device, loads the model,
// and goes on from the last checkpoint. Once; then it asks.

import type { Problem } from '../engine';
import { toProblem } from '../protocol';
import { isBusy } from '../run';
import { announcement, device, mending, run, runId, runs } from '../store';
import { loadsAgain } from './model';
import { refresh, takeUp } from './runs';
import { fail, mendWith, restart } from './session';

/** A browser may need a moment for a new GPU process. */
const TRIES = 5;
const WAIT = 1500;

/** Runs that were mended, and the page while none went. */
const mended = new Set<string>();

/** Mends what can be mended from now on. */
export const mendByItself = (): void => mendWith(canMend);

function canMend(failure: Problem): boolean {
  const memory = failure.code === 'out-of-memory';
  if (failure.code !== 'device-lost' && !memory) return false;
  // More than one call may hear of the same loss.
  if (mending.value) return true;
  const { state, problem, points, checkpoint } = run.value;
  const trains = isBusy(state) || (state === 'failed' && problem?.code === failure.code);
  // Memory is short for what was asked; where that was no run, asking again is no help.
  if (memory && !trains) return false;
  const what = trains ? (runId.value ?? '') : 'idle';
  if (mended.has(what)) return false;
  mended.add(what);
  void mend(memory, trains ? { id: runId.value, step: points.at(-1)?.step ?? 0, checkpoint } : null);
  return true;
}

/** `cut`: the run that went, its last step, and that of its last checkpoint. */
async function mend(memory: boolean, cut: { id: string | null; step: number; checkpoint: number | null } | null): Promise<void> {
  const load = loadsAgain();
  const what = memory ? 'the GPU ran out of memory' : 'the GPU went away';
  mending.value = { memory, step: cut?.checkpoint ?? null, trains: cut !== null };
  try {
    for (let tried = 1; ; tried++) {
      await restart();
      if (device.value.state !== 'blocked') break;
      if (tried === TRIES) throw { code: 'device-lost', message: device.value.problem.message, help: '' } satisfies Problem;
      await new Promise((resume) => setTimeout(resume, WAIT));
    }
    await load?.();
    await refresh();
    const kept = runs.value?.find((one) => one.id === cut?.id);
    const from = kept?.summary.checkpoint ?? null;
    if (kept && from !== null && load) {
      mending.value = { memory, step: from, trains: true };
      await takeUp(kept);
      run.value = { ...run.value, warnings: [...run.value.warnings, { code: 'mended', message: `${what}, and was taken again: the run went on from step ${from}` }] };
    }
    announcement.value = from === null ? 'The GPU was taken again.' : `The GPU was taken again: the run goes on from step ${from}.`;
    mending.value = null;
    if (cut && from === null) {
      const at = cut.step ? `after step ${cut.step}, before the first checkpoint` : 'before the first step';
      fail({ code: 'nothing-kept', message: `${what} ${at}, so there is nothing to go on from`, help: 'Press Train to begin again: the model, your examples and your settings are here.' });
    }
  } catch (thrown) {
    mending.value = null;
    fail(toProblem(thrown));
  }
}
