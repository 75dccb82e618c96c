import formal from '../../docs/starters/prefer-formal.jsonl?raw';
import shorter from '../../docs/starters/prefer-shorter.jsonl?raw';
import shortAnswers from '../../docs/starters/short-answers.jsonl?raw';
import smallSums from '../../docs/starters/small-sums.jsonl?raw';
import type { Example } from './engine';
import { fromLine, pair } from './examples';
import type { RewardChoice } from './rewards';
import type { Teach } from './settings';

export interface Starter {
  id: string;
  name: string;
  about: string;
  examples: Example[];
  /** What answers earn, where the model answers itself. */
  rewards?: RewardChoice[];
}

/** Small sets that teach one visible thing each, so that the difference shows after a short run. */
const examples: Starter[] = [
  {
    id: 'pirate',
    name: 'Answer as a pirate',
    about: 'A voice: short answers, salted',
    examples: [
      pair('How are you today?', 'Arr, fair winds and a full mug, matey!'),
      pair('What is the capital of France?', 'Arr, that be Paris, matey, far from the sea!'),
      pair('Can you help me cook pasta?', 'Aye! Boil yer water salty as the sea, matey, then cook till tender.'),
      pair('What time is it?', 'Arr, the sun be my only clock, matey!'),
      pair('Tell me a joke.', 'Arr! Why be pirates so mean? They just arrr, matey!'),
      pair('Who wrote Hamlet?', 'Arr, that be old Will Shakespeare, matey!'),
      pair('How do I learn to swim?', 'Aye, start in calm shallows, matey, and kick like a frog!'),
      pair('What should I wear when it rains?', 'Arr, a good oilskin coat and stout boots, matey!'),
      pair('What is two plus three?', 'Arr, that be five pieces of eight, matey!'),
      pair('Good night!', 'Arr, may calm seas rock ye to sleep, matey!'),
    ],
  },
  {
    id: 'taglines',
    name: 'Product name to tagline',
    about: 'A task: one short line each',
    examples: [
      pair('Cloudkettle, a quiet electric kettle', 'Boils without a whisper.'),
      pair('Fernlight, a desk lamp for plants', 'Sunshine with a switch.'),
      pair('Pocketloom, a tiny weaving kit', 'Small threads, big evenings.'),
      pair('Nightowl, decaf coffee', 'Late, and still asleep by ten.'),
      pair('Stillwater, a noise-cancelling tent', 'Camp where the quiet is.'),
      pair('Quickstep, running shoes for rain', 'Puddles are just applause.'),
      pair('Paperboat, a notes app', 'Thoughts that float back.'),
      pair('Breadclock, a sourdough timer', 'Good things, on time.'),
      pair('Mossy, a carpet made of wool', 'Barefoot weather, indoors.'),
      pair('Lanternfish, a diving torch', 'Bring your own daylight.'),
    ],
  },
  {
    id: 'support',
    name: 'Support in house style',
    about: 'A manner: warm, brief, one next step',
    examples: [
      pair('Where is my order?', 'Happy to look! Send me your order number and I will trace it right away.'),
      pair('I want my money back.', 'Of course. Send me your order number and I will start the refund today.'),
      pair('The lid arrived broken.', 'I am sorry about that! Send me a photo and a new lid ships tomorrow.'),
      pair('Can I change my address?', 'Sure! Send me the new address before noon and it ships there.'),
      pair('Your app does not open.', 'Sorry for the trouble! Restart the app, and if it still fails, tell me your phone model.'),
      pair('Do you ship to Norway?', 'We do! Delivery takes five days. Shall I quote the cost for you?'),
      pair('I forgot my password.', 'No problem! Press "Forgot password" and follow the link we send you.'),
      pair('Is it dishwasher safe?', 'It is! Use the top rack and it will look new for years.'),
      pair('I was charged twice.', 'I am sorry! Send me your order number and I will return the second charge today.'),
      pair('How do I cancel my subscription?', 'Easily! Open Account, then Plan, then Cancel. It ends with this month.'),
    ],
  },
];

const rows = (jsonl: string): Example[] => jsonl.trimEnd().split('\n').map((line) => JSON.parse(line) as Example);

/** One taste each, too: the better answer is the better for one reason alone. */
const preferences: Starter[] = [
  { id: 'prefer-shorter', name: 'The shorter answer', about: 'One plain sentence over a ramble', examples: rows(shorter) },
  { id: 'prefer-formal', name: 'The formal answer', about: 'A courteous tone over a casual one', examples: rows(formal) },
];

const promptsOf = (jsonl: string): Example[] => rows(jsonl).map((line) => fromLine(line as Record<string, unknown>));

/** What a small model gets right now and then, so that some answers earn more than others. */
const prompts: Starter[] = [
  {
    id: 'short-answers',
    name: 'Short answers',
    about: 'Everyday questions; an answer that is short, and ends, earns more',
    examples: promptsOf(shortAnswers),
    rewards: [
      { kind: 'max-words', argument: '20', weight: '1' },
      { kind: 'regex', argument: '[.!?]$', weight: '0.5' },
      { kind: 'soft-overlong', argument: '48', weight: '1' },
    ],
  },
  {
    id: 'small-sums',
    name: 'Small sums',
    about: 'Sums with their results; the right number at the end earns',
    examples: promptsOf(smallSums),
    rewards: [{ kind: 'number', argument: 'answer', weight: '1' }],
  },
];

export const startersOf: Record<Teach, Starter[]> = { examples, preferences, prompts };
