import { toProblem } from '../protocol';
import { adapter, announcement, answerSettings, answers, asking, noAnswer, problem, question, type Answer } from '../store';
import { engine, fail, listeners } from './session';

type Side = 'base' | 'tuned';

/** How often a growing answer is shown. */
const EVERY = 200;

const set = (side: Side, change: Partial<Answer>) => {
  answers.value = { ...answers.value, [side]: { ...answers.value[side], ...change } };
};

let stopped = false;

/** The same question and seed to the base model, then to the tuned one. */
export async function ask(): Promise<void> {
  const prompt = question.value.trim();
  if (!prompt || asking.value) return;
  asking.value = true;
  stopped = false;
  problem.value = null;
  const sides: Side[] = adapter.value ? ['base', 'tuned'] : ['base'];
  answers.value = { base: { ...noAnswer, state: 'waiting' }, tuned: { ...noAnswer, state: adapter.value ? 'waiting' : 'idle' } };
  for (const side of sides) {
    if (stopped) set(side, { state: 'done', note: 'Stopped.' });
    else await answer(side, prompt);
  }
  asking.value = false;
  announcement.value = sides.length === 2 ? 'Both answers are here.' : 'The answer is here.';
}

async function answer(side: Side, prompt: string): Promise<void> {
  const { maxNewTokens, temperature, seed } = answerSettings.value;
  const tuned = side === 'tuned' ? adapter.value : null;
  // What has no strength but its own is asked at that.
  const strength = tuned?.why_no_strength ? 1 : answerSettings.value.strength;
  const request = engine().ask('generate', {
    messages: [{ role: 'user', content: prompt }],
    options: { adapter: tuned?.id ?? null, adapter_scale: strength, max_new_tokens: maxNewTokens, temperature, top_p: 1, seed },
  });
  let text = '';
  let timer: ReturnType<typeof setTimeout> | null = null;
  listeners.set(request.id, (piece) => {
    text += piece;
    timer ??= setTimeout(() => {
      timer = null;
      set(side, { state: 'running', text });
    }, EVERY);
  });
  try {
    const made = await request;
    if (timer) clearTimeout(timer);
    const why = { end: '', length: ' · cut at the token limit', cancelled: ' · stopped' }[made.stop];
    set(side, { state: 'done', text: made.text, note: `${made.tokens} tokens · ${made.tokens_per_second.toFixed(1)} a second${tuned && strength < 1 ? ` · strength ${strength}` : ''}${why}` });
  } catch (thrown) {
    if (timer) clearTimeout(timer);
    const failure = toProblem(thrown);
    set(side, { state: 'failed', text, note: failure.message });
    fail(failure);
  } finally {
    listeners.delete(request.id);
  }
}

export async function stopAsking(): Promise<void> {
  stopped = true;
  await engine().ask('cancelGenerate', {});
}
