// What was held out, asked of the model before and after a run.

import { batch } from '@preact/signals';
import { view } from '../examples';
import { adapters, announcement, answerSettings, asking, dataset, heldOut, model, runId, type HeldOutRow } from '../store';
import { askAll } from './ask';
import { download } from './download';
import { attempt, engine } from './session';

/** An answer may be so much longer than the expected one, in characters for each token at least. */
const PER_TOKEN = 2;
const LEAST = 16;
const MOST = 256;

/** The rows that were held out and ask something, as the table shows them. */
function asked(): HeldOutRow[] {
  return (dataset.value?.held ?? []).flatMap(({ example }) => {
    const seen = view(example);
    return seen.kind === 'pair' ? [{ system: seen.system, question: seen.question, expected: seen.answer, base: null, tuned: null }] : [];
  });
}

/** Whether there is something to ask. */
export const canAskHeldOut = (): boolean => asked().length > 0;

/** The adapter of the run that is shown, where it is beside the model. */
export const adapterOfRun = () => adapters.value.filter(({ file, training }) => file === null && !training).findLast(({ run }) => run === runId.value) ?? null;

/** Asks every question of the base and of the run's adapter, and how surprised both are by ordinary text. */
export const askHeldOut = () =>
  attempt(async () => {
    const [rows, tuned] = [asked(), adapterOfRun()];
    if (!rows.length || !tuned || asking.value) return;
    heldOut.value = { rows, state: 'asking', neutral: null };
    await askAll(async (wasStopped) => {
      for (const [index, { system, question, expected }] of rows.entries()) {
        const messages = [...(system === null ? [] : [{ role: 'system', content: system }]), { role: 'user', content: question }];
        for (const [side, adapter] of [['base', null], ['tuned', tuned.id]] as const) {
          if (wasStopped()) return end('stopped');
          const most = Math.min(MOST, Math.max(LEAST, Math.ceil(expected.length / PER_TOKEN)));
          const options = { adapter, count: 1, max_new_tokens: most, temperature: 0, top_p: 1, seed: answerSettings.value.seed };
          const [made] = await engine().ask('generate', { messages, options });
          const was = heldOut.value;
          // Another run may have begun meanwhile.
          if (!was) return;
          heldOut.value = { ...was, rows: was.rows.map((row, at) => (at === index ? { ...row, [side]: made!.text } : row)) };
        }
      }
      const base = await engine().ask('neutralLoss', { adapter: null });
      const after = await engine().ask('neutralLoss', { adapter: tuned.id });
      if (heldOut.value) heldOut.value = { ...heldOut.value, neutral: { base, tuned: after } };
      end('done');
    });
  });

function end(state: 'done' | 'stopped'): void {
  batch(() => {
    if (heldOut.value) heldOut.value = { ...heldOut.value, state };
    announcement.value = state === 'done' ? 'What was held out is answered.' : 'Stopped.';
  });
}

/** Whether an answer is the expected one, spaces at the ends aside. */
export const isExact = (answer: string | null, { expected }: HeldOutRow): boolean => answer !== null && answer.trim() === expected.trim();

const cell = (text: string): string => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** The table as CSV, as spreadsheets read it. */
export function heldOutCsv(rows: readonly HeldOutRow[]): string {
  const head = ['question', 'expected', 'base', 'tuned', 'base_exact', 'tuned_exact'];
  const lines = rows.map((row) => [row.question, row.expected, row.base ?? '', row.tuned ?? '', String(isExact(row.base, row)), String(isExact(row.tuned, row))]);
  return [head, ...lines].map((line) => `${line.map(cell).join(',')}\r\n`).join('');
}

export const downloadHeldOut = (): void => {
  if (heldOut.value) download('held-out.csv', new Blob([heldOutCsv(heldOut.value.rows)], { type: 'text/csv' }));
};

/** Whether the model that is loaded can be asked. */
export const isReady = (): boolean => model.value.state === 'ready';
