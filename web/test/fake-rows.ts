// The made-up engine's rows: those of a file that is read, and those that were handed over.

import type * as Engine from '../src/engine';
import { lineOf } from '../src/examples';
import type { Example, Side } from '../src/engine';

/** The rows that a session was given. */
export class FakeRows {
  readonly #rows = new Map<number, Example>();

  put(ids: Uint32Array, rows: Example[]): void {
    rows.forEach((row, index) => this.#rows.set(ids[index]!, row));
  }

  drop(ids: Uint32Array): void {
    ids.forEach((id) => this.#rows.delete(id));
  }

  get size(): number {
    return this.#rows.size;
  }

  of(ids: Uint32Array): Example[] {
    return Array.from(ids, (id) => {
      const row = this.#rows.get(id);
      if (!row) throw new Error(`there is no row ${id}`);
      return row;
    });
  }

  lines(ids: Uint32Array): string {
    return this.of(ids).map((row) => `${lineOf(row)}\n`).join('');
  }
}

/** Numbers that nobody else gives. */
let last = 1_000_000;

/** Hands rows over, and gives their numbers. */
export function put(session: { putRows(ids: Uint32Array, rows: Example[]): void }, rows: Example[]): Uint32Array {
  const ids = Uint32Array.from(rows, () => ++last);
  session.putRows(ids, rows);
  return ids;
}

export class RowsReader {
  #lines = 0;
  #rated: number[] = [];

  constructor(
    _name: string,
    private readonly prompts: boolean,
  ) {}

  free(): void {}

  read(text: string): { examples: Example[]; errors: Engine.ImportError[] } {
    const made: { examples: Example[]; errors: Engine.ImportError[] } = { examples: [], errors: [] };
    const lines = text.split(/\r?\n/);
    if (lines.at(-1) === '') lines.pop();
    for (const text of lines) {
      const line = ++this.#lines;
      if (!text.trim()) continue;
      try {
        const row = JSON.parse(text) as Record<string, unknown>;
        const message = this.prompts ? (row.prompt ? null : 'there is no prompt') : wrong(row);
        if (message !== null) made.errors.push({ line, message, help: this.prompts ? 'Give "prompt".' : 'Give "messages", "prompt" and "completion", "text", or "input_ids".' });
        else if (this.prompts) {
          const { prompt, ...columns } = row;
          made.examples.push({ prompt: prompt as Side, columns });
        } else {
          made.examples.push(row as Example);
          if ('rating' in row) this.#rated.push(line);
        }
      } catch {
        made.errors.push({ line, message: 'not JSON', help: 'Every line is one JSON object.' });
      }
    }
    return made;
  }

  finish(): { errors: Engine.ImportError[]; warnings: string[] } {
    return { errors: [], warnings: this.#rated.map((line) => `line ${line}: the column "rating" is not read`) };
  }
}

function wrong(row: unknown): string | null {
  if (typeof row !== 'object' || row === null || !['messages', 'prompt', 'text', 'input_ids', 'chosen', 'chosen_ids', 'prompt_ids'].some((key) => key in row)) return 'no field that is known';
  if ('chosen' in row !== 'rejected' in row) return 'only one of "chosen" and "rejected"';
  return 'label' in row && typeof row.label !== 'boolean' ? '"label" is true or false' : null;
}
