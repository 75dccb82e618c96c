import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { Example, RunConfig } from '../src/engine';
import { isBlank, pair, row, toJsonl, view, withPart } from '../src/examples';
import type { Saved } from '../src/persist';
import { counted, suggestedShare, usedBy, usesWords, writer } from '../src/preferences';
import { noRun } from '../src/run';
import { firstSettings, formOf, ownFields, toConfig, type Settings } from '../src/settings';
import { startersOf } from '../src/starters';
import * as store from '../src/store';
import { defaults, objectives, pace } from './fake-engine';
import { asks, failures, gguf, reopen, session, started, tick } from './fake-session';
import { put } from './fake-rows';

Object.assign(pace, { step: 0, token: 0, load: 0 });

vi.mock('../src/actions/session', () => import('./fake-session'));
const saved: { name: string; blob: Blob }[] = [];
vi.mock('../src/actions/download', () => ({ download: (name: string, blob: Blob) => saved.push({ name, blob }) }));
vi.stubGlobal('requestAnimationFrame', () => 0);

const { addRow, deleteRow, downloadRows, editRow, followSelection, importFiles, importText, teachFrom, undo, useStarter } = await import('../src/actions/data');
const { ask } = await import('../src/actions/ask');
const { choose, isDecided, skipDuel, startDuel } = await import('../src/actions/duel');
const { followAgreement } = await import('../src/actions/agreement');
const { fromRecord, keepEveryChange, toRecord } = await import('../src/actions/keep');
const { loadFiles } = await import('../src/actions/model');
const { correct, judge, seeRows, takeBack, thumbFor } = await import('../src/actions/preferences');
const { setField, setGoal, setKeepBest, setPrefer, train } = await import('../src/actions/train');

const { preference, verdict } = writer(true);
const labels = Object.fromEntries(objectives().map((one) => [one.name, one]));
const table = store.tables.preferences;
const content = () => table.rows.value.map(({ example }) => example);
const add = (...examples: Example[]) => importText('a file', examples.map((example) => JSON.stringify(example)).join('\n'));
const pairs = (n: number) => Array.from({ length: n }, (_, i) => preference(`q${i}`, `good ${i}`, `bad ${i}`));

followSelection();
followAgreement();

beforeEach(async () => {
  await reopen();
  saved.length = 0;
  await loadFiles(gguf('a.F16.gguf'));
  teachFrom('preferences');
});

describe('a preference', () => {
  const texts: Example = { prompt: 'p', chosen: 'c', rejected: 'r' };

  it('shows as its texts, whatever its shape, and keeps the shape when it is edited', () => {
    const chat = preference('p', 'c', 'r');
    for (const example of [texts, chat]) {
      expect(view(example)).toEqual({ kind: 'preference', system: null, question: 'p', chosen: 'c', rejected: 'r' });
      expect(view(withPart(withPart(example, 'chosen', 'x'), 'question', 'y'))).toMatchObject({ question: 'y', chosen: 'x', rejected: 'r' });
    }
    expect(withPart(texts, 'rejected', 'x')).toEqual({ prompt: 'p', chosen: 'c', rejected: 'x' });
    expect(withPart(chat, 'rejected', 'x')).toEqual(preference('p', 'c', 'x'));
    const system: Example = { prompt: [{ role: 'system', content: 's' }, { role: 'user', content: 'u' }], completion: 'a', label: false };
    expect(view(system)).toEqual({ kind: 'verdict', system: 's', question: 'u', answer: 'a', good: false });
    expect(withPart(system, 'question', 'x')).toMatchObject({ prompt: [{ content: 's' }, { content: 'x' }], completion: 'a' });
  });

  it('is edited as JSON where it is more than a question and its answers', () => {
    const turns = [{ role: 'user', content: 'u' }, { role: 'assistant', content: 'a' }];
    const long: Example[] = [
      { chosen: 'p c', rejected: 'p r' },
      { prompt: [...turns, ...turns], chosen: 'c', rejected: 'r' },
      { prompt_ids: [1], chosen_ids: [2], rejected_ids: [3] },
      { prompt_ids: [1], completion_ids: [2], label: true },
    ];
    expect(long.map(view)).toMatchObject([{ label: 'Pair' }, { label: 'Pair' }, { label: 'Pair of tokens' }, { label: 'Thumb up or down of tokens' }]);
  });

  it('is blank until something is typed', () => {
    expect([preference(' ', '', '\n'), verdict('', '', false)].map(isBlank)).toEqual([true, true]);
    expect([preference('', '', 'r'), verdict('', 'a', false)].map(isBlank)).toEqual([false, false]);
  });

  it('is a conversation where the model has a template, and texts where it has none', () => {
    expect(writer(false).preference('p', 'c', 'r')).toEqual(texts);
    addRow('pair');
    expect(content()).toEqual([preference('', '', '')]);
    const { value: loaded } = store.model;
    if (loaded.state === 'ready') store.model.value = { ...loaded, info: { ...loaded.info, chat_template: null } };
    addRow('thumb');
    expect(content()[1]).toEqual({ prompt: '', completion: '', label: true });
  });
});

describe('the table of preferences', () => {
  it('takes JSONL in either shape, gives it back as it was, and names what it cannot read', async () => {
    const rows = [preference('p', 'c', 'r'), { prompt: 'p', chosen: 'c', rejected: 'r', margin: 2 }, verdict('p', 'a', false), { prompt: 'p', completion: 'a', label: true }];
    await importText('mine', `${toJsonl(rows.map(row))}{"prompt":"p","chosen":"c"}\n{"prompt":"p","completion":"a","label":"good"}\n`);
    expect(content()).toEqual(rows);
    expect(table.importErrors.value).toMatchObject({ name: 'mine', added: '2 pairs and 2 thumbs', errors: [{ line: 5 }, { line: 6 }] });
    expect(store.whyNotTrain.value).toContain('could not be read');
    await downloadRows();
    expect(saved[0]!.name).toBe('preferences.jsonl');
    expect(await saved[0]!.blob.text()).toBe(toJsonl(rows.map(row)));
  });

  it('gives back the lines that could not be read, to be corrected', async () => {
    const good = '{"prompt":"p","chosen":"c","rejected":"r"}';
    expect(await importText('mine', `${good}\n{"prompt":"p"\n\n${good.replace('"c"', '"d"')}\n[1]`)).toBe('{"prompt":"p"\n[1]');
    expect(content()).toHaveLength(2);
    expect(await importText('mine', good)).toBe('');
  });

  it('comes from several files at once, and says of which a line is wrong', async () => {
    const of = (name: string, text: string) => Object.assign(new Blob([text]), { name }) as unknown as File;
    const good = '{"prompt":"p","chosen":"c","rejected":"r"}';
    await importFiles([of('one.jsonl', good), of('two.jsonl', `${good.replace('"c"', '"d"')}\n[1]`)]);
    expect(content()).toHaveLength(2);
    expect(table.importErrors.value).toMatchObject({ name: '2 files', added: '2 pairs' });
    expect(table.importErrors.value?.errors.map(({ message }) => message)).toEqual([expect.stringMatching(/^two\.jsonl, line 2: /)]);
  });

  it('says which columns nobody reads, and stops nobody for it', async () => {
    await importText('mine', '{"prompt":"p","chosen":"c","rejected":"r","rating":3}');
    expect(table.importWarnings.value).toEqual([expect.stringContaining('"rating" is not read')]);
    expect(store.whyNotTrain.value ?? '').not.toContain('could not be read');
    await importText('mine', '{"prompt":"p","chosen":"c","rejected":"d"}');
    expect(table.importWarnings.value).toEqual([]);
  });

  it('puts rows where they belong, says so, and takes them back', async () => {
    await add(preference('p', 'c', 'r'), pair('q', 'a'), { text: 't' });
    expect(content()).toHaveLength(1);
    expect(store.tables.examples.rows.value).toHaveLength(2);
    expect(store.made.value).toMatchObject({ at: 'teach', words: '2 examples of a file went to the examples.', table: 'examples' });
    takeBack(store.made.value!);
    expect(store.tables.examples.rows.value).toEqual([]);
    expect(content()).toHaveLength(1);
    teachFrom('examples');
    await add(verdict('p', 'a', true));
    expect(store.made.value).toMatchObject({ words: '1 thumb of a file went to the preferences.' });
    expect(store.tables.examples.rows.value).toEqual([]);
  });

  it('is edited, and every step can be undone', async () => {
    await add(...pairs(2));
    const [first] = table.rows.value;
    editRow(first!.id, 'chosen', withPart(first!.example, 'chosen', 'b'));
    editRow(first!.id, 'chosen', withPart(first!.example, 'chosen', 'better'));
    deleteRow(table.rows.value[1]!.id);
    expect(content()).toEqual([preference('q0', 'better', 'bad 0')]);
    undo();
    expect(content()).toHaveLength(2);
    undo();
    expect(content()).toEqual(pairs(2));
    undo();
    expect(content()).toEqual([]);
  });

  it('has nothing to do with the examples and their undo', () => {
    useStarter('prefer-formal');
    teachFrom('examples');
    useStarter('pirate');
    undo();
    expect(store.tables.examples.rows.value).toEqual([]);
    expect(content()).toHaveLength(64);
  });

  it('comes in starter sets of unlike pairs', () => {
    for (const { examples } of startersOf.preferences) {
      const seen = examples.map(view);
      expect(examples).toHaveLength(64);
      expect(seen.every((one) => one.kind === 'preference' && one.chosen !== one.rejected)).toBe(true);
      expect(new Set(seen.map((one) => one.kind === 'preference' && one.question)).size).toBe(64);
    }
  });

  it('is the same in every tab of the page', async () => {
    const kept: Saved[] = [];
    const tabs: { posted: unknown[]; postMessage: (message: unknown) => void; onmessage: BroadcastChannel['onmessage'] } = { posted: [], postMessage: (message) => void tabs.posted.push(message), onmessage: null };
    vi.useFakeTimers();
    keepEveryChange({ load: async () => kept.at(-1) ?? null, save: async (saved) => void kept.push(saved), tabs, notKept: () => undefined });
    const told = () => (tabs.onmessage as unknown as () => Promise<void>)();
    await vi.advanceTimersByTimeAsync(1000);
    expect(kept).toEqual([]);
    useStarter('prefer-formal');
    // Another tab's record does not take what is being kept.
    await told();
    expect(content()).toHaveLength(64);
    await vi.advanceTimersByTimeAsync(1000);
    expect([kept.length, tabs.posted]).toEqual([1, ['kept']]);
    kept.push({ ...kept[0]!, preferences: pairs(3) });
    await told();
    expect(content()).toEqual(pairs(3));
    await vi.advanceTimersByTimeAsync(1000);
    expect([kept.length, tabs.posted.length]).toEqual([2, 1]);
    vi.useRealTimers();
  });

  it('is kept over a reload, with the tab and what was chosen there', async () => {
    await add(...pairs(3), verdict('p', 'a', false));
    setPrefer('kto');
    setField('beta', '0.3');
    const record = structuredClone(toRecord());
    await reopen();
    expect(content()).toEqual([]);
    fromRecord(record);
    expect(content()).toEqual([...pairs(3), verdict('p', 'a', false)]);
    expect(store.settings.value).toMatchObject({ teach: 'preferences', prefer: 'kto' });
    expect(store.form.value?.config).toMatchObject({ objective: 'kto', beta: 0.3 });
    const { preferences: _, ...before } = record;
    fromRecord({ ...before, settings: { method: 'lora', changed: {}, holdOut: 0 } as unknown as Settings });
    expect(content()).toEqual([]);
  });
});

describe('what an objective learns from', () => {
  const rows = [...pairs(12), verdict('a', 'b', true), verdict('c', 'd', false), verdict('e', 'f', true)].map(row);

  it('are pairs, single answers, or both', () => {
    expect(usedBy('pairs', rows)).toEqual(rows.slice(0, 12));
    expect(usedBy('verdicts', rows)).toEqual(rows);
    expect(usedBy('examples', [...rows, row(pair('q', 'a'))])).toHaveLength(1);
  });

  it('is said with the counts', () => {
    expect(counted(rows)).toBe('12 pairs and 3 thumbs');
    expect(usesWords(labels.dpo!, rows, ['KTO'])).toBe('12 pairs; 3 thumbs are used by KTO only.');
    expect(usesWords(labels.reward!, rows.slice(11, 13), ['KTO'])).toBe('1 pair; 1 thumb is used by KTO only.');
    expect(usesWords(labels.kto!, rows, ['KTO'])).toBe('KTO takes one answer at a time: 12 pairs become two rows each, 27 rows in all.');
    expect([usesWords(labels.dpo!, rows.slice(0, 12), ['KTO']), usesWords(labels.kto!, rows.slice(12), ['KTO'])]).toEqual(['', '']);
  });

  it('follows the tab, and what the person wants of the preferences', () => {
    const of = () => store.form.value?.config.objective;
    expect(of()).toBe('dpo');
    setPrefer('orpo');
    expect(of()).toBe('orpo');
    setGoal('score');
    expect(of()).toBe('reward');
    setGoal('prefer');
    expect(of()).toBe('orpo');
    teachFrom('examples');
    expect(of()).toBe('sft');
  });

  it('has its own settings alone, with its own defaults, in a form of its own', () => {
    const config = (change: Partial<Settings>): RunConfig => toConfig(defaults(), { ...firstSettings, ...change }).config;
    const own = (objective: string) => ownFields(defaults(), 'lora', objective).map(({ name, choices }) => [name, choices?.at(-1)]);
    expect(own('dpo')).toEqual([['loss_type', 'robust'], ['beta', undefined]]);
    expect(own('cpo')).toEqual([['loss_type', 'simpo'], ['beta', undefined]]);
    expect(own('reward')).toEqual([['center_rewards_coefficient', undefined]]);
    expect(config({ teach: 'preferences' })).toMatchObject({ objective: 'dpo', learning_rate: 1e-5, loss_type: 'sigmoid', beta: 0.1, r: 16 });
    expect(config({ teach: 'preferences' })).not.toHaveProperty('desirable_weight');
    expect(config({})).toMatchObject({ objective: 'sft', learning_rate: 2e-4 });
    expect(config({})).not.toHaveProperty('beta');
    const settings: Settings = { ...firstSettings, teach: 'preferences', changed: { lora: { r: '8' } } };
    expect(formOf(settings)).not.toBe(formOf(firstSettings));
    expect(config(settings)).toMatchObject({ r: 16 });
  });

  it('is held out by a quarter where there are enough, unless the person says otherwise', async () => {
    expect([15, 16, 64].map(suggestedShare)).toEqual([0, 0.25, 0.25]);
    await add(...pairs(16), verdict('p', 'a', true));
    expect([store.parts.value.train.length, store.parts.value.held.length]).toEqual([12, 4]);
    store.settings.value = { ...store.settings.value, holdOutPreferences: 0 };
    expect(store.parts.value.held).toEqual([]);
  });

  it('is what the run gets', async () => {
    await add(...pairs(16), verdict('p', 'a', true));
    await train();
    expect(started[0]).toMatchObject({ config: { objective: 'dpo', load_best_model_at_end: true, early_stopping_patience: 3 } });
    expect([started[0]!.rows.length, started[0]!.heldOut.length]).toEqual([12, 4]);
    store.run.value = noRun;
    setPrefer('kto');
    setKeepBest(false);
    await train();
    expect(started[1]!.config).not.toHaveProperty('load_best_model_at_end');
    const [examples, evalExamples] = [session.rows.of(started[1]!.rows), session.rows.of(started[1]!.heldOut)];
    expect([...examples, ...evalExamples].filter((example) => 'label' in example)).toEqual([verdict('p', 'a', true)]);
    expect(examples.length + evalExamples.length).toBe(17);
    expect(store.dataset.value).toMatchObject({ teach: 'preferences', trained: '12 pairs and 1 thumb' });
  });

  it('is told row by row where it cannot be used', async () => {
    await add(...pairs(2), preference('q', 'same', 'same'));
    await train();
    expect(started).toEqual([]);
    expect(store.rowErrors.value?.rows.map(({ problem }) => problem.message)).toEqual(['both answers are the same']);
    store.rowErrors.value!.goOn();
    await tick();
    expect(started[0]!.rows).toHaveLength(2);
  });

  it('cannot start where there is none, and keeps the lab for examples', async () => {
    await add(verdict('p', 'a', true));
    expect(store.whyNotTrain.value).toBe('Add at least one pair (step 2).');
    setPrefer('kto');
    expect(store.whyNotTrain.value).toBeNull();
    expect(store.whyNotLab.value).toContain('Choose its tab Examples');
  });

  it('is shown side by side, as the model sees it', async () => {
    await add(preference('q', 'good one', 'bad'), verdict('p', 'fine', false));
    const shown = async (index: number) => {
      table.selected.value = table.rows.value[index]!.id;
      await new Promise((done) => setTimeout(done, 250));
      return store.preview.value;
    };
    const compared = (tokens: { text: string; target: boolean }[]) => tokens.filter(({ target }) => target).map(({ text }) => text).join('');
    const seen = await shown(0);
    if (!seen || !('preview' in seen) || !('chosen' in seen.preview)) throw new Error(JSON.stringify(seen));
    expect([compared(seen.preview.chosen), compared(seen.preview.rejected)]).toEqual(['good one<|im_end|>', 'bad<|im_end|>']);
    expect(await shown(1)).toMatchObject({ unused: true });
    setPrefer('kto');
    expect(await shown(1)).toMatchObject({ preview: { label: false, targets: 2 } });
  });
});

describe('a duel', () => {
  const question = async (text = 'Where is my parcel?') => {
    store.question.value = text;
    await startDuel();
  };
  const answersOf = () => store.duel.value.answers.map(({ text }) => text) as [string, string];

  it('samples two answers side by side, and the one that is chosen makes a pair with the other', async () => {
    await question();
    expect(store.duel.value.state).toBe('open');
    expect(asks.map(({ temperature, adapter, count }) => [temperature, adapter, count])).toEqual([[1, null, 2]]);
    const [first, second] = answersOf();
    choose(1);
    expect(content()).toEqual([preference('Where is my parcel?', second, first)]);
    expect(store.made.value).toMatchObject({ at: 'try', words: 'A pair was added. The preferences: 1 pair.' });
    choose(0);
    expect(content()).toHaveLength(1);
  });

  it('warns of a choice that was cut at the token limit', async () => {
    store.duelSettings.value = { ...store.duelSettings.value, maxNewTokens: 5 };
    await question();
    choose(0);
    expect(store.made.value?.words).toContain('raise “Max tokens”. The preferences: 1 pair.');
    store.duelSettings.value = { ...store.duelSettings.value, maxNewTokens: 128 };
  });

  it('is open again when its pair is taken back', async () => {
    await question();
    choose(0);
    addRow('pair');
    expect(store.made.value).toBeNull();
    undo();
    undo();
    expect(isDecided()).toBe(false);
    choose(0);
    expect(isDecided()).toBe(true);
    takeBack(store.made.value!);
    expect([isDecided(), content(), store.made.value?.rows]).toEqual([false, [], []]);
    choose(1);
    expect(content()).toHaveLength(1);
  });

  it('makes no pair where neither is better', async () => {
    await question();
    skipDuel();
    choose(0);
    expect([store.duel.value.state, content()]).toEqual(['idle', []]);
  });

  it('samples again where both are the same, and says so', async () => {
    const texts = ['same', ' same\n', '', 'other', 'one', 'two'];
    session.generate = async () => [1, 2].map(() => ({ text: texts.shift()!, tokens: 1, stop: 'end', tokens_per_second: 1 }));
    await question();
    expect([texts, answersOf()]).toEqual([[], ['one', 'two']]);
    expect(store.duel.value).toMatchObject({ state: 'open', note: 'One answer was empty, which makes no pair: sampled again, 3 of 4.' });
  });

  it('gives up where they stay the same', async () => {
    session.generate = async () => [1, 2].map(() => ({ text: 'same', tokens: 1, stop: 'end', tokens_per_second: 1 }));
    await question();
    expect(store.duel.value).toMatchObject({ state: 'same', note: expect.stringMatching(/^Both answers were the same, .* Raise the temperature/) });
    choose(0);
    expect(content()).toEqual([]);
  });

  it('ends where it is stopped or fails, with nothing to choose', async () => {
    store.question.value = 'q';
    session.generate = async () => {
      throw { code: 'device-lost', message: 'the device was lost', help: 'again' };
    };
    await startDuel();
    choose(0);
    expect([store.duel.value.state, store.asking.value, content(), failures.length]).toEqual(['stopped', false, [], 1]);
  });

  it('comes from the adapter that is chosen, or one of each in an order that is drawn', async () => {
    await session.startTraining({ method: 'lora', max_steps: 1, learning_rate: 1e-3 }, put(session, [{ text: 'a' }]), new Uint32Array(), {});
    store.adapters.value = session.adapters();
    store.adapterId.value = 1;
    await question();
    store.duelSettings.value = { ...store.duelSettings.value, from: 'both' };
    const draw = vi.spyOn(Math, 'random');
    for (const drawn of [0.2, 0.8]) {
      draw.mockReturnValue(drawn);
      await question();
    }
    draw.mockRestore();
    expect(asks.map(({ adapter, count }) => [adapter, count])).toEqual([[1, 2], [1, 1], [null, 1], [null, 1], [1, 1]]);
    expect(store.duel.value.by[0]).toBe('the model as it came');
    [store.adapters.value, store.adapterId.value] = [[], null];
  });

  it('asks no reward model to write', async () => {
    await session.startTraining({ method: 'lora', objective: 'reward', max_steps: 1, learning_rate: 1e-3 }, put(session, pairs(1)), new Uint32Array(), {});
    store.adapters.value = session.adapters();
    store.adapterId.value = 1;
    await question();
    await ask();
    expect(asks.map(({ adapter, count }) => [adapter, count])).toEqual([[null, 2], [null, 1]]);
    [store.adapters.value, store.adapterId.value] = [[], null];
  });
});

describe('an answer', () => {
  const base = () => store.answers.value.base;
  const press = (good: boolean) => {
    store.answers.value = { ...store.answers.value, base: { ...base(), judged: judge(base(), good) } };
  };
  beforeEach(async () => {
    store.question.value = 'Why?';
    await ask();
    // The person may have typed on.
    store.question.value = 'Something else';
  });

  it('gets a thumb, which turns, and goes when it is pressed again', () => {
    press(true);
    expect(content()).toEqual([verdict('Why?', base().text, true)]);
    expect(store.made.value?.words).toBe('A thumb up was added. The preferences: 1 thumb.');
    press(false);
    expect(content()).toEqual([verdict('Why?', base().text, false)]);
    expect(thumbFor(base())).toBe(false);
    press(false);
    expect([content(), thumbFor(base())]).toEqual([[], null]);
    press(true);
    takeBack(store.made.value!);
    expect([content(), thumbFor(base())]).toEqual([[], null]);
  });

  it('makes a pair with what it was edited to, and none where nothing was changed', () => {
    const given = base().text;
    expect([correct(base(), `${given} `), correct(base(), ' \n')]).toEqual([false, false]);
    expect(content()).toEqual([]);
    expect(correct(base(), 'Because.')).toBe(true);
    expect(content()).toEqual([preference('Why?', 'Because.', given)]);
    expect(store.made.value?.rows).toEqual([table.rows.value[0]!.id]);
  });

  it('leads to its row in the table, however far down it is', async () => {
    await add(...pairs(30));
    teachFrom('examples');
    press(true);
    const id = table.rows.value.at(-1)!.id;
    seeRows(store.made.value!);
    expect(store.settings.value.teach).toBe('preferences');
    expect(table.selected.value).toBe(id);
    expect(table.limit.value).toBeGreaterThanOrEqual(31);
    undo();
    expect(content()).toHaveLength(30);
  });
});

describe('after a run', () => {
  const finish = async (config: RunConfig) => {
    await train();
    await session.startTraining(config, started.at(-1)!.rows, new Uint32Array(), {});
    await session.step();
    const point = { step: 1, loss: 1, smooth: 1, learningRate: 0, gradNorm: 0, tokens: 1, ms: 1, metrics: {} };
    store.run.value = { ...noRun, config, points: [point], state: 'done' };
    await tick();
    await tick();
  };
  const config = (objective: string): RunConfig => ({ method: 'lora', objective, max_steps: 1, learning_rate: 1e-3 });

  it('says in how many of the held-out pairs the model agrees, and the base', async () => {
    useStarter('prefer-shorter');
    await finish(config('dpo'));
    expect(store.agreement.value).toEqual({ tuned: { pairs: 16, agrees: 14 }, base: { pairs: 16, agrees: 8 } });
  });

  it('has no base to compare with for a reward model', async () => {
    useStarter('prefer-shorter');
    setGoal('score');
    await finish(config('reward'));
    expect(store.agreement.value).toEqual({ tuned: { pairs: 16, agrees: 14 }, base: null });
  });

  it('says nothing where nothing was held out, or a run on examples', async () => {
    await add(...pairs(4));
    await finish(config('dpo'));
    expect([store.agreement.value, failures]).toEqual([null, []]);
    store.run.value = noRun;
    teachFrom('examples');
    useStarter('pirate');
    store.settings.value = { ...store.settings.value, holdOut: 0.2 };
    await finish(config('sft'));
    expect([store.dataset.value?.held.length, store.agreement.value]).toEqual([2, null]);
  });
});
