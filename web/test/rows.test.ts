import { beforeEach, describe, expect, it, vi } from 'vitest';

vi.mock('../src/actions/session', () => import('./fake-session'));

import { addRows, importFiles, replaceRow, stopImport, removeRows } from '../src/actions/data';
import { addAdapter, followAdapters } from '../src/actions/adapters';
import { loadFiles } from '../src/actions/model';
import { handOver } from '../src/actions/rows';
import { setBeginFrom, train } from '../src/actions/train';
import { isBlank, pair, row } from '../src/examples';
import * as store from '../src/store';
import { readFile } from '../src/worker/import';
import { zipSync } from 'fflate';
import { RowsReader, pace } from './fake-engine';
import { engine, failures, gguf, reopen, session, started, tick } from './fake-session';

Object.assign(pace, { step: 0, token: 0, load: 0 });
followAdapters();

const table = store.tables.examples;

beforeEach(async () => {
  await reopen();
  await loadFiles(gguf('a.Q4_1.gguf'));
  await tick();
});

describe('rows for the engine', () => {
  it('are handed over once, and again when they are changed', async () => {
    const puts = vi.spyOn(session, 'putRows');
    const rows = Array.from({ length: 1200 }, (_, i) => row(pair(`q${i}`, `a${i}`)));
    addRows(rows, 'adding');
    const [ids, none] = await handOver(table.rows.value, []);
    expect([ids!.length, none!.length, puts.mock.calls.map(([ids]) => ids.length)]).toEqual([1200, 0, [500, 500, 200]]);
    await handOver(table.rows.value);
    expect(puts).toHaveBeenCalledTimes(3);
    replaceRow(table, rows[7]!.id, () => pair('other', 'a'), 'editing');
    const [again] = await handOver(table.rows.value);
    expect(puts.mock.calls.at(-1)).toEqual([Uint32Array.of(rows[7]!.id), [pair('other', 'a')]]);
    expect(session.rows.of(again!)[7]).toEqual(pair('other', 'a'));
    // What no table has any more is given up, but for some that an undo may bring back.
    removeRows(table, rows.slice(0, 1150).map(({ id }) => id), 'deleting');
    await handOver(table.rows.value);
    expect(session.rows.size).toBe(50);
    expect(engine()).toBe(engine());
  });

  it('are what a run learns from, in their order', async () => {
    addRows(['a', 'b', 'c'].map((text) => row({ text })), 'adding');
    await train();
    expect(session.rows.of(started[0]!.rows)).toEqual([{ text: 'a' }, { text: 'b' }, { text: 'c' }]);
  });

  it('are blank or not, whatever was asked before', () => {
    const empty = pair('', ' ');
    expect([isBlank(empty), isBlank(empty), isBlank(pair('a', ''))]).toEqual([true, true, false]);
  });
});

describe('a large file', () => {
  const line = (i: number) => JSON.stringify({ prompt: `question ${i}, ä 🙂`, completion: 'x'.repeat(300) });
  const lines = (n: number) => Array.from({ length: n }, (_, i) => line(i));

  it('is read in pieces, and is what it is in one', async () => {
    const text = [...lines(2000), 'no JSON', ...lines(3)].join('\n');
    const pieces: number[] = [];
    const rows: unknown[] = [];
    const errors: unknown[] = [];
    await readFile(new Blob([text]), new RowsReader('x', false), (piece, done, total) => {
      pieces.push(done / total);
      rows.push(...piece.examples);
      errors.push(...piece.errors);
    }, new AbortController().signal);
    expect(rows).toEqual([...lines(2000), ...lines(3)].map((one) => JSON.parse(one)));
    expect(errors).toMatchObject([{ line: 2001 }]);
    expect(pieces.length).toBeGreaterThan(3);
    expect([pieces.at(-1), pieces]).toEqual([1, pieces.toSorted((one, other) => one - other)]);
  });

  it('comes in as one step that can be undone, or not at all', async () => {
    const file = new File([lines(3000).join('\n')], 'many.jsonl');
    let why: string | null = null;
    const done = store.importing.subscribe((current) => {
      if (!current?.done) return;
      why = store.whyNotTrain.value;
      void stopImport();
    });
    await importFiles([file]);
    done();
    expect(why).toContain('A file is being read');
    expect([table.rows.value.length, table.past.value.length, store.importing.value]).toEqual([0, 0, null]);
    await importFiles([file]);
    expect([table.rows.value.length, table.past.value.length, store.importing.value]).toEqual([3000, 1, null]);
  });
});

describe('a run that begins from an adapter', () => {
  const zip = (name: string, config: object) => new File([zipSync({ 'adapter_config.json': new TextEncoder().encode(JSON.stringify(config)), 'adapter_model.safetensors': new Uint8Array(1) })], name);

  it('has its method, and a new one where it is gone', async () => {
    addRows([row({ text: 'a' })], 'adding');
    await addAdapter([zip('mine.zip', { peft_type: 'IA3' })]);
    await tick();
    const [mine] = store.adapters.value;
    expect(store.beginnings.value).toEqual([mine]);
    setBeginFrom(mine!.id);
    expect([store.beginFrom.value, store.settings.value.method]).toEqual([mine, mine!.method]);
    await train();
    expect(started[0]).toMatchObject({ beginFrom: mine!.id, notes: { begunFrom: 'mine.zip' } });
    store.settings.value = { ...store.settings.value, teach: 'preferences', goal: 'score' };
    expect(store.beginFrom.value).toBeNull();
    store.settings.value = { ...store.settings.value, teach: 'examples' };
    store.adapters.value = [];
    expect(store.beginFrom.value).toBeNull();
    expect(failures).toEqual([]);
  });
});
