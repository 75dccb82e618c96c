// Files of rows, read piece by piece: a large one is never whole in memory, and other requests come in between.

import type { Example, ImportError, RowsReader } from '../engine';
import { cancelled } from './models';

/** Bytes of a piece. */
const PIECE = 256_000;

/** What came of a piece, and how far that is. */
export type Told = (piece: { examples: Example[]; errors: ImportError[] }, done: number, total: number) => void;

/** Reads a file of JSONL to its end, or until it is stopped; gives what there is to know of all of it. */
export async function readFile(file: Blob, reader: RowsReader, told: Told, signal: AbortSignal): Promise<{ errors: ImportError[]; warnings: string[] }> {
  const decoder = new TextDecoder();
  let begun = '';
  for (let at = 0; at < file.size; at += PIECE) {
    if (signal.aborted) throw cancelled;
    const text = begun + decoder.decode(await file.slice(at, at + PIECE).arrayBuffer(), { stream: true });
    const end = text.lastIndexOf('\n') + 1;
    begun = text.slice(end);
    told(reader.read(text.slice(0, end)), Math.min(at + PIECE, file.size), file.size);
  }
  told(reader.read(begun + decoder.decode()), file.size, file.size);
  return reader.finish();
}
