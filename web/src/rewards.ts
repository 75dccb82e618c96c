// What an answer earns, as a person chooses it: a rule, a reward adapter, or a function of their own. Pure.

/** A kind of reward, in plain words. */
export interface RewardKind {
  /** As a run's settings name it. */
  id: string;
  name: string;
  help: string;
  /** What it has to be told; `first` stands there until the person changes it, and `long` has room for sentences. */
  argument?: { label: string; first: string; whole?: boolean; long?: boolean };
}

const column = { label: 'Column', first: 'answer' };

const principles = { label: 'Principles', first: 'A good answer is true, short and friendly.', long: true };

/** Every kind that a page can have. */
export const rewardKinds: RewardKind[] = [
  { id: 'exact', name: 'Is the expected answer', help: '1 where the answer is the text of this column, spaces at the ends aside, else 0.', argument: column },
  { id: 'contains', name: 'Has the expected answer in it', help: '1 where the text of this column is in the answer, else 0.', argument: column },
  { id: 'number', name: 'Ends with the right number', help: '1 where the last number of the answer is the last one in this column, else 0.', argument: column },
  { id: 'regex', name: 'Matches a pattern', help: '1 where this regular expression is found in the answer, else 0.', argument: { label: 'Pattern', first: '[.!?]$' } },
  { id: 'json', name: 'Is JSON', help: '1 where the answer is JSON, else 0.' },
  { id: 'json-fields', name: 'Is JSON with these fields', help: 'The share of these fields that the answer has, as an object with no others. A plus stands between two.', argument: { label: 'Fields', first: 'name+age' } },
  { id: 'max-words', name: 'Is short', help: '1 where the answer has from one to so many words, else 0.', argument: { label: 'Most words', first: '20', whole: true } },
  { id: 'think-format', name: 'Thinks first', help: '1 where the answer begins with <think>, closes it once, and goes on, else 0.' },
  { id: 'soft-overlong', name: 'Penalty for length', help: 'From 0 down to −1 over so many tokens before the longest answer.', argument: { label: 'Last tokens', first: '32', whole: true } },
  { id: 'repetition', name: 'Penalty for repeating', help: 'From 0 down to −1, the more runs of so many tokens come again.', argument: { label: 'Tokens in a run', first: '3', whole: true } },
  { id: 'model', name: 'Score of a reward adapter', help: 'What an adapter says that you trained to score answers, from your preferences.', argument: { label: 'Adapter', first: '' } },
  { id: 'judge', name: 'Grade by principles', help: 'The grade from 1 to 10 that the model itself, without what it learns here, gives the answer by these principles. A small model is a poor judge.', argument: principles },
  { id: 'judge-pairs', name: 'Duels by principles', help: 'How probably the same judge finds it better than the other answers to the prompt, each pair read in both orders. It takes longer.', argument: principles },
  { id: 'function', name: 'My own function', help: 'The number that your JavaScript gives, or null where it has nothing to say.' },
];

export const kindOf = (id: string): RewardKind | undefined => rewardKinds.find((kind) => kind.id === id);

/** A reward as the person set it; both are as they were typed. */
export interface RewardChoice {
  kind: string;
  argument: string;
  weight: string;
}

export const chosenReward = (kind: string): RewardChoice => ({ kind, argument: kindOf(kind)?.argument?.first ?? '', weight: '1' });

/** As a run's settings name it: `max-words:12`. */
export const rewardName = ({ kind, argument }: Pick<RewardChoice, 'kind' | 'argument'>): string => (kindOf(kind)?.argument ? `${kind}:${argument}` : kind);

/** A reward that settings or events name, in plain words. */
export function rewardLabel(name: string): string {
  const [, id = name, argument] = /^([^:]*):([^]*)$/.exec(name) ?? [];
  const kind = kindOf(id);
  if (!kind) return name;
  // Principles are sentences, and this is a name.
  return argument === undefined || kind.argument?.long ? kind.name : `${kind.name}: ${argument}`;
}

/** What is wrong with a reward among others, or null. */
export function rewardError(choice: RewardChoice, all: readonly RewardChoice[]): string | null {
  const kind = kindOf(choice.kind);
  if (!kind) return `There is no reward “${choice.kind}”.`;
  const { argument } = kind;
  if (argument && !choice.argument.trim()) return choice.kind === 'model' ? 'Choose a reward adapter: train one from your preferences first.' : `${kind.name}: ${argument.label} is empty.`;
  if (argument?.whole && !(/^[1-9]\d*$/.test(choice.argument) && Number(choice.argument) < 2 ** 32)) return `${kind.name}: ${argument.label} is a whole number of at least 1.`;
  if (!choice.weight.trim() || !Number.isFinite(Number(choice.weight))) return `${kind.name}: the weight is a number.`;
  const twice = all.filter((other) => rewardName(other) === rewardName(choice)).length > 1;
  return twice ? `${kind.name} stands here twice: once with both weights is the same.` : null;
}

/** The fields of a run that the rewards are. */
export const rewardFields = ['reward', 'reward_weights'];

/** The rewards as these fields, without those that something is wrong with; and what is wrong with the first of them. */
export function asFields(choices: readonly RewardChoice[]): { fields: { reward: string[]; reward_weights: number[] }; error: string | null } {
  const errors = choices.map((choice) => rewardError(choice, choices));
  const good = choices.filter((_, index) => errors[index] === null);
  const weights = good.map(({ weight }) => Number(weight));
  return {
    fields: { reward: good.map(rewardName), reward_weights: weights.every((weight) => weight === 1) ? [] : weights },
    error: choices.length ? (errors.find((error) => error !== null) ?? null) : 'Say what an answer earns (step 2).',
  };
}

/** The sum of what an answer earned, weighed; null where no reward had anything to say. */
export function totalOf(earned: readonly (number | null | undefined)[], choices: readonly RewardChoice[]): number | null {
  const said = earned.flatMap((one, index) => (one == null ? [] : [one * Number(choices[index]?.weight ?? 1)]));
  return said.length ? said.reduce((sum, one) => sum + one, 0) : null;
}

/** What a person begins with who writes a function. */
export const firstFunction = `// What an answer earns: a number, or null where there is nothing to say.
// prompt and completion are texts; columns are the row's other fields.
(prompt, completion, columns) => {
  const words = completion.trim().split(/\\s+/).length;
  return words <= 12 ? 1 : 12 / words;
}`;
