import { beforeEach, describe, expect, it, vi } from 'vitest';
import { put } from './fake-rows';

vi.mock('../src/actions/session', () => import('./fake-session'));

const { asks, failures, reopen } = await import('./fake-session');
const { askHeldOut, canAskHeldOut, heldOutCsv, isExact } = await import('../src/actions/held-out');
const store = await import('../src/store');
const { pair, row } = await import('../src/examples');
const { pace } = await import('./fake-engine');

Object.assign(pace, { step: 0, token: 0, load: 0 });

beforeEach(async () => {
  await reopen();
  store.heldOut.value = null;
  store.adapters.value = [];
});

describe('what was held out', () => {
  it('is asked before and after, with how ordinary text is read', async () => {
    const fake = (await import('./fake-session')).session;
    await fake.startTraining({ method: 'lora', max_steps: 1, learning_rate: 1e-3 }, put(fake, [pair('What?', 'This!')]), new Uint32Array(), {});
    await fake.step();
    store.adapters.value = fake.adapters();
    const held = [row(pair('What?', 'This!')), row({ text: 'asks nothing' })];
    store.dataset.value = { teach: 'examples', trained: '1 example', held, tokens: 1, targets: 1, truncated: 0 };
    store.runId.value = null;
    expect(canAskHeldOut()).toBe(true);
    await askHeldOut();
    expect(failures).toEqual([]);
    const told = store.heldOut.value!;
    expect([told.state, told.neutral]).toEqual(['done', { base: 3.21, tuned: 3.47 }]);
    const [answer] = told.rows;
    expect([told.rows.length, isExact(answer!.base, answer!), isExact(answer!.tuned, answer!)]).toEqual([1, false, true]);
    expect(asks.map(({ adapter }) => adapter)).toEqual([null, 1]);
  });

  it('goes out as CSV that spreadsheets read', () => {
    const csv = heldOutCsv([{ system: null, question: 'Say "hi", please', expected: 'hi', base: 'Hello\nthere', tuned: ' hi ' }]);
    expect(csv).toBe('question,expected,base,tuned,base_exact,tuned_exact\r\n"Say ""hi"", please",hi,"Hello\nthere", hi ,false,true\r\n');
  });
});
