import { beforeEach, describe, expect, it, vi } from 'vitest';

vi.mock('../src/actions/session', () => import('./fake-session'));

const { asked, failures, gguf, reopen } = await import('./fake-session');
const { answerAgain, ask } = await import('../src/actions/ask');
const { loadFiles } = await import('../src/actions/model');
const { judge, teachAnswer } = await import('../src/actions/preferences');
const store = await import('../src/store');
const { pace } = await import('./fake-engine');

Object.assign(pace, { step: 0, token: 0, load: 0 });

const send = async (question: string) => {
  store.question.value = question;
  await ask();
};
const roles = (index: number) => asked[index]!.map(({ role, content }) => `${role}: ${content.slice(0, 12)}`);

beforeEach(async () => {
  await reopen();
  asked.length = 0;
  store.startOver();
  store.systemPrompt.value = '';
  store.adapters.value = [];
  await loadFiles(gguf('a.gguf'));
});

describe('the chat', () => {
  it('goes on from what the model said itself, behind the system prompt', async () => {
    store.systemPrompt.value = 'Be brief.';
    await send('Who are you?');
    await send('And then?');
    expect(failures).toEqual([]);
    expect(roles(0)).toEqual(['system: Be brief.', 'user: Who are you?']);
    expect(roles(1)).toEqual(['system: Be brief.', 'user: Who are you?', 'assistant: That is a gr', 'user: And then?']);
    expect([store.turns.value.length, store.question.value]).toEqual([1, '']);
    store.startOver();
    await send('Again?');
    expect(roles(2)).toEqual(['system: Be brief.', 'user: Again?']);
  });

  it('answers the same again, drawn otherwise', async () => {
    await send('Who are you?');
    await answerAgain('base');
    expect(roles(1)).toEqual(['user: Who are you?']);
    expect(store.turns.value).toEqual([]);
    expect(store.answers.value.base.note).toContain('drawn at temperature 0.8');
  });

  it('makes rows of an answer with all that was said before it', async () => {
    await send('Who are you?');
    await send('And then?');
    const answer = store.answers.value.base;
    teachAnswer(answer);
    judge(answer, true);
    const [example] = store.tables.examples.rows.value.slice(-1);
    expect((example!.example as { messages: { role: string }[] }).messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant']);
    const [thumb] = store.tables.preferences.rows.value.slice(-1);
    expect((thumb!.example as { prompt: unknown[] }).prompt.length).toBe(3);
  });
});
