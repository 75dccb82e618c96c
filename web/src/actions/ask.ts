import { toProblem } from '../protocol';
import { adapter, announcement, answers, answerSettings, asking, noAnswer, problem, question, writes, type Answer } from '../store';
import type { Adapter } from '../engine';
import { engine, fail, listeners } from './session';

type Side = 'base' | 'tuned';

/** How often a growing answer is shown. */
const EVERY = 200;

const set = (side: Side, change: Partial<Answer>) => {
  answers.value = { ...answers.value, [side]: { ...answers.value[side], ...change } };
};

let stopped = false;

/** Asks whatever `work` asks, one after the other: nothing else is asked meanwhile. `work` is told whether it was stopped. */
export async function askAll(work: (wasStopped: () => boolean) => Promise<void>): Promise<void> {
  asking.value = true;
  stopped = false;
  problem.value = null;
  try {
    await work(() => stopped);
  } finally {
    asking.value = false;
  }
}

/** The same question and seed to the base model, then to the tuned one. */
export async function ask(): Promise<void> {
  const prompt = question.value.trim();
  if (!prompt || asking.value) return;
  await askAll(async (wasStopped) => {
    const tuned = adapter.value && writes(adapter.value) ? adapter.value : null;
    const sides: Side[] = tuned ? ['base', 'tuned'] : ['base'];
    answers.value = { base: { ...noAnswer, prompt, state: 'waiting' }, tuned: { ...noAnswer, prompt, state: tuned ? 'waiting' : 'idle' } };
    for (const side of sides) {
      if (wasStopped()) set(side, { state: 'done', note: 'Stopped.' });
      else await answer(prompt, side === 'tuned' ? tuned : null, answerSettings.value, (change) => set(side, change));
    }
    announcement.value = sides.length === 2 ? 'Both answers are here.' : 'The answer is here.';
  });
}

/** As many answers as there are places to show them, written side by side and shown as they come. */
export async function answer(
  prompt: string,
  tuned: Adapter | null,
  { maxNewTokens, temperature, seed }: { maxNewTokens: number; temperature: number; seed: number },
  ...shows: ((change: Partial<Answer>) => void)[]
): Promise<void> {
  // What has no strength but its own is asked at that.
  const strength = tuned?.why_no_strength ? 1 : answerSettings.value.strength;
  const request = engine().ask('generate', {
    messages: [{ role: 'user', content: prompt }],
    options: { adapter: tuned?.id ?? null, adapter_scale: strength, count: shows.length, max_new_tokens: maxNewTokens, temperature, top_p: 1, seed },
  });
  const texts = shows.map(() => '');
  let timer: ReturnType<typeof setTimeout> | null = null;
  listeners.set(request.id, (piece, which) => {
    texts[which] += piece;
    timer ??= setTimeout(() => {
      timer = null;
      shows.forEach((show, which) => texts[which] && show({ state: 'running', text: texts[which] }));
    }, EVERY);
  });
  try {
    const made = await request;
    if (timer) clearTimeout(timer);
    shows.forEach((show, which) => {
      const { text, tokens, tokens_per_second, stop } = made[which]!;
      const why = { end: '', length: ' · cut at the token limit', cancelled: ' · stopped' }[stop];
      show({ state: 'done', text, cut: stop === 'length', note: `${tokens} tokens · ${tokens_per_second.toFixed(1)} a second${tuned && strength < 1 ? ` · strength ${strength}` : ''}${why}` });
    });
  } catch (thrown) {
    if (timer) clearTimeout(timer);
    const failure = toProblem(thrown);
    shows.forEach((show, which) => show({ state: 'failed', text: texts[which]!, note: failure.message }));
    fail(failure);
  } finally {
    listeners.delete(request.id);
  }
}

export async function stopAsking(): Promise<void> {
  stopped = true;
  await engine().ask('cancelGenerate', {});
}
