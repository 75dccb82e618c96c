// Two runs that are kept, beside each other.

import { signal } from '@preact/signals';
import type { KeptRun } from '../protocol';
import type { Run } from '../run';
import { announcement, asking, compared, noAnswer, runs, type Answer } from '../store';
import { answer, askAll } from './ask';
import { adapterOf, read } from './runs';
import { attempt } from './session';

/** What both said to the same question. */
export const bothAnswers = signal<[Answer, Answer]>([noAnswer, noAnswer]);

/** Chooses a run to compare, or no longer; of three the first goes. */
export function compare({ id }: KeptRun, wanted: boolean): void {
  const others = compared.value.filter((one) => one !== id);
  compared.value = wanted ? [...others, id].slice(-2) : others;
  bothAnswers.value = [noAnswer, noAnswer];
}

/** Both runs that are compared, with their curves; null where there are not two. */
export async function readBoth(): Promise<[KeptRun, Run][] | null> {
  const both = compared.value.flatMap((id) => runs.value?.filter((kept) => kept.id === id) ?? []);
  if (both.length !== 2) return null;
  return Promise.all(both.map(async (kept): Promise<[KeptRun, Run]> => [kept, (await read(kept)).shown]));
}

/** The same question to both, each on the model that it was trained on. */
export const askBoth = (both: readonly KeptRun[], prompt: string) =>
  attempt(async () => {
    if (!prompt.trim() || asking.value) return;
    const waiting: Answer = { ...noAnswer, prompt, state: 'waiting' };
    bothAnswers.value = [waiting, waiting];
    await askAll(async (wasStopped) => {
      for (const [side, kept] of both.entries()) {
        if (wasStopped()) return;
        await answer(prompt, await adapterOf(kept), { maxNewTokens: 128, temperature: 0, seed: 0 }, (change) => {
          bothAnswers.value = bothAnswers.value.map((one, index) => (index === side ? { ...one, ...change } : one)) as [Answer, Answer];
        });
      }
      announcement.value = 'Both answers are here.';
    });
  });
