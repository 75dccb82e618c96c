// What the browser keeps of runs: the list of them, and what stands beside what the engine writes.

import { RowsReader, Sha256, objectives, runSummary } from 'tunesmith-engine';
import { unzipSync } from 'fflate';
import type { Event, Example, NamedFile, Problem, RowsHash } from '../engine';
import { fromLine, lineOf } from '../examples';
import type { KeptRun, RunNotes } from '../protocol';
import type { RunFolder, RunFolders } from './run-store';

/** The rows that a run learns from, and those that are held out of it. */
const ROWS = 'rows.jsonl';
const HELD_OUT = 'held-out.jsonl';
/** Names of the engine's files that the page reads, too. */
const RECORD = 'record.json';
const RUN = 'run.json';
const METRICS = 'metrics.jsonl';

const noStorage: Problem = {
  code: 'storage-unavailable',
  message: 'This browser does not let the page keep files, so no runs are kept.',
  help: 'In a private window, use a normal one to keep them.',
};

const goesOn: Problem = {
  code: 'busy',
  message: 'This run is going now.',
  help: 'Stop it first, here or in the tab where it goes.',
};

const noRun = (id: string): Problem => ({
  code: 'no-run',
  message: `There is no run ${id} any more.`,
  help: 'Another tab may have deleted it.',
});

export class Records {
  /** `going`: the ids of the runs that are going now, in whatever tab. */
  constructor(
    private readonly opened: Promise<RunFolders | null>,
    private readonly going: () => Promise<Set<string>>,
  ) {}

  async #folders(): Promise<RunFolders> {
    const folders = await this.opened;
    if (!folders) throw noStorage;
    return folders;
  }

  /** The folder of a run that is there. */
  async folder(id: string): Promise<RunFolder> {
    const folders = await this.#folders();
    if (!(await folders.ids()).includes(id)) throw noRun(id);
    return folders.folder(id);
  }

  /** A folder for a new run, with the lines of its rows in it, and their hashes; or why there is none. */
  async create(data: string, held: string): Promise<{ folder: RunFolder | null; hashes: RowsHash | null; problem: string | null }> {
    try {
      const folders = await this.#folders();
      await this.#clear(folders);
      const folder = await folders.folder(newId());
      try {
        await folder.write(ROWS, data);
        if (held) await folder.write(HELD_OUT, held);
      } catch (thrown) {
        await folders.remove(folder.name);
        throw thrown;
      }
      return { folder, hashes: { data: hashOf(data), ...(held && { held_out: hashOf(held) }) }, problem: null };
    } catch (thrown) {
      return { folder: null, hashes: null, problem: thrown instanceof Error ? thrown.message : (thrown as Problem).message };
    }
  }

  /** Removes what is left of runs that never began. Only one tab begins a run at a time. */
  async #clear(folders: RunFolders): Promise<void> {
    for (const id of await folders.ids()) {
      const folder = await folders.folder(id);
      if (!(await folder.entries()).includes(RUN)) await folders.remove(id);
    }
  }

  /** Every run that can be read, the latest first. */
  async list(): Promise<KeptRun[]> {
    const folders = await this.opened;
    if (!folders) return [];
    const runs: KeptRun[] = [];
    const going = await this.going();
    for (const id of await folders.ids()) {
      const run = await read(id, await folders.folder(id), going).catch(() => null);
      if (run) runs.push(run);
    }
    const begun = ({ summary }: KeptRun) => summary.about?.begun ?? 0;
    return runs.sort((one, other) => begun(other) - begun(one));
  }

  async one(id: string): Promise<KeptRun> {
    const run = await read(id, await this.folder(id), await this.going());
    if (!run) throw noRun(id);
    return run;
  }

  /** The events of a run up to where it is kept, and its rows. */
  async open(id: string): Promise<{ events: Event[]; rows: Example[]; heldOut: Example[] }> {
    const { summary } = await this.one(id);
    const folder = await this.folder(id);
    const rows = await folder.text(ROWS);
    if (rows === null) {
      throw {
        code: 'no-rows',
        message: 'The rows of this run are not kept with it.',
        help: `Put them into its folder as ${ROWS}, and what was held out as ${HELD_OUT}, and load the run again.`,
      } satisfies Problem;
    }
    const start: Event = { event: 'start', model: {}, method: {}, device: {}, trainable: summary.about?.trainable ?? 0, config: summary.config };
    const lines = (await folder.text(METRICS)) ?? '';
    const events = lines.split('\n').flatMap(eventOf);
    return { events: [start, ...events], rows: rowsOf(rows), heldOut: rowsOf((await folder.text(HELD_OUT)) ?? '') };
  }

  /** Changes what the page says of a run. */
  async note(id: string, notes: RunNotes): Promise<void> {
    const folder = await this.folder(id);
    const text = await folder.text(RECORD);
    if (text === null) throw noRun(id);
    const record = JSON.parse(text) as { notes?: RunNotes };
    await folder.write(RECORD, `${JSON.stringify({ ...record, notes: { ...record.notes, ...notes } }, null, 2)}\n`);
  }

  async remove(id: string): Promise<void> {
    if ((await this.going()).has(id)) throw goesOn;
    await (await this.#folders()).remove(id);
  }

  async files(id: string): Promise<NamedFile[]> {
    return (await this.folder(id)).files();
  }

  /** A run from a zip of its folder, wherever in it that lies; its rows are read as those of a file are. */
  async import(file: File): Promise<string> {
    const found = await unzipped(file);
    const folders = await this.#folders();
    const folder = await folders.folder(newId());
    try {
      const whole = Object.entries(found).filter(([path]) => !path.includes('/'));
      for (const [name, bytes] of whole) {
        const isRows = name === ROWS || name === HELD_OUT;
        await folder.write(name, isRows ? readRows(file.name, bytes, found) : bytes);
      }
      const inside = Object.entries(found).filter(([path]) => path.split('/').length === 2);
      for (const name of new Set(inside.map(([path]) => path.split('/')[0]!))) {
        const files = inside.filter(([path]) => path.startsWith(`${name}/`)).map(([path, bytes]) => ({ name: path.slice(name.length + 1), bytes }));
        await folder.writeFolder(name, files);
      }
      if (!(await read(folder.name, folder, new Set()))) throw notARun(file.name);
    } catch (thrown) {
      await folders.remove(folder.name);
      throw thrown;
    }
    return folder.name;
  }
}

async function read(id: string, folder: RunFolder, going: Set<string>): Promise<KeptRun | null> {
  const summary = await runSummary(folder);
  return summary && { id, summary, notes: (summary.about?.notes as RunNotes | undefined) ?? {}, going: going.has(id) };
}

/** The time, so that ids come in the order of their runs, and what tells runs of the same second apart. */
function newId(): string {
  const time = new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-');
  return `${time}-${crypto.randomUUID().slice(0, 4)}`;
}

/** SHA-256 of a text. */
function hashOf(text: string): string {
  const hash = new Sha256();
  hash.update(new TextEncoder().encode(text));
  const hex = hash.hex();
  hash.free();
  return hex;
}

const linesOf = (rows: Example[]): string => rows.map((row) => `${lineOf(row)}\n`).join('');

/** The rows of a file that the page wrote. */
function rowsOf(text: string): Example[] {
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const row = JSON.parse(line) as Record<string, unknown>;
      const isPrompt = 'prompt' in row && !['completion', 'chosen', 'label'].some((name) => name in row);
      return isPrompt ? fromLine(row) : (row as Example);
    });
}

/** A line of metrics; one that was cut off in the middle is none. */
function eventOf(line: string): Event[] {
  try {
    return [JSON.parse(line) as Event];
  } catch {
    return [];
  }
}

const notARun = (name: string): Problem => ({
  code: 'format',
  message: `${name}: there is no run in it.`,
  help: 'Give a zip of the folder of a run, with run.json and metrics.jsonl in it, as this page and the command line write it.',
});

/** The files of a run's folder in a zip, by their paths below that folder. */
async function unzipped(file: File): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
  let all: Record<string, Uint8Array>;
  try {
    all = unzipSync(new Uint8Array(await file.arrayBuffer()));
  } catch (thrown) {
    throw {
      code: 'format',
      message: `${file.name}: this is no whole zip (${thrown instanceof Error ? thrown.message : String(thrown)}).`,
      help: 'Download or copy it again.',
    } satisfies Problem;
  }
  const settings = Object.keys(all)
    .filter((path) => path === RUN || path.endsWith(`/${RUN}`))
    .sort((one, other) => one.length - other.length)[0];
  if (settings === undefined) throw notARun(file.name);
  const before = settings.slice(0, -RUN.length);
  const own = Object.entries(all).filter(([path]) => path.startsWith(before) && !path.endsWith('/'));
  return Object.fromEntries(own.map(([path, bytes]) => [path.slice(before.length), bytes as Uint8Array<ArrayBuffer>]));
}

/** Rows as the page writes them. */
function readRows(name: string, bytes: Uint8Array, files: Record<string, Uint8Array>): string {
  const text = new TextDecoder().decode(bytes);
  const config = JSON.parse(new TextDecoder().decode(files[RUN])) as { objective?: string };
  const answers = objectives().some(({ name, rows }) => name === config.objective && rows === 'prompts');
  const reader = new RowsReader(name, answers);
  const { examples, errors } = reader.read(text);
  const [error] = [...errors, ...reader.finish().errors];
  if (error) throw { code: 'data', message: error.message, help: error.help } satisfies Problem;
  return linesOf(examples);
}
