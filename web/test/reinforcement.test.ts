import { beforeEach, describe, expect, it, vi } from 'vitest';
import { curves, mainCurve } from '../src/curves';
import type { Event, Prompt } from '../src/engine';
import { fromLine, isBlank, promptRow, row, summary, toJsonl, view, withPart } from '../src/examples';
import { counted, usedBy } from '../src/preferences';
import { asFields, chosenReward, rewardError, rewardKinds, rewardLabel, totalOf, type RewardChoice } from '../src/rewards';
import { noRun, reduce } from '../src/run';
import { firstSettings, parse, toConfig, type Settings } from '../src/settings';
import { startersOf } from '../src/starters';
import * as store from '../src/store';
import { defaults, pace } from './fake-engine';
import { failures, gguf, reopen, session, started } from './fake-session';
import { put } from './fake-rows';

Object.assign(pace, { step: 0, token: 0, load: 0 });

vi.mock('../src/actions/session', () => import('./fake-session'));
const saved: { name: string; blob: Blob }[] = [];
vi.mock('../src/actions/download', () => ({ download: (name: string, blob: Blob) => saved.push({ name, blob }) }));

const { addRow, downloadRows, editRow, importText, teachFrom, undo, useStarter } = await import('../src/actions/data');
const { fromRecord, toRecord } = await import('../src/actions/keep');
const { loadFiles } = await import('../src/actions/model');
const { addReward, changeReward, removeReward, triedPrompt, tryRewards, turnReward, typeAnswer, writeFunction } = await import('../src/actions/rewards');
const { setField, setReinforce, train } = await import('../src/actions/train');

const table = store.tables.prompts;
const content = () => table.rows.value.map(({ example }) => example);
const add = (...prompts: Prompt[]) => importText('a file', toJsonl(prompts.map(row)));
const choose = (...rewards: RewardChoice[]) => (store.settings.value = { ...store.settings.value, rewards });
const reward = (kind: string, argument = '', weight = '1'): RewardChoice => ({ kind, argument, weight });

beforeEach(async () => {
  await reopen();
  saved.length = 0;
  await loadFiles(gguf('a.F16.gguf'));
  teachFrom('prompts');
});

describe('a prompt', () => {
  it('shows with what is expected of its answer, and keeps its other columns', () => {
    const asked: Prompt = { prompt: [{ role: 'system', content: 's' }, { role: 'user', content: 'u' }], columns: { answer: 42, level: 'easy', label: true } };
    expect(view(asked)).toEqual({ kind: 'prompt', system: 's', question: 'u', expected: '42', others: ['level', 'label'] });
    expect(withPart(asked, 'expected', '43')).toMatchObject({ columns: { answer: '43', level: 'easy', label: true } });
    expect(withPart(asked, 'question', 'x')).toMatchObject({ prompt: [{ content: 's' }, { content: 'x' }] });
    expect(withPart(promptRow('p', 'a'), 'expected', '')).toEqual(promptRow('p'));
    expect(summary(asked)).toBe('u');
  });

  it('is edited as its line of JSON where it is more than that', () => {
    const long: Prompt[] = [
      { prompt: [{ role: 'user', content: 'a' }, { role: 'assistant', content: 'b' }, { role: 'user', content: 'c' }], columns: {} },
      { prompt: 'p', columns: { answer: ['one', 'two'] } },
    ];
    expect(long.map(view)).toMatchObject([{ kind: 'json', label: 'Prompt' }, { kind: 'json', json: '{"prompt":"p","answer":["one","two"]}' }]);
    expect(fromLine({ prompt: 'p', answer: 3 })).toEqual({ prompt: 'p', columns: { answer: 3 } });
    expect(() => fromLine({ answer: 3 })).toThrow('a "prompt" is needed');
  });

  it('is blank until something is typed, and has a table of its own', () => {
    expect([promptRow(' '), promptRow('', 'a')].map(isBlank)).toEqual([true, false]);
    // A column may be called as what another row is made of.
    const rows = [{ prompt: 'p', columns: { chosen: 1, rejected: 2, label: true, text: 't', messages: [] } }, promptRow('q')].map(row);
    expect(rows.map(store.tableOf)).toEqual(['prompts', 'prompts']);
    expect(rows.map(({ example }) => view(example).kind)).toEqual(['prompt', 'prompt']);
    expect([counted(rows), usedBy('prompts', rows).length, usedBy('examples', rows).length, usedBy('verdicts', rows).length]).toEqual(['2 prompts', 2, 0, 0]);
  });
});

describe('the table of prompts', () => {
  it('takes JSONL and gives it back as it was, and names what it cannot read', async () => {
    const lines = '{"prompt":"p","answer":"a","level":3}\n{"prompt":[{"role":"user","content":"u"}]}\n';
    await importText('mine', `${lines}{"answer":"a"}\n`);
    expect(table.importErrors.value).toMatchObject({ name: 'mine', added: '2 prompts', errors: [{ line: 3 }] });
    await downloadRows();
    expect([saved[0]!.name, await saved[0]!.blob.text()]).toEqual(['prompts.jsonl', lines]);
  });

  it('is edited, undone, and kept over a reload with the rewards and the function', async () => {
    const id = addRow('prompt');
    editRow(id, 'question', withPart(table.rows.value[0]!.example, 'question', 'Why?'));
    expect(content()).toEqual([promptRow('Why?')]);
    undo();
    expect(content()).toEqual([promptRow('')]);
    await add(promptRow('p', 'a'));
    choose(reward('exact', 'answer'), reward('function', '', '2'), reward('model', '7'));
    writeFunction('() => 1');
    setReinforce('rloo');
    const record = structuredClone(toRecord());
    await reopen();
    expect(content()).toEqual([]);
    fromRecord(record);
    expect(content()).toEqual([promptRow('p', 'a')]);
    expect(store.settings.value).toMatchObject({ teach: 'prompts', reinforce: 'rloo', rewards: [{ kind: 'exact' }, { kind: 'function', weight: '2' }, { kind: 'model', argument: '' }] });
    expect(store.ownSource.value).toBe('() => 1');
    const { prompts: _, ownFunction: __, ...before } = record;
    fromRecord({ ...before, settings: { method: 'lora', changed: {}, holdOut: 0 } as unknown as Settings });
    expect(content()).toEqual([]);
  });

  it('comes in starter sets with rewards, which replace none of one’s own', () => {
    for (const { id, examples, rewards } of startersOf.prompts) {
      expect(examples).toHaveLength(24);
      expect(new Set(examples.map(summary)).size).toBe(24);
      expect(asFields(rewards!).error).toBeNull();
      const columns = rewards!.filter(({ kind }) => ['exact', 'contains', 'number'].includes(kind)).map(({ argument }) => argument);
      for (const example of examples) for (const column of columns) expect((example as Prompt).columns, id).toHaveProperty(column);
    }
    useStarter('small-sums');
    expect(store.settings.value.rewards).toEqual([reward('number', 'answer')]);
    useStarter('short-answers');
    expect(store.settings.value.rewards).toEqual([reward('number', 'answer')]);
  });
});

describe('what an answer earns', () => {
  it('is any number of rewards with their weights', () => {
    addReward();
    addReward();
    expect(store.settings.value.rewards).toEqual([reward('exact', 'answer'), reward('contains', 'answer')]);
    turnReward(1, 'max-words');
    changeReward(1, { argument: '9', weight: '-0.5' });
    expect(store.form.value!.config).toMatchObject({ objective: 'grpo', reward: ['exact:answer', 'max-words:9'], reward_weights: [1, -0.5], num_generations: 4 });
    removeReward(0);
    changeReward(0, { weight: '1' });
    expect(store.form.value!.config).toMatchObject({ reward: ['max-words:9'], reward_weights: [] });
    teachFrom('examples');
    expect(store.form.value!.config).not.toHaveProperty('reward');
  });

  it('says what is wrong with it', () => {
    const wrong = (...all: RewardChoice[]) => rewardError(all[0]!, all);
    expect(wrong(reward('regex'))).toBe('Matches a pattern: Pattern is empty.');
    expect(wrong(reward('max-words', '1.5'))).toContain('a whole number');
    expect(wrong(reward('max-words', '5000000000'))).toContain('a whole number');
    expect(wrong(reward('json', '', ''))).toBe('Is JSON: the weight is a number.');
    expect(wrong(reward('json'), reward('json', '', '2'))).toContain('twice');
    expect(wrong(reward('model'))).toContain('train one from your preferences');
    expect(wrong(reward('command', 'rm'))).toBe('There is no reward “command”.');
    for (const { id } of rewardKinds.filter(({ id }) => id !== 'model')) expect(wrong(chosenReward(id))).toBeNull();
    expect(store.whyNotTrain.value).toBe('Add at least one prompt (step 2).');
    addRow('prompt');
    editRow(table.rows.value[0]!.id, 'question', promptRow('p'));
    expect(store.whyNotTrain.value).toBe('Say what an answer earns (step 2).');
  });

  it('is called in plain words', () => {
    expect(['max-words:12', 'json', 'regex:a:b\n', 'unknown:x'].map(rewardLabel)).toEqual(['Is short: 12', 'Is JSON', 'Matches a pattern: a:b\n', 'unknown:x']);
    expect(rewardLabel(`judge:${'Be kind. '.repeat(9)}`)).toBe('Grade by principles');
    expect([totalOf([1, null, 0.5], [reward('json'), reward('function'), reward('regex', 'a', '2')]), totalOf([null], [reward('json')])]).toEqual([2, null]);
  });

  it('is tried on two answers, and forgotten when something changes', async () => {
    choose(reward('max-words', '9'), reward('regex', '('), reward('function'));
    await tryRewards();
    expect(store.verdicts.value).toBeNull();
    await add(promptRow('p'), promptRow('q'));
    typeAnswer(0, 'four');
    await tryRewards();
    const told = store.verdicts.value;
    if (!told || told === 'asking' || 'problem' in told) throw new Error(JSON.stringify(told));
    expect(told.earned).toEqual([{ name: 'max-words:9', earned: [0.25, null] }, { name: 'regex:(', problem: expect.objectContaining({ code: 'config' }) }, { name: 'function', earned: [1, 1] }]);
    expect(told.row).toBe(triedPrompt.value);
    table.selected.value = table.rows.value[1]!.id;
    expect(triedPrompt.value).toEqual(promptRow('q'));
    typeAnswer(1, 'x');
    expect(store.verdicts.value).toBeNull();
  });
});

describe('a run on prompts', () => {
  it('gets prompts, rewards and the function, where that is one of them', async () => {
    await add(...Array.from({ length: 8 }, (_, i) => promptRow(`p${i}`)));
    choose(reward('max-words', '9'));
    store.settings.value = { ...store.settings.value, holdOutPrompts: 0.25 };
    await train();
    expect(started[0]).toMatchObject({ config: { objective: 'grpo', reward: ['max-words:9'] }, notes: { ownFunction: null } });
    expect([started[0]!.rows.length, started[0]!.heldOut.length]).toEqual([6, 2]);
    expect(store.dataset.value).toMatchObject({ teach: 'prompts', trained: '6 prompts', targets: 0 });
    store.run.value = noRun;
    choose(reward('function'));
    setReinforce('rloo');
    setField('reward_clip_range', '-1, 1');
    await train();
    expect(started[1]).toMatchObject({ config: { objective: 'rloo', reward: ['function'], reward_clip_range: [-1, 1] }, notes: { ownFunction: store.ownFunction.value } });
    expect(failures).toEqual([]);
  });

  it('names the rows that have not what a rule compares with', async () => {
    await add(promptRow('p', 'a'), promptRow('q'));
    choose(reward('exact', 'answer'));
    await train();
    expect(store.rowErrors.value?.rows.map(({ row }) => summary(row.example))).toEqual(['q']);
    expect(started).toEqual([]);
  });

  it('reads lists of numbers', () => {
    const field = defaults().fields.find(({ name }) => name === 'reward_clip_range')!;
    expect([parse(field, '-1 2'), parse(field, ''), parse(field, 'a')]).toEqual([{ value: [-1, 2] }, { value: [] }, { error: expect.stringContaining('list of numbers') }]);
    expect(toConfig(defaults(), firstSettings).config).not.toHaveProperty('reward_clip_range');
  });

  it('keeps the answers of the latest generations, the best first, and what was held out without a loss', async () => {
    const rollout = (step: number, advantage: number): Event => ({ event: 'rollout', step, prompt: 'p', completion: `${advantage}`, rewards: { json: null }, advantage, tokens: 1 });
    const run = reduce(noRun, [...Array.from({ length: 60 }, (_, i) => [rollout(i + 1, -1), rollout(i + 1, 2), rollout(i + 1, 0)]).flat(), { event: 'eval', step: 60, loss: null, tokens: 9, metrics: { reward: 1 } }], 0);
    expect([run.generations.length, run.generations[0]!.step, run.generations.at(-1)!.step]).toEqual([50, 11, 60]);
    expect(run.generations.at(-1)!.answers.map(({ advantage }) => advantage)).toEqual([2, 0, -1]);
    expect(run.evals).toEqual([{ step: 60, loss: null, tokens: 9, best: false, metrics: { reward: 1 } }]);
  });

  it('draws the reward in the place of the loss, and what each reward gave', async () => {
    await add(promptRow('p'));
    choose(reward('max-words', '9'), reward('function'));
    const { config } = store.form.value!;
    await session.startTraining({ ...config, max_steps: 2 }, put(session, content()), new Uint32Array(), { judge: async (answers) => answers.map(() => 1) });
    const run = reduce(noRun, [...(await session.step()), ...(await session.step())], 1);
    expect(run.generations.map(({ step, answers }) => [step, answers.length])).toEqual([[1, 4], [2, 4]]);
    const drawn = curves(run.points, run.evals);
    expect(mainCurve(drawn)!.name).toBe('Reward');
    expect(drawn.map(({ name, first }) => `${name}${first ? '!' : ''}`)).toEqual(['Reward!', 'Length of answers!', 'Share without spread!', 'Is short: 9', 'My own function', 'Share of answers cut']);
  });
});
