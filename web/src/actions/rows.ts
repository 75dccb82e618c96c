// What the engine has of the tables: each row is handed over once, under its number, and again when it was changed.

import type { Client } from '../client';
import type { Example } from '../engine';
import type { Row } from '../examples';
import { tables } from '../store';
import { engine } from './session';

/** Rows in one message: the page has other things to do between two. */
const AT_ONCE = 500;
/** Rows that no table has any more, of which so many may stay: an undo brings some back. */
const SPARE = 1000;

/** What each engine has: an engine that is started again has nothing. */
const sent = new WeakMap<Pick<Client, 'ask'>, Map<number, Example>>();

/** Hands over what the engine does not have of these rows; gives their numbers. */
export async function handOver(...lists: (readonly Row[])[]): Promise<Uint32Array[]> {
  const client = engine();
  const known = sent.get(client) ?? new Map<number, Example>();
  sent.set(client, known);
  const news = lists.flatMap((rows) => rows.filter(({ id, example }) => known.get(id) !== example));
  for (let at = 0; at < news.length; at += AT_ONCE) {
    const piece = news.slice(at, at + AT_ONCE);
    await client.ask('putRows', { ids: Uint32Array.from(piece, ({ id }) => id), examples: piece.map(({ example }) => example) });
    for (const { id, example } of piece) known.set(id, example);
  }
  await forgetGone(client, known);
  return lists.map((rows) => Uint32Array.from(rows, ({ id }) => id));
}

async function forgetGone(client: Pick<Client, 'ask'>, known: Map<number, Example>): Promise<void> {
  const all = Object.values(tables).flatMap(({ rows }) => rows.value);
  if (known.size <= all.length + SPARE) return;
  const there = new Set(all.map(({ id }) => id));
  const gone = [...known.keys()].filter((id) => !there.has(id));
  gone.forEach((id) => known.delete(id));
  await client.ask('dropRows', { ids: Uint32Array.from(gone) });
}
