// A person's function as a judge of answers: in a worker of its own, for a limited time.

import type { JudgeFunction, Problem, ToJudge } from '../engine';
import { lineInStack, lineOf, program, type Asked, type Said } from './confine';

/** The little of a worker that is needed. */
export interface Confined {
  onmessage: ((event: MessageEvent<Said>) => void) | null;
  onerror: ((event: ErrorEvent) => void) | null;
  postMessage(asked: Asked): void;
  terminate(): void;
}

/** Seconds for an answer, and for a worker to start, which on a busy machine takes a while. */
const [FOR_AN_ANSWER, TO_START] = [2, 20];

/** A worker that runs this program, and nothing of the page's. */
function startWorker(script: string): Confined {
  const url = URL.createObjectURL(new Blob([script], { type: 'text/javascript' }));
  try {
    return new Worker(url);
  } finally {
    // The worker has asked for it by now.
    setTimeout(() => URL.revokeObjectURL(url), 1000 * TO_START);
  }
}

const problem = (message: string, help: string): Problem => ({ code: 'config', message, help });

/** The function of a text; its worker is started when there is something to judge, and again where it had to be ended. */
export class OwnFunction {
  #worker: Confined | null = null;

  constructor(
    private readonly source: string,
    private readonly start: (script: string) => Confined = startWorker,
    private readonly seconds = FOR_AN_ANSWER,
  ) {}

  /** Judges the answers one after the other. Rejects with a `Problem`, and the worker is gone then. */
  readonly judge: JudgeFunction = async (answers) => {
    const earned: (number | null)[] = [];
    for (const answer of answers) earned.push(await this.#judgeOne(answer));
    return earned;
  };

  /** Ends the worker. */
  close(): void {
    this.#worker?.terminate();
    this.#worker = null;
  }

  async #judgeOne(answer: ToJudge): Promise<number | null> {
    if (!this.source.trim()) throw problem('there is none', 'Write it, or take this reward away.');
    if (!this.#worker) {
      this.#worker = this.start(program(this.source));
      await this.#ask(null, TO_START);
    }
    const said = await this.#ask(answer, this.seconds);
    return 'earned' in said && said.earned !== null && Number.isFinite(said.earned) ? said.earned : null;
  }

  /** What the worker says within some seconds. */
  async #ask(asked: Asked, seconds: number): Promise<Said> {
    const worker = this.#worker!;
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise<Said>((resolve, reject) => {
        const late = `it took longer than ${seconds} seconds over ${asked ? 'one answer' : 'its start'}, and was stopped`;
        timer = setTimeout(() => reject(problem(late, 'Look for a loop that does not end.')), 1000 * seconds);
        worker.onmessage = ({ data }: MessageEvent<Said>) => {
          if ('wrong' in data) reject(this.#wrong(data.wrong, lineInStack(data.stack)));
          else resolve(data);
        };
        worker.onerror = (event) => {
          event.preventDefault();
          reject(this.#wrong(event.message.replace(/^Uncaught /, ''), event.lineno));
        };
        worker.postMessage(asked);
      });
    } catch (thrown) {
      this.close();
      throw thrown;
    } finally {
      clearTimeout(timer);
    }
  }

  #wrong(what: string, line: number | null): Problem {
    const own = line === null ? null : lineOf(this.source, line);
    return problem(own === null ? what : `line ${own}: ${what}`, 'Correct it, and try it on an answer of your own.');
  }
}
