import { batch } from '@preact/signals';
import type { Problem } from '../engine';
import { split } from '../examples';
import { noLab, toJson, toMarkdown } from '../lab';
import { nameOf } from '../states';
import { announcement, device, form, lab, labelOf, labForm, labShare, justCopied, model, possible, problem, settings, tab, trialLabel } from '../store';
import { download } from './download';
import { handOver } from './rows';
import { attempt, engine } from './session';
import { setMethod, usable } from './train';

/** Starts the lab on the examples as they are; its table starts anew. */
export const startLab = (withoutBad = false) =>
  attempt(async () => {
    const config = form.value?.config;
    const made = labForm.value;
    if (!config || !made || made.errors.length || model.value.state !== 'ready' || device.value.state !== 'ready') return;
    const checked = await usable(config, withoutBad, () => void startLab(true));
    if (!checked) return;
    const { train, held } = split(checked.good, labShare.value);
    const before = lab.value;
    lab.value = {
      ...noLab,
      state: 'starting',
      methods: made.trials.map(({ method }) => method),
      names: Object.fromEntries(made.trials.map(({ method }) => [method, labelOf(method)])),
      ground: {
        model: `${model.value.info.name}${model.value.info.load_in_4bit ? ' in 4 bits' : ''}`,
        device: nameOf(device.value.device),
        steps: Number(made.trials[0]?.config.max_steps),
        examples: train.length,
        held: held.length,
      },
    };
    try {
      const [rows, heldOut] = await handOver(train, held);
      await engine().ask('startLab', { config, trials: made.trials, rows: rows!, heldOut: heldOut! });
    } catch (thrown) {
      // Nothing was tried: the table that was there stays.
      lab.value = before;
      throw thrown;
    }
  });

const chosen = (methods: string[]) => {
  settings.value = { ...settings.value, lab: { ...settings.value.lab, methods } };
};

export const toggleTrial = (method: string, on: boolean) => chosen([...settings.value.lab.methods.filter((other) => other !== method), ...(on ? [method] : [])]);

export const chooseTrials = (methods: string[]) => chosen(methods);

/** Every method that can be tried on this model. */
export const chooseAllTrials = () => chosen(possible.value.map(({ id }) => id));

export const setLabSteps = (steps: string) => {
  settings.value = { ...settings.value, lab: { ...settings.value.lab, steps } };
};

/** Takes a method over to the training of one. */
export function useMethod(method: string): void {
  batch(() => {
    setMethod(method);
    tab.value = 'train';
    announcement.value = `${labelOf(method)} is chosen for training.`;
  });
  document.getElementById('train')?.scrollIntoView();
}

export const clearLab = () => {
  lab.value = noLab;
};

export async function copyLab(): Promise<void> {
  const { ground, outcomes } = lab.value;
  if (!ground) return;
  try {
    await navigator.clipboard.writeText(toMarkdown(ground, outcomes, trialLabel));
    announcement.value = 'The table was copied.';
    copied();
  } catch {
    problem.value = {
      code: 'clipboard',
      message: 'The browser does not let this page write to the clipboard.',
      help: 'Allow it in the settings of this page, or download the table as JSON.',
    } satisfies Problem;
  }
}

let clearing: ReturnType<typeof setTimeout> | undefined;

/** Says on the button for a moment that it worked. */
function copied(): void {
  justCopied.value = true;
  clearTimeout(clearing);
  clearing = setTimeout(() => (justCopied.value = false), 2000);
}

export const downloadLab = () => {
  const { ground, outcomes } = lab.value;
  if (ground) download('lab.json', new Blob([toJson(ground, outcomes)], { type: 'application/json' }));
};
