// What stands in for src/actions/session where actions are tested: no worker, and the made-up engine behind every request.

import { toProblem, type RequestName, type Requests } from '../src/protocol';
import { noRun } from '../src/run';
import { in4bit, model, refused, run, told } from '../src/store';
import { readAdapter } from '../src/worker/adapters';
import { Session, defaults } from './fake-engine';

export let session: Session;
/** What went wrong, in the order it was shown. */
export const failures: unknown[] = [];

const load = async (file: File, options: Requests['reload']['args']['options']) => ({
  info: await session.load(file.name, file, () => undefined, options),
  where: 'file',
  note: null,
});

const answers: Partial<Record<RequestName, (args: never) => unknown>> = {
  adapters: () => session.adapters(),
  addAdapter: async ({ files }: Requests['addAdapter']['args']) => {
    const { name, config } = await readAdapter(files);
    await session.addAdapter(name, config);
    return session.adapters();
  },
  removeAdapter: ({ id }: Requests['removeAdapter']['args']) => {
    session.removeAdapter(id);
    return session.adapters();
  },
  loadFile: ({ file, options }: Requests['loadFile']['args']) => load(file, options),
  reload: ({ options }: Requests['reload']['args']) => load(gguf('a.F16.gguf'), options),
};

export const engine = () => ({ ask: async (name: RequestName, args: never) => answers[name]!(args) });

export const attempt = (action: () => Promise<void>) => action().catch((thrown: unknown) => fail(toProblem(thrown)));

export const fail = (problem: unknown): void => void failures.push(problem);

export const askForOffer = async () => undefined;

/** A file that the made-up engine takes for a model. */
export const gguf = (name: string) => new File(['GGUF'], name);

export const tick = () => new Promise((done) => setTimeout(done, 5));

/** A page that was just opened. */
export async function reopen(): Promise<void> {
  session = await Session.create();
  told.value = defaults();
  in4bit.value = false;
  refused.value = null;
  run.value = noRun;
  model.value = { state: 'none' };
  await tick();
  failures.length = 0;
}
