// What answers earn: choosing rewards, and trying them on answers of one's own.

import { computed } from '@preact/signals';
import { isBlank, isPrompt } from '../examples';
import type { Prompt } from '../engine';
import { toProblem } from '../protocol';
import { chosenReward, rewardKinds, type RewardChoice } from '../rewards';
import { adapters, announcement, form, ownFunction, ownSource, scorerKey, settings, tables, tried, verdicts } from '../store';
import { engine } from './session';

/** What was said holds for the rewards as they were. */
function set(rewards: RewardChoice[]): void {
  verdicts.value = null;
  settings.value = { ...settings.value, rewards };
}

/** Adds the first kind that is not there yet. */
export function addReward(): void {
  const { rewards } = settings.value;
  const next = rewardKinds.find(({ id }) => !rewards.some(({ kind }) => kind === id)) ?? rewardKinds[0]!;
  set([...rewards, chosenReward(next.id)]);
}

export const removeReward = (index: number) => set(settings.value.rewards.filter((_, at) => at !== index));

export function changeReward(index: number, part: Partial<RewardChoice>): void {
  set(settings.value.rewards.map((one, at) => (at === index ? { ...one, ...part } : one)));
}

/** Turns a reward into one of another kind, with what that begins with; its weight stays. */
export function turnReward(index: number, kind: string): void {
  const fresh = chosenReward(kind);
  const newest = scorers.value.at(-1);
  const argument = kind !== 'model' ? fresh.argument : newest ? scorerKey(newest) : '';
  changeReward(index, { kind, argument });
}

/** The adapters that can be a reward. */
export const scorers = computed(() => adapters.value.filter(({ scores }) => scores));

export function writeFunction(source: string): void {
  verdicts.value = null;
  ownFunction.value = source;
}

export function typeAnswer(side: 0 | 1, text: string): void {
  verdicts.value = null;
  tried.value = side === 0 ? [text, tried.value[1]] : [tried.value[0], text];
}

/** The prompt that answers are tried on: the row that is chosen, or the first. */
export const triedPrompt = computed<Prompt | null>(() => {
  const { rows, selected } = tables.prompts;
  const filled = rows.value.filter(({ example }) => !isBlank(example));
  const example = (filled.find(({ id }) => id === selected.value) ?? filled[0])?.example;
  return example && isPrompt(example) ? example : null;
});

/** Has the rewards judge both answers. */
export async function tryRewards(): Promise<void> {
  const [row, config] = [triedPrompt.value, form.value?.config];
  if (!row || !config) return;
  verdicts.value = 'asking';
  const told = await engine()
    .ask('judge', { config, row, answers: tried.value, ownFunction: ownSource.value })
    .then((earned) => ({ row, earned }))
    .catch((thrown: unknown) => ({ problem: toProblem(thrown) }));
  // Unless something was changed meanwhile.
  if (verdicts.value !== 'asking') return;
  verdicts.value = told;
  announcement.value = 'Both answers were judged.';
}
