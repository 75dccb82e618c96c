import { toProblem } from '../protocol';
import { adapter, announcement, answers, answerSettings, asking, model, noAnswer, problem, question, systemPrompt, turns, writes, type Answer } from '../store';
import type { Adapter, Message } from '../engine';
import { attempt, engine, fail, listeners } from './session';

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

/** What stood between the latest question and the one before it goes on, if both models that are asked have answered it. */
function goOn(sides: Side[]): void {
  const latest = answers.value;
  const isWhole = sides.every((side) => latest[side].state === 'done' && latest[side].text.trim());
  if (model.value.state === 'ready' && model.value.info.chat_template && isWhole) turns.value = [...turns.value, latest];
  else if (!isWhole) turns.value = [];
}

/** What a model was told and said before the next question. */
function before(side: Side): Message[] {
  const system = systemPrompt.value.trim();
  const said = turns.value.flatMap((turn): Message[] => [
    { role: 'user', content: turn[side].prompt },
    { role: 'assistant', content: turn[side].text },
  ]);
  return [...(system ? [{ role: 'system', content: system }] : []), ...said];
}

const tunedOne = () => (adapter.value && writes(adapter.value) ? adapter.value : null);

/** The same question and seed to the base model, then to the tuned one: each goes on with its own conversation. */
export async function ask(): Promise<void> {
  const prompt = question.value.trim();
  if (!prompt || asking.value) return;
  await askAll(async (wasStopped) => {
    const tuned = tunedOne();
    const sides: Side[] = tuned ? ['base', 'tuned'] : ['base'];
    goOn(sides);
    const fresh = (side: Side): Answer => ({ ...noAnswer, prompt, before: before(side), state: sides.includes(side) ? 'waiting' : 'idle' });
    answers.value = { base: fresh('base'), tuned: fresh('tuned') };
    for (const side of sides) {
      if (wasStopped()) set(side, { state: 'done', note: 'Stopped.' });
      else await answer(prompt, side === 'tuned' ? tuned : null, { ...answerSettings.value, before: answers.value[side].before }, (change) => set(side, change));
    }
    // The field is for the next one; what failed can be sent again.
    if (question.value.trim() === prompt && sides.every((side) => answers.value[side].text)) question.value = '';
    announcement.value = sides.length === 2 ? 'Both answers are here.' : 'The answer is here.';
  });
}

/** What another answer is drawn at, where the likeliest one would be the same again. */
const WARM = 0.8;
let again = 0;

/** Another answer of one of the two to the latest question. */
export async function answerAgain(side: Side): Promise<void> {
  const { prompt, before } = answers.value[side];
  if (!prompt || asking.value) return;
  await askAll(async () => {
    const { maxNewTokens, temperature, seed } = answerSettings.value;
    const drawn = { maxNewTokens, before, temperature: temperature || WARM, seed: (seed + ++again) % 2 ** 31 };
    set(side, { ...noAnswer, prompt, before, state: 'waiting' });
    await answer(prompt, side === 'tuned' ? tunedOne() : null, drawn, (change) => set(side, change));
    set(side, { note: `${answers.value[side].note} · drawn at temperature ${drawn.temperature}` });
    announcement.value = 'Another answer is here.';
  });
}

/** Copies an answer. */
export const copyAnswer = (text: string) =>
  attempt(async () => {
    await navigator.clipboard.writeText(text);
    announcement.value = 'The answer was copied.';
  });

/** As many answers as there are places to show them, written side by side and shown as they come. */
export async function answer(
  prompt: string,
  tuned: Adapter | null,
  { maxNewTokens, temperature, seed, before = [] }: { maxNewTokens: number; temperature: number; seed: number; before?: Message[] },
  ...shows: ((change: Partial<Answer>) => void)[]
): Promise<void> {
  // What has no strength but its own is asked at that.
  const strength = tuned?.why_no_strength ? 1 : answerSettings.value.strength;
  const request = engine().ask('generate', {
    messages: [...before, { role: 'user', content: prompt }],
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
