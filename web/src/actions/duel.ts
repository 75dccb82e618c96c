import type { Adapter } from '../engine';
import { isSame } from '../preferences';
import { adapter, adapterLabel, announcement, asking, duel, duelSettings, noAnswer, noDuel, question, writes, type Answer } from '../store';
import { answer, askAll } from './ask';
import { prefer, stands } from './preferences';

/** How often two answers are sampled in the hope that they differ. */
const TRIES = 4;

/** Every question of a duel has a seed of its own. */
let seed = Math.floor(Math.random() * 2 ** 31);
const nextSeed = () => (seed = (seed + 1) % 2 ** 31);

const BASE = 'the model as it came';

/** Who answers: an adapter, or null for the model alone. The order is drawn where they are two. */
function contenders(): [Adapter | null, Adapter | null] {
  const tuned = adapter.value && writes(adapter.value) ? adapter.value : null;
  if (!tuned || duelSettings.value.from === 'base') return [null, null];
  if (duelSettings.value.from === 'tuned') return [tuned, tuned];
  return Math.random() < 0.5 ? [tuned, null] : [null, tuned];
}

/** Samples two answers to the question. Two that are alike are no choice, and are sampled again. */
export async function startDuel(): Promise<void> {
  const prompt = question.value.trim();
  if (!prompt || asking.value) return;
  await askAll(async (wasStopped) => {
    const by = contenders();
    const label = (one: Adapter | null) => (one ? adapterLabel(one) : BASE);
    let why = '';
    for (let tried = 1; tried <= TRIES; tried++) {
      const fresh: Answer = { ...noAnswer, prompt, state: 'waiting' };
      const note = why && `${why}, which makes no pair: sampled again, ${tried} of ${TRIES}.`;
      duel.value = { ...noDuel, state: 'sampling', answers: [fresh, fresh], by: [label(by[0]), label(by[1])], note };
      if (note) announcement.value = note;
      // One who answers twice writes both side by side.
      for (const sides of by[0] === by[1] ? [[0, 1] as const] : [[0] as const, [1] as const]) {
        const shows = sides.map((side) => (change: Partial<Answer>) => show(side, change));
        await answer(prompt, by[sides[0]], { ...duelSettings.value, seed: nextSeed() }, ...shows);
        const failed = sides.some((side) => duel.value.answers[side].state === 'failed');
        if (wasStopped() || failed) return end('stopped', 'Stopped: there are no two answers to choose from.');
      }
      const [one, other] = duel.value.answers;
      if (one.text.trim() && other.text.trim() && !isSame(one.text, other.text)) return end('open', note);
      why = isSame(one.text, other.text) ? 'Both answers were the same' : 'One answer was empty';
    }
    end('same', `${why}, which makes no pair, and so it was ${TRIES} times. Raise the temperature, or ask something else.`);
  });
}

/** Changes one of the two answers. */
export const show = (side: 0 | 1, change: Partial<Answer>) => {
  const answers: [Answer, Answer] = [...duel.value.answers];
  answers[side] = { ...answers[side], ...change };
  duel.value = { ...duel.value, answers };
};

function end(state: 'open' | 'same' | 'stopped', note: string): void {
  duel.value = { ...duel.value, state, note };
  announcement.value = note || 'Two answers are here. Choose the better one.';
}

/** Whether the pair of a duel was made, and still stands in the table. */
export const isDecided = (): boolean => stands(duel.value.made?.row ?? null);

/** Makes a pair: the answer of this side over the other. */
export function choose(chosen: 0 | 1): void {
  const { state, answers } = duel.value;
  if (state !== 'open' || isDecided()) return;
  const [winner, loser] = chosen === 0 ? answers : [answers[1], answers[0]];
  duel.value = { ...duel.value, made: { row: prefer(winner, loser), chosen } };
}

/** Neither is better: both go, and there is no pair. */
export function skipDuel(): void {
  duel.value = { ...noDuel, note: 'No pair was made.' };
  announcement.value = 'No pair was made.';
}
