// The plain words of every state in which the page cannot go on as usual, and what to do about each.

import type { Device, Problem } from './engine';

export interface Words {
  state: string;
  title: string;
  body: string;
  fix: string;
  /** Whether starting the engine again can help. */
  restart: boolean;
  tone: 'stop' | 'note';
}

const table: Record<string, Omit<Words, 'state'>> = {
  insecure: {
    title: 'This page needs a secure address',
    body: 'Browsers give the GPU only to pages from https:// or from this machine itself (http://localhost).',
    fix: 'Open the page at http://localhost or http://127.0.0.1, or serve it over https.',
    restart: false,
    tone: 'stop',
  },
  'no-webgpu': {
    title: 'This browser has no WebGPU',
    body: 'Training runs on your GPU through WebGPU, which this browser does not offer. You can still collect and edit examples here.',
    fix: 'Use a current Chrome or Edge (113 or later), Safari 26, or Firefox 141 or later. On Linux, Chrome may need chrome://flags/#enable-unsafe-webgpu.',
    restart: false,
    tone: 'stop',
  },
  'no-adapter': {
    title: 'WebGPU is here, but it found no GPU',
    body: 'The browser knows WebGPU but offers no adapter to run on: the graphics driver may be blocked or missing, or hardware acceleration is off.',
    fix: 'Turn on “Use graphics acceleration” in the browser’s settings, update the graphics driver, and look at chrome://gpu for the reason. Without a GPU, Chrome started with --enable-unsafe-swiftshader computes in software.',
    restart: true,
    tone: 'stop',
  },
  limit: {
    title: 'This GPU’s limits are too small',
    body: 'The model or the run needs a larger buffer than this device allows.',
    fix: 'Choose a smaller model, or lower “Longest example” and the batch size.',
    restart: false,
    tone: 'stop',
  },
  'device-lost': {
    title: 'The GPU went away',
    body: 'The browser took the device back: the driver was reset, the machine slept, or another program needed all of it. Your examples and settings are kept, and so is each run up to its last checkpoint.',
    fix: 'Start the engine again, load the model, and continue the run under Runs (step 3). Where the engine does not start, close the browser and open it again: browsers give up on a GPU that failed more than once.',
    restart: true,
    tone: 'stop',
  },
  'out-of-memory': {
    title: 'The GPU is out of memory',
    body: 'There was not enough free memory for this model and this run.',
    fix: 'Close other tabs and programs that use the GPU, lower “Longest example”, the batch size or the rank, then start the engine again.',
    restart: true,
    tone: 'stop',
  },
  gpu: {
    title: 'The engine stopped',
    body: 'The GPU refused what it was asked. Your examples and settings are kept.',
    fix: 'Start the engine again.',
    restart: true,
    tone: 'stop',
  },
  crashed: {
    title: 'The engine stopped',
    body: 'Something unexpected happened inside it. Your examples and settings are kept.',
    fix: 'Start the engine again.',
    restart: true,
    tone: 'stop',
  },
};

const titles: Record<string, string> = {
  format: 'This file cannot be read as a model',
  architecture: 'This model’s architecture is not supported',
  quantization: 'This file’s encoding is not supported',
  'storage-full': 'The browser’s storage is full',
  'storage-unavailable': 'The browser keeps no files for this page',
  'storage-busy': 'Another tab is downloading',
  'other-tab': 'Another tab is training',
  network: 'The download stopped',
  hash: 'The downloaded file is damaged',
  'no-default-model': 'No default model here',
  data: 'An example cannot be used',
  config: 'A setting cannot be used',
  'unknown-key': 'A setting is not known',
  template: 'The model’s chat template refused',
  'non-finite': 'The run went out of bounds',
  clipboard: 'The table was not copied',
  adapter: 'The adapter cannot be used',
  io: 'A file could not be read',
  'no-run': 'The run is gone',
  'nothing-kept': 'The run was cut off at its beginning',
  'no-rows': 'The run has no rows',
  'other-model': 'The run is on another model',
};

/** The banner for a state that stops the engine, or null when the problem is a smaller one. */
export function banner(problem: Problem): Words | null {
  const state = problem.code;
  const words = table[state];
  if (!words) return null;
  // Where the engine knows more than the general words, it says it.
  const specific = ['limit', 'crashed', 'gpu', 'out-of-memory'].includes(state) && problem.message ? problem.message : words.body;
  const fix = state === 'limit' && problem.help ? problem.help : words.fix;
  return { state, ...words, body: specific, fix };
}

/** What a device is called; most browsers keep the name to themselves. */
export const nameOf = ({ name, software }: Device): string => name || (software ? 'Software' : 'GPU');

/** Slow but right: a device that computes on the processor, with its measured speed once there is one. */
export function software(device: Device, tokensPerSecond: number | null): Words {
  const speed =
    tokensPerSecond === null
      ? 'A step may take from several seconds to a minute; the speed is shown here once a run has measured it.'
      : `Measured here: ${tokensPerSecond < 10 ? tokensPerSecond.toFixed(1) : Math.round(tokensPerSecond)} tokens a second in training.`;
  return {
    state: 'software',
    title: 'No GPU in reach: computing in software',
    body: `Everything works, slowly, on the processor${device.name && ` (${device.name})`}. ${speed}`,
    fix: 'For speed, turn on graphics acceleration in the browser’s settings, or use a machine with a GPU. To try it here, keep to few steps and short examples.',
    restart: false,
    tone: 'note',
  };
}

/** The field that says what an answer earns has words of its own: it is more than a setting. */
const isReward = ({ code, message }: Problem) => code === 'config' && message.startsWith('reward:');

export const titleOf = (problem: Problem): string => (isReward(problem) ? 'A reward cannot judge' : (table[problem.code]?.title ?? titles[problem.code] ?? 'That did not work'));
